//! The state of a cell: two words, every transition a function.
//!
//! # The queue word
//!
//! `Word` holds the newest queued message and three bits. A tell to an idle actor is one
//! compare-and-swap on it, and so is going idle. After going idle nothing of the cell is touched:
//! another worker may already run, stop and free it.
//!
//! | bit | set | cleared |
//! |---|---|---|
//! | `HELD` | by whoever makes the cell runnable; this one must schedule it. The ticket stays out while the cell is queued, runs, or waits inside a handler. Set when the cell is made: the spawner holds the first ticket. | by the runner, when nothing is queued |
//! | `SIGNAL` | with every order, so that going idle fails while an order is unread; and with every message that is queued beside the word | by the runner, before it reads the orders, or looks at the other queues |
//! | `CLOSED` | when admission ends | never |
//!
//! # The task word
//!
//! `Task` is touched only when a handler is pending or somebody gives an order.
//!
//! | bit | set | cleared |
//! |---|---|---|
//! | `AWAITING` | by the runner, when it leaves a pending future behind | by the one who schedules the cell again |
//! | `NOTIFIED` | by a waker that finds the cell not awaiting | by the runner, which polls once more |
//! | orders | by anyone | by the runner |
//! | `HOLDING` | by the runner, while the actor has failed or is held itself | by the runner |
//!
//! # Life of the ticket
//!
//! ```text
//!             claim / push(idle) / signal(idle): caller schedules
//!        ┌───────────────────────────────────────────────────────┐
//!        │                                                       ▼
//!     ┌──────┐        release          ┌─────────┐  worker   ┌────────┐
//!     │ idle │◄────────────────────────│ running │◄──────────│ queued │◄── spawn
//!     └──────┘                         └─────────┘           └────────┘
//!                                        │  │  │  yield / Park::Notified ▲ ▲
//!                                 finish │  │  └────────────────────────┘ │
//!                                        ▼  │ park      ┌──────────┐      │
//!                                     ┌────┐└──────────►│ awaiting │──────┘
//!                                     │ end│            └──────────┘ wake / order: caller schedules
//!                                     └────┘
//! ```
//!
//! The names of the field: *scheduled* is `HELD` in a ready queue, *running* is `HELD` on a worker.
//! Both need no bit of their own, because only the one who holds the ticket acts on the difference.
//!
//! # Cells owned by one thread
//!
//! A system with one worker could do all of this without a single read-modify-write, if it were not
//! for other threads. So its cells keep `HELD` set for life, the worker notes in a plain field
//! ([`Rest`]) whether a cell is active, idle or awaiting, and what it does itself is loads and
//! stores. Other threads leave their message, order or wake in the words as ever, and then ring the
//! bell: they send the cell's address to the injector, and the worker looks what is there. A bell
//! is rung by whoever makes something pending out of nothing: the first node in the word, the first
//! note of a wake, each order. If the worker goes idle or awaits between the two steps, it finds
//! the bell afterwards; if it finds the bell while the cell is active, it will look at the words
//! again before the cell rests.
//!
//! # Why no order is lost
//!
//! Whoever gives an order first changes the task word (A), then the queue word (B). The runner
//! leaves a cell in two ways only:
//!
//! - `park` changes the task word. If it comes after A it sees the order and fails; if before, A
//!   finds `AWAITING`, takes the ticket and schedules.
//! - `release` changes the queue word. If it comes after B it sees `SIGNAL` and fails; if before, B
//!   finds the cell idle, takes the ticket and schedules.
//!
//! Each pair meets in one word, and every transition is a read-modify-write, so no fence is needed.
//! The runner clears `SIGNAL` before it reads the orders: an order that set the bit was written
//! before.
//!
//! # Concurrency
//!
//! Every method says who may call it: *any thread*, or *runner* (the holder of the ticket).

use crate::sync::{self, AtomicPtr, AtomicU16, Ordering, UnsafeCell};
use core::ptr::NonNull;

/// The part of a queue node that the word knows. Aligned so that three bits of its address are free.
#[derive(Debug)]
#[repr(C, align(8))]
pub(crate) struct Link {
    next: UnsafeCell<*mut Link>,
}

impl Link {
    pub(crate) const fn unlinked() -> *mut Link {
        core::ptr::null_mut()
    }

    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            next: UnsafeCell::new(core::ptr::null_mut()),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            next: UnsafeCell::new(core::ptr::null_mut()),
        }
    }

    /// # Safety
    /// `this` is a live node that belongs to the caller alone.
    #[inline(always)]
    pub(crate) unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: the node is the caller's.
        unsafe { (*this).next.with_mut(|slot| *slot = next) }
    }

    /// # Safety
    /// `this` is a live node that belongs to the caller alone.
    #[inline(always)]
    pub(crate) unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: the node is the caller's.
        unsafe { (*this).next.with_mut(|slot| *slot) }
    }
}

