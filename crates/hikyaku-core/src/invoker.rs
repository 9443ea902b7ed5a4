//! The invoker: the only place where user code runs.
//!
//! One activation of a cell does, in this order, until the budget is spent or nothing is left:
//! orders and system messages; what is pending; the next user message. The value of the handler
//! lives in the cell's slot while it runs. A panic is caught once around the whole activation; what
//! was going on is then read from the cell.
//!
//! # The end of an actor
//!
//! ```text
//!   Fresh ──► Starting ──► Ready ──► Stopping ──► Hook ──► Dead
//!     │           │                  ▲   children end,      future, actor, queue dropped;
//!     └───────────┴──── stop, kill, ─┘   youngest first     unregistered; watchers and parent told
//!                       failure
//! ```
//!
//! A kill skips `Hook` and drops the future that is pending.

use crate::actor::{Actor, Deadline};
use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::dispatcher::Home;
use crate::failure::{Failure, StopCause};
use crate::mailbox::{self, Drain, Life, SystemMessage, rare};
use crate::ready::Lane;
use crate::state::{Orders, Park, Release};
use crate::sync;
use alloc::boxed::Box;
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{self, Poll};
use core::time::Duration;

/// What an activation ended with.
#[derive(Debug)]
#[non_exhaustive]
pub enum InvokeResult {
    /// Nothing is left to do. The mailbox is idle.
    Completed {
        /// How many messages the activation found ready.
        ready_hint: usize,
    },
    /// The budget is spent, or the handler yielded. The mailbox is ready again.
    Yielded,
    /// The mailbox waits for something outside.
    Suspended {
        /// Why.
        reason: SuspendReason,
        /// For what.
        resume_on: ResumeCondition,
    },
    /// The actor failed. Its mailbox is ready again, to end the actor.
    Failed {
        /// What happened.
        error: Failure,
        /// When to try again; `None`: never.
        retry_after: Option<Duration>,
    },
    /// The actor has ended.
    Stopped,
}

/// Why a mailbox is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuspendReason {
    /// A handler awaits something, or the actor awaits the end of its children.
    AwaitExternal,
}

/// What ends a suspension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeCondition {
    /// The waker of the pending handler, or a system message.
    Woken,
}

/// How far an actor has been told to end. Ordered: a stronger order replaces a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Ending {
    Not,
    /// When the queue is empty.
    Drain,
    DrainForShutdown,
    /// After the handler in hand.
    Stop,
    /// Now.
    Kill,
    KillForShutdown,
}

impl Ending {
    fn of(orders: Orders) -> Self {
        let shutdown = orders.has(Orders::SHUTDOWN);
        if orders.has(Orders::KILL) {
            if shutdown {
                Self::KillForShutdown
            } else {
                Self::Kill
            }
        } else if orders.has(Orders::STOP) {
            Self::Stop
        } else if orders.has(Orders::DRAIN) {
            if shutdown {
                Self::DrainForShutdown
            } else {
                Self::Drain
            }
        } else {
            Self::Not
        }
    }

    /// The order for the children of an actor that ends so.
    fn for_children(self) -> Orders {
        match self {
            Self::Not | Self::Stop => Orders::STOP,
            Self::Drain => Orders::DRAIN,
            Self::DrainForShutdown => Orders::DRAIN.and(Orders::SHUTDOWN),
            Self::Kill => Orders::KILL,
            Self::KillForShutdown => Orders::KILL.and(Orders::SHUTDOWN),
        }
    }

    fn is_kill(self) -> bool {
        self >= Self::Kill
    }

    pub(crate) fn cause(self) -> StopCause {
        match self {
            Self::Not | Self::Drain | Self::Stop => StopCause::Stopped,
            Self::Kill => StopCause::Killed,
            Self::DrainForShutdown | Self::KillForShutdown => StopCause::Shutdown,
        }
    }
}

/// The budget of one activation.
pub(crate) struct Activation<'a> {
    /// How many messages it may handle, less what else it has done.
    throughput: u32,
    handled: u32,
    /// How many of them the lane knows of.
    counted: u32,
    /// After so many messages the clock is read. It costs as much as several messages, so it is read after
    /// 8, 16, 32, .. of them; the first read is the start.
    next_read: u32,
    start: Duration,
    lane: &'a Lane,
    home: &'a Home,
}

/// After so many messages the clock is read for the first time.
pub(crate) const FIRST_READ: u32 = 8;

