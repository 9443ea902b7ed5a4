//! A system: actors, the coordinator that runs them, and their common end.

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::blocking::BlockingPool;
use crate::cell::{CellPtr, Cold, WeakCell, new_cold};
use crate::clock::Clock;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::dispatcher::{Dispatcher, DispatcherBuilder, Home, HomePlan, Others};
use crate::event_stream::{EventStream, News};
use crate::extension::Extensions;
use crate::failure::{Failure, FailureReport};
use crate::flow::{FLOW, IfFlow};
use crate::foreman::Foreman;
use crate::late::{Ends, Late};
use crate::mailbox::{InvalidOptions, MailboxOptions};
#[cfg(feature = "flow")]
use crate::middleware::Middleware;
use crate::middleware::{Layers, SpawnMiddleware};
use crate::names::{Name, Names};
use crate::receptionist::Directory;
use crate::registry::{MailboxIndex, MailboxRegistry};
use crate::state::Orders;
use crate::supervision::{Asked, Escalation, RestartPolicy, SUPERVISION, Supervision};
use crate::sync::{self, Arc, AtomicUsize, Map, Mutex, Ordering};
use crate::time::{Clockwork, Sleep, Target, TickDriver, Time, nanos};
use crate::worker::Worker;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::TypeId;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{self, Poll, Waker};
use core::time::Duration;

/// What the parts of a system share.
pub(crate) struct Shared {
    /// The dispatchers beside the main one. Who adds the first brings what goes through them.
    others: Late<dyn Others>,
    /// What dispatchers that are gone have handled.
    handled_before: AtomicUsize,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) directory: Directory,
    pub(crate) extensions: Extensions,
    on_failure: Option<OnFailure>,
    failures: AtomicUsize,
    pub(crate) registry: MailboxRegistry,
    pub(crate) names: Names,
    name: Box<str>,
    /// Clock and timers, if there is a clock and somebody to drive them.
    pub(crate) time: Option<Box<dyn Time>>,
    pub(crate) blocking: Option<Box<dyn BlockingPool>>,
    /// How actors without a parent are supervised, where there is supervision.
    pub(crate) guardian: Option<Asked>,
    escalation: Escalation,
    /// The failure that stopped the system.
    failure: Mutex<Option<Failure>>,
    restarts: AtomicUsize,
    /// Actors that are suspended.
    suspended: AtomicUsize,
    /// What every actor's messages go through, and every spawn.
    pub(crate) middleware: Option<IfFlow<Layers>>,
    pub(crate) spawn_middleware: Box<[IfFlow<Box<dyn SpawnMiddleware>>]>,
    /// Messages whose deadline had passed.
    expired: AtomicUsize,
    /// Messages dropped by a policy.
    overflowed: AtomicUsize,
    /// For actors that are spawned without one of their own.
    pub(crate) mailbox: MailboxOptions,
    state: AtomicUsize,
    waiting: Late<dyn Ends<Wakers>>,
}

/// Who waits for the end, by number. When the list goes, it has come.
#[derive(Default)]
struct Wakers {
    last: usize,
    wakers: Map<usize, Waker>,
}

impl Drop for Wakers {
    fn drop(&mut self) {
        for waker in core::mem::take(&mut self.wakers).into_values() {
            sync::wake(waker);
        }
    }
}

/// How far a system is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SystemState {
    /// Actors can be spawned.
    Running,
    /// Nobody can be spawned any more; the actors are being told.
    Stopping,
    /// The actors finish what they have.
    Draining,
    /// No actor is left.
    Stopped,
}

impl SystemState {
    fn of(state: usize) -> Self {
        match state {
            0 => Self::Running,
            1 => Self::Stopping,
            2 => Self::Draining,
            _ => Self::Stopped,
        }
    }
}

impl Shared {
    /// They lie beside the dead letters, which are events too.
    #[inline(always)]
    pub(crate) fn events(&self) -> &EventStream {
        &self.dead_letters.events
    }

    /// One more dispatcher, which is not the main one.
    pub(crate) fn add_home(&self, home: &Arc<Home>) {
        let others = self.others.or_make(|| Box::new(Mutex::new(Vec::new())));
        let others = others.expect("it is never closed");
        others.add(Arc::downgrade(home));
    }

    /// A dispatcher is gone. What it has handled counts on.
    pub(crate) fn home_gone(&self, handled: usize) {
        // Relaxed: a statistic.
        self.handled_before.fetch_add(handled, Ordering::Relaxed);
    }