const HELD: usize = 1;
const SIGNAL: usize = 2;
const CLOSED: usize = 4;
const BITS: usize = HELD | SIGNAL | CLOSED;

/// The queue word: the newest node, and the ticket.
#[derive(Debug)]
pub(crate) struct Word(AtomicPtr<Link>);

/// What [`Word::claim`] found.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The cell was idle. The caller holds the ticket and must schedule it.
    Claimed,
    /// Somebody else holds the ticket: push a node.
    Busy,
    /// Admission has ended.
    Closed,
}

/// What [`Word::push`] did.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Queued, and the caller holds the ticket: it must schedule the cell.
    Schedule,
    /// Queued; the holder of the ticket will see it. `first`: nothing else was queued in the word.
    Queued {
        /// Was the word empty?
        first: bool,
    },
    /// Refused; the nodes still belong to the caller.
    Closed,
}

/// What an order or a wake leaves to its caller.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The caller holds the ticket and must schedule the cell.
    Schedule,
    /// The holder of the ticket will see it.
    Noted,
}

impl Next {
    fn of(is_ticket_free: bool) -> Self {
        if is_ticket_free {
            Self::Schedule
        } else {
            Self::Noted
        }
    }
}

/// What [`Word::announce`] found.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The cell was idle. The caller holds the ticket and must schedule it.
    Schedule,
    /// The holder of the ticket will see it. No other signal was there.
    First,
    /// The holder of the ticket will see it, and others.
    Again,
}

/// What [`Word::release`] did.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The ticket is given back. The caller must not touch the cell again.
    Idle,
    /// Messages or orders came in: the caller still holds the ticket.
    More,
}

#[inline(always)]
fn bits(head: *mut Link) -> usize {
    head.addr() & BITS
}

#[inline(always)]
fn node(head: *mut Link) -> *mut Link {
    head.map_addr(|addr| addr & !BITS)
}

#[inline(always)]
fn with_bits(node: *mut Link, bits: usize) -> *mut Link {
    node.map_addr(|addr| addr | bits)
}

#[inline(always)]
fn only(bits: usize) -> *mut Link {
    core::ptr::without_provenance_mut(bits)
}

impl Word {
    /// The word of a new cell. The maker holds the ticket.
    #[cfg(not(loom))]
    pub(crate) const fn held() -> Self {
        Self(AtomicPtr::new(core::ptr::without_provenance_mut(HELD)))
    }

    /// The word of a new cell. The maker holds the ticket.
    #[cfg(loom)]
    pub(crate) fn held() -> Self {
        Self(AtomicPtr::new(only(HELD)))
    }

    /// Takes the ticket of an idle cell. *Any thread.*
    #[inline(always)]
    pub(crate) fn claim(&self) -> Claim {
        // Relaxed: only a hint, the exchange below decides.
        let seen = self.0.load(Ordering::Relaxed);
        if seen.is_null()
            && self
                .0
                // Acquire: pairs with the Release in `release`, so that the claimer may write the
                // inline slot. Nothing is published yet: scheduling does that.
                .compare_exchange(seen, only(HELD), Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            return Claim::Claimed;
        }
        // Relaxed: a message refused here was never queued, and a push decides again.
        if bits(self.0.load(Ordering::Relaxed)) & CLOSED != 0 {
            Claim::Closed
        } else {
            Claim::Busy
        }
    }

