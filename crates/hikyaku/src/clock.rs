//! The clock of the operating system.

use hikyaku_core::Clock;
use std::time::{Duration, Instant};

/// The monotonic clock of the operating system, counted from the moment it was made.
#[derive(Debug, Clone, Copy)]
pub struct StdClock {
    start: Instant,
}

impl StdClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for StdClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for StdClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