    /// Calls `each` with every dispatcher.
    fn for_each_home(&self, main: &Home, mut each: impl FnMut(&Home)) {
        each(main);
        if let Some(others) = self.others.get() {
            others.for_each(&mut each);
        }
    }

    /// Are all living actors on other dispatchers than the main one? Asked at the end only: the actors of the main
    /// dispatcher are not counted, and a difference of two counts would be wrong while one of them changes.
    pub(crate) fn is_main_empty(&self) -> bool {
        let mut empty = true;
        self.registry
            .for_each(&mut |cell| empty &= !cell.home().is_main());
        empty
    }

    /// Does the actor belong to this system?
    pub(crate) fn is_of(&self, cell: CellPtr) -> bool {
        core::ptr::eq(self, Arc::as_ptr(&cell.home().shared))
    }

    /// Takes an ended actor out of the registry and out of all lists, and frees its name. *The runner of
    /// `cell`.*
    pub(crate) fn unregister(&self, cell: CellPtr) {
        let known = self.registry.unregister(cell);
        debug_assert!(known.is_some(), "a living actor is registered");
        if let Some(name) = cell.cold_if_any().and_then(|cold| cold.name.as_ref()) {
            name.settle(&self.names, None);
        }
        if known == Some(true) {
            self.events().forget(cell.index());
            self.directory.forget(cell.index());
        }
        self.events().publish(&News::Stopped(cell));
    }

    /// An actor has failed. *Its runner.* Panics of the listener end here.
    pub(crate) fn report_failure(&self, cell: CellPtr, failure: &Failure) {
        // Relaxed: a statistic.
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(listener) = &self.on_failure {
            sync::quietly(|| {
                listener(&FailureReport {
                    actor: cell.index(),
                    name: cell.name(),
                    failure,
                });
            });
        }
        self.events().publish(&News::Failed(cell, failure));
    }

    /// An actor has ended.
    pub(crate) fn one_less(&self, home: &Home) {
        if self.state() != SystemState::Running {
            self.stop_if_empty(home);
        }
    }

