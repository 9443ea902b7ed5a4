//! Embassy's time as the clock and the tick driver of a system.

use alloc::boxed::Box;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use embassy_time_driver::{TICK_HZ, schedule_wake};
use hikyaku_core::{
    Clock, Failure, ManualDriver, NextTick, StopToken, TickDriver, TickHandle, ticks_of_time,
    time_of_ticks,
};

/// Embassy's time as a clock. It starts when Embassy's time does.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Duration {
        time_of_ticks(embassy_time_driver::now(), TICK_HZ)
    }
}

/// Drives the timers of a system by Embassy's alarms: it asks to be woken when the next timer is due, and for
/// nothing while none is set. Clones are the same driver; it belongs to one system.
///
/// Give one to the builder and [`run`](Self::run) another in a task.
#[derive(Debug, Clone, Default)]
pub struct EmbassyDriver(ManualDriver);

impl EmbassyDriver {
    /// A driver that belongs to no system yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drives, until the system has stopped. Returns at once if the driver was not given to a system that was
    /// built.
    ///
    /// # Cancel safety
    /// Dropped before, timers that are set stay so until it is run again.
    pub async fn run(self) {
        let Some(handle) = self.0.handle() else {
            return;
        };
        let stop = handle.stop_token();
        poll_fn(|cx| {
            let next = handle.tick(cx.waker());
            if stop.is_stopped() {
                return Poll::Ready(());
            }
            if let NextTick::At(due) = next {
                // One that is past wakes the task at once.
                schedule_wake(ticks_of_time(due, TICK_HZ), cx.waker());
            }
            Poll::Pending
        })
        .await;
    }
}

impl TickDriver for EmbassyDriver {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        Box::new(self.0).start(handle, stop)
    }
}
