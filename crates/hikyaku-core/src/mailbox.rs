//! The mailbox: a system lane and a user lane around one state.
//!
//! The user lane is a stack that the runner takes whole and turns over, so that producers and
//! consumer meet once per batch and not once per message:
//!
//! ```text
//!   producers ──push──► word ─► newest ─► .. ─► oldest        (state.rs)
//!                         │ take: one exchange, then turn over
//!                         ▼
//!   runner    ◄──pop── chain: oldest ─► .. ─► newest
//! ```
//!
//! - The first message of an idle cell needs no node: it goes where the chain is, or the handler's
//!   future will be. An idle cell has neither. Where messages go by the table (`mailbox/kind.rs`) there is one way in
//!   for all, and each has a node.
//! - On a system with one worker, that worker owns every mailbox (`state.rs` says how). What it
//!   sends goes straight to the end of the chain, without an exchange. If nodes of other threads
//!   wait in the word, they are turned over first, so the order of one sender holds even when it
//!   moves to the worker's thread.
//! - A bounded lane takes its nodes from the cell's own tail (`mailbox/bounded.rs`): no free node
//!   means full.
//! - What is more than that is in an annex (`mailbox/annex.rs`), which only those cells have that need it.
//!
//! The mailbox knows nothing of workers. A push that finds the cell idle schedules it, through the
//! cell's home.
//!
//! # Concurrency
//!
//! - `word`, `task`, `system`: any thread, as `state.rs` and `mailbox/system.rs` say.
//! - `chain` and the flags: the runner. `first` and the place of the first message also by the one whose claim
//!   made the cell runnable, until it is scheduled.

mod annex;
mod batch;
mod bounded;
mod control;
mod kind;
mod mark;
mod options;
mod order;
mod permits;
mod pressure;
mod ring;
mod system;
mod waiting;

use self::annex::{Annex, Lanes};
pub(crate) use self::batch::push_all;
use self::bounded::Here;
pub(crate) use self::bounded::{Room, Stock, Tail};
pub(crate) use self::kind::{BY_TABLE, ByTable, InSlot, Kind, Known, Typed};
use self::kind::{Lent, Own, Parcel};
pub(crate) use self::mark::{Mark, Spot};
pub(crate) use self::options::CellOptions;
pub use self::options::{InvalidOptions, MailboxOptions, MailboxOverflowPolicy};
pub use self::order::Priority;
pub(crate) use self::system::{Farewell, Letter, Notice, Read, SystemLane, SystemNode};
use self::waiting::Serve;
pub(crate) use self::waiting::{Gate, Waiter, Waiting};

use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::flow::FLOW;
use crate::invoker::Ending;
use crate::pool;
use crate::state::{Claim, Link, Park, Pushed, Release, Rest, Task, Word};
use crate::sync;
use core::alloc::Layout;
use core::cell::Cell;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use core::task::Waker;

/// A queued message.
#[repr(C)]
pub(crate) struct Node<M> {
    link: Link,
    message: MaybeUninit<M>,
}

impl<M> Node<M> {
    /// Puts `message` into a recycled node.
    #[inline(always)]
    fn make(message: M) -> NonNull<Self> {
        let node = pool::take(Layout::new::<Self>()).cast::<Self>();
        // SAFETY: fresh memory of this layout.
        unsafe {
            (&raw mut (*node.as_ptr()).link).write(Link::new());
            (&raw mut (*node.as_ptr()).message).write(MaybeUninit::new(message));
        }
        node
    }

    /// Moves the message out of `node`.
    ///
    /// # Safety
    /// The node is the caller's and holds a message.
    #[inline(always)]
    unsafe fn open(node: NonNull<Self>) -> M {
        // SAFETY: as the caller promises.
        unsafe { (&raw const (*node.as_ptr()).message).cast::<M>().read() }
    }

    /// The message in `node`.
    ///
    /// # Safety
    /// The node is the caller's for as long as it uses the message, and holds one.
    unsafe fn peek<'a>(node: NonNull<Self>) -> &'a M {
        // SAFETY: as the caller promises.
        unsafe { (*node.as_ptr()).message.assume_init_ref() }
    }

    /// Gives an opened node back.
    ///
    /// # Safety
    /// The node came from [`Node::make`], is the caller's, and its message has been moved out.
    #[inline(always)]
    unsafe fn recycle(node: NonNull<Self>) {
        // SAFETY: as the caller promises.
        unsafe { pool::give(node.cast(), Layout::new::<Self>()) }
    }
}