    fn state(&self) -> SystemState {
        // Acquire: pairs with the Release in `raise`.
        SystemState::of(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state() == SystemState::Stopped
    }

    /// Goes forward to `state`; never back. False if it was there already.
    fn raise(&self, state: SystemState) -> bool {
        // Relaxed: only a first guess for the exchange.
        let mut seen = self.state.load(Ordering::Relaxed);
        while seen < state as usize {
            match self
                .state
                // Release and Acquire: what was done before the step is seen after it.
                .compare_exchange_weak(seen, state as usize, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// `home`, here and below: any of its dispatchers.
    #[cold]
    fn stop_if_empty(&self, home: &Home) {
        if self.registry.live() == 0 && self.raise(SystemState::Stopped) {
            self.events().end();
            self.dead_letters.end();
            self.extensions.end();
            if let Some(waiting) = self.waiting.close() {
                waiting.end();
            }
            self.for_each_home(home.main(), |home| home.coordinator.wake_all());
            if let Some(time) = &self.time {
                time.stop();
            }
        }
    }

    fn begin_shutdown(&self, home: &Home, orders: Orders, everyone: bool) {
        // First nobody comes in any more, then the state: who sees the state counts on it.
        self.registry.seal();
        self.raise(SystemState::Stopping);
        self.registry.for_each(&mut |cell| {
            if everyone || cell.parent().is_none() {
                cell.order(orders, true);
            }
        });
        self.raise(SystemState::Draining);
        self.stop_if_empty(home);
    }

    /// What the clock shows; zero if there is none.
    pub(crate) fn now(&self) -> Duration {
        self.time.as_ref().map_or(Duration::ZERO, |time| time.now())
    }

    /// As [`now`](Self::now), in nanoseconds.
    pub(crate) fn nanos(&self) -> u64 {
        self.time.as_ref().map_or(0, |time| time.nanos())
    }

    /// An actor is about to be made anew.
    pub(crate) fn one_restarted(&self, cell: CellPtr) {
        // Relaxed: a statistic.
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.events().publish(&News::Restarted(cell));
    }

    /// Gives an order when the clock shows `at`. False if there is no timer for it. The caller keeps the
    /// cell.
    pub(crate) fn order_at(&self, at: Duration, cell: CellPtr, orders: Orders) -> bool {
        self.time.as_ref().is_some_and(|time| {
            let target = Target::Order(WeakCell::own(cell), orders);
            time.works().insert(at, target).is_ok()
        })
    }

    /// Nobody has dealt with a failure.
    pub(crate) fn escalate(&self, home: &Home, failure: &Failure) {
        if self.escalation == Escalation::StopActor {
            return;
        }
        // Made outside the lock: the text is the user's.
        let mut text = Some(failure.text_only());
        self.failure.with(|first| {
            if first.is_none() {
                *first = text.take();
            }
        });
        self.begin_shutdown(home, Orders::STOP.and(Orders::SHUTDOWN), false);
    }

    /// An actor is suspended from now on.
    pub(crate) fn one_suspended(&self) {
        // Relaxed: a statistic.
        self.suspended.fetch_add(1, Ordering::Relaxed);
    }

    /// An actor is suspended no longer.
    pub(crate) fn one_resumed(&self) {
        // Relaxed: a statistic.
        self.suspended.fetch_sub(1, Ordering::Relaxed);
    }

    /// A message was dropped because its deadline had passed.
    pub(crate) fn one_expired(&self) {
        // Relaxed: a statistic.
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    /// A policy has dropped a message.
    pub(crate) fn one_overflowed(&self) {
        // Relaxed: a statistic.
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn force_stop(&self, home: &Home) {
        self.begin_shutdown(home, Orders::KILL.and(Orders::SHUTDOWN), true);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // It may never have been started.
        if let Some(time) = &self.time {
            time.stop();
        }
    }
}

/// A running system. Clones are the same system.
///
/// This is the handle; the workers belong to an executor. Users of `std` find both in one in the
/// facade crate.
#[derive(Clone)]
pub struct System(Arc<Home>);

impl System {
    /// Begins to configure a system.
    pub fn builder(name: &str) -> SystemBuilder {
        SystemBuilder {
            name: name.into(),
            workers: (1, 1),
            stealing: false,
            throughput: DEFAULT_THROUGHPUT,
            clock: None,
            time_budget: None,
            seed: 0,
            listener: None,
            on_failure: None,
            driver: None,
            supervision: None,
            escalation: Escalation::default(),
            resolution: DEFAULT_RESOLUTION,
            max_actors: None,
            max_timers: None,
            blocking: None,
            middleware: None,
            spawn_middleware: Vec::new(),
            mailbox: MailboxOptions::unbounded(),
        }
    }

    pub(crate) fn from_home(main: Arc<Home>) -> Self {
        Self(main)
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.0
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Begins to configure a dispatcher: workers of their own for some of the actors.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure, SpawnOptions, System};
    /// # struct Log;
    /// # impl Actor for Log {
    /// #     type Msg = String;
    /// #     async fn handle(&mut self, _: String, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// let (system, _workers) = System::builder("demo").build()?;
    /// let (slow, _its_workers) = system.dispatcher().workers(2).build();
    /// let log = system.spawn_with(SpawnOptions::new().dispatcher(&slow), || Log)?;
    /// assert_eq!(slow.live_actors(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dispatcher(&self) -> DispatcherBuilder<'_> {
        DispatcherBuilder::new(self, &self.0)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// Spawns an actor with default options.
    ///
    /// The factory runs on a worker, in the actor's first activation. A reference can be used at
    /// once: what it sends waits until the actor has started.
    ///
    /// # Errors
    /// [`SpawnError::ShuttingDown`] when a shutdown was ordered, [`SpawnError::Capacity`] when
    /// there is no memory or no index left.
    pub fn spawn<A: Actor>(
        &self,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.spawn_with(SpawnOptions::new(), factory)
    }

    /// Spawns an actor.
    ///
    /// # Errors
    /// As [`System::spawn`]; also [`SpawnError::NameTaken`] and [`SpawnError::InvalidOptions`].
    pub fn spawn_with<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        // SAFETY: no parent is claimed, and actor and factory are `Send`.
        unsafe { self.0.spawn(None, options, factory) }
    }

    /// The living actor of this name, if its messages are `M`.
    pub fn lookup<M: 'static>(&self, name: &str) -> Option<ActorRef<M>> {
        let found = self.shared().names.find(name, |cell| {
            // SAFETY: a named cell is alive while the lock is held.
            unsafe { typed(cell) }
        });
        found.flatten()
    }

    /// The living actor of this index, if its messages are `M`. An index of an actor that has
    /// ended never reaches another one.
    pub fn resolve<M: 'static>(&self, index: MailboxIndex) -> Option<ActorRef<M>> {
        self.shared()
            .registry
            // SAFETY: a registered cell is alive while the lock is held.
            .resolve(index, |cell| unsafe { typed(cell) })
            .flatten()
    }

    /// How far the system is in its life.
    pub fn state(&self) -> SystemState {
        self.shared().state()
    }

    /// Orders a graceful end: nobody is spawned any more, every top-level actor refuses new
    /// messages, handles those it has, stops its children, then ends. The future resolves when no
    /// actor is left.
    ///
    /// A handler that awaits something that never comes, such as an idle socket, keeps its actor and
    /// the shutdown waiting: tell it first, or [`kill`](crate::ActorRef::kill) it, or order
    /// [`force_stop`](Self::force_stop) after a while.
    ///
    /// # Cancel safety
    /// The shutdown is ordered by the call, and goes on if the future is dropped.
    pub fn graceful_shutdown(&self) -> Terminated {
        self.shared()
            .begin_shutdown(&self.0, Orders::DRAIN.and(Orders::SHUTDOWN), false);
        self.terminated()
    }

    /// As [`graceful_shutdown`](Self::graceful_shutdown); what is left after so long is ended by force. In a
    /// system without timers it takes the time it takes.
    ///
    /// # Cancel safety
    /// As [`graceful_shutdown`](Self::graceful_shutdown).
    pub fn graceful_shutdown_within(&self, patience: Duration) -> Terminated {
        let terminated = self.graceful_shutdown();
        if let Some(time) = &self.shared().time {
            let due = time.now().saturating_add(patience);
            // Refused only if the system has stopped already, or for want of memory.
            let _set = time
                .works()
                .insert(due, Target::Shutdown(Arc::downgrade(&self.0)));
        }
        terminated
    }

    /// Orders an end by force: handlers in flight are dropped, queued messages become dead letters.
    /// A handler that blocks its thread is not interrupted.
    pub fn force_stop(&self) {
        self.shared().force_stop(&self.0);
    }

    /// Resolves when the system has stopped.
    pub fn terminated(&self) -> Terminated {
        Terminated {
            system: self.clone(),
            number: None,
        }
    }

    /// The failure that stopped the system, if one did. Its text only.
    pub fn failure(&self) -> Option<Failure> {
        self.shared().failure.with(|failure| failure.clone())
    }

    /// Waits, on the system's clock.
    ///
    /// # Errors
    /// [`SleepError`](crate::SleepError), if it ends early.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.shared().time.as_deref(), duration)
    }

    /// What adds workers, if their number can change
    /// ([`SystemBuilder::adaptive_workers`]). One is enough: only the waker that was passed last is woken.
    pub fn foreman(&self) -> Option<Foreman> {
        Dispatcher(Arc::clone(&self.0)).foreman()
    }

    /// How many messages an actor handles before others have their turn.
    pub fn throughput(&self) -> u32 {
        self.0.throughput()
    }

    /// Changes the [`throughput`](Self::throughput), from the next activations on. That of actors spawned with
    /// one of their own, and of other dispatchers, stays.
    pub fn set_throughput(&self, messages: u32) {
        self.0.set_throughput(messages);
    }

    /// How long an actor may handle messages before others have their turn.
    pub fn time_budget(&self) -> Option<Duration> {
        self.0.time_budget()
    }

    /// Changes the [`time_budget`](Self::time_budget), in microseconds, from the next activations on. That of other
    /// dispatchers stays.
    pub fn set_time_budget(&self, limit: Option<Duration>) {
        self.0.set_time_budget(limit);
    }

    /// What the system counts.
    pub fn metrics(&self) -> Metrics {
        let shared = self.shared();
        // Relaxed: statistics, here and below.
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let mut metrics = Metrics {
            live_actors: shared.registry.live(),
            handled: count(&shared.handled_before),
            dead_letters: shared.dead_letters.count(),
            failures: count(&shared.failures),
            expired: count(&shared.expired),
            overflowed: count(&shared.overflowed),
            restarts: count(&shared.restarts),
            suspended: count(&shared.suspended),
            workers: 0,
            workers_asleep: 0,
        };
        shared.for_each_home(&self.0, |home| {
            metrics.handled = metrics.handled.wrapping_add(home.coordinator.handled());
            metrics.workers += home.coordinator.workers();
            metrics.workers_asleep += home.coordinator.asleep();
        });
        metrics
    }
}

/// # Safety
/// The cell is alive.
unsafe fn typed<M: 'static>(cell: CellPtr) -> Option<ActorRef<M>> {
    if cell.message_type() != TypeId::of::<M>() {
        return None;
    }
    cell.revive();
    // SAFETY: revived, and of this type.
    Some(unsafe { ActorRef::from_cell(cell) })
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What a system counts. Totals wrap at the size of a machine word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Actors that have not ended.
    pub live_actors: usize,
    /// Messages handled so far. Each activation counts its own when it ends.
    pub handled: usize,
    /// Messages accepted that will not be handled.
    pub dead_letters: usize,
    /// Actors that have failed.
    pub failures: usize,
    /// Restarts of actors.
    pub restarts: usize,
    /// Actors that are suspended now.
    pub suspended: usize,
    /// Messages dropped unhandled because their deadline had passed
    /// ([`Actor::deadline`](crate::Actor::deadline)).
    pub expired: usize,
    /// Messages dropped by a [`MailboxOverflowPolicy`](crate::MailboxOverflowPolicy); dead letters too.
    pub overflowed: usize,
    /// Workers of the system, as many as there are now.
    pub workers: usize,
    /// Workers with nothing to do.
    pub workers_asleep: usize,
}

/// The future of [`System::graceful_shutdown`] and [`System::terminated`].
#[derive(Debug)]
#[must_use = "a shutdown goes on by itself; await this to know when it is done"]
pub struct Terminated {
    system: System,
    /// Its place among those who wait.
    number: Option<usize>,
}

impl Drop for Terminated {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waiting = self.system.shared().waiting.get();
            drop(waiting.map(|it| {
                it.value()
                    .with(|list| list.as_mut()?.wakers.remove(&number))
            }));
        }
    }
}

