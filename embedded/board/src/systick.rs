//! SysTick: a thousand interrupts in a second, which drive Embassy's time and whatever the firmware adds.

use core::cell::{Cell, RefCell};
use core::task::Waker;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use critical_section::Mutex;
use embassy_time_driver::{Driver, TICK_HZ};
use embassy_time_queue_utils::Queue;

/// How fast the core runs on each board.
const CORE_HZ: u32 = if cfg!(board = "microbit") {
    16_000_000
} else if cfg!(board = "an505") {
    20_000_000
} else {
    25_000_000
};

/// Cycles of the core between two interrupts.
const USUAL: u32 = CORE_HZ / TICK_HZ as u32;

/// What is to be done in each interrupt.
type Hook = Option<fn()>;

struct SysTickDriver {
    ticks: Mutex<Cell<u64>>,
    queue: Mutex<RefCell<Queue>>,
    hook: Mutex<Cell<Hook>>,
}

embassy_time_driver::time_driver_impl!(static DRIVER: SysTickDriver = SysTickDriver {
    ticks: Mutex::new(Cell::new(0)),
    queue: Mutex::new(RefCell::new(Queue::new())),
    hook: Mutex::new(Cell::new(None)),
});

impl Driver for SysTickDriver {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.ticks.borrow(cs).get())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                // Wakes who is due; the interrupt looks at the others.
                queue.next_expiration(self.ticks.borrow(cs).get());
            }
        });
    }
}

#[exception]
fn SysTick() {
    let hook = critical_section::with(|cs| {
        let now = DRIVER.ticks.borrow(cs).get() + 1;
        DRIVER.ticks.borrow(cs).set(now);
        DRIVER.queue.borrow_ref_mut(cs).next_expiration(now);
        DRIVER.hook.borrow(cs).get()
    });
    if let Some(hook) = hook {
        hook();
    }
}

/// Starts the interrupts.
pub fn start(timer: &mut SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(USUAL - 1);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
}

/// Milliseconds since the start.
pub fn now() -> u64 {
    DRIVER.now()
}

/// Has the next interrupt come after so many cycles, or as usual. Time goes by interrupts, so it is wrong meanwhile.
pub fn pace(cycles: Option<u32>) {
    // SAFETY: two registers of the timer, each written as a whole; nobody else does once it has been started.
    unsafe {
        let timer = &*SYST::PTR;
        timer.rvr.write(cycles.unwrap_or(USUAL) - 1);
        timer.cvr.write(0);
    }
}

/// Runs `hook` in each interrupt from now on.
pub fn in_interrupt(hook: Option<fn()>) {
    critical_section::with(|cs| DRIVER.hook.borrow(cs).set(hook));
}
