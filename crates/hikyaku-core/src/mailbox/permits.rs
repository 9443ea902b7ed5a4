//! A bound without slots: a number of permits, for nodes that come from the pool.
//!
//! The gate's word counts downwards from `NONE`, so that nothing is left when it shows `NONE`, as with slots.
//!
//! # Concurrency
//!
//! `reserve`, `cancel`: any thread. The others: the consumer.

use super::kind::Kind;
use super::waiting::{FREE, Gate, NONE, WAITING};
use crate::sync::{self, AtomicUsize, Ordering};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::task::Waker;

pub(crate) struct Permits {
    gate: Gate,
    /// The bound. Written by the consumer.
    limit: AtomicUsize,
    /// What the consumer has not given back yet.
    freed: Cell<usize>,
    /// What it has to keep, because the bound was lowered.
    owed: Cell<usize>,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            gate: Gate::new(NONE - limit),
            limit: AtomicUsize::new(limit),
            freed: Cell::new(0),
            owed: Cell::new(0),
        }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The bound.
    pub(crate) fn limit(&self) -> usize {
        // Relaxed: a setting, which carries nothing but itself.
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes one; false if there is none, or if senders wait. *Any thread.*
    pub(crate) fn reserve(&self) -> bool {
        self.change(|free| (free & WAITING == 0 && free & FREE != NONE).then_some(free + 1))
    }

    /// Takes so many, or as many as there are. *Consumer.*
    fn reserve_up_to(&self, most: usize) -> usize {
        let taken = Cell::new(0);
        self.change(|free| {
            let there = if free & WAITING == 0 {
                NONE - (free & FREE)
            } else {
                0
            };
            taken.set(most.min(there));
            (taken.get() != 0).then(|| free + taken.get())
        });
        taken.get()
    }

    /// Puts one back whose message was refused because the mailbox is closed. *Any thread.*
    pub(crate) fn cancel(&self) {
        self.change(|free| Some(free - 1));
    }

    fn change(&self, step: impl Fn(usize) -> Option<usize>) -> bool {
        // Relaxed: only a first guess for the exchange.
        let mut free = self.gate.free.load(Ordering::Relaxed);
        while let Some(new) = step(free) {
            match self.gate.free.compare_exchange_weak(
                free,
                new,
                // Acquire and Release: the word is also the gate's, which hands the list over by it.
                Ordering::AcqRel,
                // Relaxed: only the next guess.
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(seen) => free = seen,
            }
        }
        false
    }

    /// A message was taken out. True if it is time to give back.
    pub(crate) fn free(&self) -> bool {
        self.freed.set(self.freed.get() + 1);
        self.freed.get() >= (self.limit() / 4).clamp(1, 64)
    }

    /// As that of the slots (`mailbox/bounded.rs`): `queue` gets the messages of those who waited.
    ///
    /// # Safety
    /// They are of the type `M`.
    pub(crate) unsafe fn give_back<M: 'static>(&self, mut queue: impl FnMut(M)) {
        while !self.put_freed() {
            // SAFETY: as the caller promises.
            while let Some(waker) = unsafe { self.admit(&mut queue) } {
                if let Some(waker) = waker {
                    sync::wake(waker);
                }
            }
        }
    }

    /// False if senders wait, or room is owed.
    fn put_freed(&self) -> bool {
        let freed = self.freed.get();
        if freed == 0 {
            return true;
        }
        let put = self.change(|free| (free & WAITING == 0).then_some(free - freed));
        if put {
            self.freed.set(0);
        }
        put
    }

    /// # Safety
    /// As [`give_back`](Self::give_back).
    unsafe fn admit<M: 'static>(&self, queue: &mut impl FnMut(M)) -> Option<Option<Waker>> {
        self.pay();
        if self.freed.get() == 0 {
            return None;
        }
        let mut message = MaybeUninit::<M>::uninit();
        // SAFETY: as the caller promises.
        let waker = unsafe {
            self.gate
                .admit(Kind::of::<M>(), message.as_mut_ptr().cast())
        }?;
        self.freed.set(self.freed.get() - 1);
        // SAFETY: moved there.
        queue(unsafe { message.assume_init() });
        Some(waker)
    }

    /// Changes the bound. To be followed by [`give_back`](Self::give_back).
    pub(crate) fn resize(&self, limit: usize) {
        let before = self.limit();
        // Relaxed: see `limit`.
        self.limit.store(limit, Ordering::Relaxed);
        if limit >= before {
            let paid = self.owed.get().min(limit - before);
            self.owed.set(self.owed.get() - paid);
            self.freed.set(self.freed.get() + limit - before - paid);
            return;
        }
        self.owed.set(self.owed.get() + before - limit);
        loop {
            self.pay();
            if self.owed.get() == 0 {
                return;
            }
            let taken = self.reserve_up_to(self.owed.get());
            self.freed.set(self.freed.get() + taken);
            if taken == 0 && self.gate.shut() {
                return;
            }
        }
    }

    fn pay(&self) {
        let paid = self.owed.get().min(self.freed.get());
        self.owed.set(self.owed.get() - paid);
        self.freed.set(self.freed.get() - paid);
    }
}