impl<'a> Activation<'a> {
    /// `first_read`: [`FIRST_READ`], or the highest number if time does not matter.
    #[inline(always)]
    pub(crate) fn new(throughput: u32, first_read: u32, lane: &'a Lane, home: &'a Home) -> Self {
        Self {
            throughput,
            handled: 0,
            counted: 0,
            next_read: first_read,
            start: Duration::ZERO,
            lane,
            home,
        }
    }

    /// Tells the lane how many messages were handled.
    pub(crate) fn count(&mut self) {
        self.lane.count(self.handled - self.counted);
        self.counted = self.handled;
    }

    /// Counts work that is not a handled message against the budget.
    fn charge(&mut self, steps: u32) {
        self.throughput = self.throughput.saturating_sub(steps);
    }

    #[inline(always)]
    fn is_spent(&mut self) -> bool {
        self.handled >= self.throughput || (self.handled >= self.next_read && self.read_clock())
    }

    #[cold]
    fn read_clock(&mut self) -> bool {
        let first = self.next_read == FIRST_READ;
        self.next_read = self.next_read.saturating_mul(2);
        let now = self.home.shared.now();
        if first {
            self.start = now;
        }
        !first && self.home.is_too_long(now.saturating_sub(self.start))
    }
}

/// Runs activations, and turns panics into failures.
#[derive(Debug)]
pub(crate) struct MessageInvoker;

impl MessageInvoker {
    /// Runs one activation.
    ///
    /// # Safety
    /// The caller holds the ticket of `cell`. It keeps it if the result is `Yielded` or `Failed`.
    #[inline]
    pub(crate) unsafe fn invoke_batch(
        cell: CellPtr,
        activation: &mut Activation<'_>,
    ) -> InvokeResult {
        // SAFETY: as the caller promises; the vtable's function fits the cell.
        match sync::catch(|| unsafe { (cell.vtable().run)(cell, activation) }) {
            Ok(result) => result,
            Err(panic) => {
                let error = Failure::panic(panic);
                // SAFETY: user code panicked in the middle of the activation, so the ticket is
                // still held.
                unsafe { fail(cell, error) }
            }
        }
    }
}

/// What to do after a phase.
enum Flow {
    /// Look again what there is to do.
    Again,
    /// The activation is over.
    Over(InvokeResult),
}

const AWAITING: InvokeResult = InvokeResult::Suspended {
    reason: SuspendReason::AwaitExternal,
    resume_on: ResumeCondition::Woken,
};

/// One activation of a cell of `A`.
///
/// # Safety
/// The caller holds the ticket of `cell`, which is a cell of `A`.
pub(crate) unsafe fn run<A: Actor>(cell: CellPtr, activation: &mut Activation<'_>) -> InvokeResult {
    let waker = cell.borrowed_waker();
    let mut cx = task::Context::from_waker(&waker);
    let state = cell.mailbox();
    loop {
        // SAFETY: the ticket is held until a phase says `Over`.
        let flow = unsafe {
            if state.task.attention() {
                attend(cell, activation);
                room_back::<A>(cell);
            }
            let ending = state.ending.get();
            if ending.is_kill() && state.life.get() != Life::Stopping {
                cut_short(cell);
            }
            if state.life.get() == Life::Stopping {
                drop_agenda(cell);
            }
            match state.life.get() {
                _ if state.busy.get() => resume::<A>(cell, &mut cx, activation),
                Life::Fresh if ending >= Ending::Stop => {
                    state.life.set(Life::Stopping);
                    (cell.vtable().drop_factory)(cell);
                    Flow::Again
                }
                Life::Fresh => {
                    state.life.set(Life::Starting);
                    (cell.vtable().construct)(cell);
                    state
                        .incarnation
                        .set(state.incarnation.get().wrapping_add(1));
                    let started = A::started(&mut *cell.actor::<A>(), &mut *cell.context::<A>());
                    let poll = begin(cell, started, &mut cx);
                    after_handler::<A>(cell, poll, activation)
                }
                Life::Starting => {
                    has_started(cell);
                    to(cell, Life::Ready)
                }
                Life::Ready if ending >= Ending::Stop => to(cell, Life::Stopping),
                Life::Ready => messages::<A>(cell, activation, &mut cx),
                Life::Stopping if !children_gone(cell) => wait::<A>(cell, activation),
                Life::Stopping if ending.is_kill() || state.vacant.get() => to(cell, Life::Dead),
                Life::Stopping => {
                    vacate_slot::<A>(cell);
                    state.life.set(Life::Hook);
                    let stopped = A::stopped(&mut *cell.actor::<A>(), &mut *cell.context::<A>());
                    match begin(cell, stopped, &mut cx) {
                        Poll::Ready(()) => Flow::Again,
                        Poll::Pending => wait::<A>(cell, activation),
                    }
                }
                Life::Hook => to(cell, Life::Dead),
                Life::Dead => {
                    // Before anybody can know that the actor, or the system, has ended.
                    activation.count();
                    end(cell);
                    Flow::Over(InvokeResult::Stopped)
                }
            }
        };
        if let Flow::Over(result) = flow {
            return result;
        }
    }
}

