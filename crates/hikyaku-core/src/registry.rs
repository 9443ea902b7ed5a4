//! The registry: an index for every living actor.
//!
//! An index of an actor that has ended never reaches another one.
//!
//! No lock is taken on the way of a message: references lead to the cell itself.

#[cfg(not(any(loom, feature = "std", feature = "flow")))]
mod chain;
#[allow(dead_code, reason = "without `std` and `flow` it is the chain")]
mod slots;

#[cfg(not(any(loom, feature = "std", feature = "flow")))]
pub(crate) use self::chain::{Links, MailboxRegistry};
#[cfg(any(loom, feature = "std", feature = "flow"))]
pub(crate) use self::slots::{Links, MailboxRegistry};

use core::fmt;

/// Names an actor within its system: a slot and the slot's generation.
///
/// ```
/// # use hikyaku_core::MailboxIndex;
/// fn describe(index: MailboxIndex) -> String {
///     format!("actor {index}")
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxIndex {
    /// The slot in the registry. Without the features `std` and `flow` a slot is used again only after all others.
    pub slot: u32,
    /// How often the slot had been used before, plus one.
    pub generation: u32,
}

impl MailboxIndex {
    /// The index of nobody.
    pub(crate) const NONE: Self = Self {
        slot: u32::MAX,
        generation: 0,
    };
}

impl fmt::Display for MailboxIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

impl fmt::Debug for MailboxIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an actor was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Sealed,
    Full,
}

#[cfg(test)]
mod tests;
