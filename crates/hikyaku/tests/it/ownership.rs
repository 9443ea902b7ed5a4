//! Tokio runtimes that a system owns.

use crate::eventually;
use ::tokio::runtime::{Builder, Runtime};
use hikyaku::{
    Actor, ActorSystem, BuildError, Context, Failure, Reply, System, SystemState, block_on,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Holds a system, and hangs or drops it.
struct Holder(Option<ActorSystem>, Arc<AtomicUsize>);

impl Actor for Holder {
    type Msg = Option<Reply<()>>;

    async fn handle(&mut self, msg: Self::Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            Some(reply) => {
                drop(self.0.take());
                let _ = reply.send(());
            }
            None => std::future::pending().await,
        }
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Stage {
    system: ActorSystem,
    /// Threads of the runtime.
    threads: Arc<AtomicUsize>,
    actors: Arc<AtomicUsize>,
}

fn counted(threads: &Arc<AtomicUsize>) -> Runtime {
    let (up, down) = (threads.clone(), threads.clone());
    Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || {
            up.fetch_add(1, Ordering::SeqCst);
        })
        .on_thread_stop(move || {
            down.fetch_sub(1, Ordering::SeqCst);
        })
        .enable_all()
        .build()
        .unwrap()
}

impl Stage {
    /// A system with a runtime of its own, and an actor that hangs.
    fn new() -> Self {
        let threads = Arc::new(AtomicUsize::new(0));
        let runtime = counted(&threads);
        eventually("both threads are there", || {
            threads.load(Ordering::SeqCst) == 2
        });
        let builder = ActorSystem::builder("owner").own_runtime(runtime);
        let system = builder.build().unwrap();
        let actors = Arc::new(AtomicUsize::new(0));
        let stage = Self {
            system,
            threads,
            actors,
        };
        stage.spawn(None).tell(None).unwrap();
        stage
    }

    fn spawn(&self, mut held: Option<ActorSystem>) -> hikyaku::ActorRef<Option<Reply<()>>> {
        let actors = self.actors.clone();
        let factory = move || {
            actors.fetch_add(1, Ordering::SeqCst);
            Holder(held.take(), actors.clone())
        };
        let actor = self.system.spawn(factory).unwrap();
        block_on(actor.started()).unwrap();
        actor
    }

    fn is_gone(threads: &AtomicUsize, actors: &AtomicUsize) -> bool {
        threads.load(Ordering::SeqCst) == 0 && actors.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn row20_the_last_owner_releases_the_runtime_wherever_it_is_dropped() {
    type Drops = fn(ActorSystem);
    let places: [(&str, Drops); 5] = [
        ("on a plain thread", drop),
        ("in async code", |system| {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move { drop(system) });
        }),
        ("in another runtime's task", |system| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .unwrap();
            let task = runtime.spawn(async move { drop(system) });
            runtime.block_on(task).unwrap();
        }),
        ("while it is shut down", |system| {
            drop(system.graceful_shutdown());
            drop(system);
        }),
        ("when it has terminated", |system| {
            system.force_stop();
            block_on(system.terminate());
            assert_eq!(system.state(), SystemState::Stopped);
            system.join();
            drop(system);
        }),
    ];
    for (name, drops) in places {
        let Stage {
            system,
            threads,
            actors,
        } = Stage::new();
        let clones = [system.clone(), system.clone()];
        let plain = System::clone(&system);
        drop(clones);
        assert_eq!(
            (system.state(), threads.load(Ordering::SeqCst)),
            (SystemState::Running, 2)
        );
        drops(system);
        block_on(plain.terminated());
        eventually(name, || Stage::is_gone(&threads, &actors));
    }
}

#[test]
fn row20_the_last_owner_may_be_an_actor_or_a_task_of_the_very_runtime() {
    let stage = Stage::new();
    let holder = stage.spawn(Some(stage.system.clone()));
    let Stage {
        system,
        threads,
        actors,
    } = stage;
    drop(system);
    assert_eq!(threads.load(Ordering::SeqCst), 2, "the actor still has it");
    // It is ended while it drops the system, so there need not be an answer.
    let _ = block_on(holder.ask(Some));
    eventually("all is gone", || Stage::is_gone(&threads, &actors));

    let threads = Arc::new(AtomicUsize::new(0));
    let runtime = counted(&threads);
    let handle = runtime.handle().clone();
    let system = ActorSystem::builder("owner")
        .own_runtime(runtime)
        .build()
        .unwrap();
    let plain = System::clone(&system);
    handle.spawn(async move { drop(system) });
    block_on(plain.terminated());
    eventually("all is gone", || threads.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_system_with_a_runtime_of_its_own_may_be_inside_another_one() {
    let outer = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    outer.block_on(async {
        let stage = Stage::new();
        let inner = stage.spawn(None);
        // Asked from the outer runtime, answered in the inner.
        inner.ask(Some).await.unwrap();
        let in_outer = ActorSystem::new("outer").unwrap();
        let Stage {
            system,
            threads,
            actors,
        } = stage;
        system.force_stop();
        system.terminate().await;
        in_outer.terminate().await;
        drop(system);
        eventually("all is gone", || Stage::is_gone(&threads, &actors));
    });
}

#[test]
fn terminate_waits_for_the_last_work_and_can_be_repeated() {
    let Stage {
        system,
        threads,
        actors,
    } = Stage::new();
    let kill = system.clone();
    block_on(async {
        kill.force_stop();
        system.terminate().await;
        assert_eq!(actors.load(Ordering::SeqCst), 0);
        system.terminate().await;
    });
    system.join();
    assert_eq!(
        threads.load(Ordering::SeqCst),
        2,
        "the runtime goes with the last clone"
    );
    drop((system, kill));
    eventually("all is gone", || threads.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_runtime_that_cannot_be_owned_is_released_in_async_code_too() {
    let outer = Builder::new_current_thread().build().unwrap();
    outer.block_on(async {
        let single = Builder::new_current_thread().enable_all().build().unwrap();
        let error = ActorSystem::builder("idle")
            .own_runtime(single)
            .build()
            .unwrap_err();
        assert!(matches!(error, BuildError::NobodyRuns), "{error}");
        let timeless = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let error = ActorSystem::builder("timeless")
            .own_runtime(timeless)
            .build()
            .unwrap_err();
        assert!(matches!(error, BuildError::NoTimeDriver), "{error}");
        let threads = Arc::new(AtomicUsize::new(0));
        let unused = ActorSystem::builder("unused").own_runtime(counted(&threads));
        drop(unused);
        eventually("it is released", || threads.load(Ordering::SeqCst) == 0);
    });
}
