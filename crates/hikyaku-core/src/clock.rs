//! The clock contract.

use crate::time::{SECOND, divide};
use core::time::Duration;

/// A monotonic clock.
///
/// An implementation must
/// - never go back, on any thread, also across a suspend of the machine;
/// - be callable from any thread and from a handler, without blocking;
/// - return the time since a start of its own choice that stays the same while the clock lives.
///
/// The runtime reads it rarely: never on the way of a message, and once per several messages in a
/// long activation.
pub trait Clock: Send + Sync + 'static {
    /// The time since the clock's start.
    fn now(&self) -> Duration;
}

/// What a [`Clock`] shows that counts ticks, `frequency` of them in a second. Rounded down.
///
/// It does not bring along what the compiler divides by where the machine cannot, which takes a kilobyte.
///
/// ```
/// # use hikyaku_core::time_of_ticks;
/// # use std::time::Duration;
/// assert_eq!(time_of_ticks(3, 2), Duration::from_millis(1500));
/// ```
///
/// # Panics
/// If the frequency is zero or above 10^9.
pub fn time_of_ticks(ticks: u64, frequency: u64) -> Duration {
    assert!((1..=SECOND).contains(&frequency), "not a frequency");
    let (seconds, rest) = divide(ticks, frequency);
    let (nanos, _) = divide(rest * SECOND, frequency);
    // Fits: it is less than a second.
    Duration::new(seconds, nanos as u32)
}
