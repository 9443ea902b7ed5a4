//! The bounded lane: the nodes are the cell's own tail.
//!
//! ```text
//!   free ─► slot ─► slot ─► ..        taken one by one by senders, given back in bulk by the runner
//!   freed: the runner's own list      slots of handled messages, not given back yet
//!   waiting: senders in `send().await`, each with its message
//! ```
//!
//! `free` is a stack of slot numbers in one word, with a counter against the ABA problem (it wraps
//! after 2^32 takes on 64-bit targets, 2^16 on 32-bit ones, all within one sender's exchange) and a
//! bit `WAITING`. While the bit is set nobody takes a slot: room goes to the waiting senders, in
//! order, by the runner's hand. The bit is set by a sender that holds the lock of the list, and
//! only while no slot is free, in one exchange; so a runner that gives room back either does it
//! before, and the sender takes it, or sees the bit and looks at the list.
//!
//! # Concurrency
//!
//! - `free`, `link`: any thread. `freed`: the consumer.
//! - `waiting`: any thread, under its lock. A waiter's node lives in its sender's future; it is
//!   linked and unlinked under the lock only.

use super::Node;
use crate::state::Link;
use crate::sync::{self, AtomicUsize, Mutex, Ordering};
use core::alloc::Layout;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::task::Waker;

const HALF: u32 = usize::BITS / 2;
const WAITING: usize = 1 << (HALF - 1);
const NONE: usize = WAITING - 1;
const INDEX: usize = NONE;
const TURN: usize = 1 << HALF;

/// Slot numbers must be below `NONE`.
pub(crate) const MAX_CAPACITY: usize = NONE;

/// The tail of a bounded cell: a pointer into the cell's allocation, valid as long as the cell.
pub(crate) struct Tail<M>(NonNull<Room<M>>);

impl<M> Clone for Tail<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Tail<M> {}

/// What stands at the start of the tail. `capacity` slots follow it in memory.
#[repr(C)]
pub(crate) struct Room<M> {
    free: AtomicUsize,
    capacity: usize,
    freed: Cell<Freed>,
    waiting: Mutex<Waiters<M>>,
}

#[derive(Clone, Copy)]
struct Freed {
    first: usize,
    last: usize,
    count: usize,
}

const NOTHING: Freed = Freed {
    first: NONE,
    last: NONE,
    count: 0,
};

#[repr(C)]
struct Slot<M> {
    node: Node<M>,
    link: AtomicUsize,
}

/// What the consumer does, for a sender on its own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Here {
    /// It runs now or soon, and gives back then what its senders have left of a batch.
    RunsSoon,
    /// It awaits something, so nothing may be kept back.
    Awaits,
}

/// A sender that waits for room, with its message. Lives in the sender's future.
///
/// While it is in the list, its fields are reached by raw pointers only: a reference would deny the
/// other side's.
pub(crate) struct Waiter<M> {
    state: Waiting,
    message: Option<M>,
    waker: Option<Waker>,
    previous: *mut Waiter<M>,
    next: *mut Waiter<M>,
}

/// How far a waiting sender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// Not in the list, its message not in the mailbox.
    Outside,
    /// In the list.
    Queued,
    /// The mailbox has the message.
    Admitted,
    /// The actor ended; the message is in the waiter.
    Refused,
}

struct Waiters<M> {
    first: *mut Waiter<M>,
    last: *mut Waiter<M>,
}

// SAFETY: the pointers lead to waiters that are touched under the lock only, and a message moves
// to another thread only as `M: Send` allows (every public way in asks for it).
unsafe impl<M: Send> Send for Waiters<M> {}

impl<M> Waiter<M> {
    pub(crate) fn new(message: M) -> Self {
        Self {
            state: Waiting::Outside,
            message: Some(message),
            waker: None,
            previous: ptr::null_mut(),
            next: ptr::null_mut(),
        }
    }

    pub(crate) fn message(&mut self) -> &mut Option<M> {
        &mut self.message
    }
}

