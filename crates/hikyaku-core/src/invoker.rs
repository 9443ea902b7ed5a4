//! The invoker: the only place where user code runs.
//!
//! One activation of a cell does, in this order, until the budget is spent or nothing is left:
//! orders and system messages; what is pending; the next user message. The value of the handler
//! lives in the cell's slot while it runs. A panic is caught once around the whole activation; what
//! was going on is then read from the cell.
//!
//! How an actor ends is in `invoker/end.rs`, what becomes of one that fails in `invoker/fate.rs`, what it has to do with
//! its children in `invoker/kin.rs`.

mod end;
mod fate;
mod kin;
mod links;
mod messages;
mod reach;

use self::end::{close_mailbox, cut_short, end, vacate_slot, vacate_slot_for_hook};
use self::fate::{
    begin_anew, drop_failed_future, fail, fault, forgive, let_go, resume_after_failure, write_to,
};
pub(crate) use self::fate::{fail_with, restart_after_wait};
pub(crate) use self::kin::{Family, found_family, restart_child, stop_child, stop_itself};
use self::kin::{awaits_its_turn, children_gone, pass_the_turn};
pub(crate) use self::links::{Links, link, unlink};
use self::messages::messages;
pub(crate) use self::messages::{Beyond, look_beyond, look_for_signals};
use self::reach::Reach;
pub(crate) use self::reach::{drop_future, has_late, poll, run_of};
use crate::cell::CellPtr;
use crate::dispatcher::Home;
use crate::event_stream::News;
use crate::failure::{Failure, StopCause};
use crate::flow::FLOW;
use crate::mailbox::{self, Farewell, Known, Letter, Life, Marks, Notice, SystemNode, rare};
use crate::middleware::{self, MessageOutcome};
use crate::ready::Lane;
use crate::state::{Orders, Park, Release};
use crate::supervision::SUPERVISION;
use crate::suspension::{self, Occasion, ResumeCondition, SuspendReason};
use crate::sync::{self, Arc, Panic};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::{self, Poll};
use core::time::Duration;

/// What an activation ends with: see [`LocalWorker::run_one`](crate::LocalWorker::run_one).
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

    /// How an actor ended that was told so.
    pub(crate) fn cause(self, failure: Option<&Failure>) -> StopCause {
        if let Some(failure) = failure {
            return StopCause::Failed(failure.clone());
        }
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
    /// In nanoseconds.
    start: u64,
    /// How many messages had been handled when orders were last read.
    attended: u32,
    lane: &'a Lane,
    home: &'a Home,
}

/// Counts also what was handled before a panic.
impl Drop for Activation<'_> {
    #[inline]
    fn drop(&mut self) {
        self.count();
    }
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
            start: 0,
            attended: u32::MAX,
            lane,
            home,
        }
    }

    /// There are orders, and a message is at hand: do they come first? Futures beside the actor that wake themselves
    /// give an order whenever one is read, so between two that are about them there is a message.
    #[cold]
    fn is_ordered(&self, cell: CellPtr) -> bool {
        self.attended != self.handled || cell.mailbox().task.is_urgent()
    }

    /// Tells the lane how many messages were handled.
    #[inline]
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

    /// Without a clock no time passes.
    #[cold]
    fn read_clock(&mut self) -> bool {
        let time = self.home.shared.time.as_deref();
        self.next_read = time.map_or(u32::MAX, |_| self.next_read.saturating_mul(2));
        time.is_some_and(|time| time.is_too_long(self))
    }

    /// Has it taken longer than it may? If this is the first look, it begins now. In nanoseconds.
    pub(crate) fn is_too_long(&mut self, now: u64) -> bool {
        let first = self.next_read == FIRST_READ * 2;
        if first {
            self.start = now;
        }
        !first && self.home.is_too_long(now.wrapping_sub(self.start))
    }
}

/// Runs activations, and turns panics into failures.
#[derive(Debug)]
pub(crate) struct MessageInvoker;

impl MessageInvoker {
    /// Runs one activation. It may panic; then [`after_panic`](Self::after_panic) has to follow.
    ///
    /// # Safety
    /// The caller holds the ticket of `cell`. It keeps it if the outcome is `Yielded` or `Failed`, or
    /// if this panics.
    #[inline(always)]
    pub(crate) unsafe fn invoke_batch(cell: CellPtr, activation: &mut Activation<'_>) -> Outcome {
        // SAFETY: as the caller promises; the vtable's function fits the cell.
        unsafe { (cell.vtable().run)(cell, activation) }
    }

