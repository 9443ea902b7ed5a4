//! The clock contract.

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