/// Puts `new` in a waiter's field and returns what was there, without a reference to it.
///
/// # Safety
/// `place` is a field of a live waiter, and the caller holds the lock.
unsafe fn exchange<T>(place: *mut T, new: T) -> T {
    // SAFETY: as the caller promises.
    unsafe {
        let old = place.read();
        place.write(new);
        old
    }
}

impl<M> Waiters<M> {
    /// # Safety
    /// `waiter` is live, not in the list, and stays where it is until it is unlinked.
    unsafe fn push(&mut self, waiter: *mut Waiter<M>) {
        // SAFETY: the list's waiters are live, and touched under the lock only.
        unsafe {
            (*waiter).previous = self.last;
            (*waiter).next = ptr::null_mut();
            if self.last.is_null() {
                self.first = waiter;
            } else {
                (*self.last).next = waiter;
            }
        }
        self.last = waiter;
    }

    /// # Safety
    /// `waiter` is in the list.
    unsafe fn unlink(&mut self, waiter: *mut Waiter<M>) {
        // SAFETY: the list's waiters are live, and touched under the lock only.
        unsafe {
            let (previous, next) = ((*waiter).previous, (*waiter).next);
            if previous.is_null() {
                self.first = next;
            } else {
                (*previous).next = next;
            }
            if next.is_null() {
                self.last = previous;
            } else {
                (*next).previous = previous;
            }
        }
    }
}

impl<M> Room<M> {
    /// The memory of a tail with its slots, if it can be addressed.
    pub(crate) fn layout(capacity: usize) -> Option<Layout> {
        let slots = Layout::array::<Slot<M>>(capacity).ok()?;
        let (layout, offset) = Layout::new::<Self>().extend(slots).ok()?;
        debug_assert_eq!(offset, Self::SLOTS);
        Some(layout)
    }

    const SLOTS: usize = size_of::<Self>().next_multiple_of(align_of::<Slot<M>>());

    /// Makes a tail at `place`.
    ///
    /// # Safety
    /// `place` is memory of `Room::layout(capacity)`.
    pub(crate) unsafe fn write(place: *mut Self, capacity: usize) {
        // SAFETY: as the caller promises; each slot is inside the layout.
        unsafe {
            place.write(Self {
                free: AtomicUsize::new(0),
                capacity,
                freed: Cell::new(NOTHING),
                waiting: Mutex::new(Waiters {
                    first: ptr::null_mut(),
                    last: ptr::null_mut(),
                }),
            });
            let slots = place.byte_add(Self::SLOTS).cast::<Slot<M>>();
            for index in 0..capacity {
                let next = if index + 1 == capacity {
                    NONE
                } else {
                    index + 1
                };
                slots.add(index).write(Slot {
                    node: Node {
                        link: Link::new(),
                        message: MaybeUninit::uninit(),
                    },
                    link: AtomicUsize::new(next),
                });
            }
        }
    }

    /// Drops what the tail owns besides messages, and tells the capacity. *Last reference.*
    ///
    /// # Safety
    /// Nobody uses the tail any more.
    pub(crate) unsafe fn drop_in_place(this: *mut Self) -> usize {
        // SAFETY: as the caller promises.
        unsafe {
            let capacity = (*this).capacity;
            ptr::drop_in_place(this);
            capacity
        }
    }
}

impl<M> Tail<M> {
    /// # Safety
    /// `room` was made by [`Room::write`], may be used for all of its slots, and outlives `self`.
    #[inline(always)]
    pub(crate) unsafe fn new(room: NonNull<Room<M>>) -> Self {
        Self(room)
    }

