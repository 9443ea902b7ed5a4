//! The ring: a bounded lane from which senders may take the oldest message, to make room.
//!
//! Each slot has a number that says what it is for. `p` is a position: it counts on for ever, and wraps; `n` is
//! the number of slots, a power of two, so that the wrap does no harm.
//!
//! ```text
//!            claim p (tail: p -> p+1), write            take p (head: p -> p+1), read
//!   ┌────────────┐ number = p+1 ┌────────────┐ number = p+n ┌────────────────┐
//!   │ p: is free │─────────────►│ p: message │─────────────►│ p+n: is free   │
//!   └────────────┘              └────────────┘              └────────────────┘
//!     push: any sender            pop: runner; evict: any sender
//! ```
//!
//! Between the exchange and the number the slot is half pushed, or half taken. Nobody waits for that: it counts
//! as nothing to take, or as no room.
//!
//! A message in the ring is announced in the queue word: the sender signals when it is there, and the runner,
//! which looks at the ring after it has cleared the signal, cannot go idle over it.
//!
//! # The end
//!
//! `finish` sets `finished` and then changes the queue word. A sender that signals before is seen by the drain that
//! follows; one that signals after sees `finished`, and drains the ring itself. Each message is moved out by one of
//! them, because taking is an exchange.
//!
//! # Concurrency
//!
//! All of it: any thread. `limit` and `finished` are written by the runner.

use crate::sync::{AtomicUsize, Ordering, UnsafeCell};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

struct Slot<M> {
    number: AtomicUsize,
    message: UnsafeCell<MaybeUninit<M>>,
}

pub(crate) struct Ring<M> {
    slots: Box<[Slot<M>]>,
    /// Where the oldest message is.
    head: AtomicUsize,
    /// Where the next one goes.
    tail: AtomicUsize,
    limit: AtomicUsize,
    finished: AtomicUsize,
    most: usize,
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Crowded<M> {
    /// As many as may be are queued; the oldest at this position.
    Full(M, usize),
    /// The slot whose turn it is is half taken.
    Busy(M),
}

/// What [`Ring::take`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Take<M> {
    Taken(M),
    /// Somebody else has taken it.
    Gone,
    /// It is not there yet.
    Unready,
}

/// So many slots beyond the bound: takers that are interrupted are in nobody's way.
const SPARE: usize = 3;

impl<M> Ring<M> {
    /// `None` if there is no memory.
    pub(crate) fn new(limit: usize, most: usize) -> Option<Self> {
        let count = most.checked_add(SPARE)?.checked_next_power_of_two()?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).ok()?;
        slots.extend((0..count).map(|number| Slot {
            number: AtomicUsize::new(number),
            message: UnsafeCell::new(MaybeUninit::uninit()),
        }));
        Some(Self {
            slots: slots.into_boxed_slice(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            finished: AtomicUsize::new(0),
            most,
        })
    }

    /// Begins elsewhere.
    #[cfg(all(test, not(loom)))]
    fn begin_at(&self, position: usize) {
        // Relaxed, all: nobody else has it yet.
        self.head.store(position, Ordering::Relaxed);
        self.tail.store(position, Ordering::Relaxed);
        for next in 0..self.slots.len() {
            let next = position.wrapping_add(next);
            self.slot(next).number.store(next, Ordering::Relaxed);
        }
    }

    fn slot(&self, position: usize) -> &Slot<M> {
        &self.slots[position & (self.slots.len() - 1)]
    }

