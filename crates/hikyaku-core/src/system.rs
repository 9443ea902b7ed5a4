//! A system: actors, the coordinator that runs them, and their common end.

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::{Birth, CellPtr};
use crate::clock::Clock;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::failure::{Failure, FailureReport};
use crate::invoker::Activation;
use crate::mailbox::{InvalidOptions, Life, MailboxOptions};
use crate::ready::{Lane, ReadyQueueCoordinator};
use crate::registry::{MailboxIndex, MailboxRegistry, Refused};
use crate::state::Orders;
use crate::sync::{self, Arc, AtomicU8, AtomicUsize, Mutex, Ordering, Weak};
use crate::worker::Worker;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::any::TypeId;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{self, Poll, Waker};
use core::time::Duration;

/// What the parts of a system share.
pub(crate) struct Shared {
    pub(crate) coordinator: ReadyQueueCoordinator,
    pub(crate) dead_letters: DeadLetters,
    on_failure: Option<OnFailure>,
    failures: AtomicUsize,
    registry: MailboxRegistry,
    /// Reserved (`None`) or living actors by name.
    names: Mutex<BTreeMap<Box<str>, Option<CellPtr>>>,
    name: Box<str>,
    throughput: u32,
    clock: Option<Box<dyn Clock>>,
    time_budget: Option<Duration>,
    state: AtomicU8,
    /// Who waits for the end, by number.
    waiting: Mutex<(usize, BTreeMap<usize, Waker>)>,
    workers: AtomicUsize,
    /// Itself, for the cells: a pointer that the counts can be reached by.
    own: Weak<Shared>,
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
    fn of(state: u8) -> Self {
        match state {
            0 => Self::Running,
            1 => Self::Stopping,
            2 => Self::Draining,
            _ => Self::Stopped,
        }
    }
}

impl Shared {
    /// Makes an actor. `parent` adopts it.
    ///
    /// # Safety
    /// The caller is the runner of `parent`, if there is one. If the factory or the actor is bound
    /// to a thread, the system's only worker is too.
    pub(crate) unsafe fn spawn<A: Actor>(
        &self,
        parent: Option<CellPtr>,
        options: SpawnOptions,
        factory: impl FnMut() -> A + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        options
            .mailbox
            .check()
            .map_err(SpawnError::InvalidOptions)?;
        if parent.is_some_and(|parent| parent.mailbox().life.get() == Life::Hook) {
            return Err(SpawnError::ShuttingDown);
        }
        let reserved = options.name.clone();
        if let Some(name) = &reserved {
            self.reserve(name)?;
        }
        let made = self.make(parent, options, factory);
        let cell = match made {
            Ok(cell) => cell,
            Err(error) => {
                if let Some(name) = &reserved {
                    self.names.with(|names| names.remove(name));
                }
                return Err(error);
            }
        };
        if let Some(name) = &reserved {
            self.names.with(|names| {
                if let Some(entry) = names.get_mut(name) {
                    *entry = Some(cell);
                }
            });
        }
        if let Some(parent) = parent {
            // SAFETY: the caller is the parent's runner.
            unsafe { parent.adopt(cell) };
        }
        // SAFETY: the new cell's one strong reference; its messages are `A::Msg`.
        let actor = unsafe { ActorRef::from_cell(cell) };
        cell.schedule();
        Ok(actor)
    }

    fn reserve(&self, name: &str) -> Result<(), SpawnError> {
        self.names.with(|names| {
            if names.contains_key(name) {
                return Err(SpawnError::NameTaken);
            }
            names.insert(name.into(), None);
            Ok(())
        })
    }

    fn make<A: Actor>(
        &self,
        parent: Option<CellPtr>,
        options: SpawnOptions,
        factory: impl FnMut() -> A,
    ) -> Result<CellPtr, SpawnError> {
        let birth = Birth {
            home: self.own(),
            parent,
            mailbox: options.mailbox,
            name: options.name,
            throughput: options.throughput,
            stop_unreferenced: options.stop_unreferenced,
            owned: sync::KNOWS_HERE && self.coordinator.is_single(),
        };
        let cell = CellPtr::new(birth, factory).ok_or(SpawnError::Capacity)?;
        let registered = self.registry.register(self.shard_here(), cell, |index| {
            // SAFETY: nobody else has the cell before the shard's lock is given back.
            unsafe { cell.set_index(index) };
        });
        registered.map_err(|refused| {
            // SAFETY: it was not published.
            unsafe { cell.discard() };
            match refused {
                Refused::Sealed => SpawnError::ShuttingDown,
                Refused::Full => SpawnError::Capacity,
            }
        })?;
        Ok(cell)
    }

