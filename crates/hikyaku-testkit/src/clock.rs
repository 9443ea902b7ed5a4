//! Time that moves when the test says so.

use hikyaku_core::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A clock that stands still until it is moved. Clones are the same clock.
///
/// ```
/// use hikyaku_core::Clock;
/// use hikyaku_testkit::VirtualClock;
/// use std::time::Duration;
///
/// let clock = VirtualClock::new();
/// let same = clock.clone();
/// clock.advance(Duration::from_millis(5));
/// assert_eq!(same.now(), Duration::from_millis(5));
/// ```
#[derive(Debug, Clone, Default)]
pub struct VirtualClock {
    /// Nanoseconds since the start.
    now: Arc<AtomicU64>,
}

impl VirtualClock {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock. Any thread, also inside a handler.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: a number that carries nothing else.
        let _earlier = self
            .now
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_add(by))
            });
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        // Relaxed: as in `advance`.
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }
}
