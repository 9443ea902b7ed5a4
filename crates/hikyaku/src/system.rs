//! A system together with the threads or tasks that run it.

use crate::block_on::block_on;
use crate::blocking::BlockingThreads;
use crate::builder::{BuildError, Builder, Workers};
use crate::crew::{Crew, lock};
use crate::pinned;
use crate::settings::{Live, Settings};
use crate::sink::{MetricsSink, Slot};
use crate::threads::ThreadExecutor;
use hikyaku_core::{
    Actor, ActorRef, Dispatcher, Foreman, LocalActor, SpawnError, SpawnOptions, System,
    WorkerExecutor,
};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// A running actor system.
///
/// Clones are the same system. When the last clone is dropped, the actors are ended by force, and a runtime that
/// it owns is shut down in the background; dropping never blocks and never panics, wherever it happens. To end in
/// order, await [`terminate`](Self::terminate), or order
/// [`graceful_shutdown`](System::graceful_shutdown) and [`join`](Self::join).
///
/// Everything else is in [`System`], to which it dereferences.
#[derive(Clone)]
pub struct ActorSystem(Arc<Owner>);

/// What the clones share.
pub(crate) struct Owner {
    pub(crate) system: System,
    pub(crate) crew: Arc<Crew>,
    pub(crate) live: Arc<Live>,
    sink: Slot,
    pool: BlockingThreads,
    /// So many threads for blocking actors, and their dispatcher as soon as there is one.
    blocking_actors: usize,
    blocking: Mutex<Option<Dispatcher>>,
    /// Are the workers tasks that run only while somebody runs their runtime?
    #[cfg(feature = "tokio")]
    pub(crate) tasks_of_one_thread: bool,
    #[cfg(feature = "tokio")]
    pub(crate) runtime: Option<crate::tokio::OwnedRuntime>,
}

impl Owner {
    pub(crate) fn new(
        system: System,
        crew: Arc<Crew>,
        live: Arc<Live>,
        sink: Slot,
        pool: BlockingThreads,
        blocking_actors: usize,
    ) -> Self {
        Self {
            system,
            crew,
            live,
            sink,
            pool,
            blocking_actors,
            blocking: Mutex::new(None),
            #[cfg(feature = "tokio")]
            tasks_of_one_thread: false,
            #[cfg(feature = "tokio")]
            runtime: None,
        }
    }

    /// Would a thread that blocks keep the workers from running?
    fn needs_this_thread(&self) -> bool {
        #[cfg(feature = "tokio")]
        return self.tasks_of_one_thread;
        #[cfg(not(feature = "tokio"))]
        return false;
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.system.force_stop();
        self.pool.close();
    }
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

    pub(crate) fn of(owner: Owner) -> Self {
        Self(Arc::new(owner))
    }

    // === ending ===

    /// Orders a graceful end, as [`graceful_shutdown`](System::graceful_shutdown), and waits until no actor is left and the
    /// system's threads and tasks have done their last work. An owned Tokio runtime goes with the last clone.
    ///
    /// An actor must not await it: it would wait for itself.
    ///
    /// # Cancel safety
    /// The shutdown goes on if the future is dropped after its first poll.
    pub async fn terminate(&self) {
        self.0.system.graceful_shutdown().await;
        self.0.pool.close();
        self.0.crew.gone().await;
    }

    /// Blocks until the system has stopped and its threads and tasks have ended. Order a shutdown first, or have an
    /// actor do it. A later call returns at once; so does one where the worker is a task of a current-thread Tokio
    /// runtime: await [`terminate`](Self::terminate) there, and in async code.
    ///
    /// # Panics
    /// If called on one of the system's own workers: it would wait for itself.
    pub fn join(&self) {
        assert!(
            !self.0.crew.is_mine(),
            "join was called on a worker of the same system"
        );
        if self.0.needs_this_thread() {
            return;
        }
        block_on(self.0.system.terminated());
        self.0.pool.close();
        self.0.crew.join();
    }

    // === threads for some of the actors ===

