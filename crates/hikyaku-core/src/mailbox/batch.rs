//! Many messages at once: linked first, queued with one exchange.

use super::{Node, Overflow, Push, push};
use crate::cell::CellPtr;
use crate::state::{Link, Pushed};
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem;
use core::ptr::NonNull;

/// Queues all of `messages` in order, or as many as there is room for; returns the others.
/// *Any thread.*
///
/// # Safety
/// `cell` is live and its message type is `M`.
pub(crate) unsafe fn push_all<M: 'static>(
    cell: CellPtr,
    messages: impl Iterator<Item = M>,
) -> Push<Vec<M>> {
    let mut messages = messages;
    if cell.has_tail() || cell.is_consumed_here() {
        while let Some(message) = messages.next() {
            // SAFETY: as the caller promises.
            let (refused, full) = match unsafe { push(cell, message, Overflow::Apply) } {
                Push::Accepted => continue,
                Push::Full(refused) => (refused, true),
                Push::Closed(refused) => (refused, false),
            };
            let rest = core::iter::once(refused).chain(messages).collect();
            return if full {
                Push::Full(rest)
            } else {
                Push::Closed(rest)
            };
        }
        return Push::Accepted;
    }
    let Some(message) = messages.next() else {
        return Push::Accepted;
    };
    let oldest = Node::make(message).cast::<Link>();
    let mut batch = Batch::<M>::new(oldest);
    for message in messages {
        batch.add(Node::make(message).cast());
    }
    // SAFETY: the nodes are ours until they are queued.
    let pushed = unsafe { cell.mailbox().word.push(batch.newest, oldest) };
    if pushed == Pushed::Closed {
        return Push::Closed(batch.take_back());
    }
    batch.sent();
    match pushed {
        Pushed::Schedule => cell.schedule(),
        Pushed::Queued { first: true } if cell.is_owned() => cell.ring(),
        Pushed::Queued { .. } | Pushed::Closed => {}
    }
    Push::Accepted
}

/// Nodes linked newest first that are not queued yet. Dropped with the iterator's panic, it drops
/// its messages.
struct Batch<M> {
    newest: NonNull<Link>,
    oldest: NonNull<Link>,
    _messages: PhantomData<M>,
}

impl<M> Batch<M> {
    fn new(oldest: NonNull<Link>) -> Self {
        Self {
            newest: oldest,
            oldest,
            _messages: PhantomData,
        }
    }

    fn add(&mut self, node: NonNull<Link>) {
        // SAFETY: both nodes are ours.
        unsafe { Link::set_next(node.as_ptr(), self.newest.as_ptr()) };
        self.newest = node;
    }

    fn sent(self) {
        mem::forget(self);
    }

    fn take_back(self) -> Vec<M> {
        let mut messages = Vec::new();
        self.open(|message| messages.push(message));
        mem::forget(self);
        messages.reverse();
        messages
    }

    fn open(&self, mut each: impl FnMut(M)) {
        // The exchange that was refused may have linked the oldest to somebody else's node.
        // SAFETY: the nodes are ours, each with its message, moved out once.
        unsafe {
            Link::set_next(self.oldest.as_ptr(), Link::unlinked());
            let mut next = self.newest.as_ptr();
            while let Some(link) = NonNull::new(next) {
                next = Link::next(link.as_ptr());
                let node = link.cast::<Node<M>>();
                let message = Node::open(node);
                Node::recycle(node);
                each(message);
            }
        }
    }
}

impl<M> Drop for Batch<M> {
    fn drop(&mut self) {
        self.open(drop);
    }
}
