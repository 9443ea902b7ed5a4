//! A system together with the executor that runs it.

use crate::clock::StdClock;
use crate::current_thread::CurrentThread;
use crate::threads::ThreadExecutor;
use crate::ticks::ThreadDriver;
use hikyaku_core::{
    Clock, DeadLetter, Escalation, FailureReport, Supervision, System, SystemBuilder,
    WorkerExecutor,
};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

/// A running actor system.
///
/// Clones are the same system. When the last clone is dropped, the actors are ended by force;
/// dropping never blocks. To end in order, await
/// [`graceful_shutdown`](System::graceful_shutdown); to wait for the threads, [`join`](Self::join).
///
/// Everything else is in [`System`], to which it dereferences.
#[derive(Clone)]
pub struct ActorSystem(Arc<Owner>);

struct Owner {
    system: System,
    workers: Vec<ThreadId>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ActorSystem {
    /// A system with one worker thread per processor. Inside a Tokio runtime, see
    /// [`Builder::build`].
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new(name: &str) -> Result<Self, BuildError> {
        Self::builder(name).build()
    }

    /// Begins to configure one.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    pub(crate) fn owning(system: System, threads: Vec<JoinHandle<()>>) -> Self {
        Self(Arc::new(Owner {
            system,
            workers: threads.iter().map(|thread| thread.thread().id()).collect(),
            threads: Mutex::new(threads),
        }))
    }

    /// Blocks until the worker threads have ended. Order a shutdown first, or have an actor do it.
    /// A later call returns at once; so does one inside a current-thread Tokio runtime, where the
    /// worker is a task: await [`terminated`](System::terminated) there.
    ///
    /// # Panics
    /// If called on one of the system's own workers: it would wait for itself.
    pub fn join(&self) {
        assert!(
            !self.0.workers.contains(&std::thread::current().id()),
            "join was called on a worker of the same system"
        );
        // Under the lock, so that whoever joins at the same time waits too.
        let mut threads = self
            .0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A worker catches what its actors do.
            let _ = thread.join();
        }
    }
}

impl Deref for ActorSystem {
    type Target = System;

    fn deref(&self) -> &System {
        &self.0.system
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.system.force_stop();
    }
}

impl fmt::Debug for ActorSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorSystem").field(&self.0.system).finish()
    }
}

/// Configures an [`ActorSystem`] or a [`CurrentThread`].
#[derive(Debug)]
#[must_use]
pub struct Builder {
    name: String,
    core: SystemBuilder,
    workers: Option<usize>,
}

impl Builder {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            core: System::builder(name)
                .clock(StdClock::new())
                .time_budget(DEFAULT_TIME_BUDGET),
            workers: None,
        }
    }

    /// How many worker threads. Default: one per processor.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
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

    /// See [`SystemBuilder::clock`]. Default: [`StdClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.core = self.core.clock(clock);
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
        self.core = self.core.on_failure(listener);
        self
    }

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
    /// | outside any Tokio runtime | own threads |
    /// | inside a multi-thread runtime | own threads that have entered it |
    /// | inside a current-thread runtime | one, a task of it; it runs when the runtime does |
    ///
    /// Inside a runtime, handlers may await its I/O and timers. The runtime has to outlive the
    /// system. The own threads of the second row come beside the runtime's.
    ///
    /// # Errors
    /// [`BuildError::Thread`] if a thread cannot be started, [`BuildError::TooManyWorkers`] if
    /// several workers are asked for inside a current-thread runtime, and
    /// [`BuildError::UnknownRuntime`] inside a runtime of another flavour.
    pub fn build(self) -> Result<ActorSystem, BuildError> {
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = ::tokio::runtime::Handle::try_current() {
            return crate::tokio::build(self, runtime);
        }
        self.build_threads(|executor| executor)
    }

    pub(crate) fn requested_workers(&self) -> Option<usize> {
        self.workers
    }

    pub(crate) fn into_core(self) -> SystemBuilder {
        self.core
    }

    pub(crate) fn build_threads(
        self,
        prepare: impl FnOnce(ThreadExecutor) -> ThreadExecutor,
    ) -> Result<ActorSystem, BuildError> {
        let workers = match self.workers {
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, Into::into),
        };
        let mut executor = prepare(ThreadExecutor::new(&self.name));
        let core = self.core.workers(workers).tick_driver(ThreadDriver);
        let (system, workers) = core.build().map_err(BuildError::System)?;
        for worker in workers {
            // On an error the workers are dropped, started ones are told by the system's end.
            if let Err(error) = executor.start(worker) {
                system.force_stop();
                return Err(BuildError::Thread(error));
            }
        }
        Ok(ActorSystem::owning(system, executor.into_threads()))
    }

    /// Makes a system that runs on this thread, inside [`CurrentThread::block_on`], whatever number
    /// of workers was asked for.
    ///
    /// ```
    /// let system = hikyaku::ActorSystem::builder("demo").throughput(32).build_current_thread();
    /// assert_eq!(system.block_on(async { 7 }), 7);
    /// ```
    pub fn build_current_thread(self) -> CurrentThread {
        let core = self.core.workers(1).tick_driver(ThreadDriver);
        let (_, mut workers) = core.build().expect("it has a clock and a driver");
        let worker = workers
            .pop()
            .and_then(|worker| worker.on_this_thread().ok())
            .expect("a system with one worker has a single-core coordinator");
        CurrentThread::from_worker(worker)
    }
}

/// How long an actor may handle messages before others have their turn.
const DEFAULT_TIME_BUDGET: Duration = Duration::from_millis(1);

/// Why a system was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The core refused: the tick driver did not start.
    System(hikyaku_core::BuildError),
    /// A worker thread could not be started.
    Thread(io::Error),
    /// Several workers were asked for inside a current-thread Tokio runtime, which has one thread.
    TooManyWorkers(usize),
    /// The Tokio runtime is neither multi-thread nor current-thread.
    UnknownRuntime,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "a worker thread could not be started: {error}"),
            Self::TooManyWorkers(workers) => write!(
                f,
                "{workers} workers were asked for inside a current-thread Tokio runtime, which has one thread"
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