/// What became of a pushed message.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Push<M> {
    /// The mailbox has it.
    Accepted,
    /// There is no room.
    Full(M),
    /// Admission has ended.
    Closed(M),
}

impl<M> Push<M> {
    #[inline(always)]
    fn map<N>(self, map: impl FnOnce(M) -> N) -> Push<N> {
        match self {
            Self::Accepted => Push::Accepted,
            Self::Full(message) => Push::Full(map(message)),
            Self::Closed(message) => Push::Closed(map(message)),
        }
    }
}

/// What to do where there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// What the policy says.
    Apply,
    /// Say so.
    Refuse,
    /// Say so, unless room can be made: the sender would wait.
    Wait,
}

/// The runner's part of the user lane: oldest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    first: *mut Link,
    last: *mut Link,
}

impl Chain {
    pub(crate) const EMPTY: Self = Self {
        first: Link::unlinked(),
        last: Link::unlinked(),
    };

    /// # Safety
    /// `node` is live and the caller's; so are the chain's nodes.
    #[inline(always)]
    unsafe fn append(&mut self, node: *mut Link) {
        // SAFETY: as the caller promises.
        unsafe {
            Link::set_next(node, Link::unlinked());
            if self.first.is_null() {
                self.first = node;
            } else {
                Link::set_next(self.last, node);
            }
        }
        self.last = node;
    }

    /// Turns `newest..` over and appends it.
    ///
    /// # Safety
    /// The nodes are live and the caller's; so are the chain's.
    #[inline]
    unsafe fn append_turned(&mut self, newest: *mut Link) {
        let mut node = newest;
        let mut turned = Link::unlinked();
        while !node.is_null() {
            // SAFETY: as the caller promises.
            unsafe {
                let older = Link::next(node);
                Link::set_next(node, turned);
                turned = node;
                node = older;
            }
        }
        if self.first.is_null() {
            self.first = turned;
        } else {
            // SAFETY: as the caller promises.
            unsafe { Link::set_next(self.last, turned) };
        }
        self.last = newest;
    }

    /// # Safety
    /// The chain's nodes are live and the caller's.
    #[inline(always)]
    unsafe fn pop(&mut self) -> Option<NonNull<Link>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: as the caller promises.
        self.first = unsafe { Link::next(first.as_ptr()) };
        Some(first)
    }
}

/// What the runner does with the cell's slot, and how far the actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Life {
    /// The factory has not run.
    Fresh,
    /// `started` is running.
    Starting,
    /// Between messages or in a handler.
    Ready,
    /// It has failed, and waits for what its supervisor decides.
    Faulted,
    /// `restarting` is running.
    Restarting,
    /// Waiting for the children to end, to begin anew.
    Clearing,
    /// Waiting for the children to end.
    Stopping,
    /// `stopped` is running.
    Hook,
    /// Ended.
    Dead,
}

/// The mailbox of one actor. Messages are typed by the callers: every method with an `M` has to
/// be called with the type of the cell.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct QueueMailbox {
    // The senders' part: see `Header`.
    pub(crate) word: Word,
    /// Or the first message, if it is small and the cell is not owned.
    pub(crate) chain: Cell<Chain>,
    pub(crate) options: CellOptions,
    /// Counts the actor values that this mailbox has served.
    pub(crate) incarnation: Cell<u16>,
    /// Is the first message there?
    first: Cell<bool>,
    /// References to the memory of an owned cell that were let go on its thread, kept for the next
    /// waker.
    pub(crate) spare: Cell<u8>,
    // The runner's part.
    pub(crate) system: SystemLane,
    pub(crate) task: Task,
    pub(crate) life: Cell<Life>,
    /// Does the slot hold a live future? The life says whose.
    pub(crate) busy: Cell<bool>,
    pub(crate) marks: Marks,
    pub(crate) rest: Cell<Rest>,
    /// The strongest order to end that has been read.
    pub(crate) ending: Cell<Ending>,
    /// What is not so for most actors: see [`rare`].
    pub(crate) rare: Cell<u8>,
}

/// What the runner has noted about the actor.
#[derive(Debug)]
pub(crate) struct Marks(Cell<u8>);

