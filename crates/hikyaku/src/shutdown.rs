//! Shutting down in phases.
//!
//! An actor without messages runs the phases, in its `stopped` hook: so they run on any executor, and also
//! when somebody shuts the system down directly, and not when it is stopped by force.
//!
//! ```text
//!   run ──► stops the actor ──► hook: phase, phase, .., terminate ──► the system's end
//!                                       │ failed, no recovery
//!                                       └──► over; the system runs on
//! ```

mod phases;

pub use self::phases::{Phase, Phases, PhasesError};

use hikyaku_core::{
    Actor, ActorRef, Context, Event, Failure, Sleep, SpawnError, SpawnOptions, Subscription,
    System, SystemState, once,
};
use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::Duration;

/// The name of the actor that runs the phases: there is one in a system.
const NAME: &str = "coordinated-shutdown";

/// Ends a system in phases: tasks of one phase run at the same time, and are done before the next phase
/// begins. In the last phase the actors end.
///
/// Clones are the same shutdown. There is one for each system.
///
/// It runs when it is told to, or when the system is told to end by
/// [`graceful_shutdown`](System::graceful_shutdown); the actors then end at the same time. A forced stop drops
/// what is running and begins nothing.
///
/// Tasks run in an actor of the system: they must not block. It counts as one of the system's living actors.
///
/// ```
/// use hikyaku::{ActorSystem, CoordinatedShutdown, Phases, ShutdownReason};
///
/// let system = ActorSystem::new("demo")?;
/// let shutdown = CoordinatedShutdown::new(&system, Phases::default())?;
/// shutdown.add_task(Phases::FLUSH, "journal", || async {
///     // Write what must not be lost.
///     Ok(())
/// })?;
/// let failures = hikyaku::block_on(shutdown.run(ShutdownReason::Requested))?;
/// assert!(failures.is_empty());
/// system.join();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CoordinatedShutdown {
    plan: Arc<Plan>,
    runner: ActorRef<()>,
}

/// Why a system is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownReason {
    /// The program asked for it.
    Requested,
    /// The operating system did, or somebody at the keyboard.
    Signal,
    /// The system was told to end by other means.
    SystemTerminated,
    /// Something else.
    Other(&'static str),
}

impl fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "requested",
            Self::Signal => "a signal",
            Self::SystemTerminated => "the system was told to end",
            Self::Other(text) => text,
        })
    }
}

/// A task that has failed, or was too slow.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskFailure {
    /// The phase it was in.
    pub phase: Box<str>,
    /// Its name. For the actors that did not end in time, the phase's.
    pub task: Box<str>,
    /// What happened.
    pub failure: Failure,
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.task, self.phase, self.failure)
    }
}

/// Why a shutdown was not completed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A phase without recovery has failed. The later phases have not run. All failures up to then.
    Failed(Vec<TaskFailure>),
    /// The system was stopped by force before the phases were over.
    Forced,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failures) => {
                f.write_str("the shutdown failed")?;
                match failures.last() {
                    Some(last) => write!(f, ": {last}"),
                    None => Ok(()),
                }
            }
            Self::Forced => f.write_str("the system was stopped by force"),
        }
    }
}

impl std::error::Error for ShutdownError {}

/// Why a task was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddTaskError {
    /// There is no such phase.
    UnknownPhase,
    /// The phase is over, or will not run.
    PhaseOver,
}

impl fmt::Display for AddTaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownPhase => "there is no such phase",
            Self::PhaseOver => "the phase is over",
        })
    }
}

impl std::error::Error for AddTaskError {}

/// There is no phase of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPhase(Box<str>);

impl fmt::Display for UnknownPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no phase {}", self.0)
    }
}

impl std::error::Error for UnknownPhase {}

/// Names a task, to cancel it: see [`CoordinatedShutdown::cancel_task`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskKey(usize);

type Work = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A task that has not begun.
struct Task {
    key: TaskKey,
    phase: usize,
    name: Box<str>,
    begin: Box<dyn FnOnce() -> Work + Send>,
}

/// What is to be done, shared by the handles and the actor that does it.
struct Plan {
    system: System,
    phases: Phases,
    state: Mutex<State>,
}

