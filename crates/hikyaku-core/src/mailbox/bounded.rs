//! The bounded lane: the nodes are the cell's own tail.
//!
//! ```text
//!   free ─► slot ─► slot ─► ..        taken one by one by senders, given back in bulk by the runner
//!   freed: the runner's own list      slots of handled messages, not given back yet
//!   spare: slots that the bound does not count, until it is raised
//!   gate: senders in `send().await`, each with its message (mailbox/waiting.rs)
//! ```
//!
//! `free` is a stack of slot numbers in the gate's word, with a counter against the ABA problem (it wraps
//! after 2^32 takes on 64-bit targets, 2^16 on 32-bit ones, all within one sender's exchange). A number is half a word.
//!
//! A bound that is lowered below what is queued leaves a debt. As long as there is one the gate is shut, and
//! what the runner frees becomes spare. Without the feature `flow` the bound stays, and is the number of slots.
//!
//! # Concurrency
//!
//! `free`, `link`: any thread. `freed`, `spare`, `owed`: the consumer. `limit`: written by the consumer.

use super::annex::{Annex, Lanes};
use super::kind::Kind;
use super::waiting::{FREE, Gate, HALF, NONE, WAITING};
use super::{MailboxOptions, Node};
use crate::flow::{FLOW, IfFlow};
use crate::pool;
use crate::state::Link;
use crate::sync::{self, AtomicUsize, Ordering};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::task::Waker;

const TURN: usize = 1 << HALF;

/// A number of slots, or of one.
#[cfg(target_pointer_width = "64")]
type Short = u32;
#[cfg(not(target_pointer_width = "64"))]
type Short = u16;

/// Of a number that is at most `NONE`, which is below half a word.
#[inline(always)]
const fn short(number: usize) -> Short {
    debug_assert!(number <= NONE);
    number as Short
}

/// Slot numbers must be below `NONE`.
pub(crate) const MAX_CAPACITY: usize = NONE;

/// The tail of a bounded cell: a pointer into the cell's allocation, valid as long as the cell.
///
/// The hot paths bring the kind of their messages as a constant.
#[derive(Clone, Copy)]
pub(crate) struct Tail {
    room: NonNull<Room>,
    kind: &'static Kind,
}

// So that a node's alignment is enough.
const _: () = assert!(align_of::<Room>() <= align_of::<Link>());

/// What stands at the start of the tail. `slots` slots follow it in memory.
///
/// With an annex nothing is ever free here, so every sender comes to the annex.
#[repr(C)]
pub(crate) struct Room {
    gate: Gate,
    freed: Cell<Freed>,
    slots: Short,
    /// One with the feature `flow`, none without.
    bound: [Bound; FLOW as usize],
    /// Boxed twice, so that it takes one word here.
    annex: Option<IfFlow<Box<Box<dyn Lanes>>>>,
}

/// A bound that can be changed.
struct Bound {
    limit: AtomicUsize,
    spare: Cell<Freed>,
    owed: Cell<Short>,
}

/// What a room is made from.
pub(crate) struct Stock {
    pub(crate) limit: usize,
    pub(crate) slots: usize,
    pub(crate) annex: Option<IfFlow<Box<Box<dyn Lanes>>>>,
}

#[derive(Clone, Copy)]
struct Freed {
    first: Short,
    last: Short,
    count: Short,
}

const NOTHING: Freed = Freed {
    first: short(NONE),
    last: short(NONE),
    count: 0,
};

#[repr(C)]
pub(super) struct Slot<M> {
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

impl Stock {
    /// `None` if there is no memory.
    pub(crate) fn new(
        options: &MailboxOptions,
        kind: &Kind,
        name: Option<&str>,
        slots: usize,
    ) -> Option<Self> {
        let annex = match &kind.annex {
            Some(make) if options.needs_annex() => {
                IfFlow::new(pool::try_box(make(options, name)?)?)
            }
            _ => None,
        };
        Some(Self {
            limit: options.capacity().unwrap_or(0),
            slots,
            annex,
        })
    }

    pub(crate) fn has_annex(&self) -> bool {
        self.annex.is_some()
    }
}

impl Room {
    /// The memory of a tail with its slots, if it can be addressed.
    pub(crate) fn layout(kind: &Kind, slots: usize) -> Option<Layout> {
        // The slots are fewer than half a word counts. A checked product would be a function where multiplication is short.
        let high = (kind.slot >> HALF) * slots;
        if high >> (HALF - 2) != 0 {
            return None;
        }
        Layout::from_size_align(kind.slots + kind.slot * slots, kind.node.align()).ok()
    }