impl Marks {
    /// There is no actor value: not yet, or not any more.
    pub(crate) const VACANT: u8 = 1;
    /// `started` has succeeded, of this actor or of one before it.
    pub(crate) const STARTED: u8 = 2;
    /// To begin anew when the handler in hand is over.
    pub(crate) const RESTART: u8 = 4;
    /// To fail with `Cold::fault`.
    pub(crate) const FAULT: u8 = 8;
    /// Likewise, when the handler in hand is over.
    pub(crate) const EXIT: u8 = 16;
    /// What is dropped now was in the hands of an actor that failed, or is restarted.
    pub(crate) const FAILING: u8 = 32;
    /// `started` of the actor that is there now has succeeded.
    pub(crate) const SOUND: u8 = 64;

    pub(crate) fn has(&self, mark: u8) -> bool {
        self.0.get() & mark != 0
    }

    pub(crate) fn set(&self, mark: u8) {
        self.0.set(self.0.get() | mark);
    }

    pub(crate) fn clear(&self, mark: u8) {
        self.0.set(self.0.get() & !mark);
    }
}

/// The runner's notes of what most actors do not have.
pub(crate) mod rare {
    /// The agenda has something to hand over.
    pub(crate) const DUE: u8 = 1;
    /// There is an agenda: it hears of every message.
    pub(crate) const AGENDA: u8 = 2;
    /// The message in hand has a deadline.
    pub(crate) const DEADLINE: u8 = 4;
    /// The parent holds its children: no messages.
    pub(crate) const HELD: u8 = 8;
    /// Signals wait for their turn among the messages.
    pub(crate) const SIGNALS: u8 = 16;
    /// The actor is suspended: no messages.
    pub(crate) const SUSPENDED: u8 = 32;
    /// The cold box has something that is looked at with each message: middleware, unstashed messages, others
    /// that wait for room here.
    pub(crate) const EXTRA: u8 = 64;
    /// There is an annex. For life.
    pub(crate) const ANNEX: u8 = 128;
    /// There may be other messages than those in the mailbox, or what hears of each. All of them bring what looks there,
    /// where that is not linked for all.
    pub(crate) const BEYOND: u8 = if super::BY_TABLE {
        DUE | AGENDA | DEADLINE | SIGNALS
    } else {
        u8::MAX
    };
    /// The actor handles no messages.
    pub(crate) const STILL: u8 = HELD | SUSPENDED;
    /// What outlasts an incarnation.
    pub(crate) const KEPT: u8 = STILL | EXTRA | ANNEX;
}

impl QueueMailbox {
    /// `notes`: see [`rare`].
    pub(crate) fn new(options: CellOptions, notes: u8) -> Self {
        Self {
            word: Word::held(),
            chain: Cell::new(Chain::EMPTY),
            options,
            incarnation: Cell::new(0),
            first: Cell::new(false),
            spare: Cell::new(0),
            system: SystemLane::new(),
            task: Task::new(),
            life: Cell::new(Life::Fresh),
            busy: Cell::new(false),
            marks: Marks(Cell::new(Marks::VACANT)),
            rest: Cell::new(Rest::Active),
            ending: Cell::new(Ending::Not),
            rare: Cell::new(notes),
        }
    }

    /// Is this incarnation about to end, or told to stop? Then it begins nothing more. *Runner.*
    pub(crate) fn is_winding_down(&self) -> bool {
        self.life.get() > Life::Ready || self.ending.get() >= Ending::Stop
    }

    /// Adds a note: see [`rare`]. *Runner.*
    pub(crate) fn note(&self, what: u8) {
        self.rare.set(self.rare.get() | what);
    }
}

/// Where the first message of an idle cell goes.
///
/// # Safety
/// `cell` is live, and its messages are of this kind.
#[inline(always)]
unsafe fn first_slot(cell: CellPtr, kind: &Kind) -> *mut () {
    let message = kind.message;
    let small = message.size() <= size_of::<Chain>() && message.align() <= align_of::<Chain>();
    if small && !cell.is_owned() {
        cell.chain_slot()
    } else {
        // SAFETY: as the caller promises.
        unsafe { cell.message_slot(message.align()) }
    }
}

