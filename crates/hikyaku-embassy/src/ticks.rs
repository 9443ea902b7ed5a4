//! Embassy's time as the clock and the tick driver of a system.

use alloc::boxed::Box;
use core::error::Error;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use embassy_time_driver::{TICK_HZ, schedule_wake};
use hikyaku_core::{
    Clock, ManualDriver, NextTick, StopToken, TickDriver, TickHandle, time_of_ticks,
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
                schedule_wake(tick_of(due), cx.waker());
            }
            Poll::Pending
        })
        .await;
    }
}

impl TickDriver for EmbassyDriver {
    fn start(
        self: Box<Self>,
        handle: TickHandle,
        stop: StopToken,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Box::new(self.0).start(handle, stop)
    }
}

const NANOS: u64 = 1_000_000_000;

/// The first tick at which the clock shows `due` or more.
fn tick_of(due: Duration) -> u64 {
    if due.as_secs() >= u64::MAX / TICK_HZ {
        return u64::MAX;
    }
    let nanos = due.subsec_nanos();
    let ticks = if NANOS.is_multiple_of(TICK_HZ) {
        // The usual case, in 32 bits.
        u64::from(nanos.div_ceil((NANOS / TICK_HZ) as u32))
    } else {
        (u64::from(nanos) * TICK_HZ).div_ceil(NANOS)
    };
    due.as_secs() * TICK_HZ + ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_is_reached_at_its_tick_and_not_before() {
        for due in [
            0,
            1,
            999,
            1_000_000,
            1_000_001,
            999_999_999,
            86_400 * NANOS + 7,
        ] {
            let due = Duration::from_nanos(due);
            let tick = tick_of(due);
            assert!(time_of_ticks(tick, TICK_HZ) >= due, "{due:?}");
            assert!(
                tick == 0 || time_of_ticks(tick - 1, TICK_HZ) < due,
                "{due:?}"
            );
        }
    }

    #[test]
    fn a_time_beyond_the_ticks_is_their_end() {
        assert_eq!(tick_of(Duration::MAX), u64::MAX);
    }
}