    /// User code panicked in the middle of an activation.
    ///
    /// # Safety
    /// The caller holds the ticket of `cell`, and keeps it.
    #[cold]
    pub(crate) unsafe fn after_panic(cell: CellPtr, panic: Panic) {
        // SAFETY: as the caller promises.
        unsafe { fail(cell, Failure::panic(panic)) };
    }
}

/// What an activation ended with, as the worker has to know it: in one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    Completed,
    Yielded,
    Suspended,
    Failed,
    Stopped,
}

impl Outcome {
    /// All that is known of it. *While nobody runs the cell.*
    pub(crate) fn of(self, cell: CellPtr, ready_hint: usize) -> InvokeResult {
        match self {
            Self::Completed => InvokeResult::Completed { ready_hint },
            Self::Yielded => InvokeResult::Yielded,
            Self::Suspended => {
                let known = cell.extra_if_any();
                let known = known.and_then(|extra| extra.suspension.latest());
                let (reason, resume_on) =
                    known.unwrap_or((SuspendReason::AwaitExternal, ResumeCondition::Explicit));
                InvokeResult::Suspended { reason, resume_on }
            }
            Self::Failed => {
                let failure = cell.cold_if_any().and_then(|cold| cold.failure.clone());
                InvokeResult::Failed {
                    error: failure.unwrap_or_else(|| Failure::msg("it failed at its end")),
                    retry_after: None,
                }
            }
            Self::Stopped => InvokeResult::Stopped,
        }
    }
}

/// What to do after a phase.
enum Flow {
    /// Look again what there is to do.
    Again,
    /// Nothing is to do but to handle messages.
    Messages,
    /// The activation is over.
    Over(Outcome),
}

/// One activation of a cell.
///
/// # Safety
/// The caller holds the ticket of `cell`, which is reached so.
unsafe fn run<R: Reach>(cell: CellPtr, activation: &mut Activation<'_>) -> Outcome {
    let waker = cell.borrowed_waker();
    let mut cx = task::Context::from_waker(&waker);
    let state = cell.mailbox();
    // By far the most activations have a handler to go on with, or nothing but messages. Whatever else is to
    // do comes as an order, and is done, or has changed the life, before an activation ends.
    let quiet = state.life.get() == Life::Ready && !state.task.attention();
    let mut flow = if quiet && state.busy.get() {
        // SAFETY: the ticket is held, and the future of a handler is live.
        unsafe { after_handler(cell, R::go_on(cell, &mut cx), activation) }
    } else if quiet && state.rare.get() & rare::STILL == 0 {
        Flow::Messages
    } else {
        Flow::Again
    };
    loop {
        // SAFETY: the ticket is held until a step says `Over`. Messages are handled only when the actor is
        // there and no future is live.
        flow = unsafe {
            match flow {
                Flow::Messages => messages::<R>(cell, activation, &mut cx),
                Flow::Again => step(cell, activation),
                Flow::Over(result) => return result,
            }
        };
    }
}