    /// Queues the chain `first..=last`, newest first. *Any thread.*
    ///
    /// # Safety
    /// The nodes are live and belong to the caller; if they are queued, they belong to the queue.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, first: NonNull<Link>, last: NonNull<Link>) -> Pushed {
        // Relaxed: only a first guess for the exchange.
        let mut head = self.0.load(Ordering::Relaxed);
        let mut spins = 0;
        loop {
            if bits(head) & CLOSED != 0 {
                return Pushed::Closed;
            }
            // SAFETY: still ours, the exchange has not succeeded.
            unsafe { Link::set_next(last.as_ptr(), node(head)) };
            let new = with_bits(first.as_ptr(), bits(head) | HELD);
            match self
                .0
                // Release: publishes the nodes to the Acquire in `take` and `finish`. Acquire: an
                // idle cell's next runner must see what the last one left behind (`release`).
                .compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) if bits(head) & HELD == 0 => return Pushed::Schedule,
                Ok(_) => {
                    return Pushed::Queued {
                        first: node(head).is_null(),
                    };
                }
                Err(seen) => {
                    head = seen;
                    back_off(&mut spins);
                }
            }
        }
    }

    /// Takes every queued node, newest first; null if there is none. *Runner.*
    #[inline(always)]
    pub(crate) fn take(&self) -> *mut Link {
        // Acquire: pairs with the Release of every push in the chain, which are one release sequence, as each is a
        // read-modify-write. Relaxed: only a first guess.
        let taken = (self.0).fetch_update(Ordering::Acquire, Ordering::Relaxed, |head| {
            (!node(head).is_null()).then(|| only(bits(head)))
        });
        taken.map_or(Link::unlinked(), node)
    }

    /// Is a node queued that [`take`](Self::take) would bring? *Runner.*
    #[inline(always)]
    pub(crate) fn has_nodes(&self) -> bool {
        // Relaxed: `take` acquires.
        !node(self.0.load(Ordering::Relaxed)).is_null()
    }

    /// Gives the ticket back if there is nothing to do. *Runner.*
    #[inline(always)]
    pub(crate) fn release(&self) -> Release {
        match self.0.compare_exchange(
            only(HELD),
            Link::unlinked(),
            // Release: what this activation did is seen by the next holder of the ticket.
            Ordering::Release,
            // Relaxed: the caller keeps the ticket and looks again.
            Ordering::Relaxed,
        ) {
            Ok(_) => Release::Idle,
            Err(_) => Release::More,
        }
    }

    /// Marks that an order was given, and ends admission if `close`. *Any thread.*
    pub(crate) fn signal(&self, close: bool) -> Next {
        let before = self.mark(SIGNAL | if close { CLOSED } else { 0 });
        Next::of(before & HELD == 0)
    }

    /// Marks that something is queued beside the word. *Any thread.*
    pub(crate) fn announce(&self) -> Announced {
        let before = self.mark(SIGNAL);
        if before & HELD == 0 {
            Announced::Schedule
        } else if before & SIGNAL == 0 {
            Announced::First
        } else {
            Announced::Again
        }
    }

    /// Takes the ticket, if nobody has it, and adds bits. Which there were before.
    fn mark(&self, add: usize) -> usize {
        // Acquire and Release: as in `push`, for what was written or queued before. Also where the word stays as it is:
        // whoever acknowledges the signal has to see it. Relaxed: only a first guess.
        let marked = (self.0).fetch_update(Ordering::AcqRel, Ordering::Relaxed, |head| {
            Some(with_bits(head, HELD | add))
        });
        bits(marked.unwrap_or_else(|head| head))
    }

    /// Is there a signal that the runner has not acknowledged? *Runner.*
    pub(crate) fn is_signalled(&self) -> bool {
        // Relaxed: `acknowledge` acquires.
        bits(self.0.load(Ordering::Relaxed)) & SIGNAL != 0
    }

    /// Clears `SIGNAL`. To be followed by [`Task::take_orders`]. *Runner.*
    pub(crate) fn acknowledge(&self) {
        // Acquire: pairs with the Release in `mark`, so that the order is seen. Release: keeps the chain that this word
        // still publishes. Relaxed: only a first guess; if there is no signal, nothing is to be seen.
        let _none = (self.0).fetch_update(Ordering::AcqRel, Ordering::Relaxed, |head| {
            (bits(head) & SIGNAL != 0).then(|| head.map_addr(|addr| addr & !SIGNAL))
        });
    }

    /// Ends admission and takes what is queued, newest first. The ticket never comes back, so
    /// nobody schedules the cell again. *Runner.*
    pub(crate) fn finish(&self) -> *mut Link {
        // Acquire: as in `take`. Release: who finds the cell closed may read how it ended.
        node(self.0.swap(only(HELD | CLOSED), Ordering::AcqRel))
    }

    /// Has admission ended? *Any thread.*
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `signal` and `finish`.
        bits(self.0.load(Ordering::Acquire)) & CLOSED != 0
    }
}

/// Lets one producer make a run of pushes while others wait a moment: the word then stays in one
/// cache instead of moving for each message.
#[inline(always)]
fn back_off(spins: &mut u32) {
    *spins = (*spins * 2 + 1).min(63);
    sync::pause(*spins);
}

/// What an owned cell does; its thread's own note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Rest {
    /// Queued, running, or ended. Cells that are not owned are always so.
    Active,
    /// Nothing to do.
    Idle,
    /// A future is pending.
    Awaiting,
}

const AWAITING: u16 = 1;
const NOTIFIED: u16 = 2;
/// The children handle nothing: their parent has failed, or is held itself.
const HOLDING: u16 = 0x8000;

/// What a runner is asked to do. Several may be given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orders(u16);