struct State {
    reason: Option<ShutdownReason>,
    /// The first phase that takes tasks: the one that runs, or will.
    phase: usize,
    tasks: Vec<Task>,
    last: usize,
    /// Wakes the phase that runs, for a task that comes in.
    waker: Option<Waker>,
    outcome: Option<Result<Vec<TaskFailure>, ShutdownError>>,
}

impl CoordinatedShutdown {
    /// Makes the shutdown of a system. Nothing runs yet.
    ///
    /// # Errors
    /// [`SpawnError::NameTaken`] if the system has one, [`SpawnError::ShuttingDown`] if it is ending.
    pub fn new(system: &System, phases: Phases) -> Result<Self, SpawnError> {
        let plan = Arc::new(Plan {
            system: system.clone(),
            phases,
            state: Mutex::new(State {
                reason: None,
                phase: 0,
                tasks: Vec::new(),
                last: 0,
                waker: None,
                outcome: None,
            }),
        });
        let runner = Runner(Arc::clone(&plan));
        let runner = system.spawn_with(SpawnOptions::new().name(NAME), once(runner))?;
        Ok(Self { plan, runner })
    }

    /// Adds a task to a phase. `begin` is called when the phase runs; its future is dropped when the
    /// phase is out of time. An error or a panic in either is a failure of the task.
    ///
    /// Tasks may add tasks: to a later phase, and to their own.
    ///
    /// # Errors
    /// [`AddTaskError`], see there.
    pub fn add_task<F>(
        &self,
        phase: &str,
        name: &str,
        begin: impl FnOnce() -> F + Send + 'static,
    ) -> Result<TaskKey, AddTaskError>
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let place = self.plan.phases.place(phase);
        let place = place.ok_or(AddTaskError::UnknownPhase)?;
        let mut state = self.plan.state();
        if place < state.phase {
            drop(state);
            return Err(AddTaskError::PhaseOver);
        }
        state.last += 1;
        let key = TaskKey(state.last);
        state.tasks.push(Task {
            key,
            phase: place,
            name: name.into(),
            begin: Box::new(move || Box::pin(begin())),
        });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(key)
    }

    /// Adds a task that stops an actor gracefully and waits for its end. One that has ended, or that
    /// several tasks stop, is fine. The task keeps an actor alive that stops when unreferenced.
    ///
    /// # Errors
    /// As [`add_task`](Self::add_task).
    pub fn add_actor_termination<M: 'static>(
        &self,
        phase: &str,
        name: &str,
        actor: &ActorRef<M>,
    ) -> Result<TaskKey, AddTaskError> {
        let actor = actor.clone();
        self.add_task(phase, name, move || async move {
            actor.stop_gracefully();
            actor.stopped().await;
            Ok(())
        })
    }

    /// Takes a task back. False if it has begun, or was taken back before.
    pub fn cancel_task(&self, key: TaskKey) -> bool {
        let mut state = self.plan.state();
        let place = state.tasks.iter().position(|task| task.key == key);
        let task = place.map(|place| state.tasks.remove(place));
        // The task is the user's: it is dropped outside the lock.
        drop(state);
        task.is_some()
    }

    /// Runs all phases. The future resolves when the system has stopped; what has failed in phases that
    /// recover is in the result. Only the first call counts: later ones wait for the same end, and their reason
    /// is forgotten.
    ///
    /// An actor that awaits this in a handler keeps the system from ending, until the last phase is out
    /// of time.
    ///
    /// # Errors
    /// [`ShutdownError`], see there.
    ///
    /// # Cancel safety
    /// The shutdown is ordered by the call, and goes on if the future is dropped.
    pub fn run(&self, reason: ShutdownReason) -> ShutdownRun {
        self.begin(reason, 0)
    }

    /// As [`run`](Self::run), with the phases from this one on. Tasks of the earlier ones never run.
    ///
    /// # Errors
    /// [`UnknownPhase`]. Nothing is run then.
    pub fn run_from(
        &self,
        reason: ShutdownReason,
        phase: &str,
    ) -> Result<ShutdownRun, UnknownPhase> {
        match self.plan.phases.place(phase) {
            Some(place) => Ok(self.begin(reason, place)),
            None => Err(UnknownPhase(phase.into())),
        }
    }

    fn begin(&self, reason: ShutdownReason, from: usize) -> ShutdownRun {
        self.plan.state().start(reason, from);
        self.runner.stop_gracefully();
        let (plan, runner) = (Arc::clone(&self.plan), self.runner.clone());
        ShutdownRun(Box::pin(async move {
            runner.stopped().await;
            let outcome = plan.state().outcome.clone();
            let outcome = outcome.unwrap_or(Err(ShutdownError::Forced));
            if plan.system.state() != SystemState::Running {
                plan.system.terminated().await;
            }
            outcome
        }))
    }

    /// Why it runs, or ran; `None` if it has not begun.
    pub fn reason(&self) -> Option<ShutdownReason> {
        self.plan.state().reason
    }

    /// Runs the shutdown on Ctrl-C, and on a request of the operating system to end (`SIGTERM` and
    /// `SIGHUP`). The next one, or one while the shutdown runs already, stops the system by force. A process
    /// can have one such handler.
    ///
    /// # Errors
    /// [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) if there is a handler, or if one of the signals is ignored,
    /// as it is in a program that `nohup` or a script has started in the background; and what the operating system says
    /// otherwise.
    #[cfg(feature = "ctrlc")]
    pub fn on_ctrl_c(&self) -> std::io::Result<()> {
        let shutdown = self.clone();
        let installed = ctrlc::try_set_handler(move || {
            if shutdown.reason().is_none() {
                drop(shutdown.run(ShutdownReason::Signal));
            } else {
                shutdown.plan.system.force_stop();
            }
        });
        installed.map_err(|error| match error {
            ctrlc::Error::System(error) => error,
            ctrlc::Error::MultipleHandlers => std::io::ErrorKind::AlreadyExists.into(),
            ctrlc::Error::NoSuchSignal(_) => std::io::ErrorKind::Unsupported.into(),
        })
    }
}