    /// Makes a tail at `place`.
    ///
    /// # Safety
    /// `place` is memory of `Room::layout(kind, stock.slots)`.
    pub(crate) unsafe fn write(place: NonNull<Self>, kind: &'static Kind, stock: Stock) {
        let Stock { limit, slots, .. } = stock;
        let used = limit.min(slots);
        let spare = match used == slots {
            true => NOTHING,
            false => Freed {
                first: short(used),
                last: short(slots - 1),
                count: short(slots - used),
            },
        };
        // SAFETY: as the caller promises; each slot is inside the layout.
        unsafe {
            place.write(Self {
                gate: Gate::new(if used == 0 { NONE } else { 0 }),
                freed: Cell::new(NOTHING),
                slots: short(slots),
                bound: core::array::from_fn(|_| Bound {
                    limit: AtomicUsize::new(limit),
                    spare: Cell::new(spare),
                    owed: Cell::new(0),
                }),
                annex: stock.annex,
            });
            let tail = Tail::new(place, kind);
            for index in 0..slots {
                let is_last = index + 1 == used || index + 1 == slots;
                let next = if is_last { NONE } else { index + 1 };
                tail.slot(index).write(Link::new());
                tail.link_at(index).write(AtomicUsize::new(next));
            }
        }
    }

    /// Drops what the tail owns besides messages, and tells how many slots it has. *Last reference.*
    ///
    /// # Safety
    /// Nobody uses the tail any more.
    pub(crate) unsafe fn drop_in_place(this: *mut Self) -> usize {
        // SAFETY: as the caller promises.
        unsafe {
            let slots = (*this).slots as usize;
            ptr::drop_in_place(this);
            slots
        }
    }
}

impl Tail {
    /// # Safety
    /// `room` was made by [`Room::write`] for messages of this kind, may be used for all of its slots, and outlives
    /// `self`.
    #[inline(always)]
    pub(crate) unsafe fn new(room: NonNull<Room>, kind: &'static Kind) -> Self {
        Self { room, kind }
    }

    #[inline(always)]
    fn room(&self) -> &Room {
        // SAFETY: live, as `new` asks; the fields are changed through cells only.
        unsafe { self.room.as_ref() }
    }

    /// Senders that wait, if the room is the tail's own.
    pub(crate) fn gate<'a>(&self) -> &'a Gate {
        // SAFETY: live, as `new` asks of whoever uses what it gives.
        unsafe { &(*self.room.as_ptr()).gate }
    }

    /// What the mailbox has besides a queue.
    pub(crate) fn lanes<'a>(&self) -> Option<&'a dyn Lanes> {
        // SAFETY: likewise; made with the tail, and never changed.
        unsafe { (*self.room.as_ptr()).annex.as_ref() }.map(|annex| &****annex)
    }

    /// The same, by those who know the message type.
    ///
    /// # Safety
    /// The messages are `M`.
    pub(crate) unsafe fn annex<'a, M>(&self) -> Option<&'a Annex<M>> {
        // SAFETY: the annex was made for the messages of the cell.
        self.lanes()
            .map(|lanes| unsafe { &*ptr::from_ref(lanes).cast() })
    }

    /// The bound. *Any thread.*
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        match self.room().bound.first() {
            // Relaxed: a setting, which carries nothing but itself.
            Some(bound) => bound.limit.load(Ordering::Relaxed),
            None => self.slots(),
        }
    }

    /// The highest bound there can be.
    #[inline]
    pub(crate) fn slots(&self) -> usize {
        self.room().slots as usize
    }

    /// # Safety
    /// `index` is below the number of slots.
    #[inline(always)]
    unsafe fn slot(&self, index: usize) -> NonNull<Link> {
        debug_assert!(index < self.slots());
        // SAFETY: the slots follow the room in the same allocation (`layout`). A slot begins with its node.
        unsafe {
            self.room
                .byte_add(self.kind.slots + index * self.kind.slot)
                .cast()
        }
    }

    /// # Safety
    /// As [`slot`](Self::slot).
    #[inline(always)]
    unsafe fn link_at(&self, index: usize) -> NonNull<AtomicUsize> {
        // SAFETY: as the caller promises. The link is behind the node, whose size is a multiple of a pointer's.
        unsafe { self.slot(index).byte_add(self.kind.node.size()).cast() }
    }

    #[inline(always)]
    fn link(&self, index: usize) -> &AtomicUsize {
        // SAFETY: the callers pass numbers that came out of the lists.
        unsafe { self.link_at(index).as_ref() }
    }