fn to(cell: CellPtr, life: Life) -> Flow {
    cell.mailbox().life.set(life);
    Flow::Again
}

/// Handles messages until the budget is spent, the mailbox is empty or something else is to do.
///
/// # Safety
/// As [`run`]; the actor is there and no future is live.
#[inline(always)]
unsafe fn messages<A: Actor>(
    cell: CellPtr,
    activation: &mut Activation<'_>,
    cx: &mut task::Context<'_>,
) -> Flow {
    let state = cell.mailbox();
    // SAFETY: the ticket is held, and the drain is dropped or empty before it is given away.
    let mut drain = unsafe { Drain::<A::Msg>::new(cell) };
    let mut first = drain.first();
    loop {
        let next = if state.rare.get() == 0 {
            first.take().or_else(|| drain.next())
        } else {
            // SAFETY: the ticket is held.
            unsafe { next_of_all(cell, &mut first, &mut drain) }
        };
        let Some(msg) = next else {
            // SAFETY: the ticket is held.
            return unsafe { drained::<A>(cell, activation) };
        };
        if let Some(Deadline(deadline)) = A::deadline(&msg)
            // SAFETY: the ticket is held.
            && unsafe { is_late(cell, deadline) }
        {
            drop(msg);
            activation.charge(1);
        } else {
            activation.handled += 1;
            // SAFETY: the actor is there, and no future borrows it or the context.
            let (actor, context) = unsafe { (&mut *cell.actor::<A>(), &mut *cell.context::<A>()) };
            let handle = A::handle(actor, msg, context);
            // SAFETY: the slot is empty: no future is live, and the first message was moved out.
            match unsafe { begin(cell, handle, cx) } {
                Poll::Ready(Ok(())) => {}
                poll => {
                    drop(drain);
                    // SAFETY: the ticket is held.
                    return unsafe { after_handler::<A>(cell, poll, activation) };
                }
            }
        }
        if activation.is_spent() {
            drop(drain);
            // SAFETY: the ticket is held.
            unsafe { pause::<A>(cell) };
            return Flow::Over(InvokeResult::Yielded);
        }
        if state.task.attention() {
            return Flow::Again;
        }
    }
}

/// The next message of an actor that has more than a mailbox.
///
/// # Safety
/// As [`messages`].
#[cold]
unsafe fn next_of_all<M>(cell: CellPtr, first: &mut Option<M>, drain: &mut Drain<M>) -> Option<M> {
    let state = cell.mailbox();
    let notes = state.rare.get();
    if notes & rare::DEADLINE != 0 {
        // SAFETY: the ticket is held.
        unsafe { cell.cold() }.deadline = None;
        state.rare.set(notes & !rare::DEADLINE);
    }
    // SAFETY: the ticket is held.
    let Some(diary) = (unsafe { cell.diary() }) else {
        return first.take().or_else(|| drain.next());
    };
    diary.handled();
    if notes & rare::DUE != 0 {
        if let Some(first) = first.take() {
            // The handler's future may need the place that it came from.
            drain.put_back(first);
        }
        let mut out = MaybeUninit::<M>::uninit();
        // SAFETY: the agenda was made for the actor's messages.
        if unsafe { diary.next(out.as_mut_ptr().cast()) } {
            // SAFETY: just written.
            return Some(unsafe { out.assume_init() });
        }
        state.rare.set(state.rare.get() & !rare::DUE);
    }
    let message = first.take().or_else(|| drain.next())?;
    // SAFETY: a message of the actor.
    unsafe { diary.meet(ptr::from_ref(&message).cast()) };
    Some(message)
}