    #[inline(always)]
    fn room(&self) -> &Room<M> {
        // SAFETY: live, as `new` asks; the fields are changed through cells only.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    /// `index` is below the capacity.
    #[inline(always)]
    unsafe fn slot(&self, index: usize) -> NonNull<Slot<M>> {
        debug_assert!(index < self.room().capacity);
        // SAFETY: the slots follow the room in the same allocation (`layout`).
        unsafe {
            self.0
                .byte_add(Room::<M>::SLOTS)
                .cast::<Slot<M>>()
                .add(index)
        }
    }

    fn link(&self, index: usize) -> &AtomicUsize {
        // SAFETY: the callers pass numbers that came out of the lists.
        unsafe { &(*self.slot(index).as_ptr()).link }
    }

    fn index_of(&self, node: NonNull<Node<M>>) -> usize {
        let start = self.0.as_ptr().addr() + Room::<M>::SLOTS;
        (node.as_ptr().addr() - start) / size_of::<Slot<M>>()
    }

    /// Would a sender find a slot? *Any thread.*
    pub(crate) fn has_room(&self) -> bool {
        // Relaxed: it may be gone when the caller comes.
        let free = self.room().free.load(Ordering::Relaxed);
        free & WAITING == 0 && free & INDEX != NONE
    }

    /// Takes a free slot; `None` if there is none, or if senders wait. *Any thread.*
    ///
    /// # Safety
    /// `here` is given only on the consumer's own thread.
    #[inline]
    pub(crate) unsafe fn reserve(&self, here: Option<Here>) -> Option<NonNull<Node<M>>> {
        // Acquire: pairs with the Release of the exchange that put the slot there, so that the link
        // read below is the slot's present one; the exchange decides only that it still is the first.
        let mut free = self.room().free.load(Ordering::Acquire);
        if free & WAITING != 0 {
            return None;
        }
        if let Some(here) = here {
            return self.reserve_here(here);
        }
        loop {
            let index = free & INDEX;
            if index == NONE || free & WAITING != 0 {
                return None;
            }
            // Relaxed: if another sender was faster the value is stale, and the exchange fails.
            let next = self.link(index).load(Ordering::Relaxed);
            let new = (free & !(TURN - 1)).wrapping_add(TURN) | next;
            match self
                .room()
                .free
                // Acquire, twice: as above; and the slot has been emptied.
                .compare_exchange_weak(free, new, Ordering::Acquire, Ordering::Acquire)
            {
                // SAFETY: the number came out of the list.
                Ok(_) => return Some(unsafe { self.slot(index) }.cast()),
                Err(seen) => free = seen,
            }
        }
    }

    /// The consumer's own thread takes from its own list, which it fills with a batch when it is
    /// empty: one exchange for many messages. *Consumer.*
    #[inline]
    fn reserve_here(&self, here: Here) -> Option<NonNull<Node<M>>> {
        let mut freed = self.room().freed.get();
        if freed.count == 0 {
            let most = match here {
                Here::RunsSoon => self.batch(),
                Here::Awaits => 1,
            };
            freed = self.reserve_batch(most)?;
        }
        let index = freed.first;
        // Relaxed: the consumer's own list.
        freed.first = self.link(index).load(Ordering::Relaxed);
        freed.count -= 1;
        self.room().freed.set(freed);
        // SAFETY: the number came out of the list.
        Some(unsafe { self.slot(index) }.cast())
    }

    /// Moves some free slots to the consumer's own list. *Consumer.*
    fn reserve_batch(&self, most: usize) -> Option<Freed> {
        // Acquire: as in `reserve`.
        let mut free = self.room().free.load(Ordering::Acquire);
        loop {
            let first = free & INDEX;
            if first == NONE || free & WAITING != 0 {
                return None;
            }
            let (mut last, mut count) = (first, 1);
            // Relaxed, twice: if a sender was faster the links are stale, and the exchange fails.
            // They are numbers below the capacity or `NONE` all the same.
            let mut next = self.link(last).load(Ordering::Relaxed);
            while next != NONE && count < most {
                last = next;
                count += 1;
                // Relaxed: as above.
                next = self.link(last).load(Ordering::Relaxed);
            }
            let new = (free & !(TURN - 1)).wrapping_add(TURN) | next;
            match self
                .room()
                .free
                // Acquire, twice: as in `reserve`.
                .compare_exchange_weak(free, new, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return Some(Freed { first, last, count }),
                Err(seen) => free = seen,
            }
        }
    }

    /// So many slots change hands at once at most.
    #[inline]
    fn batch(&self) -> usize {
        (self.room().capacity / 4).clamp(1, 64)
    }

    /// Puts back a slot whose message was refused because the mailbox is closed, whoever waits.
    /// *Any thread.*
    pub(crate) fn cancel(&self, node: NonNull<Node<M>>) {
        let index = self.index_of(node);
        // Relaxed: only a first guess for the exchange.
        let mut free = self.room().free.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the exchange.
            self.link(index).store(free & INDEX, Ordering::Relaxed);
            let new = (free & !INDEX) | index;
            match self
                .room()
                .free
                // Release: pairs with the Acquire in `reserve`.
                .compare_exchange_weak(free, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(seen) => free = seen,
            }
        }
    }