    /// The node of a slot that was taken out of a list. Its link holds its own number from now on: who goes on along
    /// the list meanwhile has lost the slot, and finds a number all the same.
    ///
    /// # Safety
    /// The number came out of a list, and the slot is the caller's.
    #[inline(always)]
    unsafe fn take_out(&self, index: usize) -> NonNull<Link> {
        // Relaxed: for whoever has the node, and the node comes to others by an exchange.
        self.link(index).store(index, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { self.slot(index) }
    }

    /// The number of a slot that is in no list.
    ///
    /// # Safety
    /// `node` is one of this tail, and the caller's.
    #[inline(always)]
    unsafe fn index_of(&self, node: NonNull<Link>) -> usize {
        // SAFETY: the link is behind the node.
        let link = unsafe {
            node.byte_add(self.kind.node.size())
                .cast::<AtomicUsize>()
                .as_ref()
        };
        // Relaxed: stored by who took it out.
        link.load(Ordering::Relaxed)
    }

    /// Takes a free slot; `None` if there is none, or if senders wait. *Any thread.*
    ///
    /// # Safety
    /// `here` is given only on the consumer's own thread.
    #[inline(always)]
    pub(crate) unsafe fn reserve(&self, here: Option<Here>) -> Option<NonNull<Link>> {
        // Acquire: pairs with the Release of the exchange that put the slot there, so that the link
        // read below is the slot's present one; the exchange decides only that it still is the first.
        let mut free = self.room().gate.free.load(Ordering::Acquire);
        if free & WAITING != 0 {
            return None;
        }
        if let Some(here) = here {
            return self.reserve_here(here);
        }
        loop {
            let index = free & FREE;
            if index == NONE || free & WAITING != 0 {
                return None;
            }
            // Relaxed: if another sender was faster the value is stale, and the exchange fails.
            let next = self.link(index).load(Ordering::Relaxed);
            let new = (free & !(TURN - 1)).wrapping_add(TURN) | next;
            match self
                .room()
                .gate
                .free
                // Acquire, twice: as above; and the slot has been emptied.
                .compare_exchange_weak(free, new, Ordering::Acquire, Ordering::Acquire)
            {
                // SAFETY: the number came out of the list, by this exchange.
                Ok(_) => return Some(unsafe { self.take_out(index) }),
                Err(seen) => free = seen,
            }
        }
    }

    /// The consumer's own thread takes from its own list, which it fills with a batch when it is
    /// empty: one exchange for many messages. *Consumer.*
    #[inline(always)]
    fn reserve_here(&self, here: Here) -> Option<NonNull<Link>> {
        let mut freed = self.room().freed.get();
        if freed.count == 0 {
            let most = match here {
                Here::RunsSoon => self.batch(),
                Here::Awaits => 1,
            };
            freed = self.reserve_batch(most)?;
        }
        let index = freed.first as usize;
        // Relaxed: the consumer's own list.
        freed.first = short(self.link(index).load(Ordering::Relaxed));
        freed.count -= 1;
        self.room().freed.set(freed);
        // SAFETY: the number came out of the list, which is the consumer's own.
        Some(unsafe { self.take_out(index) })
    }

    /// Moves some free slots to the consumer's own list. *Consumer.*
    #[inline(always)]
    fn reserve_batch(&self, most: usize) -> Option<Freed> {
        // Acquire: as in `reserve`.
        let mut free = self.room().gate.free.load(Ordering::Acquire);
        loop {
            let first = free & FREE;
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
                .gate
                .free
                // Acquire, twice: as in `reserve`.
                .compare_exchange_weak(free, new, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => {
                    return Some(Freed {
                        first: short(first),
                        last: short(last),
                        count: short(count),
                    });
                }
                Err(seen) => free = seen,
            }
        }
    }

    /// So many slots change hands at once at most.
    #[inline]
    fn batch(&self) -> usize {
        (self.limit() / 4).clamp(1, 64)
    }

    /// Notes the slot of a message that was taken out. True if it is time to give back.
    ///
    /// # Safety
    /// The caller is the consumer; `node` is an opened node of this tail.
    #[inline(always)]
    pub(crate) unsafe fn free(&self, node: NonNull<Link>) -> bool {
        // SAFETY: as the caller promises.
        let index = unsafe { self.index_of(node) };
        let mut freed = self.room().freed.get();
        // Relaxed: the consumer's own list.
        self.link(index)
            .store(freed.first as usize, Ordering::Relaxed);
        let index = short(index);
        if freed.count == 0 {
            freed.last = index;
        }
        freed.first = index;
        freed.count += 1;
        self.room().freed.set(freed);
        freed.count as usize >= self.batch()
    }

    /// Gives freed room to those who wait, in order, else to everybody. `queue` puts a waiting
    /// message behind all that is in the mailbox: its sender may have sent others before it waited.
    ///
    /// # Safety
    /// The caller is the consumer.
    #[inline]
    pub(crate) unsafe fn give_back(&self, mut queue: impl FnMut(NonNull<Link>)) {
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
    #[inline]
    pub(super) fn put_freed(&self) -> bool {
        let freed = self.room().freed.get();
        if freed.count == 0 {
            return true;
        }
        // Relaxed: only a first guess for the exchange.
        let mut free = self.room().gate.free.load(Ordering::Relaxed);
        while free & WAITING == 0 {
            // Relaxed: published by the exchange.
            let last = self.link(freed.last as usize);
            last.store(free & FREE, Ordering::Relaxed);
            let new = (free & !FREE) | freed.first as usize;
            match self
                .room()
                .gate
                .free
                // Release: pairs with the Acquire in `reserve`.
                .compare_exchange_weak(free, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.room().freed.set(Freed { count: 0, ..freed });
                    return true;
                }
                Err(seen) => free = seen,
            }
        }
        false
    }

    /// Queues the message of the one who waits longest; `None` if nobody waits or no room is left.
    fn admit(&self, queue: &mut impl FnMut(NonNull<Link>)) -> Option<Waker> {
        loop {
            if self.room().freed.get().count == 0 {
                return None;
            }
            if self.pay() {
                continue;
            }
            let mut freed = self.room().freed.get();
            let index = freed.first as usize;
            // SAFETY: the slot is free and the consumer's, and has room for a message of its kind.
            let waker = unsafe {
                let place = self.slot(index).byte_add(self.kind.in_node).cast();
                self.room().gate.admit(self.kind, place.as_ptr())?
            };
            // Relaxed: the consumer's own list.
            freed.first = short(self.link(index).load(Ordering::Relaxed));
            freed.count -= 1;
            self.room().freed.set(freed);
            // SAFETY: out of the list by now.
            queue(unsafe { self.take_out(index) });
            if let Some(waker) = waker {
                return Some(waker);
            }
        }
    }

    /// Changes the bound, if it can be changed. To be followed by [`give_back`](Self::give_back). *Consumer.*
    pub(crate) fn resize(&self, limit: usize) {
        let Some(bound) = self.room().bound.first() else {
            return;
        };
        let limit = limit.min(self.slots());
        let before = self.limit();
        // Relaxed: see `limit`.
        bound.limit.store(limit, Ordering::Relaxed);
        if limit >= before {
            let paid = bound.owed.get().min(short(limit - before));
            bound.owed.set(bound.owed.get() - paid);
            for _ in paid..short(limit - before) {
                self.move_first(&bound.spare, &self.room().freed);
            }
            return;
        }
        bound.owed.set(bound.owed.get() + short(before - limit));
        loop {
            self.pay();
            let owed = bound.owed.get();
            if owed == 0 {
                return;
            }
            match self.reserve_batch(owed as usize) {
                Some(batch) => self.room().freed.set(batch),
                // Whoever frees a slot from here on is the consumer itself.
                None if self.room().gate.shut() => return,
                None => {}
            }
        }
    }

    /// Pays what is owed, as far as slots are freed. False if nothing was. *Consumer.*
    fn pay(&self) -> bool {
        let room = self.room();
        let Some(bound) = room.bound.first().filter(|bound| bound.owed.get() != 0) else {
            return false;
        };
        while bound.owed.get() != 0 && room.freed.get().count != 0 {
            self.move_first(&room.freed, &bound.spare);
            bound.owed.set(bound.owed.get() - 1);
        }
        true
    }

    /// *Consumer.*
    fn move_first(&self, from: &Cell<Freed>, to: &Cell<Freed>) {
        let (mut source, mut target) = (from.get(), to.get());
        let index = source.first;
        let link = self.link(index as usize);
        // Relaxed, twice: both lists are the consumer's own.
        source.first = short(link.load(Ordering::Relaxed));
        source.count -= 1;
        link.store(target.first as usize, Ordering::Relaxed);
        if target.count == 0 {
            target.last = index;
        }
        target.first = index;
        target.count += 1;
        from.set(source);
        to.set(target);
    }
}

#[cfg(test)]
mod tests;