    /// Spawns an actor on a thread of its own, which it shares with the children it spawns there. The thread ends when
    /// they have.
    ///
    /// # Errors
    /// As [`System::spawn_with`]; also [`SpawnError::Capacity`] if no thread can be started. A dispatcher in the options
    /// does not count.
    pub fn spawn_pinned<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        let Owner { crew, live, .. } = &*self.0;
        pinned::spawn_actor(crew, live, self, options, factory)
    }

    /// As [`spawn_pinned`](Self::spawn_pinned), for an actor that need not be `Send`: it is made, polled and dropped on its
    /// thread. The factory travels there, so it has to be `Send`.
    ///
    /// ```
    /// use hikyaku::{ActorSystem, Context, Failure, Local, LocalActor, Reply, SpawnOptions, block_on};
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// struct Counter(Rc<Cell<u32>>);
    ///
    /// impl LocalActor for Counter {
    ///     type Msg = Reply<u32>;
    ///     async fn handle(&mut self, reply: Reply<u32>, _: &mut Context<'_, Local<Self>>) -> Result<(), Failure> {
    ///         self.0.set(self.0.get() + 1);
    ///         let _ = reply.send(self.0.get());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let system = ActorSystem::new("demo")?;
    /// let counter = system.spawn_pinned_local(SpawnOptions::new(), || Counter(Rc::default()))?;
    /// assert_eq!(block_on(counter.ask(|reply| reply)), Ok(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn_pinned`](Self::spawn_pinned).
    pub fn spawn_pinned_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        let Owner { crew, live, .. } = &*self.0;
        pinned::spawn_local(crew, live, self, options, factory)
    }

    /// Spawns an actor whose handlers block their thread, on the
    /// [`blocking_dispatcher`](Self::blocking_dispatcher). For single functions that block there is
    /// [`Context::blocking`](crate::Context::blocking).
    ///
    /// # Errors
    /// As [`System::spawn_with`]; also [`SpawnError::Capacity`] if no thread can be started. A dispatcher in the options
    /// does not count.
    pub fn spawn_blocking<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        let dispatcher = self
            .blocking_dispatcher()
            .map_err(|_| SpawnError::Capacity)?;
        self.spawn_with(options.dispatcher(&dispatcher), factory)
    }

    /// The threads for actors that block: made by the first call. A thread is started when a message waits and all are
    /// busy, up to [`Builder::blocking_actor_threads`]; idle ones end, except for one. Actors on it delay nobody
    /// elsewhere, and each other only when all threads are taken.
    ///
    /// # Errors
    /// If the first threads cannot be started.
    pub fn blocking_dispatcher(&self) -> io::Result<Dispatcher> {
        let mut slot = lock(&self.0.blocking);
        if let Some(dispatcher) = &*slot {
            return Ok(dispatcher.clone());
        }
        let workers = Workers::from(1..=self.0.blocking_actors);
        let dispatcher = self.start(workers, Foreman::impatient)?;
        *slot = Some(dispatcher.clone());
        Ok(dispatcher)
    }

    /// Starts threads for some of the actors, apart from the others: give the dispatcher to
    /// [`SpawnOptions::dispatcher`].
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start_dispatcher(&self, workers: impl Into<Workers>) -> io::Result<Dispatcher> {
        self.start(workers.into(), |foreman| foreman)
    }

    fn start(
        &self,
        workers: Workers,
        prepare: impl FnOnce(Foreman) -> Foreman,
    ) -> io::Result<Dispatcher> {
        let Owner { crew, live, .. } = &*self.0;
        let mut executor = ThreadExecutor::of(Arc::clone(crew), Arc::clone(live));
        let builder = self.dispatcher();
        let (dispatcher, workers) = builder
            .adaptive_workers(workers.least, workers.most)
            .build();
        // On an error the workers are dropped, which closes a dispatcher without actors.
        for worker in workers {
            executor.start(worker)?;
        }
        if let Some(foreman) = dispatcher.foreman() {
            executor.follow(prepare(foreman))?;
        }
        Ok(dispatcher)
    }

    // === while it runs ===

    /// The settings as they are now. Takes no lock.
    pub fn settings(&self) -> Settings {
        self.0.live.read(self)
    }

    /// Changes settings. Those of activations hold from the next one on.
    ///
    /// ```
    /// let system = hikyaku::ActorSystem::new("demo")?;
    /// system.update_settings(|settings| settings.throughput = 32);
    /// assert_eq!(system.settings().throughput, 32);
    /// # Ok::<(), hikyaku::BuildError>(())
    /// ```
    pub fn update_settings(&self, change: impl FnOnce(&mut Settings)) {
        self.0.live.change(self, change);
    }

    /// Puts in a sink, in place of the one before. Workers read the slot without a lock; one that is just calling the
    /// old sink finishes that.
    pub fn set_metrics_sink(&self, sink: impl MetricsSink) {
        self.0.sink.set(Some(Box::new(sink)));
    }

    /// Takes the sink out.
    pub fn clear_metrics_sink(&self) {
        self.0.sink.set(None);
    }

    /// Gives the sink, if there is one, the counters as they are now.
    pub fn report_metrics(&self) {
        self.0
            .sink
            .with(|sink| sink.totals(self.name(), &self.metrics()));
    }
}

impl Deref for ActorSystem {
    type Target = System;

    fn deref(&self) -> &System {
        &self.0.system
    }
}

impl fmt::Debug for ActorSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorSystem").field(&self.0.system).finish()
    }
}
