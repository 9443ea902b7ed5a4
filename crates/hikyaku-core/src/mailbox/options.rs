//! What a mailbox can be asked to be.

use crate::supervision::RestartPolicy;
use core::fmt;

/// What happens to a message for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MailboxOverflowPolicy {
    /// `send().await` waits for room, in order; `tell` and `try_send` refuse with
    /// [`SendError::Full`](crate::SendError::Full).
    #[default]
    Block,
}

/// The mailbox of an actor, chosen at spawn.
///
/// ```
/// use hikyaku_core::MailboxOptions;
///
/// let options = MailboxOptions::bounded(64);
/// assert_eq!(options.capacity(), Some(64));
/// assert_eq!(MailboxOptions::default().capacity(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailboxOptions {
    capacity: Option<usize>,
    overflow: MailboxOverflowPolicy,
}

impl MailboxOptions {
    /// A mailbox that takes what comes. The default.
    pub const fn unbounded() -> Self {
        Self {
            capacity: None,
            overflow: MailboxOverflowPolicy::Block,
        }
    }

    /// A mailbox with room for `capacity` messages besides the one in hand. The room is part of
    /// the actor's single allocation.
    pub const fn bounded(capacity: usize) -> Self {
        Self {
            capacity: Some(capacity),
            overflow: MailboxOverflowPolicy::Block,
        }
    }

    /// Chooses what happens when there is no room.
    #[must_use]
    pub const fn overflow(mut self, policy: MailboxOverflowPolicy) -> Self {
        self.overflow = policy;
        self
    }

    /// The bound, if there is one.
    pub const fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    /// Refuses what cannot be built.
    pub(crate) fn check(&self) -> Result<(), InvalidOptions> {
        match self.capacity {
            Some(0) => Err(InvalidOptions(
                "a bounded mailbox needs room for one message",
            )),
            Some(capacity) if capacity > super::bounded::MAX_CAPACITY => Err(InvalidOptions(
                "the capacity of a bounded mailbox is above the platform's limit",
            )),
            _ => Ok(()),
        }
    }
}

/// The options of a cell in one word: where its bounded tail begins, and the bits below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellOptions(u32);

/// The actor stops when the last strong reference goes.
const STOP_UNREFERENCED: u32 = 1;
/// The cell is owned by its system's only worker: see `state.rs`. Other threads may come to ring the
/// bell after the actor has ended, so the cell keeps its system alive.
const OWNED: u32 = 2;
/// The cold box has a throughput of its own.
const OWN_THROUGHPUT: u32 = 4;
/// Two bits: the restart policy.
const PERMANENT: u32 = 8;
const TEMPORARY: u32 = 16;
const BITS: u32 = STOP_UNREFERENCED | OWNED | OWN_THROUGHPUT | PERMANENT | TEMPORARY;

impl CellOptions {
    /// `tail` is a multiple of 8, zero if there is none.
    pub(crate) fn new(
        tail: u32,
        stop_unreferenced: bool,
        owned: bool,
        throughput: bool,
        policy: RestartPolicy,
    ) -> Self {
        // A tail begins behind the header, so what is shifted out is known to be zero.
        let tail = tail << 2;
        debug_assert_eq!(tail & BITS, 0);
        let policy = match policy {
            RestartPolicy::Permanent => PERMANENT,
            RestartPolicy::Transient => 0,
            RestartPolicy::Temporary => TEMPORARY,
        };
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        Self(
            tail | policy
                | flag(stop_unreferenced, STOP_UNREFERENCED)
                | flag(owned, OWNED)
                | flag(throughput, OWN_THROUGHPUT),
        )
    }

    pub(crate) fn tail(self) -> usize {
        (self.0 >> 2 & !(BITS >> 2)) as usize
    }

    #[inline(always)]
    pub(crate) fn is_bounded(self) -> bool {
        self.0 > BITS
    }

    #[inline(always)]
    pub(crate) fn is_owned(self) -> bool {
        self.0 & OWNED != 0
    }

    /// Neither bounded nor owned.
    #[inline(always)]
    pub(crate) fn is_plain(self) -> bool {
        self.0 & !(STOP_UNREFERENCED | OWN_THROUGHPUT | PERMANENT | TEMPORARY) == 0
    }

    #[inline(always)]
    pub(crate) fn has_own_throughput(self) -> bool {
        self.0 & OWN_THROUGHPUT != 0
    }

    pub(crate) fn policy(self) -> RestartPolicy {
        if self.0 & PERMANENT != 0 {
            RestartPolicy::Permanent
        } else if self.0 & TEMPORARY != 0 {
            RestartPolicy::Temporary
        } else {
            RestartPolicy::Transient
        }
    }

    pub(crate) fn stops_unreferenced(self) -> bool {
        self.0 & STOP_UNREFERENCED != 0
    }
}

/// Options that contradict each other, or the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidOptions(pub(crate) &'static str);

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for InvalidOptions {}
