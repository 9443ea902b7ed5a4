//! The seeded driver: virtual workers that take turns.
//!
//! ```text
//!   step:  who could do something?  ──► draw one ──► poll it once ──► note it in the trace
//!            workers that are ready or were woken
//!            tasks that were woken
//!            now and then, and when nobody else is left: a worker on watch
//! ```
//!
//! Each poll is given a budget of one step, so going to sleep, which takes a worker two steps, can
//! be cut in the middle. An activation is one step: what happens within it is not cut.

use crate::clock::VirtualClock;
use crate::task::{Flag, Run, Task};
use crate::trace::{Event, Trace};
use hikyaku_core::{
    ActorRef, Clock, DeadLetter, LocalActor, LocalWorker, ManualDriver, SpawnError, SpawnOptions,
    System, SystemBuilder, SystemState, Turn, Worker,
};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// More steps than this between two looks at the result mean that the actors go in circles.
const STEP_LIMIT: u64 = 20_000_000;

/// A system under a seeded driver. See the [crate's page](crate).
///
/// It dereferences to its [`System`]. Nothing runs until one of the methods that run is called.
/// Dropped, it drops its tasks, then ends its actors by force.
pub struct Sim {
    seed: u64,
    random: fastrand::Rng,
    /// Out of eight: how likely the one that ran last goes on if it can.
    sticky: u8,
    last: Option<Who>,
    tasks: Vec<Seat<Rc<dyn Run>>>,
    next_task: usize,
    workers: Vec<Seat<AnyWorker>>,
    system: System,
    clock: VirtualClock,
    ticks: ManualDriver,
    trace: Trace,
    handled: usize,
}

/// Someone who can be polled.
struct Seat<T> {
    /// A number that stays the same.
    number: usize,
    who: T,
    flag: Arc<Flag>,
    waker: Waker,
    /// A worker that asked to be looked after.
    on_watch: bool,
}

enum AnyWorker {
    Shared(Worker),
    Local(LocalWorker),
    Stopped,
}

/// Whose turn it is: places in the lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Worker(usize),
    Task(usize),
    Main,
}

impl<T> Seat<T> {
    fn new(number: usize, who: T) -> Self {
        let flag = Flag::raised();
        Self {
            number,
            who,
            waker: Waker::from(Arc::clone(&flag)),
            flag,
            on_watch: false,
        }
    }
}

/// Configures a [`Sim`].
#[derive(Debug)]
#[must_use]
pub struct SimBuilder {
    seed: u64,
    random: fastrand::Rng,
    core: SystemBuilder,
    clock: VirtualClock,
    workers: usize,
    single_core: bool,
}

impl SimBuilder {
    /// So many workers that steal from each other; at least one.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self.single_core = false;
        self
    }

    /// One worker with the single-core coordinator. Needed for [`Sim::spawn_local`].
    pub fn single_core(mut self) -> Self {
        self.workers = 1;
        self.single_core = true;
        self
    }

    /// See [`SystemBuilder::throughput`]. Drawn from the seed unless chosen here.
    pub fn throughput(mut self, messages: u32) -> Self {
        self.core = self.core.throughput(messages);
        self
    }

    /// See [`SystemBuilder::time_budget`].
    pub fn time_budget(mut self, limit: Duration) -> Self {
        self.core = self.core.time_budget(limit);
        self
    }

    /// See [`SystemBuilder::on_dead_letter`].
    pub fn on_dead_letter(
        mut self,
        listener: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.core = self.core.on_dead_letter(listener);
        self
    }

    /// Makes the system. Nothing runs yet.
    pub fn build(mut self) -> Sim {
        let mut core = self.core.workers(self.workers).seed(self.seed);
        if !self.single_core {
            core = core.work_stealing();
        }
        let ticks = ManualDriver::new();
        let core = core.clock(self.clock.clone()).tick_driver(ticks.clone());
        let (system, workers) = core.build().expect("it has a clock and a driver");
        let workers = workers.into_iter().enumerate().map(|(number, worker)| {
            let worker = match worker.on_this_thread() {
                Ok(local) => AnyWorker::Local(local),
                Err(shared) => AnyWorker::Shared(shared),
            };
            Seat::new(number, worker)
        });
        Sim {
            seed: self.seed,
            sticky: self.random.u8(0..8),
            random: self.random,
            last: None,
            tasks: Vec::new(),
            next_task: 0,
            workers: workers.collect(),
            system,
            clock: self.clock,
            ticks,
            trace: Trace::default(),
            handled: 0,
        }
    }
}