/// Does the next thing that is not a message.
///
/// # Safety
/// As [`run`].
#[inline(never)]
#[allow(clippy::too_many_lines, reason = "an arm for each part of a life")]
unsafe fn step(cell: CellPtr, activation: &mut Activation<'_>) -> Flow {
    let state = cell.mailbox();
    // SAFETY: the ticket is held.
    unsafe {
        if state.task.attention() {
            attend(cell, activation);
            room_back(cell);
        }
        if state.rare.get() & rare::EXTRA != 0 && !state.busy.get() {
            middleware::after(cell, MessageOutcome::Ok);
        }
        let ending = state.ending.get();
        if ending.is_kill() && state.life.get() != Life::Stopping {
            cut_short(cell);
        }
        if state.life.get() == Life::Stopping {
            drop_agenda(cell);
            let_go(cell);
        }
        if let Some(fault) = fault(cell) {
            if FLOW {
                // Middleware hears that it is not the fault of the handler in flight.
                drop_failed_future(cell);
            }
            fail(cell, fault);
            return Flow::Over(Outcome::Failed);
        }
        match state.life.get() {
            _ if state.busy.get() => hook(cell, activation),
            // Lives that only a supervisor leads to.
            Life::Faulted | Life::Restarting | Life::Clearing if !SUPERVISION => {
                to(cell, Life::Stopping)
            }
            Life::Fresh if ending >= Ending::Stop => {
                forgive(cell);
                to(cell, Life::Stopping)
            }
            Life::Fresh if awaits_its_turn(cell) => match ending {
                Ending::Not => wait(cell, activation),
                _ => to(cell, Life::Stopping),
            },
            Life::Fresh => {
                state.life.set(Life::Starting);
                (cell.vtable().construct)(cell);
                state.marks.clear(Marks::VACANT);
                state
                    .incarnation
                    .set(state.incarnation.get().wrapping_add(1));
                match hook(cell, activation) {
                    Flow::Again if !state.busy.get() && !state.task.attention() => {
                        // Straight on: most actors start so.
                        has_started(cell);
                        state.life.set(Life::Ready);
                        if state.rare.get() & rare::STILL == 0 {
                            Flow::Messages
                        } else {
                            Flow::Again
                        }
                    }
                    flow => flow,
                }
            }
            Life::Starting => {
                has_started(cell);
                to(cell, Life::Ready)
            }
            Life::Ready if ending >= Ending::Stop => to(cell, Life::Stopping),
            // Whoever is told to end is not brought back before.
            Life::Faulted if ending != Ending::Not => to(cell, Life::Stopping),
            Life::Ready | Life::Faulted if SUPERVISION && state.marks.has(Marks::RESTART) => {
                state.marks.clear(Marks::RESTART);
                state.life.set(Life::Restarting);
                vacate_slot_for_hook(cell);
                if !state.marks.has(Marks::SOUND) {
                    Flow::Again
                } else {
                    hook(cell, activation)
                }
            }
            Life::Faulted => wait(cell, activation),
            Life::Restarting => {
                drop_agenda(cell);
                suspension::end_some(cell, Occasion::BeginAnew);
                to(cell, Life::Clearing)
            }
            Life::Clearing if ending >= Ending::Stop => to(cell, Life::Stopping),
            Life::Clearing if !children_gone(cell) => wait(cell, activation),
            Life::Clearing => {
                begin_anew(cell);
                Flow::Again
            }
            Life::Ready if state.rare.get() & rare::STILL != 0 => wait(cell, activation),
            Life::Ready => Flow::Messages,
            Life::Stopping if !children_gone(cell) => {
                // A child may be waiting for the answer to what is queued here.
                close_mailbox(cell);
                wait(cell, activation)
            }
            Life::Stopping if ending.is_kill() || state.marks.has(Marks::VACANT) => {
                to(cell, Life::Dead)
            }
            Life::Stopping => {
                vacate_slot(cell);
                state.life.set(Life::Hook);
                hook(cell, activation)
            }
            Life::Hook => to(cell, Life::Dead),
            Life::Dead => {
                // Before anybody can know that the actor, or the system, has ended.
                activation.count();
                end(cell);
                Flow::Over(Outcome::Stopped)
            }
        }
    }
}

fn to(cell: CellPtr, life: Life) -> Flow {
    cell.mailbox().life.set(life);
    Flow::Again
}

/// An activation ends. Room that was freed is not kept back, and the agenda reads the clock.
///
/// # Safety
/// As [`run`].
unsafe fn pause(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        room_back(cell);
        let notes = cell.mailbox().rare.get();
        if notes & rare::AGENDA != 0
            && let Some(diary) = cell.diary()
        {
            diary.settle();
        }
        if notes & rare::EXTRA != 0
            && let Some(extra) = cell.extra_if_any()
        {
            (extra.settle)(cell);
        }
    }
}

/// The handler in hand is over, unless it is pending; and whoever waits for room here is told.
///
/// # Safety
/// As [`run`].
#[cold]
pub(crate) unsafe fn settle_extra(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        if !cell.mailbox().busy.get() {
            middleware::after(cell, MessageOutcome::Ok);
        }
        let Some(extra) = cell.known_extra() else {
            return;
        };
        if !extra.wants_room.is_empty() && (cell.has_room() || cell.mailbox().word.is_closed()) {
            // Dropped, they tell.
            extra.wants_room = Vec::new();
        }
        let has_next = extra.stash.as_ref().is_some_and(|stash| stash.has_next());
        if extra.middleware.is_none() && extra.wants_room.is_empty() && !has_next {
            let state = cell.mailbox();
            state.rare.set(state.rare.get() & !rare::EXTRA);
        }
    }
}

/// What is left of the agenda ends with the actor.
///
/// # Safety
/// As [`run`].
unsafe fn drop_agenda(cell: CellPtr) {
    let state = cell.mailbox();
    let notes = state.rare.get();
    state.rare.set(notes & rare::KEPT);
    if notes & rare::AGENDA != 0 {
        // SAFETY: the ticket is held.
        let agenda = unsafe { cell.cold() }.agenda.take();
        sync::quietly(|| drop(agenda));
    }
}