/// Is it too late for a message? If not, its deadline is the actor's while it is in hand.
///
/// # Safety
/// As [`messages`].
unsafe fn is_late(cell: CellPtr, deadline: Duration) -> bool {
    let shared = &cell.home().shared;
    let Some(time) = &shared.time else {
        return false;
    };
    if time.now() >= deadline {
        shared.one_expired();
        return true;
    }
    // SAFETY: the ticket is held.
    unsafe { cell.cold() }.deadline = Some(deadline);
    let state = cell.mailbox();
    state.rare.set(state.rare.get() | rare::DEADLINE);
    false
}

/// An activation ends. Room that was freed is not kept back, and the agenda reads the clock.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn pause<A: Actor>(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        room_back::<A>(cell);
        if cell.mailbox().rare.get() & rare::AGENDA != 0
            && let Some(diary) = cell.diary()
        {
            diary.settle();
        }
    }
}

/// What is left of the agenda ends with the actor.
///
/// # Safety
/// As [`run`].
unsafe fn drop_agenda(cell: CellPtr) {
    let state = cell.mailbox();
    if state.rare.replace(0) & rare::AGENDA != 0 {
        // SAFETY: the ticket is held.
        let agenda = unsafe { cell.cold() }.agenda.take();
        sync::quietly(|| drop(agenda));
    }
}

/// Nothing is queued: stop if that was waited for, else go idle.
///
/// # Safety
/// As [`run`].
unsafe fn drained<A: Actor>(cell: CellPtr, activation: &mut Activation<'_>) -> Flow {
    let state = cell.mailbox();
    if state.ending.get() != Ending::Not {
        if !state.word.is_closed() {
            // Whoever gave the order has not come to close admission yet.
            let _noted = state.word.signal(true);
            return Flow::Again;
        }
        if state.word.has_nodes() {
            return Flow::Again;
        }
        return to(cell, Life::Stopping);
    }
    let ready_hint = activation.handled as usize;
    if state.rare.get() != 0 {
        // SAFETY: the ticket is held.
        unsafe { pause::<A>(cell) };
    }
    activation.lane.leaving();
    // SAFETY: the ticket is held; after `Idle` nothing is touched.
    match unsafe { mailbox::leave::<A::Msg>(cell) } {
        Release::Idle => Flow::Over(InvokeResult::Completed { ready_hint }),
        Release::More => {
            activation.lane.entering();
            // The signal of an order that was read already would keep the cell from going idle.
            state.word.acknowledge();
            again(activation)
        }
    }
}

/// There is more to do. A future beside the actor that wakes itself would go on for ever.
fn again(activation: &mut Activation<'_>) -> Flow {
    if activation.is_spent() {
        Flow::Over(InvokeResult::Yielded)
    } else {
        Flow::Again
    }
}

/// Puts a future into the slot and polls it.
///
/// # Safety
/// The ticket is held and the slot is empty.
#[inline(always)]
unsafe fn begin<F: Future>(
    cell: CellPtr,
    future: F,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let slot = cell.slot().cast::<F>();
    // SAFETY: the slot is large enough for every future of the actor, and empty.
    unsafe { slot.write(future) };
    // After the write: a panic in making the future leaves the slot empty.
    cell.mailbox().busy.set(true);
    // SAFETY: just written.
    unsafe { go_on::<F>(cell, cx) }
}

/// Polls the future in the slot, and drops it when it is done.
///
/// # Safety
/// The ticket is held and the slot holds an `F`.
#[inline(always)]
unsafe fn go_on<F: Future>(cell: CellPtr, cx: &mut task::Context<'_>) -> Poll<F::Output> {
    let slot = cell.slot().cast::<F>();
    // SAFETY: the future stays in the slot until it is dropped, so it is pinned.
    let poll = unsafe { Pin::new_unchecked(&mut *slot).poll(cx) };
    if poll.is_ready() {
        // Before the drop: a panic in it must not drop twice.
        cell.mailbox().busy.set(false);
        // SAFETY: live until here.
        unsafe { ptr::drop_in_place(slot) };
    }
    poll
}