impl fmt::Debug for CoordinatedShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.plan.phases.names().collect();
        f.debug_struct("CoordinatedShutdown")
            .field("phases", &names)
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

type Outcome = Result<Vec<TaskFailure>, ShutdownError>;

/// The future of [`CoordinatedShutdown::run`].
#[must_use = "a shutdown goes on by itself; await this to know when it is done"]
pub struct ShutdownRun(Pin<Box<dyn Future<Output = Outcome> + Send>>);

impl Future for ShutdownRun {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ShutdownRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownRun").finish_non_exhaustive()
    }
}

/// The actor that runs the phases when it ends.
struct Runner(Arc<Plan>);

impl Actor for Runner {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<'_, Self>) {
        // Boxed: it is large, and would make the actor so.
        Box::pin(self.0.run()).await;
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.phase = usize::MAX;
        // They may hold the shutdown, so they must go, and outside the lock.
        let left = (mem::take(&mut state.tasks), state.waker.take());
        drop(state);
        drop(left);
    }
}

impl State {
    /// Only the first time.
    fn start(&mut self, reason: ShutdownReason, from: usize) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.phase = from;
        }
    }

    /// The tasks of the phase that runs.
    fn take_tasks(&mut self) -> Vec<Task> {
        let phase = self.phase;
        self.tasks
            .extract_if(.., |task| task.phase == phase)
            .collect()
    }
}