/// Queues `message`. *Any thread.*
///
/// # Safety
/// `cell` is live and its message type is `M`.
#[inline(always)]
pub(crate) unsafe fn push<M: 'static>(cell: CellPtr, message: M, overflow: Overflow) -> Push<M> {
    if BY_TABLE {
        let mut message = ManuallyDrop::new(message);
        let lent = Lent((&raw mut message).cast());
        // SAFETY: as the caller promises.
        match unsafe { push_lent(cell, lent, overflow) } {
            // Not touched any more: it is the actor's.
            Push::Accepted => Push::Accepted,
            Push::Full(_) => Push::Full(ManuallyDrop::into_inner(message)),
            Push::Closed(_) => Push::Closed(ManuallyDrop::into_inner(message)),
        }
    } else {
        let (kind, message) = (Kind::of::<M>(), Own(message));
        // SAFETY: as the caller promises.
        let pushed = unsafe {
            if cell.options().is_plain() {
                push_shared(cell, kind, message)
            } else if cell.has_tail() {
                push_apart(cell, kind, message, overflow)
            } else if cell.is_consumed_here() {
                push_here(cell, kind, message)
            } else {
                push_node(cell, kind, message)
            }
        };
        pushed.map(|own| own.0)
    }
}

/// # Safety
/// As [`push`]; the message is one of the cell's.
#[inline(never)]
unsafe fn push_lent(cell: CellPtr, message: Lent, overflow: Overflow) -> Push<Lent> {
    // SAFETY: as the caller promises.
    unsafe { push_apart(cell, cell.kind(), message, overflow) }
}

/// The cell may be anybody's: claim it if it is idle, else queue a node.
///
/// # Safety
/// As [`push_apart`]; the cell has no tail and is not owned.
#[inline(always)]
unsafe fn push_shared<P: Parcel>(cell: CellPtr, kind: &'static Kind, message: P) -> Push<P> {
    let mailbox = cell.mailbox();
    match mailbox.word.claim() {
        Claim::Claimed => {
            // SAFETY: the cell was idle, so slot and chain are empty and, until the cell is
            // scheduled, ours.
            unsafe { message.put(kind, first_slot(cell, kind)) };
            mailbox.first.set(true);
            cell.schedule();
            Push::Accepted
        }
        // SAFETY: as the caller promises.
        Claim::Busy => unsafe { push_node(cell, kind, message) },
        Claim::Closed => Push::Closed(message),
    }
}

/// This thread owns the cell: no exchange, no other thread's line.
///
/// # Safety
/// As [`push_apart`]; the caller is the consumer.
#[inline(always)]
unsafe fn push_here<P: Parcel>(cell: CellPtr, kind: &'static Kind, message: P) -> Push<P> {
    let mailbox = cell.mailbox();
    if mailbox.word.is_closed() {
        return Push::Closed(message);
    }
    if mailbox.rest.get() == Rest::Idle && !mailbox.word.has_nodes() {
        // SAFETY: the cell is idle, so the slot is empty, and it is ours.
        unsafe { message.put(kind, first_slot(cell, kind)) };
        mailbox.first.set(true);
        mailbox.rest.set(Rest::Active);
        cell.schedule();
    } else {
        // SAFETY: the caller is the consumer; the node is ours.
        unsafe {
            let node = fresh_node(kind);
            message.put(kind, message_in(node, kind));
            append_here(cell, node);
        }
    }
    Push::Accepted
}

/// # Safety
/// As [`push_apart`]; the cell has no tail.
#[inline(always)]
unsafe fn push_node<P: Parcel>(cell: CellPtr, kind: &'static Kind, message: P) -> Push<P> {
    let node = fresh_node(kind);
    // SAFETY: the node is ours until it is queued, and still is if it is refused.
    unsafe {
        let sent = message.put(kind, message_in(node, kind));
        if push_link(cell, node) {
            Push::Accepted
        } else {
            Push::Closed(take_back(kind, node, sent))
        }
    }
}

/// The message of a node that was refused.
///
/// # Safety
/// The node is the caller's, from the pool, with this message.
#[cold]
unsafe fn take_back<P: Parcel>(kind: &Kind, node: NonNull<Link>, sent: P::Sent) -> P {
    // SAFETY: as the caller promises.
    unsafe {
        let message = P::back(sent, message_in(node, kind));
        pool::give(node.cast(), kind.node);
        message
    }
}

/// A node from the pool, without a message.
#[inline(always)]
fn fresh_node(kind: &Kind) -> NonNull<Link> {
    let node = pool::take(kind.node).cast::<Link>();
    // SAFETY: fresh memory of this layout, which begins with the link.
    unsafe { node.write(Link::new()) };
    node
}

/// Queues a node in the word and sees to it that the cell runs. False if admission has ended.
///
/// # Safety
/// As [`push`]; the node is the caller's, and still is if this returns false.
#[inline(always)]
unsafe fn push_link(cell: CellPtr, link: NonNull<Link>) -> bool {
    // SAFETY: the node is the caller's until it is queued.
    match unsafe { cell.mailbox().word.push(link, link) } {
        Pushed::Queued { first } => {
            if first && cell.is_owned() {
                cell.ring();
            }
            true
        }
        Pushed::Schedule => {
            cell.schedule();
            true
        }
        Pushed::Closed => false,
    }
}