type Go<O> = unsafe fn(CellPtr, &mut task::Context<'_>) -> Poll<O>;

/// The function that polls `handle`'s future, whose type has no name.
fn go_on_handle<A: Actor, F: Future>(
    _: fn(&'static mut A, A::Msg, &'static mut crate::Context<'static, A>) -> F,
) -> (Go<F::Output>, unsafe fn(*mut u8)) {
    (go_on::<F>, drop_slot::<F>)
}

/// The same for a hook.
fn go_on_hook<A: Actor, F: Future>(
    _: fn(&'static mut A, &'static mut crate::Context<'static, A>) -> F,
) -> (Go<F::Output>, unsafe fn(*mut u8)) {
    (go_on::<F>, drop_slot::<F>)
}

/// # Safety
/// `slot` holds an `F`.
unsafe fn drop_slot<F>(slot: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { ptr::drop_in_place(slot.cast::<F>()) }
}

/// Polls what is pending.
///
/// # Safety
/// As [`run`]; a future is live.
unsafe fn resume<A: Actor>(
    cell: CellPtr,
    cx: &mut task::Context<'_>,
    activation: &mut Activation<'_>,
) -> Flow {
    // SAFETY: the life says which future it is.
    unsafe {
        match cell.mailbox().life.get() {
            Life::Starting => {
                let (go_on, _) = go_on_hook::<A, _>(A::started);
                let poll = go_on(cell, cx);
                after_handler::<A>(cell, poll, activation)
            }
            Life::Hook => {
                let (go_on, _) = go_on_hook::<A, _>(A::stopped);
                match go_on(cell, cx) {
                    Poll::Ready(()) => Flow::Again,
                    Poll::Pending => wait::<A>(cell, activation),
                }
            }
            _ => {
                let (go_on, _) = go_on_handle::<A, _>(A::handle);
                let poll = go_on(cell, cx);
                after_handler::<A>(cell, poll, activation)
            }
        }
    }
}

/// # Safety
/// As [`run`].
unsafe fn after_handler<A: Actor>(
    cell: CellPtr,
    poll: Poll<Result<(), Failure>>,
    activation: &mut Activation<'_>,
) -> Flow {
    // SAFETY: the ticket is held.
    unsafe {
        match poll {
            Poll::Ready(Ok(())) => Flow::Again,
            Poll::Ready(Err(error)) => Flow::Over(fail(cell, error)),
            Poll::Pending => wait::<A>(cell, activation),
        }
    }
}

/// Leaves until a waker or an order comes.
///
/// # Safety
/// As [`run`].
unsafe fn wait<A: Actor>(cell: CellPtr, activation: &mut Activation<'_>) -> Flow {
    // SAFETY: the ticket is held; after `Parked` nothing is touched.
    unsafe { pause::<A>(cell) };
    activation.lane.leaving();
    match mailbox::park(cell) {
        Park::Parked => Flow::Over(AWAITING),
        // It was woken while it was polled: others first.
        Park::Notified => Flow::Over(InvokeResult::Yielded),
        Park::Ordered => {
            activation.lane.entering();
            again(activation)
        }
    }
}

/// An activation ends, or admission has: room that was freed is not kept back, and senders that wait
/// for a closed mailbox are told.
///
/// # Safety
/// As [`run`].
unsafe fn room_back<A: Actor>(cell: CellPtr) {
    if cell.is_bounded() {
        // SAFETY: the ticket is held.
        unsafe { mailbox::give_back::<A::Msg>(cell) };
    }
}

/// Drops the live future, whichever it is.
///
/// # Safety
/// As [`run`]; the slot holds a live future.
pub(crate) unsafe fn drop_future<A: Actor>(cell: CellPtr) {
    let (_, handle) = go_on_handle::<A, _>(A::handle);
    let (_, started) = go_on_hook::<A, _>(A::started);
    let (_, stopped) = go_on_hook::<A, _>(A::stopped);
    let drop = match cell.mailbox().life.get() {
        Life::Starting => started,
        Life::Hook => stopped,
        _ => handle,
    };
    // SAFETY: the life says which future it is.
    unsafe { drop(cell.slot()) };
}

/// Reads orders and system messages.
///
/// # Safety
/// The ticket is held.
#[cold]
unsafe fn attend(cell: CellPtr, activation: &mut Activation<'_>) {
    let state = cell.mailbox();
    state.word.acknowledge();
    let orders = state.task.take_orders();
    if orders.has(Orders::LANE) {
        for node in state.system.take() {
            // SAFETY: the ticket is held, and a taken node is ours.
            unsafe { system_message(cell, node) };
        }
    }
    let ending = Ending::of(orders);
    if ending > state.ending.get() {
        state.ending.set(ending);
        if cell.cold_if_any().is_some() {
            // The child that is leaving hears the stronger order too.
            // SAFETY: the ticket is held.
            unsafe { cell.cold() }.leaving = None;
        }
    }
    // Last: the user's code runs here, whose panic must not lose the other orders.
    if orders.has(Orders::AGENDA) && !state.ending.get().is_kill() {
        // SAFETY: the ticket is held.
        unsafe { attend_agenda(cell, activation) };
    }
}

/// Polls the futures beside the actor, and notes what is due.
///
/// # Safety
/// The ticket is held.
unsafe fn attend_agenda(cell: CellPtr, activation: &mut Activation<'_>) {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    let Some(diary) = (unsafe { cell.diary() }) else {
        return;
    };
    // The deadline of the message in hand is nothing to these futures.
    let notes = state.rare.get();
    state.rare.set(notes & !rare::DEADLINE);
    let collected = diary.collect();
    let due = if collected.due { rare::DUE } else { 0 };
    state.rare.set(notes | due);
    activation.charge(collected.polls);
}

/// # Safety
/// The ticket of `cell` is held; `node` was taken from its lane.
unsafe fn system_message(cell: CellPtr, node: NonNull<mailbox::SystemNode>) {
    // SAFETY: the node is ours. A watch's node is a box; an obituary is part of its cell.
    unsafe {
        match &node.as_ref().message {
            SystemMessage::ChildEnded => cell.bury(CellPtr::of_obituary(node)),
            SystemMessage::Watch(_) => {
                let SystemMessage::Watch(notice) = Box::from_raw(node.as_ptr()).message else {
                    return;
                };
                if notice.start && cell.mailbox().started.get() {
                    notice.tell(None);
                } else {
                    let watchers = &mut cell.cold().watchers;
                    // A caller that asks again and again, and gives up each time, leaves nothing.
                    if watchers.len() == watchers.capacity() {
                        watchers.retain(|watcher| !watcher.is_left());
                    }
                    watchers.push(notice);
                }
            }
        }
    }
}

/// # Safety
/// The ticket is held.
unsafe fn has_started(cell: CellPtr) {
    cell.mailbox().started.set(true);
    if cell
        .cold_if_any()
        .is_none_or(|cold| cold.watchers.is_empty())
    {
        return;
    }
    // SAFETY: the ticket is held.
    let watchers = core::mem::take(unsafe { &mut cell.cold().watchers });
    for watcher in watchers {
        if watcher.start {
            watcher.tell(None);
        } else {
            // SAFETY: the ticket is held.
            unsafe { cell.cold() }.watchers.push(watcher);
        }
    }
}

/// A handler, a hook or the factory failed: the actor ends.
///
/// # Safety
/// The ticket is held.
unsafe fn fail(cell: CellPtr, error: Failure) -> InvokeResult {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    unsafe {
        drop_live_future(cell);
        let cold = cell.cold();
        if cold.failure.is_none() {
            cold.failure = Some(error.clone());
        }
    }
    cell.home().shared.report_failure(cell, &error);
    if state.ending.get() < Ending::Stop {
        state.ending.set(Ending::Stop);
    }
    state.life.set(match state.life.get() {
        Life::Hook | Life::Dead => Life::Dead,
        _ => Life::Stopping,
    });
    // Admission ends now. The ticket is held, so there is nothing to schedule.
    let _noted = state.word.signal(true);
    InvokeResult::Failed {
        error,
        retry_after: None,
    }
}

/// A kill came: what is pending is dropped.
///
/// # Safety
/// The ticket is held.
unsafe fn cut_short(cell: CellPtr) {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    unsafe {
        drop_live_future(cell);
        match state.life.get() {
            Life::Fresh => {
                state.life.set(Life::Stopping);
                sync::quietly(|| (cell.vtable().drop_factory)(cell));
            }
            Life::Hook | Life::Dead => state.life.set(Life::Dead),
            _ => state.life.set(Life::Stopping),
        }
    }
}

/// # Safety
/// The ticket is held.
unsafe fn drop_live_future(cell: CellPtr) {
    if cell.mailbox().busy.replace(false) {
        // SAFETY: live until here, and never again: the flag is off before.
        sync::quietly(|| unsafe { (cell.vtable().drop_future)(cell) });
    }
}

/// Tells the children to end, one after the other, the youngest first; all at once for a kill.
/// True when none is left.
///
/// # Safety
/// The ticket is held.
unsafe fn children_gone(cell: CellPtr) -> bool {
    if cell.cold_if_any().is_none_or(|cold| cold.children == 0) {
        return true;
    }
    let ending = cell.mailbox().ending.get();
    // SAFETY: the ticket is held; children stay until they are buried, which is done here only.
    let cold = unsafe { cell.cold() };
    if ending.is_kill() {
        let mut child = cold.youngest;
        while let Some(next) = child {
            next.order(ending.for_children(), true);
            child = next.older_sibling();
        }
    } else if cold.leaving != cold.youngest
        && let Some(youngest) = cold.youngest
    {
        cold.leaving = Some(youngest);
        youngest.order(ending.for_children(), true);
    }
    false
}

/// The last hook's future needs the slot: a message that waits there, the first one of an actor that
/// was idle, becomes a dead letter, before those behind it.
///
/// # Safety
/// As [`run`].
unsafe fn vacate_slot<A: Actor>(cell: CellPtr) {
    // SAFETY: the ticket is held.
    if let Some(message) = unsafe { Drain::<A::Msg>::new(cell) }.first() {
        dead_letter(cell, message);
    }
}

fn dead_letter<M: 'static>(cell: CellPtr, message: M) {
    cell.home()
        .shared
        .dead_letters
        .receive(cell.index(), message, DeadLetterReason::Stopped);
}

/// Messages left in the queue become dead letters.
///
/// # Safety
/// As [`run`].
pub(crate) unsafe fn close_mailbox<A: Actor>(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe { mailbox::close::<A::Msg>(cell, |message| dead_letter(cell, message)) }
}

/// Ends the actor: nothing of it is left but the memory, for those who still point to it.
///
/// Whatever of the user's runs here is caught where it runs, so that the end happens once.
///
/// # Safety
/// The ticket is held, and goes with the cell.
unsafe fn end(cell: CellPtr) {
    let state = cell.mailbox();
    // SAFETY: the ticket is held until the end.
    unsafe {
        drop_agenda(cell);
        if !state.vacant.replace(true) {
            sync::quietly(|| (cell.vtable().drop_actor)(cell));
        }
        (cell.vtable().close_mailbox)(cell);
        cell.release_spare();
        let home = cell.home();
        // All foreign code is behind us or caught. If something panics all the same, ending twice
        // would touch freed memory: better to end the program.
        let once = Once;
        home.shared.unregister(cell);
        let cause = cell.cause();
        tell_watchers(cell, &cause);
        match cell.parent() {
            Some(parent) => {
                // The parent may end and be freed as soon as it knows.
                parent.retain();
                let queued = parent.mailbox().system.push(cell.obituary());
                debug_assert!(queued, "a parent ends after its children");
                parent.order(Orders::LANE, false);
                parent.release();
            }
            None => {
                let home: *const crate::dispatcher::Home = home;
                cell.release();
                // The worker that runs this keeps its dispatcher alive.
                (*home).one_less();
                core::mem::forget(once);
                return;
            }
        }
        home.one_less();
        core::mem::forget(once);
    }
}

/// Dropped by a panic only, it ends the program: a panic while another one unwinds does.
struct Once;

impl Drop for Once {
    fn drop(&mut self) {
        panic!("an actor's end panicked");
    }
}

/// # Safety
/// The ticket is held.
unsafe fn tell_watchers(cell: CellPtr, cause: &StopCause) {
    let watchers = if cell.cold_if_any().is_some() {
        // SAFETY: the ticket is held.
        let cold = unsafe { cell.cold() };
        // What stays for those who ask later is text only, so that no destructor of the user runs
        // when the last reference goes.
        cold.failure = cold.failure.take().map(|failure| failure.text_only());
        core::mem::take(&mut cold.watchers)
    } else {
        alloc::vec::Vec::new()
    };
    // From here on anyone may read how it ended, so the lane ends after the last change.
    let late = cell.mailbox().system.finish();
    for watcher in watchers {
        watcher.tell(Some(cause.clone()));
    }
    for node in late {
        // SAFETY: a taken node is ours. Obituaries are all in: the children are gone.
        if let SystemMessage::Watch(notice) = unsafe { Box::from_raw(node.as_ptr()) }.message {
            let started = notice.start && cell.mailbox().started.get();
            notice.tell((!started).then(|| cause.clone()));
        }
    }
}
