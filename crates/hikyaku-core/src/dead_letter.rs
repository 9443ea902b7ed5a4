//! Messages that nobody will handle.

use crate::registry::MailboxIndex;
use crate::sync::{self, AtomicUsize, Ordering};
use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

/// A message that was accepted and will not be handled.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The actor it was for.
    pub target: MailboxIndex,
    /// The message itself.
    pub message: &'a dyn Any,
    /// The name of its type.
    pub type_name: &'static str,
    /// Why it is not handled.
    pub reason: DeadLetterReason,
}

/// Why a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// The actor ended before its turn came.
    Stopped,
}

type Listener = Box<dyn Fn(&DeadLetter<'_>) + Send + Sync>;

/// Counts dead letters and shows them to the listener.
pub(crate) struct DeadLetters {
    count: AtomicUsize,
    listener: Option<Listener>,
}

impl DeadLetters {
    pub(crate) fn new(listener: Option<Listener>) -> Self {
        Self {
            count: AtomicUsize::new(0),
            listener,
        }
    }

    /// Takes a message out of the world. Panics of the listener and of the message's destructor
    /// end here.
    pub(crate) fn receive<M: 'static>(
        &self,
        target: MailboxIndex,
        message: M,
        reason: DeadLetterReason,
    ) {
        // Relaxed: a statistic.
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(listener) = &self.listener {
            sync::quietly(|| {
                listener(&DeadLetter {
                    target,
                    message: &message,
                    type_name: core::any::type_name::<M>(),
                    reason,
                });
            });
        }
        sync::quietly(|| drop(message));
    }

    pub(crate) fn count(&self) -> usize {
        // Relaxed: a statistic.
        self.count.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