/// Appends a node to the chain, behind what other threads have queued.
///
/// # Safety
/// The caller is the consumer of `cell`; the node is its own.
#[inline(always)]
unsafe fn append_here(cell: CellPtr, link: NonNull<Link>) {
    let mailbox = cell.mailbox();
    if mailbox.word.has_nodes() {
        // SAFETY: the caller is the consumer.
        unsafe { absorb(mailbox) };
    }
    let mut chain = mailbox.chain.get();
    // SAFETY: the chain is the consumer's, the node the caller's.
    unsafe { chain.append(link.as_ptr()) };
    mailbox.chain.set(chain);
    if mailbox.rest.get() == Rest::Idle {
        mailbox.rest.set(Rest::Active);
        cell.schedule();
    }
}

/// Moves what is in the word to the chain.
///
/// # Safety
/// The caller is the consumer.
#[inline]
unsafe fn absorb(mailbox: &QueueMailbox) -> bool {
    let newest = mailbox.word.take();
    if newest.is_null() {
        return false;
    }
    let mut chain = mailbox.chain.get();
    // SAFETY: taken nodes and chain belong to the consumer.
    unsafe { chain.append_turned(newest) };
    mailbox.chain.set(chain);
    true
}

/// Queues a node, of the tail if there is one.
///
/// # Safety
/// As [`push`]; the message is one of the cell's, which are of this kind. Only by the table there may be no tail.
#[inline(never)]
unsafe fn push_apart<P: Parcel>(
    cell: CellPtr,
    kind: &'static Kind,
    message: P,
    overflow: Overflow,
) -> Push<P> {
    let mailbox = cell.mailbox();
    let here = cell.is_consumed_here();
    let consumer = here.then(|| match mailbox.rest.get() {
        Rest::Awaiting => Here::Awaits,
        Rest::Active | Rest::Idle => Here::RunsSoon,
    });
    if mailbox.word.is_closed() {
        return Push::Closed(message);
    }
    let has_tail = !BY_TABLE || cell.has_tail();
    let link = if has_tail {
        // SAFETY: as the caller promises.
        let tail = unsafe { cell.tail_of(kind) };
        // SAFETY: given only if this thread is the consumer.
        match unsafe { tail.reserve(consumer) } {
            Some(link) => link,
            // SAFETY: as the caller promises.
            None => return unsafe { push_full(cell, tail, message, overflow) },
        }
    } else {
        fresh_node(kind)
    };
    // SAFETY: the node is ours until it is queued, and still is if it is refused; appended by the consumer only.
    unsafe {
        let place = message_in(link, kind);
        let sent = message.put(kind, place);
        if here {
            append_here(cell, link);
            return Push::Accepted;
        }
        if push_link(cell, link) {
            return Push::Accepted;
        }
        let message = P::back(sent, place);
        // The mailbox is closed for good, so nobody misses a slot.
        if !has_tail {
            pool::give(link.cast(), kind.node);
        }
        Push::Closed(message)
    }
}

/// No slot is free.
///
/// # Safety
/// As [`push_apart`].
#[cold]
unsafe fn push_full<P: Parcel>(
    cell: CellPtr,
    tail: Tail,
    message: P,
    overflow: Overflow,
) -> Push<P> {
    if tail.lanes().is_some() {
        // SAFETY: as the caller promises.
        return unsafe { message.push_aside(cell, tail, overflow) };
    }
    // The last room may have gone to a message that was queued before the end.
    if cell.mailbox().word.is_closed() {
        Push::Closed(message)
    } else if overflow == Overflow::Apply && cell.options().drops_newest() {
        // SAFETY: as the caller promises.
        unsafe { message.drop_newest(cell) };
        Push::Accepted
    } else {
        Push::Full(message)
    }
}

/// The runner's hold on the queue during a run of messages.
///
/// What was taken from the word stays here, not in the cell, whose first line belongs to the senders
/// meanwhile. Dropped, also by a panic, it puts back what is left. An owned cell's chain stays where
/// it is: the same thread appends to it.
pub(crate) struct Drain<K> {
    cell: CellPtr,
    options: CellOptions,
    taken: Chain,
    _known: core::marker::PhantomData<K>,
}