impl Plan {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock calls user code.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) {
        self.state().start(ShutdownReason::SystemTerminated, 0);
        let mut failures = Vec::new();
        let outcome = loop {
            let place = self.state().phase;
            let Some(phase) = self.phases.0.get(place) else {
                break Ok(failures);
            };
            let before = failures.len();
            self.run_tasks(phase, &mut failures).await;
            let failed = failures.len() != before;
            if failed && !phase.recover {
                break Err(ShutdownError::Failed(failures));
            }
            if *phase.name == *Phases::TERMINATE && !self.end_actors(phase, &mut failures).await {
                if !phase.recover {
                    break Err(ShutdownError::Failed(failures));
                }
                self.state().outcome = Some(Ok(failures));
                self.system.force_stop();
                return;
            }
        };
        self.state().outcome = Some(outcome);
    }

    /// Runs the tasks of a phase, also those that come in meanwhile. Afterwards it takes no more.
    async fn run_tasks(&self, phase: &Phase, failures: &mut Vec<TaskFailure>) {
        let mut running: Vec<(Box<str>, Work)> = Vec::new();
        let mut alarm = pin!(Alarm::new(&self.system, phase.timeout));
        let fail = |task: Box<str>, failure| TaskFailure {
            phase: phase.name.clone(),
            task,
            failure,
        };
        poll_fn(|cx| {
            loop {
                let tasks = {
                    let mut state = self.state();
                    let tasks = state.take_tasks();
                    state.waker = None;
                    if tasks.is_empty() && running.is_empty() {
                        state.phase += 1;
                        return Poll::Ready(());
                    }
                    state.waker = Some(cx.waker().clone());
                    tasks
                };
                let none_new = tasks.is_empty();
                for task in tasks {
                    match guarded(task.begin) {
                        Ok(work) => running.push((task.name, work)),
                        Err(failure) => failures.push(fail(task.name, failure)),
                    }
                }
                running.retain_mut(|(name, work)| {
                    let result = match guarded(|| work.as_mut().poll(cx)) {
                        Ok(Poll::Pending) => return true,
                        Ok(Poll::Ready(result)) => result,
                        Err(failure) => Err(failure),
                    };
                    if let Err(failure) = result.and(put_away(work)) {
                        failures.push(fail(mem::take(name), failure));
                    }
                    false
                });
                if none_new && !running.is_empty() {
                    break;
                }
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let mut state = self.state();
            let waiting = state.take_tasks();
            state.phase += 1;
            drop(state);
            let begun = running
                .drain(..)
                .map(|(name, mut work)| (name, put_away(&mut work)));
            let waiting = waiting
                .into_iter()
                .map(|task| (task.name, guarded(|| drop(task.begin))));
            for (name, dropped) in begun.chain(waiting) {
                let late = dropped.err().unwrap_or_else(|| too_late(phase.timeout));
                failures.push(fail(name, late));
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Tells the actors to end and waits until all others have. False if they are out of time.
    async fn end_actors(&self, phase: &Phase, failures: &mut Vec<TaskFailure>) -> bool {
        // It goes on by itself; its end is after this actor's.
        drop(self.system.graceful_shutdown());
        let mut alarm = pin!(Alarm::new(&self.system, phase.timeout));
        let ends = Ends::of(&self.system);
        let in_time = poll_fn(|cx| {
            // First the waker, then a look: who ends after the look wakes.
            ends.wake(cx.waker());
            if self.system.metrics().live_actors <= 1 {
                return Poll::Ready(true);
            }
            alarm.as_mut().poll(cx).map(|()| false)
        })
        .await;
        if !in_time {
            failures.push(TaskFailure {
                phase: phase.name.clone(),
                task: phase.name.clone(),
                failure: too_late(phase.timeout),
            });
        }
        in_time
    }
}

fn too_late(limit: Duration) -> Failure {
    Failure::msg(format_args!("not done after {limit:?}"))
}

/// Drops a task's future, whose destructor may panic.
fn put_away(work: &mut Work) -> Result<(), Failure> {
    let work = mem::replace(work, Box::pin(ready(Ok(()))));
    guarded(|| drop(work))
}

/// Calls code of the user, whose panic becomes a failure.
fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let failure = Failure::msg(format_args!("panicked: {}", text(&*panic)));
        // The value of a panic is the user's as well: its destructor may panic too.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            mem::forget(second);
        }
        failure
    })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "without a text",
    }
}

/// Resolves when the time is over; never in a system without timers.
struct Alarm(Sleep);

impl Alarm {
    fn new(system: &System, limit: Duration) -> Self {
        Self(system.sleep(limit))
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Wakes somebody whenever an actor has ended.
struct Ends<'a> {
    system: &'a System,
    waker: Arc<Mutex<Option<Waker>>>,
    listening: Subscription,
}

impl<'a> Ends<'a> {
    fn of(system: &'a System) -> Self {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let woken = Arc::clone(&waker);
        let listening = system.events().listen(move |event| {
            if let Event::Stopped { .. } = event {
                let waker = lock(&woken).take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        });
        Self {
            system,
            waker,
            listening,
        }
    }

    fn wake(&self, waker: &Waker) {
        let waker = waker.clone();
        let before = lock(&self.waker).replace(waker);
        drop(before);
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.system.events().unsubscribe(self.listening);
    }
}

fn lock(waker: &Mutex<Option<Waker>>) -> MutexGuard<'_, Option<Waker>> {
    waker.lock().unwrap_or_else(PoisonError::into_inner)
}
