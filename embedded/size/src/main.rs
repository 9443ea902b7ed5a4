//! Firmware that is built only to be measured: nothing runs it. Features say what is in it.

#![no_std]
#![no_main]

use cortex_m_rt::entry;
use embassy_executor::{Executor, Spawner};
use embassy_time::Timer;
use static_cell::StaticCell;

#[cfg(feature = "heap")]
extern crate alloc;

#[cfg(feature = "one")]
mod actors;

static EXECUTOR: StaticCell<Executor> = StaticCell::new();

/// What an Embassy firmware has without us.
#[embassy_executor::task]
async fn blink() {
    loop {
        Timer::after_millis(500).await;
        cortex_m::asm::nop();
    }
}

#[entry]
fn main() -> ! {
    board::heap::init();
    #[cfg(feature = "heap")]
    drop(core::hint::black_box(alloc::boxed::Box::new(7)));
    let mut peripherals = cortex_m::Peripherals::take().unwrap();
    board::systick::start(&mut peripherals.SYST);
    EXECUTOR.init(Executor::new()).run(|spawner: Spawner| {
        spawner.spawn(blink().unwrap());
        #[cfg(feature = "one")]
        actors::start(spawner);
    })
}
