//! What a mailbox has that is more than a queue: another overflow policy, an order, control messages, a gauge.
//!
//! ```text
//!   sender ─┬─ control? ──────────────► control lane ───────────────┐ first
//!           ├─ DropOldest ────────────► ring ─────────────────────┐ │
//!           └─ others, with a permit ─► word ─► chain ─► (lists) ─┴─┴─► handler
//! ```
//!
//! A cell with an annex has a tail without slots, so that its senders find no room and come here; the runner is
//! led here by a note (`rare::ANNEX`). Others pay nothing for it.
//!
//! A cell with an annex never keeps its first message inline.
//!
//! # Concurrency
//!
//! The parts say who may touch them. `push`: any thread. The others: the runner.

use super::control::Control;
use super::mark::{Mark, Spot};
use super::options::{Bound, MailboxOptions};
use super::order::Order;
use super::permits::Permits;
use super::pressure::Gauge;
use super::ring::{Crowded, Ring, Take};
use super::waiting::Gate;
use super::{Node, Overflow, Push, absorb, append_here, push_link};
use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::state::{Announced, Release, Rest};
use alloc::boxed::Box;
use core::ptr::NonNull;

pub(crate) struct Annex<M> {
    user: User<M>,
    drops_newest: bool,
    control: Option<Control<M>>,
    order: Option<Order<M>>,
    gauge: Option<Gauge>,
}

/// An annex, by those who do not know its messages.
pub(crate) trait Lanes {
    /// Where senders wait, if they do.
    fn gate(&self) -> Option<&Gate>;

    fn capacity(&self) -> Option<usize>;

    fn most(&self) -> Option<usize>;

    fn depth(&self) -> Option<usize>;

    /// Hands room that was freed to those who wait, or to everybody.
    ///
    /// # Safety
    /// The caller is the runner of `cell`, which has this annex.
    unsafe fn give_back(&self, cell: CellPtr);

    /// Changes the bound. To be followed by [`give_back`](Self::give_back).
    fn resize(&self, capacity: usize);

    /// As [`leave`](super::leave).
    ///
    /// # Safety
    /// As [`give_back`](Self::give_back). After `Release::Idle` the caller must not touch the cell.
    unsafe fn leave(&self, cell: CellPtr) -> Release;

    /// As [`close`](super::close): control messages first, the others in the order of their priorities.
    ///
    /// # Safety
    /// As [`give_back`](Self::give_back).
    unsafe fn close(&self, cell: CellPtr);
}

/// The lane of user messages.
enum User<M> {
    Unbounded,
    Bounded(Permits),
    Latest(Ring<M>),
}