    pub(crate) fn limit(&self) -> usize {
        // Relaxed: a setting, which carries nothing but itself.
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn resize(&self, limit: usize) {
        // Relaxed: see `limit`.
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Where the next message goes. All that were queued before are at positions before.
    pub(crate) fn end(&self) -> usize {
        // Relaxed: what was sent before this is asked is known to have been.
        self.tail.load(Ordering::Relaxed)
    }

    /// Is a position claimed? Its message may not be there yet.
    pub(crate) fn has_messages(&self) -> bool {
        // Relaxed: as above.
        self.head.load(Ordering::Relaxed) != self.tail.load(Ordering::Relaxed)
    }

    /// Is the oldest message there? *Exact after the runner has acknowledged signals.*
    pub(crate) fn is_ready(&self) -> bool {
        // Relaxed: the number decides.
        let head = self.head.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `push`.
        self.slot(head).number.load(Ordering::Acquire) == head.wrapping_add(1)
    }

    /// Queues a message, if there is room.
    pub(crate) fn push(&self, message: M) -> Result<(), Crowded<M>> {
        // Relaxed: only a first guess for the exchange.
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            // Acquire: whoever sees a head sees the tail that it came from. A head that is old makes the
            // queue look longer, never shorter; the one who evicts finds out.
            let head = self.head.load(Ordering::Acquire);
            let queued = tail.wrapping_sub(head);
            if queued >= self.limit() {
                // Relaxed: as above.
                let now = self.tail.load(Ordering::Relaxed);
                if now == tail {
                    return Err(Crowded::Full(message, head));
                }
                tail = now;
                continue;
            }
            // Acquire: pairs with the Release in `take`: the slot has been read.
            let number = self.slot(tail).number.load(Ordering::Acquire);
            if number != tail {
                // Relaxed: as above.
                let now = self.tail.load(Ordering::Relaxed);
                if now == tail {
                    return Err(Crowded::Busy(message));
                }
                tail = now;
                continue;
            }
            // Relaxed, twice: the number publishes the message; a position is only a number.
            match self.tail.compare_exchange_weak(
                tail,
                tail.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => tail = now,
            }
        }
        let slot = self.slot(tail);
        // SAFETY: the position is claimed, and its slot free, so the message's place is ours.
        slot.message
            .with_mut(|place| unsafe { place.write(MaybeUninit::new(message)) });
        // Release: pairs with the Acquire in `take`.
        slot.number.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Takes the message at `head`, if it is the oldest.
    pub(crate) fn take(&self, head: usize) -> Take<M> {
        let slot = self.slot(head);
        // Acquire: pairs with the Release in `push`.
        if slot.number.load(Ordering::Acquire) != head.wrapping_add(1) {
            // Relaxed: if the head has moved, somebody has taken it.
            let gone = self.head.load(Ordering::Relaxed) != head;
            return if gone { Take::Gone } else { Take::Unready };
        }
        // Release: pairs with the Acquire in `push`. Relaxed on failure: nothing is done.
        if self
            .head
            .compare_exchange(
                head,
                head.wrapping_add(1),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_err()
        {
            return Take::Gone;
        }
        let message = slot
            .message
            // SAFETY: the message is there, and the exchange made it ours.
            .with_mut(|place| unsafe { (*place).assume_init_read() });
        let free = head.wrapping_add(self.slots.len());
        // Release: pairs with the Acquire in `push`.
        slot.number.store(free, Ordering::Release);
        Take::Taken(message)
    }

    /// The oldest message and its position; `None` if there is none, or it is not there yet.
    pub(crate) fn pop(&self) -> Option<(M, usize)> {
        loop {
            // Relaxed: `take` decides.
            let head = self.head.load(Ordering::Relaxed);
            match self.take(head) {
                Take::Taken(message) => return Some((message, head)),
                Take::Gone => {}
                Take::Unready => return None,
            }
        }
    }

    /// No drain follows but the one that comes now: to be followed by a change of the queue word, and then by one.
    /// *Runner.*
    pub(crate) fn finish(&self) {
        // Relaxed: the change of the queue word publishes it.
        self.finished.store(1, Ordering::Relaxed);
    }

    /// Has the runner drained it for the last time? Asked by a sender after its signal.
    pub(crate) fn is_finished(&self) -> bool {
        // Relaxed: acquired by the signal, if it came after the end of the queue word.
        self.finished.load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests;