impl Sim {
    /// A system whose shape is drawn from the seed as well: one worker to four, either kind of
    /// coordinator, a small or a large throughput.
    pub fn new(seed: u64) -> Self {
        Self::builder(seed).build()
    }

    /// Begins to configure one. What is not configured is drawn from the seed.
    pub fn builder(seed: u64) -> SimBuilder {
        let mut random = fastrand::Rng::with_seed(seed);
        let workers = random.usize(0..=4);
        let throughput = [1, 2, 7, 1024][random.usize(..4)];
        SimBuilder {
            seed,
            core: System::builder("sim").throughput(throughput),
            clock: VirtualClock::new(),
            workers: workers.max(1),
            single_core: workers == 0,
            random,
        }
    }

    // === what is in it ===

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The system, to clone it.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// The clock of the system.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// What happened so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A hash of what happened so far. The same seed gives the same.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// A number below `limit`, drawn from the seed. Drawing one changes what is drawn later.
    ///
    /// # Panics
    /// If `limit` is zero.
    pub fn below(&mut self, limit: usize) -> usize {
        self.random.usize(..limit)
    }

    /// Spawns an actor that need not be `Send`.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    ///
    /// # Panics
    /// If the system was not built with [`SimBuilder::single_core`].
    pub fn spawn_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        match self.workers.first().map(|seat| &seat.who) {
            Some(AnyWorker::Local(worker)) => worker.spawn_local(options, factory),
            _ => panic!("local actors need a simulation built with single_core()"),
        }
    }

    /// Adds code that is no actor, to run between the steps of the workers.
    pub fn spawn_task<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let task = Task::new(future);
        self.tasks.push(Seat::new(self.next_task, task.runner()));
        self.next_task += 1;
        task
    }

    /// Moves the clock and fires what is due then, in order. Workers on watch look again afterwards.
    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.ticks.tick();
        self.trace.push(Event::Advance(by));
        for seat in &self.workers {
            if seat.on_watch {
                seat.flag.raise();
            }
        }
    }

    /// Drops the workers in an order drawn from the seed, as an executor does that is shut down.
    /// The last one ends the actors by force.
    pub fn drop_workers(&mut self) {
        while !self.workers.is_empty() {
            let place = self.random.usize(..self.workers.len());
            drop(self.workers.remove(place));
        }
    }

    // === running ===

    /// Runs until nobody has anything to do.
    ///
    /// # Panics
    /// If that does not happen, or if there was work that nobody had been woken for.
    pub fn run_until_idle(&mut self) {
        self.run_while("everything is idle", || true);
    }

    /// Runs until the condition holds, and at least until then.
    ///
    /// # Panics
    /// If everything is idle and it does not hold.
    pub fn run_until(&mut self, mut condition: impl FnMut() -> bool) {
        if self.run_while("the condition holds", || !condition()) {
            self.fail("everything is idle and the condition does not hold");
        }
    }

    /// Runs so many steps, or until nobody has anything to do.
    pub fn run_steps(&mut self, steps: usize) {
        let mut left = steps;
        self.run_while("so many steps are done", || {
            left = left.wrapping_sub(1);
            left != usize::MAX
        });
    }

    /// Runs everything, the future too, until the future is done.
    ///
    /// # Panics
    /// If everything is idle and it is not: a lost wake-up, or a deadlock.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let flag = Flag::raised();
        let waker = Waker::from(Arc::clone(&flag));
        let mut output = None;
        for _ in 0..STEP_LIMIT {
            let Some(who) = self.draw(flag.is_raised()) else {
                self.fail("everything is idle and the future is still pending");
            };
            if who != Who::Main {
                self.poll(who);
                continue;
            }
            flag.lower();
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                output = Some(done);
            }
            let done = output.is_some();
            self.trace.push(Event::Main { done });
            if let Some(output) = output {
                return output;
            }
        }
        self.fail("the actors go in circles and the future is still pending");
    }

    /// True if everything is idle, false if `go_on` said so.
    fn run_while(&mut self, goal: &str, mut go_on: impl FnMut() -> bool) -> bool {
        for _ in 0..STEP_LIMIT {
            if !go_on() {
                return false;
            }
            let Some(who) = self.draw(false) else {
                return true;
            };
            self.poll(who);
        }
        self.fail(&format!("the actors go in circles before {goal}"));
    }

    /// Who is next; nobody if everything is idle.
    fn draw(&mut self, main: bool) -> Option<Who> {
        // A worker on watch is polled "about every millisecond": between any two steps, seldom.
        let watch = self.random.u8(..) < 8;
        let runnable = self.runnable(main, watch);
        let who = match self.last {
            _ if runnable.is_empty() => return self.look_around(),
            Some(last) if self.random.u8(0..8) < self.sticky && runnable.contains(&last) => last,
            _ => runnable[self.random.usize(..runnable.len())],
        };
        self.last = Some(who);
        Some(who)
    }

    fn runnable(&self, main: bool, watch: bool) -> Vec<Who> {
        let workers = self.workers.iter().enumerate();
        let tasks = self.tasks.iter().enumerate();
        workers
            .filter(|(_, seat)| seat.flag.is_raised() || watch && seat.on_watch)
            .map(|(place, _)| Who::Worker(place))
            .chain(
                tasks
                    .filter(|(_, seat)| seat.flag.is_raised())
                    .map(|(place, _)| Who::Task(place)),
            )
            .chain(main.then_some(Who::Main))
            .collect()
    }

    /// Nobody is ready and nobody was woken: the workers on watch look once more. They must not
    /// find anything, because for every bit of work somebody has to be woken.
    fn look_around(&mut self) -> Option<Who> {
        for place in 0..self.workers.len() {
            if !self.workers[place].on_watch {
                continue;
            }
            let before = self.system.metrics();
            self.workers[place].flag.raise();
            while self.workers[place].flag.is_raised() {
                self.poll(Who::Worker(place));
            }
            let after = self.system.metrics();
            let same = (before.handled, before.live_actors, before.dead_letters)
                == (after.handled, after.live_actors, after.dead_letters);
            if !same || !self.runnable(false, false).is_empty() {
                self.fail("a worker on watch found work for which nobody had been woken");
            }
        }
        let metrics = self.system.metrics();
        let complete = self.workers.len() == metrics.workers;
        if complete
            && self.system.state() != SystemState::Stopped
            && metrics.workers_asleep != metrics.workers
        {
            let asleep = metrics.workers_asleep;
            self.fail(&format!(
                "everything is idle, and {asleep} workers count as asleep"
            ));
        }
        None
    }

    fn poll(&mut self, who: Who) {
        match who {
            Who::Worker(place) => self.poll_worker(place),
            Who::Task(place) => self.poll_task(place),
            Who::Main => unreachable!("polled where its future is"),
        }
    }

    fn poll_worker(&mut self, place: usize) {
        let seat = &mut self.workers[place];
        seat.flag.lower();
        seat.on_watch = false;
        let turn = match &mut seat.who {
            AnyWorker::Shared(worker) => worker.poll(1, &seat.waker),
            AnyWorker::Local(worker) => worker.poll(1, &seat.waker),
            // A wake that comes late, for one that has stopped.
            AnyWorker::Stopped => return,
        };
        match turn {
            Turn::Ready => seat.flag.raise(),
            Turn::Idle { on_watch } => seat.on_watch = on_watch,
            Turn::Stopped => seat.who = AnyWorker::Stopped,
        }
        let handled = self.system.metrics().handled;
        self.trace.push(Event::Worker {
            worker: seat.number,
            handled: handled.wrapping_sub(self.handled),
            idle: turn != Turn::Ready,
        });
        self.handled = handled;
    }

    fn poll_task(&mut self, place: usize) {
        let seat = &self.tasks[place];
        let task = seat.number;
        seat.flag.lower();
        let runner = Rc::clone(&seat.who);
        let done = runner.run(&mut Context::from_waker(&seat.waker));
        self.trace.push(Event::Task { task, done });
        if done {
            self.tasks.remove(place);
            // The places behind it have moved.
            self.last = None;
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!(
            "seed {}: {what}; the last of {} steps:\n{}",
            self.seed,
            self.trace.steps(),
            self.trace
        );
    }
}

impl Deref for Sim {
    type Target = System;

    fn deref(&self) -> &System {
        &self.system
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        for seat in self.tasks.drain(..) {
            drop(seat);
        }
        self.drop_workers();
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .field("workers", &self.workers.len())
            .field("tasks", &self.tasks.len())
            .field("steps", &self.trace.steps())
            .field("now", &self.clock.now())
            .finish_non_exhaustive()
    }
}