impl Orders {
    /// Handle what is queued, then stop.
    pub(crate) const DRAIN: Self = Self(4);
    /// Stop after the message in hand.
    pub(crate) const STOP: Self = Self(8);
    /// Drop the handler in flight and end.
    pub(crate) const KILL: Self = Self(16);
    /// The system lane holds a message.
    pub(crate) const LANE: Self = Self(32);
    /// The order came from the shutdown of the system. Given together with another one.
    pub(crate) const SHUTDOWN: Self = Self(64);
    /// The agenda has mail.
    pub(crate) const AGENDA: Self = Self(128);
    /// Look whether the parent holds its children.
    pub(crate) const KIN: Self = Self(256);
    /// Go on after a failure, as if nothing had happened.
    pub(crate) const RESUME: Self = Self(512);
    /// The time of a restart may have come.
    pub(crate) const RESTART: Self = Self(1024);
    /// The time may be over for a handler that a restart or a stop waits for.
    pub(crate) const HURRY: Self = Self(2048);

    const ALL: u16 = 0x0FFC;

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What [`Task::park`] did.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Park {
    /// The cell waits for a wake or an order. The caller must not touch it again.
    Parked,
    /// A waker fired during the poll: poll again.
    Notified,
    /// An order is unread: read it first.
    Ordered,
}

/// The task word: is a handler pending, was it woken, what was ordered.
#[derive(Debug)]
pub(crate) struct Task(AtomicU16);

impl Task {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU16::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU16::new(0))
    }

    /// Is an order unread? One load for each message. *Runner.*
    #[inline(always)]
    pub(crate) fn attention(&self) -> bool {
        // Relaxed: `acknowledge` and `take_orders` acquire; a late sight costs nothing, because
        // `release` and `park` fail as long as the order is unread. One who gave an order and then sent a
        // message is seen in that order: the message was taken by an Acquire.
        self.0.load(Ordering::Relaxed) & Orders::ALL != 0
    }

    /// Is an order unread that is not about the agenda only? *Runner.*
    pub(crate) fn is_urgent(&self) -> bool {
        // Relaxed: as in `attention`.
        self.0.load(Ordering::Relaxed) & Orders::ALL & !Orders::AGENDA.0 != 0
    }

    /// Notes a wake, for a cell that is owned by one thread. True if none was noted before: the
    /// caller rings the bell. *Any thread.*
    pub(crate) fn note_wake(&self) -> bool {
        self.change(|state| state | NOTIFIED) & NOTIFIED == 0
    }

    /// Takes the note of a wake. *Runner.*
    pub(crate) fn take_wake(&self) -> bool {
        // Relaxed: if it is there, the exchange acquires.
        self.0.load(Ordering::Relaxed) & NOTIFIED != 0
            && self.change(|state| state & !NOTIFIED) & NOTIFIED != 0
    }

    /// Wakes a pending handler. *Any thread.*
    pub(crate) fn wake(&self) -> Next {
        let before = self.change(|state| match state & AWAITING {
            0 => state | NOTIFIED,
            _ => state & !AWAITING,
        });
        Next::of(before & AWAITING != 0)
    }

    /// Gives orders. *Any thread.*
    pub(crate) fn order(&self, orders: Orders) -> Next {
        let before = self.change(|state| state & !AWAITING | orders.0);
        Next::of(before & AWAITING != 0)
    }

    /// Leaves a pending future behind. *Runner.*
    pub(crate) fn park(&self) -> Park {
        let before = self.change(|state| {
            if state & Orders::ALL != 0 {
                state
            } else if state & NOTIFIED != 0 {
                state & !NOTIFIED
            } else {
                state | AWAITING
            }
        });
        if before & Orders::ALL != 0 {
            Park::Ordered
        } else if before & NOTIFIED != 0 {
            Park::Notified
        } else {
            Park::Parked
        }
    }

    /// Takes the orders. *Runner*, after [`Word::acknowledge`].
    pub(crate) fn take_orders(&self) -> Orders {
        Orders(self.change(|state| state & !Orders::ALL) & Orders::ALL)
    }

    /// Holds the children, or lets them go. To be followed by [`Orders::KIN`] to each. *Runner.*
    pub(crate) fn hold(&self, hold: bool) {
        self.change(|state| {
            if hold {
                state | HOLDING
            } else {
                state & !HOLDING
            }
        });
    }

    /// Does it hold its children? *Any thread.*
    pub(crate) fn is_holding(&self) -> bool {
        // Acquire: pairs with the Release in `hold`.
        self.0.load(Ordering::Acquire) & HOLDING != 0
    }

    /// What the state was.
    #[inline]
    fn change(&self, step: impl Fn(u16) -> u16) -> u16 {
        // Acquire and Release on every transition, also where the value stays: a second wake must hand over what its
        // caller wrote, to the poll that follows. Relaxed: only a first guess.
        let changed = (self.0).fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
            Some(step(state))
        });
        changed.unwrap_or_else(|state| state)
    }
}

#[cfg(test)]
mod tests;