    /// Notes the slot of a message that was taken out. True if it is time to give back.
    ///
    /// # Safety
    /// The caller is the consumer; `node` is an opened node of this tail.
    #[inline]
    pub(crate) unsafe fn free(&self, node: NonNull<Node<M>>) -> bool {
        let index = self.index_of(node);
        let mut freed = self.room().freed.get();
        // Relaxed: the consumer's own list.
        self.link(index).store(freed.first, Ordering::Relaxed);
        if freed.count == 0 {
            freed.last = index;
        }
        freed.first = index;
        freed.count += 1;
        self.room().freed.set(freed);
        freed.count >= self.batch()
    }

    /// Gives freed room to those who wait, in order, else to everybody. `queue` puts a waiting
    /// message behind all that is in the mailbox: its sender may have sent others before it waited.
    ///
    /// # Safety
    /// The caller is the consumer.
    pub(crate) unsafe fn give_back(&self, mut queue: impl FnMut(NonNull<Node<M>>)) {
        while !self.put_freed() {
            while let Some(waker) = self.admit(&mut queue) {
                sync::wake(waker);
            }
        }
    }

    /// Puts the freed slots on the free stack; false if senders wait. *Consumer.*
    ///
    /// The bit is looked at in the exchange itself: a sender that began to wait while the slots were
    /// still the consumer's would never see them.
    fn put_freed(&self) -> bool {
        let freed = self.room().freed.get();
        if freed.count == 0 {
            return true;
        }
        // Relaxed: only a first guess for the exchange.
        let mut free = self.room().free.load(Ordering::Relaxed);
        while free & WAITING == 0 {
            // Relaxed: published by the exchange.
            self.link(freed.last).store(free & INDEX, Ordering::Relaxed);
            let new = (free & !INDEX) | freed.first;
            match self
                .room()
                .free
                // Release: pairs with the Acquire in `reserve`.
                .compare_exchange_weak(free, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.room().freed.set(NOTHING);
                    return true;
                }
                Err(seen) => free = seen,
            }
        }
        false
    }

    /// Queues the message of the one who waits longest; `None` if nobody waits or no room is left.
    fn admit(&self, queue: &mut impl FnMut(NonNull<Node<M>>)) -> Option<Waker> {
        loop {
            let mut freed = self.room().freed.get();
            if freed.count == 0 {
                return None;
            }
            let (message, waker) = self.room().waiting.with(|waiters| {
                let waiter = waiters.first;
                if waiter.is_null() {
                    // Under the lock, so that no sender begins to wait in between.
                    // Relaxed: carries nothing but the bit.
                    self.clear_waiting();
                    return None;
                }
                // SAFETY: a waiter in the list is live, and touched under the lock only.
                unsafe {
                    waiters.unlink(waiter);
                    (*waiter).state = Waiting::Admitted;
                    Some((
                        exchange(&raw mut (*waiter).message, None)?,
                        exchange(&raw mut (*waiter).waker, None),
                    ))
                }
            })?;
            let index = freed.first;
            // Relaxed: the consumer's own list.
            freed.first = self.link(index).load(Ordering::Relaxed);
            freed.count -= 1;
            self.room().freed.set(freed);
            // SAFETY: the slot is free and the consumer's.
            let node = unsafe { self.slot(index) }.cast::<Node<M>>();
            // SAFETY: likewise.
            unsafe { (&raw mut (*node.as_ptr()).message).write(MaybeUninit::new(message)) };
            queue(node);
            if let Some(waker) = waker {
                return Some(waker);
            }
        }
    }

    fn clear_waiting(&self) {
        // Relaxed: only a first guess for the exchange.
        let mut free = self.room().free.load(Ordering::Relaxed);
        while let Err(seen) = self
            .room()
            .free
            // Release: continues the release sequence of the last put. Relaxed on failure:
            // only the next guess.
            .compare_exchange_weak(free, free & !WAITING, Ordering::AcqRel, Ordering::Relaxed)
        {
            free = seen;
        }
    }

    /// Begins or goes on waiting. *Any thread.* The state afterwards; `Outside` means that there is
    /// room again: try once more.
    ///
    /// # Safety
    /// `waiter` does not move until it is neither `Queued` nor reachable through this tail.
    pub(crate) unsafe fn wait(&self, waiter: *mut Waiter<M>, waker: &Waker) -> Waiting {
        // A waker is the caller's code: cloned and dropped outside the lock.
        let mut waker = Some(waker.clone());
        let state = self.room().waiting.with(|waiters| {
            // SAFETY: the waiter is the caller's, and touched under the lock only.
            unsafe {
                match (*waiter).state {
                    Waiting::Outside if self.begin_waiting() => {
                        (*waiter).state = Waiting::Queued;
                        waiters.push(waiter);
                        waker = exchange(&raw mut (*waiter).waker, waker.take());
                    }
                    Waiting::Queued => waker = exchange(&raw mut (*waiter).waker, waker.take()),
                    _ => {}
                }
                (*waiter).state
            }
        });
        drop(waker);
        state
    }

    /// Sets `WAITING`, unless there is room. Under the lock of the list.
    fn begin_waiting(&self) -> bool {
        // Relaxed: only a first guess for the exchange.
        let mut free = self.room().free.load(Ordering::Relaxed);
        loop {
            if free & WAITING != 0 {
                return true;
            }
            if free & INDEX != NONE {
                return false;
            }
            // Acquire and Release: continues the release sequence; the list is under the lock.
            match self.room().free.compare_exchange_weak(
                free,
                free | WAITING,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(seen) => free = seen,
            }
        }
    }

    /// Leaves the list. *Any thread.* Afterwards the waiter is the caller's alone.
    ///
    /// # Safety
    /// `waiter` was passed to [`Tail::wait`] of this tail.
    pub(crate) unsafe fn stop_waiting(&self, waiter: *mut Waiter<M>) {
        self.room().waiting.with(|waiters| {
            // SAFETY: a queued waiter is in the list, and touched under the lock only.
            unsafe {
                if (*waiter).state == Waiting::Queued {
                    waiters.unlink(waiter);
                    (*waiter).state = Waiting::Outside;
                    // The bit stays: it costs the runner one look at the list.
                }
            }
        });
    }

    /// Tells every waiting sender that the actor has ended. *Runner.*
    pub(crate) fn refuse_waiting(&self) {
        loop {
            let waker = self.room().waiting.with(|waiters| {
                let waiter = waiters.first;
                if waiter.is_null() {
                    return None;
                }
                // SAFETY: a waiter in the list is live, and touched under the lock only.
                unsafe {
                    waiters.unlink(waiter);
                    (*waiter).state = Waiting::Refused;
                    Some(exchange(&raw mut (*waiter).waker, None))
                }
            });
            match waker {
                None => return,
                Some(None) => {}
                Some(Some(waker)) => sync::wake(waker),
            }
        }
    }
}

#[cfg(test)]
mod tests;