impl<M: 'static> Annex<M> {
    /// The annex that the options ask for; `None` if there is no memory.
    pub(crate) fn new(options: &MailboxOptions, name: Option<&str>) -> Option<Box<Self>> {
        let user = match options.bound() {
            Bound::None => User::Unbounded,
            Bound::Latest { limit, most } => User::Latest(Ring::new(limit, most)?),
            Bound::Permits { limit } => User::Bounded(Permits::new(limit)),
        };
        let thresholds = options.thresholds();
        Some(Box::new(Self {
            user,
            drops_newest: options.drops_newest(),
            control: options
                .control_of::<M>()
                .map(|(is_control, reserve)| Control::new(is_control, reserve)),
            order: options.priority_of::<M>().map(Order::new),
            gauge: thresholds.map(|(high, low)| Gauge::new(high, low, name.map(Into::into))),
        }))
    }

    /// Can a message that was refused be accepted a moment later, although nothing is to be waited for?
    pub(crate) fn is_full_for_a_moment(&self, message: &M) -> bool {
        matches!(self.user, User::Latest(_)) && !self.is_control(message)
    }

    pub(crate) fn is_control(&self, message: &M) -> bool {
        self.control
            .as_ref()
            .is_some_and(|control| control.takes(message))
    }

    /// # Safety
    /// As [`push`](super::push), to a cell with this annex.
    pub(super) unsafe fn push(&self, cell: CellPtr, message: M, overflow: Overflow) -> Push<M> {
        if cell.mailbox().word.is_closed() {
            return Push::Closed(message);
        }
        // SAFETY: as the caller promises.
        let pushed = unsafe {
            match &self.user {
                _ if self.is_control(&message) => self.push_control(cell, message),
                User::Unbounded => self.queue(cell, message),
                User::Bounded(permits) => self.push_bounded(permits, cell, message, overflow),
                User::Latest(ring) => self.push_latest(ring, cell, message, overflow),
            }
        };
        self.settle(cell);
        pushed
    }

    /// # Safety
    /// As [`push`](Self::push).
    unsafe fn push_control(&self, cell: CellPtr, message: M) -> Push<M> {
        let Some(control) = self.control.as_ref().filter(|control| control.reserve()) else {
            return Push::Full(message);
        };
        self.add();
        match control.push(message) {
            Ok(first) => {
                if first {
                    announce(cell);
                }
                Push::Accepted
            }
            Err(message) => {
                self.sub();
                Push::Closed(message)
            }
        }
    }

    /// # Safety
    /// As [`push`](Self::push).
    unsafe fn push_bounded(
        &self,
        permits: &Permits,
        cell: CellPtr,
        message: M,
        overflow: Overflow,
    ) -> Push<M> {
        if permits.reserve() {
            // SAFETY: as the caller promises.
            let pushed = unsafe { self.queue(cell, message) };
            if let Push::Closed(_) = pushed {
                permits.cancel();
            }
            pushed
        } else if cell.mailbox().word.is_closed() {
            // The last room may have gone to a message that was queued before the end.
            Push::Closed(message)
        } else if overflow == Overflow::Apply && self.drops_newest {
            drop_newcomer(cell, message);
            Push::Accepted
        } else {
            Push::Full(message)
        }
    }

    /// # Safety
    /// As [`push`](Self::push).
    unsafe fn push_latest(
        &self,
        ring: &Ring<M>,
        cell: CellPtr,
        message: M,
        overflow: Overflow,
    ) -> Push<M> {
        self.add();
        let mut message = message;
        let mut evicted = None;
        let pushed = loop {
            match ring.push(message) {
                Ok(()) => break Push::Accepted,
                Err(Crowded::Busy(message)) => break Push::Full(message),
                Err(Crowded::Full(message, _)) if overflow == Overflow::Refuse => {
                    break Push::Full(message);
                }
                Err(Crowded::Full(newcomer, oldest)) => {
                    match ring.take(oldest) {
                        Take::Taken(old) => {
                            self.sub();
                            // The dead letter comes when the newcomer is in: who is shown it may send, too.
                            if let Some(older) = evicted.replace(old) {
                                drop_oldest(cell, older);
                            }
                        }
                        Take::Gone => {}
                        Take::Unready => break Push::Full(newcomer),
                    }
                    message = newcomer;
                }
            }
        };
        if let Push::Full(_) = pushed {
            self.sub();
        } else {
            announce(cell);
            if ring.is_finished() {
                self.drain_late(ring, cell);
            }
        }
        if let Some(evicted) = evicted {
            drop_oldest(cell, evicted);
        }
        pushed
    }

    /// The actor has ended, and will not look at the ring again.
    #[cold]
    fn drain_late(&self, ring: &Ring<M>, cell: CellPtr) {
        while let Some((message, _)) = ring.pop() {
            self.sub();
            cell.dead_letter(message, DeadLetterReason::Stopped);
        }
    }

    /// Queues a message, for which there is room, in the word or the chain.
    ///
    /// # Safety
    /// As [`push`](Self::push).
    unsafe fn queue(&self, cell: CellPtr, message: M) -> Push<M> {
        self.add();
        let node = Node::make(message);
        // SAFETY: the node is ours until it is queued; here this thread is the consumer.
        let queued = unsafe {
            if cell.is_consumed_here() {
                append_here(cell, node.cast());
                true
            } else {
                push_link(cell, node.cast())
            }
        };
        if queued {
            return Push::Accepted;
        }
        self.sub();
        // SAFETY: refused, so the node is still ours, with its message.
        Push::Closed(unsafe { open(node) })
    }

    fn add(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.add();
        }
    }

    fn sub(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.sub();
        }
    }

    fn settle(&self, cell: CellPtr) {
        if let Some(gauge) = &self.gauge {
            gauge.settle(cell);
        }
    }

    // === the runner ===

    /// The next control message.
    pub(crate) fn next_control(&self, cell: CellPtr) -> Option<M> {
        let message = self.control.as_ref()?.pop()?;
        self.sub();
        self.settle(cell);
        Some(message)
    }

    /// The next user message, and the place it had.
    ///
    /// # Safety
    /// The caller is the runner of `cell`, which has this annex.
    pub(crate) unsafe fn next_user(&self, cell: CellPtr) -> Option<(M, Spot)> {
        // SAFETY: as the caller promises.
        let next = unsafe { self.pop(cell)? };
        self.settle(cell);
        Some(next)
    }

    /// # Safety
    /// As [`next_user`](Self::next_user).
    unsafe fn pop(&self, cell: CellPtr) -> Option<(M, Spot)> {
        if let User::Latest(ring) = &self.user {
            let (message, position) = ring.pop()?;
            self.sub();
            return Some((message, Spot::Position(position)));
        }
        // SAFETY: as the caller promises; a queued node holds a message.
        unsafe {
            let (node, spot) = match &self.order {
                Some(order) => {
                    Self::collect(order, cell);
                    let (node, age) = order.pop()?;
                    (node, Spot::Age(age))
                }
                None => {
                    let node = next_node::<M>(cell)?;
                    (node, Spot::Node(node.as_ptr().cast_const().cast()))
                }
            };
            let message = open(node);
            // Before others come in for it: the depth is never more than there is room.
            self.sub();
            if let User::Bounded(permits) = &self.user
                && permits.free()
            {
                self.give_back(cell);
            }
            Some((message, spot))
        }
    }

    /// Moves what is queued to the lists by priority; not what comes meanwhile, or a fast sender would keep the runner here.
    ///
    /// # Safety
    /// As [`next_user`](Self::next_user).
    unsafe fn collect(order: &Order<M>, cell: CellPtr) {
        // SAFETY: as the caller promises; a queued node holds a message.
        unsafe {
            absorb(cell.mailbox());
            while let Some(node) = first_node::<M>(cell) {
                order.add(node);
            }
        }
    }

    /// Which user messages are there.
    ///
    /// # Safety
    /// As [`next_user`](Self::next_user).
    pub(crate) unsafe fn mark(&self, cell: CellPtr) -> Mark {
        match (&self.user, &self.order) {
            (User::Latest(ring), _) if ring.has_messages() => Mark::Position(ring.end()),
            (User::Latest(_), _) => Mark::Nothing,
            (_, Some(order)) => {
                // SAFETY: as the caller promises.
                unsafe { Self::collect(order, cell) };
                match order.mark() {
                    (0, _) => Mark::Nothing,
                    (left, age) => Mark::Older { age, left },
                }
            }
            (_, None) => {
                // SAFETY: as the caller promises.
                unsafe { absorb(cell.mailbox()) };
                Mark::of(cell.mailbox().chain.get())
            }
        }
    }
}

