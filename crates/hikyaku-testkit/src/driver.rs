//! The seeded driver: virtual workers that take turns.
//!
//! ```text
//!   step:  who could do something?  ──► decide on one ──► poll it once ──► note it in the trace
//!            workers that are ready or were woken
//!            tasks that were woken
//!            now and then, and when nobody else is left: a worker on watch
//! ```
//!
//! The list of who could do something begins with the one that ran last, so that the plain decision
//! is that it goes on, and otherwise a worker: tasks come when the actors are done. After many steps
//! in a row it stands at the end of the list, because it may be waiting for somebody else.
//!
//! Each poll is given a budget of one step, so going to sleep, which takes a worker two steps, can
//! be cut in the middle. An activation is one step: what happens within it is not cut.

use crate::clock::VirtualClock;
use crate::decisions::Decisions;
use crate::effects::{Effect, Effects};
use crate::fault::{Faults, Link};
use crate::leftovers::Leftovers;
use crate::probe::Probe;
use crate::recording::Recording;
use crate::task::{Flag, Run, Task};
use crate::trace::{Event, Trace};
use hikyaku_core::{
    Actor, ActorRef, Clock, DeadLetter, Escalation, LocalActor, LocalWorker, MailboxIndex,
    ManualDriver, NextTick, SpawnError, SpawnOptions, Supervision, System, SystemBuilder,
    SystemState, Turn, Worker,
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
const NANOSECOND: Duration = Duration::from_nanos(1);
/// After so many steps in a row the plain decision is that somebody else goes on.
const STREAK: u32 = 64;

/// A system under a seeded driver. See the [crate's page](crate).
///
/// It dereferences to its [`System`]. Nothing runs until one of the methods that run is called.
/// Dropped, it drops its tasks, then ends its actors by force. One that was built
/// [`strict`](SimBuilder::strict) looks for what is left behind first.
pub struct Sim {
    seed: u64,
    decisions: Decisions,
    /// Out of eight: how likely the one that ran last goes on if it can.
    sticky: u32,
    last: Option<Who>,
    /// How many steps it has done in a row.
    streak: u32,
    tasks: Vec<Seat<Rc<dyn Run>>>,
    next_task: usize,
    workers: Vec<Seat<AnyWorker>>,
    system: System,
    clock: VirtualClock,
    ticks: ManualDriver,
    trace: Trace,
    handled: usize,
    /// Who is to be killed after which step.
    doomed: Vec<(u64, Doomed)>,
    leftovers: Leftovers,
    strict: bool,
}

struct Doomed {
    actor: MailboxIndex,
    kill: Box<dyn FnOnce()>,
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    decisions: Decisions,
    core: SystemBuilder,
    clock: VirtualClock,
    effects: Effects,
    workers: usize,
    single_core: bool,
    strict: bool,
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

    /// See [`SystemBuilder::supervision`].
    pub fn supervision(mut self, supervision: Supervision) -> Self {
        self.core = self.core.supervision(supervision);
        self
    }

    /// See [`SystemBuilder::escalation`].
    pub fn escalation(mut self, escalation: Escalation) -> Self {
        self.core = self.core.escalation(escalation);
        self
    }

    /// See [`SystemBuilder::on_dead_letter`].
    pub fn on_dead_letter(
        mut self,
        listener: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        let effects = self.effects.clone();
        self.core = self.core.on_dead_letter(move |letter| {
            effects.dead_letter(letter);
            listener(letter);
        });
        self
    }

    /// Configures what has no method here, such as middleware. Workers, seed, clock, tick driver and the listeners
    /// for failures and dead letters stay the simulation's.
    pub fn configure(mut self, configure: impl FnOnce(SystemBuilder) -> SystemBuilder) -> Self {
        self.core = configure(self.core);
        self
    }

    /// Calls [`Sim::finish`] at the end: the test fails if something is left behind.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Makes the system. Nothing runs yet.
    pub fn build(self) -> Sim {
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
            sticky: self.decisions.unrecorded(8),
            decisions: self.decisions,
            last: None,
            streak: 0,
            tasks: Vec::new(),
            next_task: 0,
            workers: workers.collect(),
            system,
            clock: self.clock,
            ticks,
            trace: Trace::default(),
            handled: 0,
            doomed: Vec::new(),
            leftovers: Leftovers::new(self.effects),
            strict: self.strict,
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
        Self::deciding(seed, Decisions::new(seed))
    }

    /// Begins to configure one that decides as recorded. Configured as the one recorded, and with
    /// the same done to it, it does the same.
    pub fn replay(recording: &Recording) -> SimBuilder {
        Self::deciding(recording.seed(), Decisions::replay(recording))
    }

    fn deciding(seed: u64, decisions: Decisions) -> SimBuilder {
        let workers = decisions.below(5) as usize;
        let throughput = [1024, 1, 2, 7][decisions.below(4) as usize];
        let effects = Effects::default();
        let (letters, failures) = (effects.clone(), effects.clone());
        SimBuilder {
            seed,
            core: System::builder("sim")
                .throughput(throughput)
                .on_dead_letter(move |letter| letters.dead_letter(letter))
                .on_failure(move |report| failures.failed(report)),
            clock: VirtualClock::new(),
            effects,
            workers: workers.max(1),
            single_core: workers == 0,
            strict: false,
            decisions,
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

    /// Everything decided so far; within [`explore`](crate::explore), by all simulations of the
    /// test.
    pub fn recording(&self) -> Recording {
        self.decisions.recording(self.seed)
    }

    /// A number below `limit`, drawn from the seed. Drawing one changes what is drawn later.
    ///
    /// # Panics
    /// If `limit` is zero, or does not fit into 32 bits.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u32::try_from(limit).expect("a limit of 32 bits");
        assert!(limit != 0, "no number is below zero");
        self.decisions.below(limit) as usize
    }

    // === who takes part ===

    /// As [`System::spawn`]. [`finish`](Self::finish) knows the actor by its type.
    ///
    /// # Errors
    /// As [`System::spawn`].
    pub fn spawn<A: Actor>(
        &self,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.spawn_with(SpawnOptions::new(), factory)
    }

    /// As [`System::spawn_with`]. [`finish`](Self::finish) knows the actor by its type.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn_with<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        let actor = self.system.spawn_with(options, factory)?;
        self.leftovers.spawned::<A, _>(&actor);
        Ok(actor)
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
            Some(AnyWorker::Local(worker)) => {
                let actor = worker.spawn_local(options, factory)?;
                self.leftovers.spawned::<A, _>(&actor);
                Ok(actor)
            }
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

    /// An actor in the test's hands.
    ///
    /// # Panics
    /// If the system stops.
    pub fn probe<M: fmt::Debug + Send + 'static>(&mut self) -> Probe<M> {
        let (probe, inbox) = Probe::new(self);
        self.leftovers.probe(inbox);
        probe
    }

    // === what goes wrong ===

    /// Fault points for the actors of the test, without any fault yet.
    pub fn faults(&self) -> Faults {
        Faults::none(self.decisions.clone())
    }

    /// A slow way to an actor: what it is sent arrives there late, by a drawn number of turns of at
    /// most `turns` for each message, in the order in which it was sent this way.
    ///
    /// It is an actor between the two, which ends when nobody refers to it, or at the first message
    /// that the other one refuses; that message is lost.
    ///
    /// # Errors
    /// As [`System::spawn`].
    pub fn delayed<M: Send + 'static>(
        &self,
        to: &ActorRef<M>,
        turns: u32,
    ) -> Result<ActorRef<M>, SpawnError> {
        let (to, decisions) = (to.clone(), self.decisions.clone());
        self.spawn_with(SpawnOptions::new().stop_when_unreferenced(), move || Link {
            to: to.clone(),
            most: turns,
            decisions: decisions.clone(),
        })
    }

    /// Kills the actor after a drawn number of steps, of at most `steps`; or never, which is as
    /// likely as any other number.
    pub fn kill_within<M: 'static>(&mut self, actor: &ActorRef<M>, steps: u32) {
        let after = self.decisions.below(steps.saturating_add(1));
        if after == 0 {
            return;
        }
        let (index, weak) = (actor.index(), actor.downgrade());
        let doomed = Doomed {
            actor: index,
            kill: Box::new(move || {
                if let Some(actor) = weak.upgrade() {
                    actor.kill();
                }
            }),
        };
        self.doomed
            .push((self.trace.steps() + u64::from(after), doomed));
    }

    fn kill_doomed(&mut self) {
        let now = self.trace.steps();
        while let Some(place) = self.doomed.iter().position(|(due, _)| *due <= now) {
            let (_, doomed) = self.doomed.remove(place);
            (doomed.kill)();
            self.trace.push(Event::Kill);
            let actor = doomed.actor;
            self.leftovers.effects.push(Effect::Killed { actor });
        }
    }

    /// Dead letters, failures and kills since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.leftovers.effects.take()
    }

    /// Ends the simulation, and fails the test if something is left behind: messages that no one
    /// has taken from a probe, dead letters and failures that were not taken by
    /// [`take_effects`](Self::take_effects), actors that do not end when the system is shut down.
    ///
    /// It runs until everything is idle, then shuts the system down gracefully. A simulation that
    /// was built [`strict`](SimBuilder::strict) does this when it is dropped.
    ///
    /// # Panics
    /// If something is left behind; the text lists it all.
    #[track_caller]
    pub fn finish(&mut self) {
        self.strict = false;
        self.run_until_idle();
        let mut left = self.leftovers.unread();
        drop(self.system.graceful_shutdown());
        self.run_until_idle();
        left.extend(self.leftovers.troubles());
        left.extend(self.leftovers.leaked(&self.system));
        if !left.is_empty() {
            self.system.force_stop();
            self.fail(&format!("left behind:\n    {}", left.join("\n    ")));
        }
    }

    // === the outside ===

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
            let place = self.below(self.workers.len());
            drop(self.workers.remove(place));
        }
    }

    // === running ===

    /// Runs until nobody has anything to do.
    ///
    /// # Panics
    /// If that does not happen, or if there was work that nobody had been woken for.
    #[track_caller]
    pub fn run_until_idle(&mut self) {
        self.run_while("everything is idle", || true);
    }

    /// Runs until the condition holds, and at least until then.
    ///
    /// # Panics
    /// If everything is idle and it does not hold.
    #[track_caller]
    pub fn run_until(&mut self, condition: impl FnMut() -> bool) {
        if !self.run_towards("the condition holds", condition) {
            self.fail("everything is idle and the condition does not hold");
        }
    }

    /// Runs for so much virtual time: whenever everything is idle, the clock moves to the next timer.
    ///
    /// # Panics
    /// As [`run_until_idle`](Self::run_until_idle).
    #[track_caller]
    pub fn run_for(&mut self, time: Duration) {
        let mut left = time;
        loop {
            self.run_until_idle();
            if !self.advance_to_timer(&mut left) {
                return;
            }
        }
    }

    /// Moves the clock to the next timer, or by what is left if that is less. False if nothing is.
    pub(crate) fn advance_to_timer(&mut self, left: &mut Duration) -> bool {
        if left.is_zero() {
            return false;
        }
        let by = match self.ticks.tick() {
            // Not zero: a timer that is due has fired just now.
            Some(NextTick::At(due)) => due.saturating_sub(self.clock.now()).max(NANOSECOND),
            _ => *left,
        };
        let by = by.min(*left);
        *left -= by;
        self.advance(by);
        true
    }

    /// Runs so many steps, or until nobody has anything to do.
    #[track_caller]
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
    #[track_caller]
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

    /// Runs until the condition holds: true; or until everything is idle.
    #[track_caller]
    pub(crate) fn run_towards(&mut self, goal: &str, mut condition: impl FnMut() -> bool) -> bool {
        !self.run_while(goal, || !condition())
    }

    /// True if everything is idle, false if `go_on` said so.
    #[track_caller]
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
    #[track_caller]
    fn draw(&mut self, main: bool) -> Option<Who> {
        self.kill_doomed();
        let mut those = self.runnable(main);
        if those.is_empty() {
            return self.look_around();
        }
        let ready = those.len();
        let goes_on = self.begin_with_last(&mut those);
        those.extend(self.on_watch());
        let chosen = self.decisions.decide(count(&those), |random| {
            // A worker on watch is polled "about every millisecond": between any two steps, seldom.
            if random.one_in(32) {
                random.below(count(&those))
            } else if goes_on && random.below(8) < self.sticky {
                0
            } else {
                random.below(count(&those[..ready]))
            }
        });
        let who = those[chosen as usize];
        let again = self.last == Some(who);
        self.streak = if again { self.streak + 1 } else { 0 };
        self.last = Some(who);
        Some(who)
    }

    /// Brings the one that ran last to the front, if it has something to do, and says whether it is
    /// there. If it has run for long enough, the next one is there instead.
    fn begin_with_last(&self, those: &mut [Who]) -> bool {
        let last = those.iter().position(|who| self.last == Some(*who));
        let long = self.streak >= STREAK;
        let first = last.map_or(0, |place| place + usize::from(long));
        those.rotate_left(first % those.len());
        last.is_some() && !long
    }

    fn runnable(&self, main: bool) -> Vec<Who> {
        let workers = self.workers.iter().enumerate();
        let workers = workers.filter(|(_, seat)| seat.flag.is_raised());
        let tasks = self.tasks.iter().enumerate();
        let tasks = tasks.filter(|(_, seat)| seat.flag.is_raised());
        workers
            .map(|(place, _)| Who::Worker(place))
            .chain(tasks.map(|(place, _)| Who::Task(place)))
            .chain(main.then_some(Who::Main))
            .collect()
    }

    /// Workers that have not been woken and would look all the same.
    fn on_watch(&self) -> impl Iterator<Item = Who> {
        let workers = self.workers.iter().enumerate();
        workers
            .filter(|(_, seat)| seat.on_watch && !seat.flag.is_raised())
            .map(|(place, _)| Who::Worker(place))
    }

    /// Nobody is ready and nobody was woken: the workers on watch look once more. They must not
    /// find anything, because for every bit of work somebody has to be woken.
    #[track_caller]
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
            if !same || !self.runnable(false).is_empty() {
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

    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        panic!(
            "seed {}: {what}\nthe last of {} steps:\n{}",
            self.seed,
            self.trace.steps(),
            self.trace
        );
    }
}

/// How many choices there are.
fn count(those: &[Who]) -> u32 {
    u32::try_from(those.len()).expect("as many workers and tasks as fit into memory")
}

impl Deref for Sim {
    type Target = System;

    fn deref(&self) -> &System {
        &self.system
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if self.strict && !std::thread::panicking() {
            self.finish();
        }
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