impl<K: Known> Drain<K> {
    /// # Safety
    /// The caller holds the ticket of `cell`, whose messages are known so, until the value is dropped
    /// or has nothing more to give. Of messages known by the table, one is out at a time.
    #[inline(always)]
    pub(crate) unsafe fn new(cell: CellPtr) -> Self {
        Self {
            cell,
            options: cell.options(),
            taken: Chain::EMPTY,
            _known: core::marker::PhantomData,
        }
    }

    /// The first message of a cell that was idle, if there is one. To be asked once, first.
    #[inline(always)]
    pub(crate) fn first(&mut self) -> Option<K::Message> {
        K::first(self)
    }

    #[inline(always)]
    fn take_first(&mut self) -> Option<K::Message> {
        let mailbox = self.cell.mailbox();
        if BY_TABLE || !mailbox.first.get() {
            return None;
        }
        mailbox.first.set(false);
        // SAFETY: the flag said that the message is there, and the runner owns the place.
        let message = unsafe { K::take(self.cell, first_slot(self.cell, K::kind(self.cell))) };
        // It may have lain where the chain is, so there is no chain that could be read or replaced.
        if !self.options.is_owned() {
            // SAFETY: the runner owns the place.
            unsafe { mailbox.chain.as_ptr().write(Chain::EMPTY) };
        }
        Some(message)
    }

    /// The next message. `None` means that nothing was queued a moment ago: [`leave`] decides.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<K::Message> {
        self.next_with_spot().map(|(message, _)| message)
    }

    /// What is queued. *Exact when nobody sends.*
    pub(crate) fn mark(&mut self) -> Mark {
        let mailbox = self.cell.mailbox();
        // SAFETY: the runner is the consumer, and the chain holds nodes, or nothing: a first message
        // has been moved out.
        unsafe { absorb(mailbox) };
        let chain = mailbox.chain.get();
        Mark::of(if chain.first.is_null() {
            *self.queue()
        } else {
            chain
        })
    }

    /// Where the next message comes from.
    #[inline(always)]
    fn queue(&mut self) -> &mut Chain {
        if BY_TABLE {
            // SAFETY: the chain is the runner's, and nobody else looks at it while the drain is borrowed.
            unsafe { &mut *self.cell.mailbox().chain.as_ptr() }
        } else {
            &mut self.taken
        }
    }

    /// Is there a next message?
    #[inline(always)]
    pub(crate) fn has_next(&mut self) -> bool {
        !self.queue().first.is_null() || self.refill()
    }

    /// As [`next`](Self::next), with the place that the message had in the queue.
    #[inline(always)]
    pub(crate) fn next_with_spot(&mut self) -> Option<(K::Message, Spot)> {
        K::next(self)
    }

    #[inline(always)]
    fn take_next(&mut self) -> Option<(K::Message, Spot)> {
        if !self.has_next() {
            return None;
        }
        // SAFETY: the taken nodes are the consumer's.
        let node = unsafe { self.queue().pop() }?;
        let kind = K::kind(self.cell);
        // SAFETY: a queued node holds a message.
        let message = unsafe { K::take(self.cell, message_in(node, kind)) };
        if self.options.has_tail() {
            let drained = self.queue().first.is_null();
            // SAFETY: the runner is the consumer, the node came from this tail.
            unsafe { free_bounded::<K>(self.cell, node, drained) };
        } else {
            // SAFETY: a node of an unbounded lane came from the pool, and its message has been moved out.
            unsafe { pool::give(node.cast(), kind.node) };
        }
        Some((message, Spot::Node(node.as_ptr().cast_const().cast())))
    }

    /// Puts a message back in front of the others. Not for a bounded lane.
    pub(crate) fn put_back(&mut self, message: K::Message) {
        debug_assert!(!self.options.has_tail());
        let kind = K::kind(self.cell);
        let node = fresh_node(kind);
        // SAFETY: the node is ours.
        unsafe { K::put(message, message_in(node, kind)) };
        let node = node.as_ptr();
        let queue = self.queue();
        // SAFETY: the node is fresh, and the chain is the consumer's.
        unsafe { Link::set_next(node, queue.first) };
        if queue.first.is_null() {
            queue.last = node;
        }
        queue.first = node;
    }

    /// Gets one node of an owned cell, or all nodes of another.
    #[inline]
    fn refill(&mut self) -> bool {
        let mailbox = self.cell.mailbox();
        if BY_TABLE {
            // SAFETY: the runner is the consumer.
            return unsafe { absorb(mailbox) };
        }
        let mut chain = mailbox.chain.get();
        if chain.first.is_null() {
            // SAFETY: the runner is the consumer.
            if !unsafe { absorb(mailbox) } {
                return false;
            }
            chain = mailbox.chain.get();
        }
        if self.options.is_owned() {
            // SAFETY: the chain is the consumer's, and not empty.
            unsafe {
                let node = chain.first;
                chain.first = Link::next(node);
                Link::set_next(node, Link::unlinked());
                self.taken = Chain {
                    first: node,
                    last: node,
                };
            }
            mailbox.chain.set(chain);
        } else {
            mailbox.chain.set(Chain::EMPTY);
            self.taken = chain;
        }
        true
    }
}