impl<M: 'static> Lanes for Annex<M> {
    fn gate(&self) -> Option<&Gate> {
        match &self.user {
            User::Bounded(permits) => Some(permits.gate()),
            User::Unbounded | User::Latest(_) => None,
        }
    }

    fn capacity(&self) -> Option<usize> {
        match &self.user {
            User::Unbounded => None,
            User::Bounded(permits) => Some(permits.limit()),
            User::Latest(ring) => Some(ring.limit()),
        }
    }

    fn most(&self) -> Option<usize> {
        match &self.user {
            User::Unbounded => None,
            User::Bounded(_) => Some(super::bounded::MAX_CAPACITY),
            User::Latest(ring) => Some(ring.most()),
        }
    }

    fn depth(&self) -> Option<usize> {
        self.gauge.as_ref().map(Gauge::depth)
    }

    unsafe fn give_back(&self, cell: CellPtr) {
        let User::Bounded(permits) = &self.user else {
            return;
        };
        if cell.mailbox().word.is_closed() {
            permits.gate().refuse_waiting();
        }
        // SAFETY: as the caller promises; the node is fresh.
        unsafe {
            permits.give_back::<M>(|message| {
                self.add();
                append_here(cell, Node::make(message).cast());
            });
        }
        self.settle(cell);
    }

    fn resize(&self, capacity: usize) {
        match &self.user {
            User::Unbounded => {}
            User::Bounded(permits) => permits.resize(capacity),
            User::Latest(ring) => ring.resize(capacity),
        }
    }

    unsafe fn leave(&self, cell: CellPtr) -> Release {
        let mailbox = cell.mailbox();
        // First, so that going idle fails for what is announced after the look.
        mailbox.word.acknowledge();
        // SAFETY: as the caller promises.
        unsafe { self.give_back(cell) };
        let more = mailbox.task.attention()
            || mailbox.word.has_nodes()
            || !mailbox.chain.get().first.is_null()
            || self.order.as_ref().is_some_and(|order| !order.is_empty())
            || self.control.as_ref().is_some_and(Control::has_messages)
            || matches!(&self.user, User::Latest(ring) if ring.is_ready());
        if more {
            return Release::More;
        }
        if cell.is_owned() {
            mailbox.rest.set(Rest::Idle);
            return Release::Idle;
        }
        mailbox.word.release()
    }

    unsafe fn close(&self, cell: CellPtr) {
        if let Some(control) = &self.control {
            control.finish();
        }
        if let User::Latest(ring) = &self.user {
            ring.finish();
        }
        let mailbox = cell.mailbox();
        let newest = mailbox.word.finish();
        if !newest.is_null() {
            let mut chain = mailbox.chain.get();
            // SAFETY: the taken nodes and the chain belong to the consumer.
            unsafe { chain.append_turned(newest) };
            mailbox.chain.set(chain);
        }
        while let Some(message) = self.next_control(cell) {
            cell.dead_letter(message, DeadLetterReason::Stopped);
        }
        // SAFETY: as the caller promises.
        while let Some((message, _)) = unsafe { self.next_user(cell) } {
            cell.dead_letter(message, DeadLetterReason::Stopped);
        }
        if let Some(gate) = self.gate() {
            gate.refuse_waiting();
        }
    }
}

