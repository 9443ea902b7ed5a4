//! The clock contract.

use crate::time::{SECOND, divide, part_of_second};
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
/// If the frequency is zero, or above 18 GHz.
pub fn time_of_ticks(ticks: u64, frequency: u64) -> Duration {
    let (seconds, rest) = divide(ticks, checked(frequency));
    let (nanos, _) = divide(rest * SECOND, frequency);
    part_of_second(seconds, nanos)
}

/// The first tick at which such a clock shows `time` or more; `u64::MAX` if ticks do not count so far. As
/// [`time_of_ticks`].
///
/// ```
/// # use hikyaku_core::ticks_of_time;
/// # use std::time::Duration;
/// assert_eq!(ticks_of_time(Duration::from_millis(1001), 2), 3);
/// ```
///
/// # Panics
/// If the frequency is zero, or above 18 GHz.
pub fn ticks_of_time(time: Duration, frequency: u64) -> u64 {
    let part = u64::from(time.subsec_nanos()) * checked(frequency);
    let (ticks, rest) = divide(part, SECOND);
    let whole = time.as_secs().saturating_mul(frequency);
    whole.saturating_add(ticks + u64::from(rest != 0))
}

fn checked(frequency: u64) -> u64 {
    // So that a part of a second, multiplied, fits.
    assert!(
        (1..=u64::MAX / SECOND).contains(&frequency),
        "not a frequency"
    );
    frequency
}
