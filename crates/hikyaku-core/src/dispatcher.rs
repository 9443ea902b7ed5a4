//! A dispatcher: workers, their ready queues, and the actors that live there.
//!
//! Every system has one, its *main* dispatcher. Others can be added, for actors that must not share
//! threads with the rest: those that block, or that have to stay on one thread. Actors of all of
//! them are one system: names, supervision, shutdown and dead letters know no difference.
//!
//! ```text
//!   cell ──► Home ──► Shared      one for the system: registry, names, dead letters, state
//!             ▲  └──► main Home   (if it is not the main one itself)
//!   Worker ───┘
//! ```
//!
//! A cell keeps its home for as long as its memory lives (`tenants.rs`), and the home the system, so
//! whoever holds a reference to an actor may always ask for both.

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::{Birth, CellPtr, Seed, VTable, new_cold};
use crate::flow::IfFlow;
use crate::foreman::Foreman;
use crate::invoker::{Activation, FIRST_READ};
use crate::mailbox::Life;
use crate::middleware::Spawning;
use crate::ready::{Lane, Place, ReadyQueueCoordinator};
use crate::registry::Refused;
use crate::sync::{self, Arc, AtomicU32, AtomicUsize, Mutex, Ordering, Weak};
use crate::system::{Shared, SpawnError, SpawnExtra, SpawnOptions, System};
use crate::tenants::Tenants;
use crate::worker::Worker;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::time::Duration;

/// What the cells and the workers of a dispatcher share.
pub(crate) struct Home {
    pub(crate) coordinator: ReadyQueueCoordinator,
    throughput: AtomicU32,
    /// In microseconds; `UNLIMITED` if there is no limit.
    time_budget: AtomicU32,
    /// Workers that have not been dropped.
    workers: AtomicUsize,
    /// Cells whose memory lives, which keep it.
    tenants: Tenants,
    own: Own,
    /// If this is not the system's main dispatcher. Who makes such a one brings what there is to do with it.
    branch: Option<Box<dyn Branch>>,
    pub(crate) shared: Arc<Shared>,
}

/// A home as its cells know it: a pointer that the counts can be reached by, so that they can count themselves among
/// its owners.
#[derive(Clone, Copy)]
struct Own(NonNull<Home>);

// SAFETY: a plain address.
unsafe impl Send for Own {}
// SAFETY: likewise.
unsafe impl Sync for Own {}

/// What a dispatcher has that is not the main one.
pub(crate) trait Branch: Send + Sync {
    fn main(&self) -> &Arc<Home>;

    /// Counts a new actor, unless nobody comes in any more.
    fn move_in(&self) -> Result<(), SpawnError>;

    /// An actor has ended, or was not spawned after all. True if the last one is to end the dispatcher, and has.
    fn move_out(&self) -> bool;

    /// How many actors live there.
    fn population(&self) -> usize;

    fn is_retired(&self) -> bool;

    /// Takes no actor any more if none lives there.
    fn retire_if_empty(&self) -> bool;
}

struct Colony {
    main: Arc<Home>,
    /// Living actors, times two; plus `RETIRED`.
    population: AtomicUsize,
    retires: bool,
}

impl Branch for Colony {
    fn main(&self) -> &Arc<Home> {
        &self.main
    }

