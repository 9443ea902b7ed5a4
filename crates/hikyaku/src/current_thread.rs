//! The current thread: actors run while somebody blocks on a future.

use crate::system::Builder;
use crate::threads::{Parker, SPINS};
use hikyaku_core::{
    ActorRef, LocalActor, LocalSpawner, LocalWorker, SpawnError, SpawnOptions, System, Turn,
};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A system whose actors run on this thread, inside [`CurrentThread::block_on`].
///
/// Needs no other thread, and runs actors that are not `Send`. References can be used from any
/// thread. Dropped, it ends its actors by force, on this thread.
///
/// ```
/// use hikyaku::{Context, CurrentThread, Failure, Local, LocalActor, Reply, SpawnOptions};
/// use std::rc::Rc;
///
/// struct Greeter { name: Rc<str> }
///
/// impl LocalActor for Greeter {
///     type Msg = Reply<String>;
///     async fn handle(&mut self, reply: Reply<String>, _: &mut Context<'_, Local<Self>>) -> Result<(), Failure> {
///         let _ = reply.send(format!("hello, {}", self.name));
///         Ok(())
///     }
/// }
///
/// let system = CurrentThread::new("demo");
/// let name: Rc<str> = "world".into();
/// let greeter = system.spawn_local(SpawnOptions::new(), move || Greeter { name: name.clone() })?;
/// let answer = system.block_on(async { greeter.ask(|reply| reply).await })?;
/// assert_eq!(answer, "hello, world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CurrentThread {
    system: System,
    spawner: LocalSpawner,
    worker: RefCell<LocalWorker>,
}

impl CurrentThread {
    /// A system with default settings. For others, see
    /// [`Builder::build_current_thread`].
    pub fn new(name: &str) -> Self {
        Builder::new(name).build_current_thread()
    }

    pub(crate) fn from_worker(worker: LocalWorker) -> Self {
        Self {
            system: worker.system(),
            spawner: worker.spawner(),
            worker: RefCell::new(worker),
        }
    }

    /// Spawns an actor that need not be `Send`.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.spawner.spawn_local(options, factory)
    }

    /// Runs the actors and the future, until the future is done. Actors may have messages left
    /// then; they run on in the next `block_on`.
    ///
    /// # Panics
    /// If it is called by an actor of this very system: it would wait for itself.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let parker = Parker::new();
        let waker = Waker::from(Arc::clone(&parker));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            // Some steps, then a look at the future: it may have become ready on the way.
            let turn = self
                .worker
                .try_borrow_mut()
                .expect("block_on called from an actor of the same system")
                .poll(64, &waker);
            match turn {
                Turn::Ready => {}
                Turn::Idle { .. } | Turn::Stopped => parker.park(SPINS, None),
            }
        }
    }
}

impl Deref for CurrentThread {
    type Target = System;

    fn deref(&self) -> &System {
        &self.system
    }
}

impl fmt::Debug for CurrentThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CurrentThread").field(&self.system).finish()
    }
}