impl Future for Terminated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = this.system.shared();
        let waker = cx.waker().clone();
        let number = &mut this.number;
        let new = || -> Box<dyn Ends<Wakers>> { Box::new(Mutex::new(Some(Wakers::default()))) };
        // None is made any more, and the list is taken, when the system has stopped.
        let Some(waiting) = shared.waiting.or_make(new) else {
            return Poll::Ready(());
        };
        // Wakers are foreign code: the old one is dropped outside the lock.
        let (stopped, _old) = waiting.value().with(|list| {
            let Some(Wakers { last, wakers }) = list else {
                return (true, Some(waker));
            };
            let number = *number.get_or_insert_with(|| {
                *last += 1;
                *last
            });
            (false, wakers.insert(number, waker))
        });
        if stopped {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Messages per activation, unless chosen otherwise.
const DEFAULT_THROUGHPUT: u32 = 1024;

type Listener = Box<dyn Fn(&DeadLetter<'_>) + Send + Sync>;
type OnFailure = Box<dyn Fn(&FailureReport<'_>) + Send + Sync>;
type Begin =
    fn(Box<dyn Clock>, Box<dyn TickDriver>, u64, Option<u32>) -> Result<Box<dyn Time>, BuildError>;

/// Configures a [`System`].
#[must_use]
pub struct SystemBuilder {
    name: Box<str>,
    workers: (usize, usize),
    stealing: bool,
    throughput: u32,
    clock: Option<Box<dyn Clock>>,
    time_budget: Option<Duration>,
    seed: u64,
    listener: Option<Listener>,
    on_failure: Option<OnFailure>,
    /// And what it drives, which is not linked where there is none.
    driver: Option<(Box<dyn TickDriver>, Begin)>,
    supervision: Option<Asked>,
    escalation: Escalation,
    /// In nanoseconds.
    resolution: u64,
    max_actors: Option<u32>,
    max_timers: Option<u32>,
    blocking: Option<Box<dyn BlockingPool>>,
    middleware: Option<IfFlow<Layers>>,
    spawn_middleware: Vec<IfFlow<Box<dyn SpawnMiddleware>>>,
    mailbox: MailboxOptions,
}

impl SystemBuilder {
    /// How many workers; at least one. One worker alone gets the single-core coordinator.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = (workers.max(1), workers.max(1));
        self
    }

    /// `least` workers, at least one, and up to `most` when they cannot keep up: see
    /// [`System::foreman`]. Without the feature `std` there are `least`.
    pub fn adaptive_workers(mut self, least: usize, most: usize) -> Self {
        let least = least.max(1);
        self.workers = (least, most.max(least));
        self
    }

    /// Uses the work-stealing coordinator also for one worker. Without the feature `std` there is neither: workers
    /// take what comes from one queue.
    pub fn work_stealing(mut self) -> Self {
        self.stealing = true;
        self
    }

    /// How many messages an actor handles before others have their turn; at least one. 1 means
    /// round robin. Default: 1,024.
    pub fn throughput(mut self, messages: u32) -> Self {
        self.throughput = messages.max(1);
        self
    }

    /// The clock of the timers, of deadlines, and of the limit on long activations. Timers need a
    /// [`tick_driver`](Self::tick_driver) as well.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// How long an actor may handle messages before others have their turn. Looked at after 16, 32,
    /// 64, .. messages of one activation, counted from the 8th, and only if there is a clock. Default: no limit.
    pub fn time_budget(mut self, limit: Duration) -> Self {
        self.time_budget = Some(limit);
        self
    }

    /// Who drives the timers.
    pub fn tick_driver(mut self, driver: impl TickDriver) -> Self {
        self.driver = Some((Box::new(driver), Clockwork::begin));
        self
    }

    /// How actors are supervised that were not spawned by an actor. The strategy is always one for
    /// one: they are no family.
    pub fn supervision(mut self, supervision: Supervision) -> Self {
        self.supervision = Some(Asked::new(supervision));
        self
    }

    /// What a failure does that is escalated by a top-level actor's supervision. Default: it stops the
    /// system.
    pub fn escalation(mut self, escalation: Escalation) -> Self {
        self.escalation = escalation;
        self
    }

    /// How exact timers are: a due time is rounded up to a multiple of this. At least a microsecond.
    /// Default: one millisecond.
    pub fn resolution(mut self, resolution: Duration) -> Self {
        // At most 292 years.
        self.resolution = nanos(resolution).clamp(1_000, u64::MAX / 2);
        self
    }

    /// Room for so many actors at a time; one more is refused with [`SpawnError::Capacity`]. The memory in which
    /// they are listed and queued is taken when the system is built, and no more of it later; without the features
    /// `std` and `flow` that for the list is part of the actors' own. Default: no limit.
    ///
    /// For programs that allocate nothing after their start: spawn the actors with
    /// [bounded](crate::MailboxOptions::bounded) mailboxes, which are part of the actor's one allocation.
    pub fn max_actors(mut self, actors: u32) -> Self {
        self.max_actors = Some(actors);
        self
    }

    /// Room for so many timers at a time, sleeps, receive timeouts and time limits among them; one more is refused.
    /// Their memory is taken when the system is built. Default: no limit.
    pub fn max_timers(mut self, timers: u32) -> Self {
        self.max_timers = Some(timers);
        self
    }

    /// The threads for [`Context::blocking`](crate::Context::blocking).
    pub fn blocking(mut self, pool: impl BlockingPool) -> Self {
        self.blocking = Some(Box::new(pool));
        self
    }

    /// Has all messages of all actors go through `middleware`, the first one outermost. It must not hold references
    /// to actors of the same system, which would keep it for ever.
    #[cfg(feature = "flow")]
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        let layers = self.middleware.get_or_insert_default();
        layers.push(Layers::share(middleware));
        self
    }

    /// Shows every actor to `middleware` before it is spawned.
    #[cfg(feature = "flow")]
    pub fn spawn_middleware(mut self, middleware: impl SpawnMiddleware) -> Self {
        let part = IfFlow::BuiltIn(Box::new(middleware) as _);
        self.spawn_middleware.push(part);
        self
    }

    /// The mailbox of actors that are spawned without one of their own. Default: unbounded. With control messages or
    /// priorities such actors have to have one type of message; others are refused as
    /// [`SpawnError::InvalidOptions`].
    pub fn mailbox(mut self, options: MailboxOptions) -> Self {
        self.mailbox = options;
        self
    }

    /// Decides from whom a worker steals first.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Is shown each dead letter, on the worker that ended the actor, or where a message was sent that made its mailbox
    /// drop one. Its panics are swallowed. It must not hold references to actors of the same system, which would keep it for ever.
    pub fn on_dead_letter(
        mut self,
        listener: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Is told of each actor that fails, on the worker that runs it, before the actor ends. Its panics
    /// are swallowed. It must not hold references to actors of the same system.
    pub fn on_failure(
        mut self,
        listener: impl Fn(&FailureReport<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Some(Box::new(listener));
        self
    }

    /// Makes the system and its workers, and starts the tick driver. The workers are for an executor;
    /// when the last of them is dropped before the system has stopped, it ends the actors by force.
    ///
    /// # Errors
    /// [`BuildError::NoTickDriver`] if there is a clock and nobody to drive the timers,
    /// [`BuildError::NoClock`] for the opposite, [`BuildError::TickDriver`] if the driver does not start,
    /// [`BuildError::NoSupervision`] if there is a supervision without the feature `supervision`,
    /// [`BuildError::OutOfMemory`] if there is no room for as many actors or timers as asked for. A
    /// system with neither clock nor driver is built: it has no timers.
    pub fn build(self) -> Result<(System, Vec<Worker>), BuildError> {
        if !SUPERVISION && self.supervision.is_some() {
            return Err(BuildError::NoSupervision);
        }
        let registry = match self.max_actors {
            Some(actors) => {
                MailboxRegistry::with_capacity(actors).ok_or(BuildError::OutOfMemory)?
            }
            None => MailboxRegistry::new(self.workers.1 + 1),
        };
        let time = match (self.clock, self.driver) {
            (Some(clock), Some((driver, begin))) => {
                Some(begin(clock, driver, self.resolution, self.max_timers)?)
            }
            (Some(_), None) => return Err(BuildError::NoTickDriver),
            (None, Some(_)) => return Err(BuildError::NoClock),
            (None, None) => None,
        };
        let shared = Arc::new(Shared {
            others: Late::new(),
            handled_before: AtomicUsize::new(0),
            dead_letters: DeadLetters::new(self.listener),
            directory: Directory::new(),
            extensions: Extensions::new(),
            on_failure: self.on_failure,
            failures: AtomicUsize::new(0),
            registry,
            names: Names::new(),
            name: self.name,
            time,
            blocking: self.blocking,
            guardian: self
                .supervision
                .or_else(|| SUPERVISION.then(Asked::default)),
            escalation: self.escalation,
            failure: Mutex::new(None),
            restarts: AtomicUsize::new(0),
            suspended: AtomicUsize::new(0),
            middleware: self.middleware,
            spawn_middleware: match FLOW {
                true => self.spawn_middleware.into_boxed_slice(),
                false => Box::default(),
            },
            expired: AtomicUsize::new(0),
            overflowed: AtomicUsize::new(0),
            mailbox: self.mailbox,
            state: AtomicUsize::new(SystemState::Running as usize),
            waiting: Late::new(),
        });
        let plan = HomePlan {
            workers: self.workers,
            stealing: self.stealing,
            throughput: self.throughput,
            time_budget: self.time_budget,
            seed: self.seed,
            branch: None,
        };
        let (main, workers) = Home::make(plan, shared);
        Ok((System(main), workers))
    }
}

impl fmt::Debug for SystemBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemBuilder")
            .field("name", &self.name)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// How exact timers are, in nanoseconds, unless chosen otherwise.
const DEFAULT_RESOLUTION: u64 = 1_000_000;

/// Why a system was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// There is a clock, and no tick driver for its timers.
    NoTickDriver,
    /// There is a tick driver, and no clock for it.
    NoClock,
    /// Actors are to be supervised, which needs the feature `supervision`.
    NoSupervision,
    /// There is no memory for as many actors or timers as asked for.
    OutOfMemory,
    /// The tick driver did not start.
    TickDriver(Failure),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTickDriver => f.write_str(
                "the system has a clock and no tick driver: its timers would never fire",
            ),
            Self::NoClock => f.write_str("the system has a tick driver and no clock"),
            Self::NoSupervision => f.write_str("supervision needs the feature `supervision`"),
            Self::OutOfMemory => f.write_str("no memory for as many actors or timers as asked for"),
            Self::TickDriver(failure) => write!(f, "the tick driver did not start: {failure}"),
        }
    }
}

