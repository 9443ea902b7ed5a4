//! How a system is configured, and where it runs.

use crate::blocking::{BlockingThreads, DEFAULT_THREADS};
use crate::clock::StdClock;
use crate::crew::Crew;
use crate::current_thread::CurrentThread;
use crate::settings::Live;
use crate::sink::Slot;
use crate::system::{ActorSystem, Owner};
use crate::threads::ThreadExecutor;
use crate::ticks::CrewDriver;
use hikyaku_core::{
    Clock, DeadLetter, Escalation, FailureReport, MailboxOptions, ManualDriver, Supervision,
    System, SystemBuilder, TickDriver, Worker, WorkerExecutor,
};
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How many workers: a number, or a range such as `1..=8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

impl From<usize> for Workers {
    fn from(workers: usize) -> Self {
        Self {
            least: workers.max(1),
            most: workers.max(1),
        }
    }
}

impl From<RangeInclusive<usize>> for Workers {
    fn from(workers: RangeInclusive<usize>) -> Self {
        let least = (*workers.start()).max(1);
        Self {
            least,
            most: least.max(*workers.end()),
        }
    }
}

type Listener = Box<dyn Fn(&DeadLetter<'_>) + Send + Sync>;
type OnFailure = Box<dyn Fn(&FailureReport<'_>) + Send + Sync>;

/// Configures an [`ActorSystem`] or a [`CurrentThread`].
#[must_use]
pub struct Builder {
    name: String,
    core: SystemBuilder,
    workers: Option<Workers>,
    place: Place,
    has_clock: bool,
    driver: Option<Box<dyn TickDriver>>,
    blocking_threads: usize,
    blocking_actors: usize,
    idle_time: Option<Duration>,
    on_dead_letter: Option<Listener>,
    on_failure: Option<OnFailure>,
}

/// Where the workers run.
enum Place {
    /// Where `build` is called.
    Around,
    Threads,
    #[cfg(feature = "tokio")]
    Tokio(::tokio::runtime::Handle),
    #[cfg(feature = "tokio")]
    Own(crate::tokio::OwnedRuntime),
}

impl Builder {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            core: System::builder(name).time_budget(DEFAULT_TIME_BUDGET),
            workers: None,
            place: Place::Around,
            has_clock: false,
            driver: None,
            blocking_threads: DEFAULT_THREADS,
            blocking_actors: DEFAULT_THREADS,
            idle_time: None,
            on_dead_letter: None,
            on_failure: None,
        }
    }

    // === who runs it ===

    /// How many workers: a number, or a range. Default: one per processor.
    ///
    /// Of a range, the least are there from the start. Others are started when what waits has waited for
    /// some milliseconds, and end when they have been idle for
    /// [`Settings::idle_time`](crate::Settings::idle_time). One more thread, which sleeps while the workers keep
    /// up, sees to that. Workers that are Tokio tasks cost little: there the most are there from the start.
    ///
    /// ```
    /// let system = hikyaku::ActorSystem::builder("demo").own_threads().workers(1..=8).build()?;
    /// assert_eq!(system.metrics().workers, 1);
    /// # Ok::<(), hikyaku::BuildError>(())
    /// ```
    pub fn workers(mut self, workers: impl Into<Workers>) -> Self {
        self.workers = Some(workers.into());
        self
    }

    /// Runs the workers on threads of their own, also inside a Tokio runtime, and does not enter it.
    pub fn own_threads(mut self) -> Self {
        self.place = Place::Threads;
        self
    }

    /// Runs the workers as tasks of this runtime, which has to outlive the system. Inside a runtime that is
    /// dropped first, the actors are ended by force. Default: as many workers as the runtime has.
    #[cfg(feature = "tokio")]
    pub fn tokio(mut self, runtime: &::tokio::runtime::Handle) -> Self {
        self.place = Place::Tokio(runtime.clone());
        self
    }

    /// As [`tokio`](Self::tokio), for a multi-thread runtime that the system takes over. When the last clone of the
    /// system is dropped, the runtime is shut down in the background, whatever thread that is; nothing waits and
    /// nothing panics. So it is when the system is not built.
    ///
    /// ```
    /// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    /// let system = hikyaku::ActorSystem::builder("demo").own_runtime(runtime).build()?;
    /// hikyaku::block_on(system.terminate());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn own_runtime(mut self, runtime: ::tokio::runtime::Runtime) -> Self {
        self.place = Place::Own(crate::tokio::OwnedRuntime::new(runtime));
        self
    }

    /// How many threads there can be for [`Context::blocking`](crate::Context::blocking). They are started when
    /// needed, and end when idle. Default: 64.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// How many threads there can be for actors that block
    /// ([`ActorSystem::spawn_blocking`]). They are started when needed, and end when idle, except for one. Default: 64.
    pub fn blocking_actor_threads(mut self, threads: usize) -> Self {
        self.blocking_actors = threads;
        self
    }

    /// See [`Settings::idle_time`](crate::Settings::idle_time).
    pub fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = Some(time);
        self
    }

    // === time ===

    /// See [`SystemBuilder::clock`]. Default: [`StdClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.core = self.core.clock(clock);
        self.has_clock = true;
        self
    }

    /// Who drives the timers. Default: [`ThreadDriver`](crate::ThreadDriver) with own threads,
    /// `TokioDriver` where the workers are Tokio tasks, and the calls that wait themselves on a
    /// [`CurrentThread`]. All of them sleep until the next timer.
    pub fn tick_driver(mut self, driver: impl TickDriver) -> Self {
        self.driver = Some(Box::new(driver));
        self
    }

    /// See [`SystemBuilder::resolution`]. Default: one millisecond.
    pub fn resolution(mut self, resolution: Duration) -> Self {
        self.core = self.core.resolution(resolution);
        self
    }

    // === mailboxes, turns and listeners ===

    /// See [`SystemBuilder::mailbox`].
    pub fn mailbox(mut self, options: MailboxOptions) -> Self {
        self.core = self.core.mailbox(options);
        self
    }

    /// See [`SystemBuilder::throughput`].
    pub fn throughput(mut self, messages: u32) -> Self {
        self.core = self.core.throughput(messages);
        self
    }

    /// See [`SystemBuilder::time_budget`]. Default: one millisecond.
    pub fn time_budget(mut self, limit: Duration) -> Self {
        self.core = self.core.time_budget(limit);
        self
    }

    /// See [`SystemBuilder::on_dead_letter`].
    pub fn on_dead_letter(
        mut self,
        listener: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_dead_letter = Some(Box::new(listener));
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

    /// See [`SystemBuilder::on_failure`].
    pub fn on_failure(
        mut self,
        listener: impl Fn(&FailureReport<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Some(Box::new(listener));
        self
    }

    // === building ===

    /// Starts the system.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let system = hikyaku::ActorSystem::builder("demo")
    ///     .workers(2)
    ///     .time_budget(Duration::from_micros(500))
    ///     .on_failure(|report| eprintln!("{}: {}", report.actor, report.failure))
    ///     .build()?;
    /// # system.force_stop();
    /// # system.join();
    /// # Ok::<(), hikyaku::BuildError>(())
    /// ```
    ///
    /// | called | the workers are |
    /// |---|---|
    /// | outside any Tokio runtime, or with [`own_threads`](Self::own_threads) | own threads |
    /// | inside a multi-thread runtime | own threads that have entered it |
    /// | inside a current-thread runtime | one, a task of it; it runs when the runtime does |
    /// | with [`tokio`](Self::tokio) or [`own_runtime`](Self::own_runtime) | tasks of that runtime |
    ///
    /// Inside a runtime, handlers may await its I/O and timers. The runtime has to outlive the
    /// system. The own threads of the second row come beside the runtime's.
    ///
    /// # Errors
    /// [`BuildError::Thread`] if a thread cannot be started. In a Tokio runtime:
    /// [`BuildError::TooManyWorkers`] if several workers are asked for and it is a current-thread one,
    /// [`BuildError::NoTimeDriver`] if the system needs its timers and it has none,
    /// [`BuildError::UnknownRuntime`] if it is of another flavour, and
    /// [`BuildError::NobodyRuns`] if it is to be owned and is a current-thread one.
    pub fn build(mut self) -> Result<ActorSystem, BuildError> {
        match std::mem::replace(&mut self.place, Place::Around) {
            Place::Threads => self.build_threads(None),
            Place::Around => self.build_around(),
            #[cfg(feature = "tokio")]
            Place::Tokio(runtime) => crate::tokio::build(self, &runtime, None),
            #[cfg(feature = "tokio")]
            Place::Own(runtime) => match runtime.handle() {
                Some(handle) if is_multi_thread(&handle) => {
                    crate::tokio::build(self, &handle, Some(runtime))
                }
                _ => Err(BuildError::NobodyRuns),
            },
        }
    }

    #[cfg(not(feature = "tokio"))]
    fn build_around(self) -> Result<ActorSystem, BuildError> {
        self.build_threads(None)
    }

    #[cfg(feature = "tokio")]
    fn build_around(self) -> Result<ActorSystem, BuildError> {
        use ::tokio::runtime::{Handle, RuntimeFlavor};
        let Ok(runtime) = Handle::try_current() else {
            return self.build_threads(None);
        };
        match runtime.runtime_flavor() {
            RuntimeFlavor::MultiThread => self.build_threads(Some(crate::tokio::entering(runtime))),
            RuntimeFlavor::CurrentThread => crate::tokio::build(self, &runtime, None),
            _ => Err(BuildError::UnknownRuntime),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn requested(&self) -> Option<usize> {
        self.workers.map(|workers| workers.most)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn has_driver(&self) -> bool {
        self.driver.is_some()
    }

    fn build_threads(self, enter: Option<crate::crew::Enter>) -> Result<ActorSystem, BuildError> {
        let workers = self.workers.unwrap_or_else(|| {
            let processors = std::thread::available_parallelism().map_or(1, Into::into);
            Workers::from(processors)
        });
        let crew = Crew::new(&self.name, enter);
        let driver = CrewDriver(Arc::clone(&crew));
        let (owner, workers) = self.assemble(&crew, (workers.least, workers.most), driver)?;
        // On an error the owner is dropped: started workers are told by the system's end.
        let mut executor = ThreadExecutor::of(crew, Arc::clone(&owner.live));
        for worker in workers {
            executor.start(worker).map_err(BuildError::Thread)?;
        }
        if let Some(foreman) = owner.system.foreman() {
            executor.follow(foreman).map_err(BuildError::Thread)?;
        }
        Ok(ActorSystem::of(owner))
    }

    /// What is the same everywhere.
    pub(crate) fn assemble(
        mut self,
        crew: &Arc<Crew>,
        (least, most): (usize, usize),
        driver: impl TickDriver,
    ) -> Result<(Owner, Vec<Worker>), BuildError> {
        let live = Arc::new(Live::default());
        if let Some(time) = self.idle_time {
            live.set_idle_time(time);
        }
        let sink = Slot::default();
        let pool = BlockingThreads::new(crew, &live, self.blocking_threads);
        let driver = self.driver.take().unwrap_or_else(|| Box::new(driver));
        let blocking_actors = self.blocking_actors;
        let core = self
            .core_telling(&sink)
            .adaptive_workers(least, most)
            .tick_driver(driver)
            .blocking(pool.clone());
        let (system, workers) = core.build().map_err(BuildError::System)?;
        let owner = Owner::new(system, Arc::clone(crew), live, sink, pool, blocking_actors);
        Ok((owner, workers))
    }

    /// The core's builder, with a clock, and listeners that tell the sink too.
    fn core_telling(self, sink: &Slot) -> SystemBuilder {
        let core = match self.has_clock {
            true => self.core,
            false => self.core.clock(StdClock::new()),
        };
        let (listener, letters) = (self.on_dead_letter, sink.clone());
        let (on_failure, failures) = (self.on_failure, sink.clone());
        core.on_dead_letter(move |letter| {
            letters.with(|sink| sink.dead_letter(letter));
            if let Some(listener) = &listener {
                listener(letter);
            }
        })
        .on_failure(move |report| {
            failures.with(|sink| sink.failure(report));
            if let Some(listener) = &on_failure {
                listener(report);
            }
        })
    }

    /// Makes a system that runs on this thread, inside [`CurrentThread::block_on`], whatever number and place
    /// of workers was asked for.
    ///
    /// ```
    /// let system = hikyaku::ActorSystem::builder("demo").throughput(32).build_current_thread();
    /// assert_eq!(system.block_on(async { 7 }), 7);
    /// ```
    ///
    /// # Panics
    /// If the [`tick_driver`](Self::tick_driver) does not start.
    pub fn build_current_thread(mut self) -> CurrentThread {
        let crew = Crew::new(&self.name, None);
        let pool = BlockingThreads::new(&crew, &Arc::default(), self.blocking_threads);
        let own = self.driver.is_none().then(ManualDriver::new);
        let driver = match (self.driver.take(), &own) {
            (Some(driver), _) => driver,
            (None, Some(own)) => Box::new(own.clone()),
            (None, None) => unreachable!("one of them is there"),
        };
        let core = self.core_telling(&Slot::default()).workers(1);
        let core = core.tick_driver(driver).blocking(pool.clone());
        let (_, mut workers) = core.build().expect("the tick driver starts");
        let worker = workers
            .pop()
            .and_then(|worker| worker.on_this_thread().ok())
            .expect("a system with one worker has a single-core coordinator");
        CurrentThread::of(worker, own, pool)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tokio")]
fn is_multi_thread(runtime: &::tokio::runtime::Handle) -> bool {
    runtime.runtime_flavor() == ::tokio::runtime::RuntimeFlavor::MultiThread
}

/// How long an actor may handle messages before others have their turn.
const DEFAULT_TIME_BUDGET: Duration = Duration::from_millis(1);

/// Why a system was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The core refused: the tick driver did not start.
    System(hikyaku_core::BuildError),
    /// A thread could not be started.
    Thread(io::Error),
    /// Several workers were asked for in a current-thread Tokio runtime, which has one thread.
    TooManyWorkers(usize),
    /// The Tokio runtime has no timers: it was built without `enable_time`.
    NoTimeDriver,
    /// A current-thread Tokio runtime was to be owned, and nobody would run it.
    NobodyRuns,
    /// The Tokio runtime is neither multi-thread nor current-thread.
    UnknownRuntime,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "a thread could not be started: {error}"),
            Self::TooManyWorkers(workers) => write!(
                f,
                "{workers} workers were asked for inside a current-thread Tokio runtime, which has one thread"
            ),
            Self::NoTimeDriver => f.write_str(
                "the Tokio runtime has no timers: build it with `enable_time` or `enable_all`",
            ),
            Self::NobodyRuns => f.write_str(
                "an owned Tokio runtime has to be a multi-thread one: nobody would run another",
            ),
            Self::UnknownRuntime => {
                f.write_str("the Tokio runtime is neither multi-thread nor current-thread")
            }
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(error) => Some(error),
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}