impl<K> Drop for Drain<K> {
    #[inline]
    fn drop(&mut self) {
        if BY_TABLE || self.taken.first.is_null() {
            return;
        }
        // What is in the cell's chain came later.
        let mailbox = self.cell.mailbox();
        let chain = mailbox.chain.get();
        if !chain.first.is_null() {
            // SAFETY: both chains are the consumer's.
            unsafe { Link::set_next(self.taken.last, chain.first) };
            self.taken.last = chain.last;
        }
        mailbox.chain.set(self.taken);
    }
}

/// Where the message lies in a node.
///
/// # Safety
/// The node is for messages of this kind.
#[inline(always)]
unsafe fn message_in(node: NonNull<Link>, kind: &Kind) -> *mut () {
    // SAFETY: inside the node.
    unsafe { node.byte_add(kind.in_node).cast().as_ptr() }
}

/// # Safety
/// The caller is the consumer of `cell`, whose messages are known so; `node` is an opened node of
/// its tail.
#[inline]
unsafe fn free_bounded<K: Known>(cell: CellPtr, node: NonNull<Link>, drained: bool) {
    // SAFETY: as the caller promises.
    unsafe {
        let is_time = cell.tail_of(K::kind(cell)).free(node);
        // By the table each at once: less code matters more than fewer changes of what is free.
        if is_time || drained || BY_TABLE {
            give_back::<K>(cell);
        }
    }
}

/// Hands the room that was freed to the waiting senders, or to everybody. *Runner.*
///
/// # Safety
/// The caller is the consumer of `cell`, which is bounded, with messages that are known so.
unsafe fn give_back<K: Known>(cell: CellPtr) {
    // SAFETY: as the caller promises.
    let tail = unsafe { cell.tail_of(K::kind(cell)) };
    // Those who wait bring what serves them. Where a bound can be lowered, room may be owed although nobody waits.
    let who_waits = || match FLOW {
        true => Some(serve as Serve),
        false => tail.gate().waits(),
    };
    if cell.mailbox().word.is_closed() {
        // Room that appears now is for nobody: who still waits is told.
        if FLOW {
            tail.gate().refuse_waiting();
        } else if let Some(serve) = who_waits() {
            // SAFETY: as the caller promises.
            unsafe { serve(cell) };
        }
    }
    while !tail.put_freed() {
        if let Some(serve) = who_waits() {
            // SAFETY: as the caller promises.
            return unsafe { serve(cell) };
        }
    }
}

/// Gives room to those who wait for it, or tells them that there will be none. *Runner.*
///
/// # Safety
/// As [`give_back`].
unsafe fn serve(cell: CellPtr) {
    // SAFETY: the caller is the consumer, and the queued nodes are its own.
    unsafe {
        let tail = cell.tail();
        if cell.mailbox().word.is_closed() {
            tail.gate().refuse_waiting();
        } else {
            tail.give_back(|node| append_here(cell, node));
        }
    }
}

/// Gives the ticket back, if there is nothing to do. *Runner.*
///
/// # Safety
/// The caller holds the ticket of `cell`, whose messages are known so. After `Release::Idle` it must
/// not touch the cell.
#[inline(always)]
pub(crate) unsafe fn leave<K: Known>(cell: CellPtr) -> Release {
    if cell.has_tail() {
        // SAFETY: as the caller promises.
        unsafe { give_back::<K>(cell) };
        if !cell.mailbox().chain.get().first.is_null() {
            return Release::More;
        }
    }
    if cell.is_owned() {
        let mailbox = cell.mailbox();
        if mailbox.word.has_nodes() || mailbox.task.attention() {
            return Release::More;
        }
        mailbox.rest.set(Rest::Idle);
        return Release::Idle;
    }
    cell.mailbox().word.release()
}

