//! The foreman: adds workers when the ones that are there cannot keep up.

use crate::dispatcher::Home;
use crate::ready::{Outlook, Place};
use crate::sync::Arc;
use crate::worker::Worker;
use core::fmt;
use core::task::Waker;

/// Watches over the number of a dispatcher's workers. Given by [`System::foreman`](crate::System::foreman) and
/// [`Dispatcher::foreman`](crate::Dispatcher::foreman) if that number can change.
///
/// Core starts no threads, so a foreman only says when another worker is wanted. Whoever polls it
/// starts one, then [`hire`](Self::hire)s the worker for it. Workers that have been idle for long leave by
/// themselves ([`Worker::retire`]).
///
/// Without anybody who polls it, the workers stay as many as they are.
pub struct Foreman {
    home: Arc<Home>,
    outlook: Outlook,
    patient: bool,
}

/// What a foreman finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it says when the foreman has to be polled again"]
pub enum Staffing {
    /// The waker will be woken when all workers are busy.
    Enough,
    /// All workers are busy: poll again after about two milliseconds. Work that waits longer than
    /// that wants another worker.
    Busy,
    /// Another worker is wanted: [`hire`](Foreman::hire) one, then poll again. If that gives none, or it cannot be
    /// run, as after `Busy`.
    Short,
    /// The workers end, and so may the foreman.
    Stopped,
}

/// What it sees of the queues.
#[allow(dead_code, reason = "without `std` there is no foreman")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Somebody is free, or there is no place for another: it will be called.
    Not,
    /// It has to look again.
    Perhaps,
    /// Another worker is wanted.
    Yes,
}

impl Foreman {
    pub(crate) fn new(home: Arc<Home>, outlook: Outlook) -> Self {
        Self {
            home,
            outlook,
            patient: true,
        }
    }

    /// Hires as soon as somebody waits: for actors that block, whose workers are busy without using a
    /// processor.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Looks at the queues. The waker is that of a thread or task, whose `wake_by_ref` does not block and
    /// does not call into the system.
    pub fn poll(&mut self, waker: &Waker) -> Staffing {
        let coordinator = &self.home.coordinator;
        let shortage = coordinator.look(&mut self.outlook, self.patient, waker);
        // After the waker was left, so that the end either is seen here or wakes it.
        if self.home.is_stopped() {
            return Staffing::Stopped;
        }
        match shortage {
            Shortage::Not => Staffing::Enough,
            Shortage::Perhaps => Staffing::Busy,
            Shortage::Yes => Staffing::Short,
        }
    }

    /// One more worker; `None` if one has come free meanwhile. It has to be polled at once.
    pub fn hire(&mut self) -> Option<Worker> {
        let number = self.home.coordinator.hire()?;
        // If the last worker has just gone, the place is of no use any more.
        self.home
            .one_worker_more()
            .then(|| Worker::new(Arc::clone(&self.home), number, Place::hired()))
    }
}

impl fmt::Debug for Foreman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreman")
            .field("patient", &self.patient)
            .finish_non_exhaustive()
    }
}