/// Nothing is queued: stop if that was waited for, else go idle.
///
/// # Safety
/// As [`run`].
unsafe fn drained<K: Known>(cell: CellPtr, activation: &mut Activation<'_>) -> Flow {
    let state = cell.mailbox();
    if state.rare.get() & rare::SUSPENDED != 0 {
        // The message that was next is held back.
        return Flow::Again;
    }
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
    let is_rare = state.rare.get() != 0;
    if is_rare {
        // SAFETY: the ticket is held.
        unsafe { pause(cell) };
    }
    activation.lane.leaving();
    // SAFETY: the ticket is held; after `Idle` nothing is touched.
    let left = unsafe {
        if FLOW && is_rare {
            mailbox::leave_rare(cell)
        } else {
            mailbox::leave::<K>(cell)
        }
    };
    match left {
        Release::Idle => Flow::Over(Outcome::Completed),
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
        Flow::Over(Outcome::Yielded)
    } else {
        Flow::Again
    }
}

/// Begins the hook that the life asks for, or goes on with what is pending.
///
/// # Safety
/// As [`run`]; the actor is there.
unsafe fn hook(cell: CellPtr, activation: &mut Activation<'_>) -> Flow {
    // SAFETY: as the caller promises.
    unsafe { after_handler(cell, (cell.vtable().poll)(cell), activation) }
}

/// # Safety
/// As [`run`].
unsafe fn after_handler(
    cell: CellPtr,
    poll: Poll<Result<(), Failure>>,
    activation: &mut Activation<'_>,
) -> Flow {
    // SAFETY: the ticket is held.
    unsafe {
        match poll {
            Poll::Ready(Ok(())) => Flow::Again,
            Poll::Ready(Err(error)) => {
                fail(cell, error);
                Flow::Over(Outcome::Failed)
            }
            Poll::Pending => wait(cell, activation),
        }
    }
}