    /// The system as its cells know it: they can count themselves among its owners.
    fn own(&self) -> NonNull<Self> {
        // SAFETY: the inside of an `Arc` is not at null.
        unsafe { NonNull::new_unchecked(self.own.as_ptr().cast_mut()) }
    }

    /// The shard for what this thread spawns: the worker's own, or the last one.
    fn shard_here(&self) -> usize {
        let here = sync::here();
        if core::ptr::eq(here.home, core::ptr::from_ref(self).cast()) {
            // SAFETY: while a thread's home is this system, its lane is one of ours.
            unsafe { (*here.lane.cast::<Lane>()).worker() }
        } else {
            self.coordinator.workers()
        }
    }

    /// Takes an ended actor out of the registry and frees its name. *The runner of `cell`.*
    pub(crate) fn unregister(&self, cell: CellPtr) {
        let known = self.registry.unregister(cell.index());
        debug_assert!(known, "a living actor is registered");
        if let Some(name) = cell.cold_if_any().and_then(|cold| cold.name.as_ref()) {
            self.names.with(|names| names.remove(name));
        }
    }

    /// An actor has failed. *Its runner.* Panics of the listener end here.
    pub(crate) fn report_failure(&self, cell: CellPtr, failure: &Failure) {
        // Relaxed: a statistic.
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(listener) = &self.on_failure {
            let name = cell.cold_if_any().and_then(|cold| cold.name.as_deref());
            sync::quietly(|| {
                listener(&FailureReport {
                    actor: cell.index(),
                    name,
                    failure,
                });
            });
        }
    }

    /// An actor has ended.
    pub(crate) fn one_less(&self) {
        if self.state() != SystemState::Running {
            self.stop_if_empty();
        }
    }

    pub(crate) fn one_worker_less(&self) -> bool {
        // Release and Acquire: the last worker sees what the others did.
        self.workers.fetch_sub(1, Ordering::AcqRel) == 1
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
        while seen < state as u8 {
            match self
                .state
                // Release and Acquire: what was done before the step is seen after it.
                .compare_exchange_weak(seen, state as u8, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    fn stop_if_empty(&self) {
        if self.registry.live() == 0 && self.raise(SystemState::Stopped) {
            let waiting = self.waiting.with(|(_, waiting)| core::mem::take(waiting));
            for waker in waiting.into_values() {
                sync::wake(waker);
            }
            self.coordinator.wake_all();
        }
    }

    fn begin_shutdown(&self, orders: Orders, everyone: bool) {
        // First nobody comes in any more, then the state: who sees the state counts on it.
        self.registry.seal();
        self.raise(SystemState::Stopping);
        self.registry.for_each(|cell| {
            if everyone || cell.parent().is_none() {
                cell.order(orders, true);
            }
        });
        self.raise(SystemState::Draining);
        self.stop_if_empty();
    }

    pub(crate) fn force_stop(&self) {
        self.begin_shutdown(Orders::KILL.and(Orders::SHUTDOWN), true);
    }

    /// The budget for one activation of `cell`. *Its runner.*
    #[inline]
    pub(crate) fn activation<'a>(&'a self, cell: CellPtr, lane: &'a Lane) -> Activation<'a> {
        let time = match (&self.clock, self.time_budget) {
            (Some(clock), Some(limit)) => Some((&**clock, limit)),
            _ => None,
        };
        Activation::new(cell.throughput().unwrap_or(self.throughput), lane, time)
    }
}

/// A running system. Clones are the same system.
///
/// This is the handle; the workers belong to an executor. Users of `std` find both in one in the
/// facade crate.
#[derive(Clone)]
pub struct System(Arc<Shared>);

impl System {
    /// Begins to configure a system.
    pub fn builder(name: &str) -> SystemBuilder {
        SystemBuilder {
            name: name.into(),
            workers: 1,
            stealing: false,
            throughput: DEFAULT_THROUGHPUT,
            clock: None,
            time_budget: None,
            seed: 0,
            listener: None,
            on_failure: None,
        }
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
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
        self.0.names.with(|names| {
            let cell = (*names.get(name)?)?;
            // SAFETY: a named cell is alive while the lock is held; its end takes the name first.
            unsafe { typed(cell) }
        })
    }

    /// The living actor of this index, if its messages are `M`. An index of an actor that has
    /// ended never reaches another one.
    pub fn resolve<M: 'static>(&self, index: MailboxIndex) -> Option<ActorRef<M>> {
        self.0
            .registry
            // SAFETY: a registered cell is alive while the lock is held.
            .resolve(index, |cell| unsafe { typed(cell) })
            .flatten()
    }

    /// How far the system is in its life.
    pub fn state(&self) -> SystemState {
        self.0.state()
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
        self.0
            .begin_shutdown(Orders::DRAIN.and(Orders::SHUTDOWN), false);
        self.terminated()
    }

    /// Orders an end by force: handlers in flight are dropped, queued messages become dead letters.
    /// A handler that blocks its thread is not interrupted.
    pub fn force_stop(&self) {
        self.0.force_stop();
    }

    /// Resolves when the system has stopped.
    pub fn terminated(&self) -> Terminated {
        Terminated {
            system: self.clone(),
            number: None,
        }
    }

    /// What the system counts.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            live_actors: self.0.registry.live(),
            handled: self.0.coordinator.handled(),
            dead_letters: self.0.dead_letters.count(),
            // Relaxed: a statistic.
            failures: self.0.failures.load(Ordering::Relaxed),
            workers: self.0.coordinator.workers(),
            workers_asleep: self.0.coordinator.asleep(),
        }
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
            .field("name", &self.0.name)
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
    /// Workers of the system.
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
            let waiting = &self.system.0.waiting;
            drop(waiting.with(|(_, waiting)| waiting.remove(&number)));
        }
    }
}

