//! Priorities: the runner orders what the lane brings.
//!
//! The lane stays as it is; before each message the runner moves what is queued to a heap of nodes. A node keeps
//! its room until its message is popped, so a bound counts what is in the heap too.
//!
//! # Concurrency
//!
//! *Runner.*

use super::Node;
use crate::sync;
use alloc::collections::BinaryHeap;
use core::cell::RefCell;
use core::cmp::{Ordering, Reverse};
use core::ptr::NonNull;

/// How urgent a message is: the highest comes first. Equals come in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

impl Priority {
    /// After all others.
    pub const LOWEST: Self = Self(0);
    /// In the middle. The default.
    pub const NORMAL: Self = Self(128);
    /// Before all others.
    pub const HIGHEST: Self = Self(255);
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

struct Entry<M> {
    key: (Priority, Reverse<u64>),
    node: NonNull<Node<M>>,
}

impl<M> PartialEq for Entry<M> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<M> Eq for Entry<M> {}

impl<M> PartialOrd for Entry<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Entry<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

pub(crate) struct Order<M> {
    priority: fn(&M) -> Priority,
    heap: RefCell<(BinaryHeap<Entry<M>>, u64)>,
}

impl<M> Order<M> {
    pub(crate) fn new(priority: fn(&M) -> Priority) -> Self {
        Self {
            priority,
            heap: RefCell::new((BinaryHeap::new(), 0)),
        }
    }

    /// Takes a queued node in. A panic of the user's function means: the default.
    ///
    /// # Safety
    /// The node holds a message, and is the caller's.
    pub(crate) unsafe fn add(&self, node: NonNull<Node<M>>) {
        // SAFETY: as the caller promises.
        let message = unsafe { Node::peek(node) };
        let mut priority = Priority::default();
        sync::quietly(|| priority = (self.priority)(message));
        let (heap, next) = &mut *self.heap.borrow_mut();
        heap.push(Entry {
            key: (priority, Reverse(*next)),
            node,
        });
        *next += 1;
    }

    /// The most urgent node, and the number of its arrival.
    pub(crate) fn pop(&self) -> Option<(NonNull<Node<M>>, u64)> {
        let entry = self.heap.borrow_mut().0.pop()?;
        Some((entry.node, entry.key.1.0))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.borrow().0.len()
    }

    /// The number of the next arrival.
    pub(crate) fn next(&self) -> u64 {
        self.heap.borrow().1
    }
}
