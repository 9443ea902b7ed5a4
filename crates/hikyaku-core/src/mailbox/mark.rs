//! Which messages are queued before something that has its turn among them.
//!
//! The end of another actor is told when the messages that were queued before have been handled. In a first in, first
//! out lane that is when the last of them has been taken; where senders evict, when a later position has; where
//! messages overtake each other, when so many of those that were there have been taken. Control messages need no
//! mark: they come before everything.

use super::Chain;
use crate::state::Link;

/// Where a message was that has been taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spot {
    Node(*const Link),
    /// In the ring.
    Position(usize),
    /// In a list of a priority.
    Age(u64),
}

/// What has to be taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Nothing,
    /// This node.
    Node(*const Link),
    /// All before this position.
    Position(usize),
    /// So many of those whose age is below this one.
    Older {
        age: u64,
        left: usize,
    },
}

impl Mark {
    /// What is in a chain.
    pub(super) fn of(chain: Chain) -> Self {
        if chain.first.is_null() {
            Self::Nothing
        } else {
            Self::Node(chain.last)
        }
    }

    /// A message was taken.
    pub(crate) fn pass(&mut self, spot: Spot) {
        match (&mut *self, spot) {
            (Self::Node(last), Spot::Node(node)) if *last == node => *self = Self::Nothing,
            // Positions wrap; the two are less than half of all apart.
            (Self::Position(end), Spot::Position(position))
                if position.wrapping_sub(*end).wrapping_add(1) <= usize::MAX / 2 =>
            {
                *self = Self::Nothing;
            }
            (Self::Older { age, left }, Spot::Age(own)) if own < *age => {
                *left -= 1;
                if *left == 0 {
                    *self = Self::Nothing;
                }
            }
            _ => {}
        }
    }
}