/// Leaves until a waker or an order comes.
///
/// # Safety
/// As [`run`].
unsafe fn wait(cell: CellPtr, activation: &mut Activation<'_>) -> Flow {
    // SAFETY: the ticket is held; after `Parked` nothing is touched.
    unsafe { pause(cell) };
    activation.lane.leaving();
    match mailbox::park(cell) {
        Park::Parked => Flow::Over(Outcome::Suspended),
        // It was woken while it was polled: others first.
        Park::Notified => Flow::Over(Outcome::Yielded),
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
unsafe fn room_back(cell: CellPtr) {
    if cell.has_tail() {
        // SAFETY: the ticket is held.
        unsafe { mailbox::give_room_back(cell) };
    }
}

/// Reads orders and system messages.
///
/// # Safety
/// The ticket is held.
#[cold]
unsafe fn attend(cell: CellPtr, activation: &mut Activation<'_>) {
    let state = cell.mailbox();
    activation.attended = activation.handled;
    state.word.acknowledge();
    let orders = state.task.take_orders();
    if SUPERVISION
        && orders.has(Orders::KIN)
        && let Some(kin) = cell.kin()
    {
        // SAFETY: the ticket is held.
        unsafe { (kin.family.look)(cell) };
    }
    if SUPERVISION && orders.has(Orders::RESUME) && state.life.get() == Life::Faulted {
        // SAFETY: the ticket is held.
        unsafe { resume_after_failure(cell) };
    }
    if state.rare.get() & rare::SUSPENDED != 0 {
        // SAFETY: the ticket is held.
        unsafe { suspension::end_some(cell, Occasion::Look) };
    }
    if orders.has(Orders::LANE) {
        for node in state.system.take() {
            // SAFETY: the ticket is held, and the node was taken.
            unsafe { SystemNode::read(node, cell, None) };
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
    // SAFETY: the ticket is held.
    unsafe {
        let look = || cell.cold_if_any()?.look;
        if SUPERVISION
            && orders.has(Orders::RESTART.and(Orders::HURRY))
            && let Some(look) = look()
        {
            look(cell, orders);
        }
    }
    // Last: the user's code runs here, whose panic must not lose the other orders.
    let beyond = || cell.cold_if_any()?.beyond;
    if orders.has(Orders::AGENDA)
        && !state.ending.get().is_kill()
        && let Some(beyond) = beyond()
    {
        // SAFETY: the ticket is held.
        unsafe { (beyond.attend)(cell, activation) };
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
    let (new, polls) = diary.collect();
    state.rare.set(notes | new);
    activation.charge(polls);
}

/// Has something done by the runner of a cell. False if it has ended; then `call` is dropped.
///
/// # Safety
/// The caller keeps the memory of `cell`.
pub(crate) unsafe fn call(cell: CellPtr, call: impl FnOnce(CellPtr) + Send + 'static) -> bool {
    // SAFETY: as the caller promises.
    unsafe { write_to(cell, Errand(call)) }
}

/// Something to do for the runner. Dropped, if there is none any more.
struct Errand<F>(F);

impl<F: FnOnce(CellPtr) + 'static> Letter for Errand<F> {
    unsafe fn read(self, cell: CellPtr) {
        (self.0)(cell);
    }
}

/// Has somebody told of the start or the end. False if the actor has ended.
///
/// # Safety
/// The caller keeps the memory of `cell`.
pub(crate) unsafe fn watch(cell: CellPtr, notice: Arc<Notice>) -> bool {
    // SAFETY: as the caller promises.
    unsafe { write_to(cell, Watch(notice)) }
}

/// Those who wait for the start or the end of an actor. The first of them brings what tells them.
pub(crate) trait Watchers {
    fn add(&mut self, notice: Arc<Notice>);

    /// What tells of the start, called by the runner of their cell.
    fn at_start(&self) -> unsafe fn(CellPtr);

    fn started(&mut self);

    /// Tells of the end.
    fn ended(self: Box<Self>, farewell: &Farewell<'_>);
}

/// Mostly there is one, for whom the box is enough.
#[derive(Default)]
struct Notices {
    first: Option<Arc<Notice>>,
    more: Vec<Arc<Notice>>,
}

impl Watchers for Notices {
    fn add(&mut self, notice: Arc<Notice>) {
        // A caller that asks again and again, and gives up each time, leaves nothing.
        if self.first.as_ref().is_none_or(|first| first.is_left()) {
            self.first = Some(notice);
            return;
        }
        if self.more.len() == self.more.capacity() {
            self.more.retain(|watcher| !watcher.is_left());
        }
        self.more.push(notice);
    }

    fn at_start(&self) -> unsafe fn(CellPtr) {
        tell_of_start
    }

    fn started(&mut self) {
        let waits_on = |watcher: &Arc<Notice>| {
            if watcher.start {
                watcher.tell(None);
            }
            !watcher.start
        };
        self.first = self.first.take().filter(waits_on);
        self.more.retain(waits_on);
    }

    fn ended(self: Box<Self>, farewell: &Farewell<'_>) {
        for watcher in self.first.iter().chain(&self.more) {
            watcher.tell(Some(farewell.cause()));
        }
    }
}

/// # Safety
/// The ticket is held.
unsafe fn tell_of_start(cell: CellPtr) {
    // SAFETY: the ticket is held.
    unsafe {
        // Out of the box while they are told, which wakes foreign futures.
        let mut watchers = cell.cold().watchers.take();
        watchers.iter_mut().for_each(|those| those.started());
        cell.cold().watchers = watchers;
    }
}

/// Somebody waits for the start or the end.
struct Watch(Arc<Notice>);

impl Letter for Watch {
    unsafe fn read(self, cell: CellPtr) {
        let notice = self.0;
        if notice.start && cell.mailbox().marks.has(Marks::STARTED) {
            notice.tell(None);
        } else {
            // SAFETY: the ticket is held.
            let watchers = &mut unsafe { cell.cold() }.watchers;
            watchers
                .get_or_insert_with(|| Box::new(Notices::default()))
                .add(notice);
        }
    }

    fn read_late(self, cell: CellPtr, farewell: &Farewell<'_>) {
        let started = self.0.start && cell.mailbox().marks.has(Marks::STARTED);
        self.0.tell((!started).then(|| farewell.cause()));
    }
}

/// # Safety
/// The ticket is held.
unsafe fn has_started(cell: CellPtr) {
    cell.mailbox().marks.set(Marks::STARTED | Marks::SOUND);
    // SAFETY: the ticket is held.
    unsafe {
        forgive(cell);
        pass_the_turn(cell);
    }
    cell.home().shared.events().publish(&News::Started(cell));
    let at_start = || Some(cell.cold_if_any()?.watchers.as_ref()?.at_start());
    if let Some(tell_of_start) = at_start() {
        // SAFETY: the ticket is held.
        unsafe { tell_of_start(cell) };
    }
}

#[cfg(all(test, loom))]
mod tests;