impl core::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::TickDriver(failure) => Some(failure.error()?),
            Self::NoTickDriver | Self::NoClock | Self::NoSupervision | Self::OutOfMemory => None,
        }
    }
}

/// How one actor is spawned.
///
/// ```
/// use hikyaku_core::{MailboxOptions, SpawnOptions};
///
/// let options = SpawnOptions::new()
///     .name("shard-1")
///     .mailbox(MailboxOptions::bounded(1024));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SpawnOptions {
    pub(crate) name: Option<Name>,
    pub(crate) mailbox: Option<MailboxOptions>,
    pub(crate) throughput: Option<u32>,
    pub(crate) stop_unreferenced: bool,
    pub(crate) dispatcher: Option<Dispatcher>,
    pub(crate) supervision: Option<Asked>,
    pub(crate) restart: Option<RestartPolicy>,
    pub(crate) significant: bool,
    pub(crate) extra: Option<IfFlow<Box<SpawnExtra>>>,
    /// Makes the box for what few actors have, and refuses what they cannot have; comes with either.
    pub(crate) cold: Option<NewCold>,
}

type NewCold = fn(&mut SpawnOptions) -> Result<(Box<Cold>, u8), SpawnError>;

/// What few actors are spawned with.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpawnExtra {
    pub(crate) middleware: Layers,
    pub(crate) stash_capacity: Option<usize>,
}