impl Future for Terminated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = &this.system.0;
        let waker = cx.waker().clone();
        let number = &mut this.number;
        // Wakers are foreign code: the old one is dropped outside the lock.
        let (stopped, _old) = shared.waiting.with(|(last, waiting)| {
            // Under the lock: the end takes the list after it has raised the state.
            if shared.is_stopped() {
                return (true, Some(waker));
            }
            let number = *number.get_or_insert_with(|| {
                *last += 1;
                *last
            });
            (false, waiting.insert(number, waker))
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

/// Configures a [`System`].
#[must_use]
pub struct SystemBuilder {
    name: Box<str>,
    workers: usize,
    stealing: bool,
    throughput: u32,
    clock: Option<Box<dyn Clock>>,
    time_budget: Option<Duration>,
    seed: u64,
    listener: Option<Listener>,
    on_failure: Option<OnFailure>,
}

impl SystemBuilder {
    /// How many workers; at least one. One worker alone gets the single-core coordinator.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Uses the work-stealing coordinator also for one worker.
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

    /// The clock that limits long activations.
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

    /// Decides from whom a worker steals first.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Is shown each dead letter, on the worker that ended the actor. Its panics are swallowed. It
    /// must not hold references to actors of the same system, which would keep it for ever.
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

    /// Makes the system and its workers. The workers are for an executor; when the last of them is
    /// dropped before the system has stopped, it ends the actors by force.
    pub fn build(self) -> (System, Vec<Worker>) {
        let shared = Arc::new_cyclic(|own| Shared {
            coordinator: ReadyQueueCoordinator::new(self.workers, self.stealing, self.seed),
            dead_letters: DeadLetters::new(self.listener),
            on_failure: self.on_failure,
            failures: AtomicUsize::new(0),
            registry: MailboxRegistry::new(self.workers + 1),
            names: Mutex::new(BTreeMap::new()),
            name: self.name,
            throughput: self.throughput,
            clock: self.clock,
            time_budget: self.time_budget,
            state: AtomicU8::new(SystemState::Running as u8),
            waiting: Mutex::new((0, BTreeMap::new())),
            workers: AtomicUsize::new(self.workers),
            own: Weak::clone(own),
        });
        let workers = (0..self.workers)
            .map(|number| Worker::new(Arc::clone(&shared), number))
            .collect();
        (System(shared), workers)
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
    name: Option<Box<str>>,
    mailbox: MailboxOptions,
    throughput: Option<u32>,
    stop_unreferenced: bool,
}

impl SpawnOptions {
    /// No name, an unbounded mailbox, the system's throughput.
    pub fn new() -> Self {
        Self::default()
    }

    /// A name, unique among the living actors of the system.
    pub fn name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The kind of mailbox.
    pub fn mailbox(mut self, options: MailboxOptions) -> Self {
        self.mailbox = options;
        self
    }

    /// How many messages this actor handles before others have their turn; at least one.
    pub fn throughput(mut self, messages: u32) -> Self {
        self.throughput = Some(messages.max(1));
        self
    }

    /// Stops the actor, after what is queued, when the last [`ActorRef`](crate::ActorRef) or
    /// [`Recipient`](crate::Recipient) is dropped. Otherwise it lives until it is stopped.
    pub fn stop_when_unreferenced(mut self) -> Self {
        self.stop_unreferenced = true;
        self
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
    /// The options contradict each other or the platform.
    InvalidOptions(InvalidOptions),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken => f.write_str("a living actor has this name"),
            Self::ShuttingDown => f.write_str("the system or the parent is stopping"),
            Self::Capacity => f.write_str("no memory or no index is left for an actor"),
            Self::InvalidOptions(options) => write!(f, "invalid options: {options}"),
        }
    }
}

impl core::error::Error for SpawnError {}
