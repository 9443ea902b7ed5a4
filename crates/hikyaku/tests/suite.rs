//! The suite of scenarios on every executor: each is a line at the end.

use hikyaku::{
    Actor, ActorRef, ActorSystem, Builder, CurrentThread, SpawnError, SpawnOptions, System,
};
use hikyaku_testkit::conformance_suite;
use hikyaku_testkit::suite::Runtime;
use std::future::Future;
use std::time::Duration;

/// A system whose workers run by themselves, whatever on.
struct Own {
    system: ActorSystem,
    actors: Actors,
}

/// Where a scenario's actors run.
#[derive(PartialEq)]
enum Actors {
    /// On the one worker that there is from first to last.
    OnOneWorker,
    OnWorkers,
    /// Each on a thread of its own, which it shares with those it spawns.
    Pinned,
    /// On the threads for actors that block.
    Blocking,
}

impl Own {
    fn new(builder: Builder, actors: Actors) -> Self {
        let system = builder.build().unwrap();
        Self { system, actors }
    }
}

fn threads(workers: usize) -> Own {
    let actors = match workers {
        1 => Actors::OnOneWorker,
        _ => Actors::OnWorkers,
    };
    Own::new(ActorSystem::builder("suite").workers(workers), actors)
}

/// They come and go.
fn adaptive_threads() -> Own {
    let builder = ActorSystem::builder("suite").workers(1..=4);
    Own::new(builder.idle_time(Duration::ZERO), Actors::OnWorkers)
}

fn beside_a_worker(actors: Actors) -> Own {
    Own::new(ActorSystem::builder("suite").workers(1), actors)
}

impl Runtime for Own {
    fn system(&self) -> &System {
        &self.system
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        hikyaku::block_on(future)
    }

    fn spawn<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        match self.actors {
            Actors::OnOneWorker | Actors::OnWorkers => self.system.spawn_with(options, factory),
            Actors::Pinned => self.system.spawn_pinned(options, factory),
            Actors::Blocking => self.system.spawn_blocking(options, factory),
        }
    }

    fn has_one_worker(&self) -> bool {
        self.actors == Actors::OnOneWorker
    }

    /// Pinned, each needs a thread.
    fn most_actors(&self) -> u64 {
        match self.actors {
            Actors::Pinned => 300,
            _ => u64::MAX,
        }
    }

    fn shutdown(self) {
        self.system.join();
    }
}

/// A system that runs on the thread of the test.
struct Here(CurrentThread);

impl Runtime for Here {
    fn system(&self) -> &System {
        &self.0
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn shutdown(self) {}
}

/// A system inside a Tokio runtime, which has to outlive it.
#[cfg(feature = "tokio")]
struct InTokio {
    system: ActorSystem,
    runtime: tokio::runtime::Runtime,
}

#[cfg(feature = "tokio")]
fn in_tokio(mut runtime: tokio::runtime::Builder) -> InTokio {
    let runtime = runtime.enable_time().build().unwrap();
    let entered = runtime.enter();
    let system = ActorSystem::new("suite").unwrap();
    drop(entered);
    InTokio { system, runtime }
}

#[cfg(feature = "tokio")]
fn multi_thread() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

/// The workers are tasks of the runtime.
#[cfg(feature = "tokio")]
fn tasks() -> InTokio {
    let runtime = multi_thread();
    let builder = ActorSystem::builder("suite").tokio(runtime.handle());
    InTokio {
        system: builder.build().unwrap(),
        runtime,
    }
}

#[cfg(feature = "tokio")]
fn owned() -> Own {
    let builder = ActorSystem::builder("suite").own_runtime(multi_thread());
    Own::new(builder, Actors::OnWorkers)
}

#[cfg(feature = "tokio")]
impl Runtime for InTokio {
    fn system(&self) -> &System {
        &self.system
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    fn shutdown(self) {
        self.system.join();
    }
}

/// A system that whoever polls it runs: here a `LocalSet`.
#[cfg(feature = "tokio")]
struct Polled {
    system: CurrentThread,
    set: tokio::task::LocalSet,
    runtime: tokio::runtime::Runtime,
}

#[cfg(feature = "tokio")]
fn polled() -> Polled {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Polled {
        system: CurrentThread::new("suite"),
        set: tokio::task::LocalSet::new(),
        runtime: builder.enable_time().build().unwrap(),
    }
}

#[cfg(feature = "tokio")]
impl Runtime for Polled {
    fn system(&self) -> &System {
        &self.system
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let running = self.system.run_until(future);
        self.runtime.block_on(self.set.run_until(running))
    }

    fn shutdown(self) {}
}

conformance_suite!(one_thread, || threads(1));
conformance_suite!(two_threads, || threads(2));
conformance_suite!(four_threads, || threads(4));
conformance_suite!(adaptive, adaptive_threads);
conformance_suite!(pinned, || beside_a_worker(Actors::Pinned));
conformance_suite!(blocking, || beside_a_worker(Actors::Blocking));
conformance_suite!(current_thread, || Here(CurrentThread::new("suite")));
#[cfg(feature = "tokio")]
conformance_suite!(tokio_multi_thread, || in_tokio(
    tokio::runtime::Builder::new_multi_thread()
));
#[cfg(feature = "tokio")]
conformance_suite!(tokio_current_thread, || in_tokio(
    tokio::runtime::Builder::new_current_thread()
));
#[cfg(feature = "tokio")]
conformance_suite!(tokio_tasks, tasks);
#[cfg(feature = "tokio")]
conformance_suite!(tokio_owned, owned);
#[cfg(feature = "tokio")]
conformance_suite!(tokio_local_set, polled);
