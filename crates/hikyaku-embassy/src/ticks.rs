//! Embassy's time as the clock and the tick driver of a system.

use alloc::boxed::Box;
use core::error::Error;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use embassy_time_driver::{TICK_HZ, schedule_wake};
use hikyaku_core::{Clock, ManualDriver, NextTick, StopToken, TickDriver, TickHandle};

/// Embassy's time as a clock. It starts when Embassy's time does.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Duration {
        duration_of(embassy_time_driver::now())
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
        poll_fn(|cx| {
            let next = self.0.tick_waking(cx.waker());
            if self.0.is_stopped() {
                return Poll::Ready(());
            }
            if let Some(NextTick::At(due)) = next {
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

/// The time at a tick, rounded down.
fn duration_of(tick: u64) -> Duration {
    let nanos = tick % TICK_HZ * NANOS / TICK_HZ;
    Duration::from_secs(tick / TICK_HZ) + Duration::from_nanos(nanos)
}

/// The first tick at which the clock shows `due` or more.
fn tick_of(due: Duration) -> u64 {
    let ticks = (u64::from(due.subsec_nanos()) * TICK_HZ).div_ceil(NANOS);
    due.as_secs().saturating_mul(TICK_HZ).saturating_add(ticks)
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
            assert!(duration_of(tick) >= due, "{due:?}");
            assert!(tick == 0 || duration_of(tick - 1) < due, "{due:?}");
        }
    }

    #[test]
    fn a_time_beyond_the_ticks_is_their_end() {
        assert_eq!(tick_of(Duration::MAX), u64::MAX);
    }
}
