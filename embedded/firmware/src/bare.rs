//! Actors in a firmware without an executor: a loop that polls the worker and sleeps, with a clock and ticks from
//! SysTick. What is here is all that it takes.

use crate::bench::{Bench, room, small};
use board::systick;
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use core::task::{RawWaker, RawWakerVTable, Waker};
use core::time::Duration;
use critical_section::Mutex;
use hikyaku_core::{
    Actor, Clock, Context, Failure, ManualDriver, SystemState, Timer, Turn, Worker,
};
use portable_atomic::AtomicU32;

/// The milliseconds that the interrupts have counted.
struct SysTickClock;

impl Clock for SysTickClock {
    fn now(&self) -> Duration {
        Duration::from_millis(systick::now())
    }
}

/// The driver that the interrupt ticks.
static DRIVER: Mutex<RefCell<Option<ManualDriver>>> = Mutex::new(RefCell::new(None));

/// In the interrupt.
fn tick() {
    let driver = critical_section::with(|cs| DRIVER.borrow_ref(cs).clone());
    if let Some(driver) = driver {
        driver.tick();
    }
}

/// A waker that ends `wfe`, also if it was not begun yet: the processor remembers the event.
fn event() -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| RAW,
        |_| cortex_m::asm::sev(),
        |_| cortex_m::asm::sev(),
        |_| (),
    );
    const RAW: RawWaker = RawWaker::new(core::ptr::null(), &VTABLE);
    // SAFETY: the functions use no data.
    unsafe { Waker::from_raw(RAW) }
}

/// Runs a worker until its system has stopped.
fn run(mut worker: Worker) {
    let waker = event();
    loop {
        match worker.poll(16, &waker) {
            Turn::Ready => {}
            Turn::Idle { .. } => cortex_m::asm::wfe(),
            Turn::Stopped => return,
        }
    }
}

static BEATS: AtomicU32 = AtomicU32::new(0);

/// Ends its system after some beats.
struct Heart;

impl Actor for Heart {
    type Msg = ();

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        cx.start_timer("beat", Timer::fixed_rate(Duration::from_millis(2), ()))?;
        Ok(())
    }

    async fn handle(&mut self, (): (), cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if BEATS.fetch_add(1, Ordering::Relaxed) == 9 {
            let _ended = cx.system().graceful_shutdown();
        }
        Ok(())
    }
}

pub(crate) async fn actors_run_without_embassy(_: &Bench) {
    let driver = ManualDriver::new();
    let builder = small(1).max_timers(1).clock(SysTickClock);
    let (system, mut workers) = builder.tick_driver(driver.clone()).build().unwrap();
    let heart = system.spawn_with(room(1), || Heart).unwrap();
    critical_section::with(|cs| DRIVER.borrow_ref_mut(cs).replace(driver));
    systick::in_interrupt(Some(tick));
    run(workers.remove(0));
    systick::in_interrupt(None);
    critical_section::with(|cs| DRIVER.borrow_ref_mut(cs).take());
    assert_eq!(BEATS.load(Ordering::Relaxed), 10);
    assert_eq!(system.state(), SystemState::Stopped);
    drop(heart);
}
