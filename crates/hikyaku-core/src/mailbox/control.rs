//! The lane of control messages: it is looked at before each user message, and has places of its own.
//!
//! A stack that the runner takes whole, as the user lane is; its word is of the same kind, with the ticket always
//! out, and is never signalled. The sender that finds it empty announces it in the queue word, as with the ring
//! (`mailbox/ring.rs`): so a cell that awaits something is not scheduled for it.
//!
//! # Concurrency
//!
//! `push`: any thread. `pop`, `finish`: the runner.

use super::{Chain, Node};
use crate::state::{Link, Pushed, Word};
use crate::sync::{self, AtomicUsize, Ordering};
use core::cell::Cell;

pub(crate) struct Control<M> {
    is_control: fn(&M) -> bool,
    word: Word,
    taken: Cell<Chain>,
    /// Free places.
    free: AtomicUsize,
}

impl<M> Control<M> {
    pub(crate) fn new(is_control: fn(&M) -> bool, reserve: usize) -> Self {
        Self {
            is_control,
            word: Word::held(),
            taken: Cell::new(Chain::EMPTY),
            free: AtomicUsize::new(reserve),
        }
    }

    /// A panic of the user's function means: no.
    pub(crate) fn takes(&self, message: &M) -> bool {
        let mut answer = false;
        sync::quietly(|| answer = (self.is_control)(message));
        answer
    }

    /// Takes a place; false if there is none. *Any thread.*
    pub(crate) fn reserve(&self) -> bool {
        self.free
            // Relaxed, twice: a number; the stack hands the message over.
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                free.checked_sub(1)
            })
            .is_ok()
    }

    /// Queues a message in a reserved place. True if the lane was empty. The message, if the actor has ended.
    pub(crate) fn push(&self, message: M) -> Result<bool, M> {
        let node = Node::make(message);
        let link = node.cast::<Link>();
        // SAFETY: the node is ours until it is queued.
        match unsafe { self.word.push(link, link) } {
            Pushed::Queued { first } => Ok(first),
            // The ticket of this word is always out.
            Pushed::Schedule => Ok(true),
            Pushed::Closed => {
                self.release();
                // SAFETY: refused, so the node is still ours, with its message.
                let message = unsafe { Node::open(node) };
                // SAFETY: opened above.
                unsafe { Node::recycle(node) };
                Err(message)
            }
        }
    }

    fn release(&self) {
        // Relaxed: as above.
        self.free.fetch_add(1, Ordering::Relaxed);
    }

    /// The oldest message. *Runner.*
    pub(crate) fn pop(&self) -> Option<M> {
        let mut taken = self.taken.get();
        if taken.first.is_null() {
            let newest = self.word.take();
            if newest.is_null() {
                return None;
            }
            // SAFETY: taken nodes are the runner's.
            unsafe { taken.append_turned(newest) };
        }
        // SAFETY: likewise.
        let node = unsafe { taken.pop() }?.cast::<Node<M>>();
        self.taken.set(taken);
        // SAFETY: a queued node holds a message, and was made by `Node::make`.
        let message = unsafe {
            let message = Node::open(node);
            Node::recycle(node);
            message
        };
        self.release();
        Some(message)
    }

    /// *Runner. Exact after it has acknowledged signals.*
    pub(crate) fn has_messages(&self) -> bool {
        !self.taken.get().first.is_null() || self.word.has_nodes()
    }

    /// Nobody comes in any more. *Runner.*
    pub(crate) fn finish(&self) {
        let newest = self.word.finish();
        if !newest.is_null() {
            let mut taken = self.taken.get();
            // SAFETY: taken nodes are the runner's.
            unsafe { taken.append_turned(newest) };
            self.taken.set(taken);
        }
    }
}
