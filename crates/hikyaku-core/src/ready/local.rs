//! A worker's queue of ready cells: a ring that its owner fills and anyone may empty.
//!
//! The owner writes a slot, then publishes it by `tail`. Whoever takes, owner or thief, reads the
//! slots first and then moves `head` over them in one exchange; if the exchange fails, what was
//! read is thrown away. Only addresses are read, so a stale one is harmless. `head` and `tail`
//! count up and wrap; an exchange would be fooled only by a thief that sleeps for exactly 2^32
//! takes.
//!
//! # Concurrency
//!
//! `push`, `pop`: the owner. `steal_into`: the owner of the other ring. `len`: any thread. Who sleeps
//! and who has pushed find each other by fences of the coordinator (`idle.rs`).

use crate::cell::Header;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};
use alloc::boxed::Box;
use core::ptr;

/// How many cells a ring holds; a power of two.
pub(super) const CAPACITY: usize = if cfg!(loom) { 4 } else { 256 };

const MASK: u32 = CAPACITY as u32 - 1;

/// The ring of one worker.
#[derive(Debug)]
pub(super) struct Ring {
    head: AtomicU32,
    tail: AtomicU32,
    slots: Box<[AtomicPtr<Header>; CAPACITY]>,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            slots: Box::new([(); CAPACITY].map(|()| AtomicPtr::new(ptr::null_mut()))),
        }
    }

    /// A ring that has seen so many cells already.
    #[cfg(test)]
    pub(super) fn starting_at(count: u32) -> Self {
        let ring = Self::new();
        // Relaxed, twice: nobody else has it yet.
        ring.head.store(count, Ordering::Relaxed);
        ring.tail.store(count, Ordering::Relaxed);
        ring
    }

    fn slot(&self, at: u32) -> &AtomicPtr<Header> {
        &self.slots[(at & MASK) as usize]
    }

    /// Appends a cell; false if the ring is full. *Owner.*
    #[inline]
    pub(super) fn push(&self, cell: *mut Header) -> bool {
        // Acquire: pairs with the Release of the exchange that freed the slot, so that its reads
        // come before the write below.
        let head = self.head.load(Ordering::Acquire);
        // Relaxed: only the owner writes it.
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) >= CAPACITY as u32 {
            return false;
        }
        // Relaxed: published by `tail`.
        self.slot(tail).store(cell, Ordering::Relaxed);
        // Release: pairs with the Acquire in `steal_into`: the slot, and what the cell's ticket
        // carries.
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the oldest cell; null if there is none. *Owner.*
    #[inline]
    pub(super) fn pop(&self) -> *mut Header {
        // Relaxed: the exchange decides.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Relaxed: only the owner writes it.
            if head == self.tail.load(Ordering::Relaxed) {
                return ptr::null_mut();
            }
            // Relaxed: the owner wrote it.
            let cell = self.slot(head).load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                head.wrapping_add(1),
                // Release: the read above comes before the slot is used again.
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return cell,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes the older half of a full ring in one exchange, if no thief is faster. *Owner.*
    pub(super) fn pop_half(&self) -> Option<[*mut Header; CAPACITY / 2]> {
        // Relaxed: the exchange decides.
        let head = self.head.load(Ordering::Relaxed);
        // Relaxed: only the owner writes it.
        let queued = self.tail.load(Ordering::Relaxed).wrapping_sub(head);
        if (queued as usize) < CAPACITY / 2 {
            return None;
        }
        let mut cells = [ptr::null_mut(); CAPACITY / 2];
        for (i, cell) in (0..).zip(&mut cells) {
            // Relaxed: the owner wrote it.
            *cell = self.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
        }
        let next = head.wrapping_add(CAPACITY as u32 / 2);
        self.head
            // Release: the reads above come before the slots are used again. Relaxed: the caller
            // tries something else.
            .compare_exchange(head, next, Ordering::Release, Ordering::Relaxed)
            .ok()?;
        Some(cells)
    }

    /// Moves half of the cells, at least one, to `mine`, which is empty, and returns one of them
    /// instead of queueing it; null if there is none. *Owner of `mine`.*
    pub(super) fn steal_into(&self, mine: &Ring) -> *mut Header {
        // Acquire: a later head means that the slots before may be used again.
        let mut head = self.head.load(Ordering::Acquire);
        // Relaxed: only the owner, the caller, writes it.
        let my_tail = mine.tail.load(Ordering::Relaxed);
        loop {
            // Acquire: pairs with the Release in `push`.
            let tail = self.tail.load(Ordering::Acquire);
            let queued = tail.wrapping_sub(head);
            if queued == 0 || queued > CAPACITY as u32 {
                // Nothing there, or the head is stale by far.
                if queued == 0 {
                    return ptr::null_mut();
                }
                // Acquire: as above.
                head = self.head.load(Ordering::Acquire);
                continue;
            }
            let count = queued - queued / 2;
            // Relaxed: the exchange decides whether what is read is valid.
            let first = self.slot(head).load(Ordering::Relaxed);
            for i in 1..count {
                let cell = self.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
                // Relaxed: published by `tail`, if it comes to that. The slots are free: the ring
                // is empty, and its thieves only read what lies between head and tail.
                mine.slot(my_tail.wrapping_add(i - 1))
                    .store(cell, Ordering::Relaxed);
            }
            match self.head.compare_exchange_weak(
                head,
                head.wrapping_add(count),
                // Release: the reads above come before the slots are used again. Acquire: as above.
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    // Release: as in `push`.
                    mine.tail
                        .store(my_tail.wrapping_add(count - 1), Ordering::Release);
                    return first;
                }
                Err(seen) => head = seen,
            }
        }
    }

    /// How many cells are queued. *Any thread*; exact for nobody.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // Acquire: whoever finds a cell here will take it.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        (tail.wrapping_sub(head) as usize).min(CAPACITY)
    }
}