    fn move_in(&self) -> Result<(), SpawnError> {
        // Relaxed: only a first guess for the exchange.
        let mut seen = self.population.load(Ordering::Relaxed);
        loop {
            if seen & RETIRED != 0 {
                return Err(SpawnError::ShuttingDown);
            }
            match self.population.compare_exchange_weak(
                seen,
                seen + ONE,
                // Relaxed, twice: the count carries nothing but itself; the cell is scheduled later.
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    fn move_out(&self) -> bool {
        // Release: what the actor did comes before the end of the workers.
        let before = self.population.fetch_sub(ONE, Ordering::Release);
        before == ONE && self.retires && self.retire_if_empty()
    }

    fn population(&self) -> usize {
        // Acquire: pairs with the Release in `move_out`.
        self.population.load(Ordering::Acquire) / ONE
    }

    fn is_retired(&self) -> bool {
        // Acquire: pairs with the Release in `move_out`.
        self.population.load(Ordering::Acquire) & RETIRED != 0
    }

    fn retire_if_empty(&self) -> bool {
        self.population
            // Relaxed, twice: as in `move_in`.
            .compare_exchange(0, RETIRED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// The dispatchers of a system beside the main one, each in a place.
pub(crate) trait Others: Send + Sync {
    fn add(&self, home: Weak<Home>);
    fn for_each(&self, each: &mut dyn FnMut(&Home));
}

/// Those who made them may have dropped them.
impl Others for Mutex<Vec<Weak<Home>>> {
    fn add(&self, home: Weak<Home>) {
        // Who goes through them counts on their places.
        self.with(
            |homes| match homes.iter_mut().find(|home| home.strong_count() == 0) {
                Some(gone) => *gone = home,
                None => homes.push(home),
            },
        );
    }

    /// Not under the lock: the last reference to one may end here.
    fn for_each(&self, each: &mut dyn FnMut(&Home)) {
        let mut place = 0;
        while let Some(home) = self.with(|homes| homes.get(place).map(Weak::upgrade)) {
            home.as_deref().into_iter().for_each(&mut *each);
            place += 1;
        }
    }
}

/// No actor comes in any more.
const RETIRED: usize = 1;
const ONE: usize = 2;

const UNLIMITED: u32 = u32::MAX;

fn micros(limit: Option<Duration>) -> u32 {
    limit.map_or(UNLIMITED, |limit| {
        let micros = limit.as_nanos().div_ceil(1000);
        u32::try_from(micros).unwrap_or(UNLIMITED)
    })
}

/// Has each cell a reference of its own? They share one for the sake of workers that count ahead, which is so with
/// `std` only.
const EACH_HAS_ITS_OWN: bool = sync::SMALL;

/// How a dispatcher is made.
pub(crate) struct HomePlan {
    /// At least, and at most.
    pub(crate) workers: (usize, usize),
    pub(crate) stealing: bool,
    pub(crate) throughput: u32,
    pub(crate) time_budget: Option<Duration>,
    pub(crate) seed: u64,
    /// For one that is not the main dispatcher.
    pub(crate) branch: Option<Box<dyn Branch>>,
}

impl Home {
    pub(crate) fn make(plan: HomePlan, shared: Arc<Shared>) -> (Arc<Self>, Vec<Worker>) {
        let home = Arc::new(Self {
            coordinator: ReadyQueueCoordinator::new(
                plan.workers,
                plan.stealing,
                plan.seed,
                shared.registry.capacity().unwrap_or(0) as usize,
            ),
            throughput: AtomicU32::new(plan.throughput),
            time_budget: AtomicU32::new(micros(plan.time_budget)),
            workers: AtomicUsize::new(plan.workers.0),
            tenants: Tenants::new(),
            own: Own(NonNull::dangling()),
            branch: plan.branch,
            shared,
        });
        // SAFETY: nobody else has it yet. It is not at null.
        unsafe {
            let own = Arc::as_ptr(&home).cast_mut();
            (*own).own = Own(NonNull::new_unchecked(own));
        }
        let workers = (0..plan.workers.0)
            .map(|number| Worker::new(Arc::clone(&home), number, Place::new()))
            .collect();
        (home, workers)
    }

    /// The system.
    pub(crate) fn system(&self) -> System {
        let main = match &self.branch {
            Some(branch) => Arc::clone(branch.main()),
            // SAFETY: the inside of an `Arc`, which whoever borrows it holds; one more count, for this one.
            None => unsafe {
                Arc::increment_strong_count(self.own().as_ptr());
                Arc::from_raw(self.own().as_ptr())
            },
        };
        System::from_home(main)
    }

    /// The system's main dispatcher.
    pub(crate) fn main(&self) -> &Self {
        self.branch.as_ref().map_or(self, |branch| branch.main())
    }

    pub(crate) fn is_main(&self) -> bool {
        self.branch.is_none()
    }

    pub(crate) fn throughput(&self) -> u32 {
        // Relaxed: a setting, which carries nothing but itself.
        self.throughput.load(Ordering::Relaxed)
    }

    pub(crate) fn time_budget(&self) -> Option<Duration> {
        let micros = self.limit();
        (micros != UNLIMITED).then(|| Duration::from_micros(micros.into()))
    }

    /// The time budget in microseconds.
    fn limit(&self) -> u32 {
        // Relaxed: as above.
        self.time_budget.load(Ordering::Relaxed)
    }

    pub(crate) fn set_throughput(&self, messages: u32) {
        // Relaxed: as above.
        self.throughput.store(messages.max(1), Ordering::Relaxed);
    }

    pub(crate) fn set_time_budget(&self, limit: Option<Duration>) {
        // Relaxed: as above.
        self.time_budget.store(micros(limit), Ordering::Relaxed);
    }

    /// Makes an actor here, or on the dispatcher that the options name. `parent` adopts it.
    ///
    /// # Safety
    /// The caller is the runner of `parent`, if there is one.
    pub(crate) unsafe fn spawn<A: Actor, F: FnMut() -> A + Send + 'static>(
        &self,
        parent: Option<CellPtr>,
        options: SpawnOptions,
        factory: F,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        // SAFETY: as the caller promises; actor and factory are `Send`, and it is made from this seed.
        unsafe {
            self.grow::<A, F>(parent, options, factory, |options, seed| {
                self.spawn_anywhere(parent, options, seed)
            })
        }
    }

    /// Makes an actor that is bound to the thread of the only worker.
    ///
    /// # Safety
    /// The caller is the runner of `parent`, if there is one, and on the thread of this dispatcher's
    /// only worker, which does not leave it.
    pub(crate) unsafe fn spawn_bound<A: Actor, F: FnMut() -> A + 'static>(
        &self,
        parent: Option<CellPtr>,
        options: SpawnOptions,
        factory: F,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        // SAFETY: as the caller promises; it is made from this seed.
        unsafe {
            self.grow::<A, F>(parent, options, factory, |options, seed| {
                self.spawn_only_here(parent, options, seed)
            })
        }
    }

    /// Makes an actor by `make`. If it cannot be made, its factory has not been used.
    ///
    /// # Safety
    /// The cell that `make` returns was made from its seed.
    #[inline(always)]
    unsafe fn grow<A: Actor, F: FnMut() -> A + 'static>(
        &self,
        parent: Option<CellPtr>,
        mut options: SpawnOptions,
        factory: F,
        make: impl FnOnce(&mut SpawnOptions, Seed) -> Result<CellPtr, SpawnError>,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        // User code, which may panic: before the factory is out of reach.
        self.show(parent, &mut options, Seed::new(&factory).vtable)?;
        let mut factory = ManuallyDrop::new(factory);
        match make(&mut options, Seed::new(&*factory)) {
            // SAFETY: the new cell's one strong reference; its messages are `A::Msg`.
            Ok(cell) => Ok(unsafe { ActorRef::from_cell(cell) }),
            Err(error) => {
                // SAFETY: still the caller's, and not used any more.
                unsafe { ManuallyDrop::drop(&mut factory) };
                Err(error)
            }
        }
    }

    /// # Safety
    /// As [`Home::spawn`]; factory and actor are `Send`.
    unsafe fn spawn_anywhere(
        &self,
        parent: Option<CellPtr>,
        options: &mut SpawnOptions,
        seed: Seed,
    ) -> Result<CellPtr, SpawnError> {
        // SAFETY: as the caller promises.
        unsafe {
            match options.dispatcher.take() {
                None => self.spawn_here(parent, options, seed),
                Some(Dispatcher(home)) if Arc::ptr_eq(&home.shared, &self.shared) => {
                    home.spawn_here(parent, options, seed)
                }
                Some(_) => Err(SpawnError::ForeignDispatcher),
            }
        }
    }

    /// # Safety
    /// As [`Home::spawn_bound`].
    unsafe fn spawn_only_here(
        &self,
        parent: Option<CellPtr>,
        options: &mut SpawnOptions,
        seed: Seed,
    ) -> Result<CellPtr, SpawnError> {
        let here = core::ptr::from_ref(self);
        match &options.dispatcher {
            Some(other) if !core::ptr::eq(Arc::as_ptr(&other.0), here) => {
                Err(SpawnError::ForeignDispatcher)
            }
            // SAFETY: as the caller promises.
            _ => unsafe { self.spawn_here(parent, options, seed) },
        }
    }

    /// Shows an actor that is to be spawned to the spawn middleware.
    fn show(
        &self,
        parent: Option<CellPtr>,
        options: &mut SpawnOptions,
        vtable: &VTable,
    ) -> Result<(), SpawnError> {
        for part in &self.shared.spawn_middleware {
            let parent = parent.map(CellPtr::index);
            part.spawning(&mut Spawning {
                parent,
                actor_type: vtable.actor_name(),
                options,
            })
            .map_err(SpawnError::Refused)?;
        }
        Ok(())
    }

    /// What an actor has that few have: with the system's middleware before its own.
    #[inline]
    fn extra(&self, own: Option<IfFlow<Box<SpawnExtra>>>) -> Option<IfFlow<Box<SpawnExtra>>> {
        match &self.shared.middleware {
            None => own,
            Some(system) => {
                let mut extra = own.map_or_else(Box::default, IfFlow::into_inner);
                extra.middleware = extra.middleware.behind(system);
                IfFlow::new(extra)
            }
        }
    }

    /// # Safety
    /// As [`Home::spawn`], or [`Home::spawn_bound`] if factory or actor are not `Send`.
    unsafe fn spawn_here(
        &self,
        parent: Option<CellPtr>,
        options: &mut SpawnOptions,
        seed: Seed,
    ) -> Result<CellPtr, SpawnError> {
        let mailbox = options.mailbox.as_ref();
        mailbox
            .unwrap_or(&self.shared.mailbox)
            .check(seed.vtable.kind.id)
            .map_err(SpawnError::InvalidOptions)?;
        if parent.is_some_and(|parent| parent.mailbox().life.get() == Life::Hook) {
            return Err(SpawnError::ShuttingDown);
        }
        self.move_in()?;
        // SAFETY: as the caller promises.
        let made = unsafe { self.make_cell(parent, options, seed) };
        let cell = made.inspect_err(|_| self.move_out())?;
        if let Some(kin) = cell.kin() {
            // SAFETY: the caller is the parent's runner.
            unsafe { (kin.family.adopt)(kin.parent, cell, options.significant) };
        }
        cell.schedule();
        Ok(cell)
    }

    /// # Safety
    /// As [`spawn_here`](Self::spawn_here).
    unsafe fn make_cell(
        &self,
        parent: Option<CellPtr>,
        options: &mut SpawnOptions,
        seed: Seed,
    ) -> Result<CellPtr, SpawnError> {
        options.extra = self.extra(options.extra.take());
        if options.extra.is_some() {
            options.cold = Some(new_cold);
        }
        let cold = match options.cold {
            None => None,
            Some(make) => Some(make(options)?),
        };
        let birth = Birth {
            seed,
            home: self.own(),
            parent,
            mailbox: options.mailbox.as_ref().unwrap_or(&self.shared.mailbox),
            cold,
            own_throughput: options.throughput.is_some(),
            stop_unreferenced: options.stop_unreferenced,
            owned: sync::KNOWS_HERE && self.coordinator.is_single(),
            policy: options.restart.unwrap_or_default(),
        };
        // SAFETY: the seed's factory is used no more if the cell comes to be known, which the caller is told.
        let cell = unsafe { CellPtr::new(birth) }.ok_or(SpawnError::Capacity)?;
        // SAFETY: it was just made.
        unsafe { self.admit(cell) }.inspect_err(|_| {
            // SAFETY: it was not published.
            unsafe { cell.discard() };
        })?;
        Ok(cell)
    }

    /// Makes a cell known by its name, if it has one, and by its index.
    ///
    /// # Safety
    /// The cell was just made, and nobody else has it. If it is refused, nobody has.
    unsafe fn admit(&self, cell: CellPtr) -> Result<(), SpawnError> {
        let names = &self.shared.names;
        let name = cell.cold_if_any().and_then(|cold| cold.name.as_ref());
        if let Some(name) = name {
            name.reserve(names)?;
        }
        let shard = self.shard_here();
        let registered = self.shared.registry.register(shard, cell, |index| {
            // SAFETY: nobody else has the cell before the shard's lock is given back.
            unsafe { cell.set_index(index) };
        });
        if let Some(name) = name {
            name.settle(names, registered.is_ok().then_some(cell));
        }
        registered.map_err(|refused| match refused {
            Refused::Sealed => SpawnError::ShuttingDown,
            Refused::Full => SpawnError::Capacity,
        })
    }

    /// A cell is made, which keeps the home from now on. *Any thread that keeps the home.*
    #[inline]
    pub(crate) fn move_in_cell(&self) {
        match self.coordinator.stock_here() {
            Some(stock) => stock.take(|cells| self.add_tenants(cells)),
            None => self.add_tenants(1),
        }
    }

    fn add_tenants(&self, cells: usize) {
        let own = self.own().as_ptr();
        if EACH_HAS_ITS_OWN {
            // SAFETY: `own` is the inside of an `Arc`, which the caller keeps.
            return unsafe { Arc::increment_strong_count(own) };
        }
        self.tenants.add(
            cells,
            // SAFETY: `own` is the inside of an `Arc`, which the caller keeps.
            || unsafe { Arc::increment_strong_count(own) },
            // SAFETY: likewise; taken just before, and not the last one.
            || unsafe { Arc::decrement_strong_count(own) },
        );
    }

    /// A cell's memory is given back. The home may end by it. *Any thread.*
    ///
    /// # Safety
    /// Once for each cell that has moved in, which does not use the home any more.
    pub(crate) unsafe fn move_out_cell(home: NonNull<Self>) {
        // SAFETY: the cell keeps it until here.
        let here = unsafe { home.as_ref() };
        match here.coordinator.stock_here() {
            Some(stock) => stock.give(|cells| {
                let last = here.tenants.take_away(cells);
                debug_assert!(!last, "some are left in stock");
            }),
            // SAFETY: as the caller promises.
            None => unsafe { Self::remove_tenants(home, 1) },
        }
    }

    /// # Safety
    /// So many have been added and are not counted any more.
    unsafe fn remove_tenants(home: NonNull<Self>, cells: usize) {
        // SAFETY: the reference that the tenants share, or that the one cell has, keeps it until here, and is given
        // back once.
        unsafe {
            if EACH_HAS_ITS_OWN || home.as_ref().tenants.take_away(cells) {
                Arc::decrement_strong_count(home.as_ptr());
            }
        }
    }

    /// A worker goes, and leaves its lane to others: what it has counted ahead is given back. *Its worker.*
    pub(crate) fn clear_stock(&self, lane: &Lane) {
        let cells = lane.clear_stock();
        if cells != 0 {
            // SAFETY: counted when they came into the stock. The worker keeps the home.
            unsafe { Self::remove_tenants(self.own(), cells) };
        }
    }

    fn own(&self) -> NonNull<Self> {
        self.own.0
    }

    /// The registry's shard for what this thread spawns: the main worker's own, or the last one.
    fn shard_here(&self) -> usize {
        let here = sync::here();
        if self.is_main() && core::ptr::eq(here.home, core::ptr::from_ref(self).cast()) {
            // SAFETY: while this is a thread's home, its lane is one of ours.
            unsafe { (*here.lane.cast::<Lane>()).worker() }
        } else {
            usize::MAX
        }
    }

    /// Counts a new actor, unless nobody comes in any more. Not on the main dispatcher.
    fn move_in(&self) -> Result<(), SpawnError> {
        self.branch
            .as_ref()
            .map_or(Ok(()), |branch| branch.move_in())
    }

    /// An actor has ended, or was not spawned after all.
    fn move_out(&self) {
        if let Some(branch) = &self.branch
            && branch.move_out()
        {
            self.coordinator.wake_all();
        }
    }

    /// An actor has ended.
    pub(crate) fn one_less(&self) {
        self.move_out();
        self.shared.one_less(self);
    }

    /// May the workers end? Asked when there is nothing else to do.
    #[inline(never)]
    pub(crate) fn is_stopped(&self) -> bool {
        let branch = self.branch.as_ref();
        self.shared.is_stopped() || branch.is_some_and(|branch| branch.is_retired())
    }

    /// Is no actor left here?
    pub(crate) fn is_empty(&self) -> bool {
        match &self.branch {
            Some(branch) => branch.population() == 0,
            None => self.shared.is_main_empty(),
        }
    }

    pub(crate) fn one_worker_less(&self) -> bool {
        // Release and Acquire: the last worker sees what the others did.
        self.workers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Has an activation taken longer than it may?
    pub(crate) fn is_too_long(&self, nanos: u64) -> bool {
        let limit = self.limit();
        limit != UNLIMITED && nanos >= u64::from(limit) * 1000
    }

    /// Counts a worker that was hired; false if none is left, and the actors have been ended.
    pub(crate) fn one_worker_more(&self) -> bool {
        // Relaxed: only a first guess for the exchange.
        let mut seen = self.workers.load(Ordering::Relaxed);
        while seen != 0 {
            match self.workers.compare_exchange_weak(
                seen,
                seen + 1,
                // Relaxed, twice: what a worker has to see comes with the place it takes.
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Takes no actor any more if none lives here. Never so on the main dispatcher.
    pub(crate) fn close_if_empty(&self) -> bool {
        let branch = self.branch.as_ref();
        let closed = branch.is_some_and(|branch| branch.retire_if_empty());
        if closed {
            self.coordinator.wake_all();
        }
        closed
    }

    /// The budget for one activation of `cell`. *Its runner.*
    #[inline]
    pub(crate) fn activation<'a>(&'a self, cell: CellPtr, lane: &'a Lane) -> Activation<'a> {
        let first_read = if self.limit() == UNLIMITED {
            u32::MAX
        } else {
            FIRST_READ
        };
        let throughput = cell.throughput().unwrap_or(self.throughput());
        Activation::new(throughput, first_read, lane, self)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.shared.home_gone(self.coordinator.handled());
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home")
            .field("main", &self.is_main())
            .field("coordinator", &self.coordinator)
            .finish_non_exhaustive()
    }
}

/// Workers of their own for some of a system's actors. Clones are the same.
///
/// Given to [`SpawnOptions::dispatcher`]. Made by [`System::dispatcher`].
#[derive(Clone)]
pub struct Dispatcher(pub(crate) Arc<Home>);

impl Dispatcher {
    /// How many workers it has now.
    pub fn workers(&self) -> usize {
        self.0.coordinator.workers()
    }

    /// What adds workers, if their number can change. One is enough: only the waker that was passed last is
    /// woken.
    pub fn foreman(&self) -> Option<Foreman> {
        let outlook = self.0.coordinator.outlook()?;
        Some(Foreman::new(Arc::clone(&self.0), outlook))
    }

    /// How many actors live there.
    pub fn live_actors(&self) -> usize {
        let branch = self.0.branch.as_ref();
        branch.map_or(0, |branch| branch.population())
    }
}

impl PartialEq for Dispatcher {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Dispatcher {}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("workers", &self.workers())
            .field("live_actors", &self.live_actors())
            .finish_non_exhaustive()
    }
}

/// Configures a [`Dispatcher`]. See [`System::dispatcher`].
#[must_use]
pub struct DispatcherBuilder<'a> {
    system: &'a System,
    plan: HomePlan,
    retires: bool,
}

impl<'a> DispatcherBuilder<'a> {
    pub(crate) fn new(system: &'a System, main: &Home) -> Self {
        Self {
            system,
            plan: HomePlan {
                workers: (1, 1),
                stealing: false,
                throughput: main.throughput(),
                time_budget: main.time_budget(),
                seed: 0,
                branch: None,
            },
            retires: false,
        }
    }

    /// How many workers; at least one. Default: one, which gets the single-core coordinator.
    pub fn workers(mut self, workers: usize) -> Self {
        self.plan.workers = (workers.max(1), workers.max(1));
        self
    }

    /// See [`SystemBuilder::adaptive_workers`](crate::SystemBuilder::adaptive_workers).
    pub fn adaptive_workers(mut self, least: usize, most: usize) -> Self {
        let least = least.max(1);
        self.plan.workers = (least, most.max(least));
        self
    }

    /// See [`SystemBuilder::throughput`](crate::SystemBuilder::throughput). Default: the system's.
    pub fn throughput(mut self, messages: u32) -> Self {
        self.plan.throughput = messages.max(1);
        self
    }

    /// Ends its workers as soon as the last of its actors has ended. Nobody can be spawned there
    /// afterwards.
    pub fn retire_when_empty(mut self) -> Self {
        self.retires = true;
        self
    }

    /// Makes it. The workers are for an executor, as those of
    /// [`SystemBuilder::build`](crate::SystemBuilder::build).
    pub fn build(mut self) -> (Dispatcher, Vec<Worker>) {
        let main = Arc::clone(self.system.home());
        let shared = Arc::clone(&main.shared);
        self.plan.branch = Some(Box::new(Colony {
            main,
            population: AtomicUsize::new(0),
            retires: self.retires,
        }));
        let (home, workers) = Home::make(self.plan, shared);
        home.shared.add_home(&home);
        (Dispatcher(home), workers)
    }
}

impl fmt::Debug for DispatcherBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherBuilder")
            .field("workers", &self.plan.workers)
            .finish_non_exhaustive()
    }
}