impl SpawnOptions {
    /// No name, the system's kind of mailbox (unbounded, if it names none), the system's throughput.
    pub fn new() -> Self {
        Self::default()
    }

    /// A name, unique among the living actors of the system.
    pub fn name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Some(Name::new(name.into()));
        self.cold = Some(new_cold);
        self
    }

    /// The kind of mailbox.
    pub fn mailbox(mut self, options: MailboxOptions) -> Self {
        self.mailbox = Some(options);
        self
    }

    /// How many messages this actor handles before others have their turn; at least one.
    pub fn throughput(mut self, messages: u32) -> Self {
        self.throughput = Some(messages.max(1));
        self.cold = Some(new_cold);
        self
    }

    /// How the actor supervises its children. Default: [`Supervision::one_for_one`].
    pub fn supervision(mut self, supervision: Supervision) -> Self {
        self.supervision = Some(Asked::new(supervision));
        self.cold = Some(new_cold);
        self
    }

    /// When the actor is to be restarted. Default: [`RestartPolicy::Transient`], when it fails.
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = Some(policy);
        match policy {
            RestartPolicy::Temporary => self,
            _ => self.with_supervision(),
        }
    }

    /// Its end may be its parent's: see [`Supervision::auto_shutdown`]. Without a parent it means nothing.
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self.with_supervision()
    }

    /// Has the actor's messages go through `middleware`, behind the system's and what was given before. An `Arc` of a
    /// middleware is one too, to be shared.
    #[cfg(feature = "flow")]
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        let extra = self.extra.get_or_insert_default();
        extra.middleware.push(Layers::share(middleware));
        self
    }

    /// How many messages the actor may have [stashed](crate::Context::stash). Default: 1,024.
    #[cfg(feature = "flow")]
    pub fn stash_capacity(mut self, messages: usize) -> Self {
        self.extra.get_or_insert_default().stash_capacity = Some(messages);
        self
    }

    /// Where the actor runs. Default: a child where its parent does, others on the system's main
    /// workers.
    pub fn dispatcher(mut self, dispatcher: &Dispatcher) -> Self {
        self.dispatcher = Some(dispatcher.clone());
        self
    }

    /// Stops the actor, after what is queued, when the last [`ActorRef`](crate::ActorRef) or
    /// [`Recipient`](crate::Recipient) is dropped. Otherwise it lives until it is stopped.
    pub fn stop_when_unreferenced(mut self) -> Self {
        self.stop_unreferenced = true;
        self
    }

    /// They say what only supervision makes true, and are refused without.
    fn with_supervision(mut self) -> Self {
        if !SUPERVISION {
            self.cold = Some(new_cold);
        }
        self
    }

    /// Can the actor be what they say? Asked where the box is made, which comes with all that could be wrong.
    pub(crate) fn check(&self) -> Result<(), InvalidOptions> {
        let restarts = self
            .restart
            .is_some_and(|it| it != RestartPolicy::Temporary);
        if !SUPERVISION && (self.supervision.is_some() || self.significant || restarts) {
            return Err(InvalidOptions(
                "supervision needs the feature `supervision`",
            ));
        }
        Ok(())
    }
}

/// Why an actor was not spawned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// A living actor has the name.
    NameTaken,
    /// The system, or the parent, is stopping.
    ShuttingDown,
    /// There is no memory or no index left.
    Capacity,
    /// The dispatcher belongs to another system.
    ForeignDispatcher,
    /// The options contradict each other or the platform.
    InvalidOptions(InvalidOptions),
    /// A [`SpawnMiddleware`] refused it, for this.
    Refused(&'static str),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken => f.write_str("a living actor has this name"),
            Self::ShuttingDown => f.write_str("the system or the parent is stopping"),
            Self::Capacity => f.write_str("no memory or no index is left for an actor"),
            Self::ForeignDispatcher => f.write_str("the dispatcher belongs to another system"),
            Self::InvalidOptions(options) => write!(f, "invalid options: {options}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl core::error::Error for SpawnError {}