/// The next node of word and chain.
///
/// # Safety
/// The caller is the runner of `cell`, which has an annex and messages `M`.
unsafe fn next_node<M>(cell: CellPtr) -> Option<NonNull<Node<M>>> {
    // SAFETY: as the caller promises.
    unsafe {
        if cell.mailbox().chain.get().first.is_null() && !absorb(cell.mailbox()) {
            return None;
        }
        first_node(cell)
    }
}

/// The first node of the chain.
///
/// # Safety
/// As [`next_node`].
unsafe fn first_node<M>(cell: CellPtr) -> Option<NonNull<Node<M>>> {
    let mailbox = cell.mailbox();
    let mut chain = mailbox.chain.get();
    // SAFETY: the caller is the consumer, and the chain's nodes are its own.
    let node = unsafe { chain.pop()? };
    mailbox.chain.set(chain);
    Some(node.cast())
}

/// Moves the message out and gives the node back.
///
/// # Safety
/// The node came from [`Node::make`], is the caller's, and holds a message.
unsafe fn open<M>(node: NonNull<Node<M>>) -> M {
    // SAFETY: as the caller promises.
    unsafe {
        let message = Node::open(node);
        Node::recycle(node);
        message
    }
}

/// The policy drops the message that is being sent.
pub(super) fn drop_newcomer<M: 'static>(cell: CellPtr, message: M) {
    let shared = &cell.home().shared;
    shared.one_overflowed();
    let letters = &shared.dead_letters;
    letters.receive_from_here(cell, message, DeadLetterReason::Overflow);
}

/// The policy drops a message that was queued.
fn drop_oldest<M: 'static>(cell: CellPtr, message: M) {
    cell.home().shared.one_overflowed();
    cell.dead_letter(message, DeadLetterReason::Overflow);
}

/// Something is queued that the word does not show: sees to it that the cell runs. *Any thread.*
fn announce(cell: CellPtr) {
    let mailbox = cell.mailbox();
    if cell.is_consumed_here() {
        if mailbox.rest.get() == Rest::Idle {
            mailbox.rest.set(Rest::Active);
            cell.schedule();
        }
        return;
    }
    match mailbox.word.announce() {
        Announced::Schedule => cell.schedule(),
        Announced::First if cell.is_owned() => cell.ring(),
        Announced::First | Announced::Again => {}
    }
}