/// As [`leave`], for a cell that is not like most.
///
/// # Safety
/// As [`leave`].
#[cold]
#[inline(never)]
pub(crate) unsafe fn leave_rare(cell: CellPtr) -> Release {
    // SAFETY: as the caller promises.
    unsafe {
        match lanes_of(cell) {
            Some(annex) => annex.leave(cell),
            None => leave::<ByTable>(cell),
        }
    }
}

/// The annex, if there is one. *Runner.* The cell outlives what is done with it.
fn lanes_of<'a>(cell: CellPtr) -> Option<&'a dyn Lanes> {
    if cell.mailbox().rare.get() & rare::ANNEX == 0 {
        return None;
    }
    // SAFETY: a cell with an annex has a tail.
    unsafe { cell.tail() }.lanes()
}

/// The same, by those who know the message type.
///
/// # Safety
/// The caller is the runner of `cell`, whose message type is `M`.
pub(crate) unsafe fn annex_of<'a, M: 'static>(cell: CellPtr) -> Option<&'a Annex<M>> {
    if cell.mailbox().rare.get() & rare::ANNEX == 0 {
        return None;
    }
    // SAFETY: a cell with an annex has a tail.
    unsafe { cell.tail().annex() }
}

/// As [`give_back`], for any cell with a tail.
///
/// # Safety
/// The caller is the runner of `cell`, which has a tail.
#[inline(never)]
pub(crate) unsafe fn give_room_back(cell: CellPtr) {
    // SAFETY: as the caller promises.
    unsafe {
        match lanes_of(cell) {
            Some(annex) => annex.give_back(cell),
            None => give_back::<ByTable>(cell),
        }
    }
}

/// Changes the bound. *Runner.*
///
/// # Safety
/// The caller is the runner of `cell`, which has a tail.
pub(crate) unsafe fn resize(cell: CellPtr, capacity: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        match lanes_of(cell) {
            Some(annex) => annex.resize(capacity),
            None => cell.tail().resize(capacity),
        }
        give_room_back(cell);
    }
}

/// Leaves a pending future behind. *Runner.* After `Park::Parked` it must not touch the cell.
pub(crate) fn park(cell: CellPtr) -> Park {
    let mailbox = cell.mailbox();
    if !cell.is_owned() {
        return mailbox.task.park();
    }
    if mailbox.task.attention() {
        Park::Ordered
    } else if mailbox.task.take_wake() {
        Park::Notified
    } else {
        mailbox.rest.set(Rest::Awaiting);
        Park::Parked
    }
}

/// Looks at an owned cell whose bell rang. True if it has to run: the caller schedules it.
/// *Its worker.*
pub(crate) fn answer(cell: CellPtr) -> bool {
    let mailbox = cell.mailbox();
    let pending = match mailbox.rest.get() {
        Rest::Active => false,
        Rest::Idle => {
            mailbox.word.has_nodes()
                || mailbox.task.attention()
                || (mailbox.rare.get() & rare::ANNEX != 0 && mailbox.word.is_signalled())
        }
        Rest::Awaiting => mailbox.task.attention() || mailbox.task.take_wake(),
    };
    if pending {
        mailbox.rest.set(Rest::Active);
    }
    pending
}

/// Ends admission for good; every queued message becomes a dead letter, in order. *Runner.*
///
/// # Safety
/// The caller holds the ticket of `cell`, and its slot is empty.
pub(crate) unsafe fn close(cell: CellPtr) {
    if let Some(annex) = lanes_of(cell) {
        // SAFETY: as the caller promises.
        return unsafe { annex.close(cell) };
    }
    // SAFETY: as the caller promises; each message is gone before the next one is taken.
    let mut drain = unsafe { Drain::<ByTable>::new(cell) };
    if let Some(message) = drain.first() {
        message.lose(DeadLetterReason::Stopped);
    }
    // The ticket never comes back, so the drain finds the last of them.
    let _noted = cell.mailbox().word.signal(true);
    while let Some(message) = drain.next() {
        message.lose(DeadLetterReason::Stopped);
    }
    if cell.has_tail() {
        // SAFETY: as the caller promises.
        unsafe { give_back::<ByTable>(cell) };
    }
}

/// Is the code that polls with this waker a handler of this very cell? The waker tells it where it is not known what runs.
pub(crate) fn is_self_send(cell: CellPtr, waker: &Waker) -> bool {
    core::ptr::eq(sync::running(), cell.as_ptr().cast()) || waker.will_wake(&cell.borrowed_waker())
}

#[cfg(test)]
mod tests;
