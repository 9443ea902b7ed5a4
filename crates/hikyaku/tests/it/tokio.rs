//! Inside Tokio runtimes.

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpListener, TcpStream};
use ::tokio::runtime::{Builder, Runtime};
use ::tokio::time;
use hikyaku::{
    Actor, ActorSystem, BuildError, Context, Failure, Reply, StopCause, System, SystemState,
    block_on,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Awaits what only a Tokio runtime can drive.
struct Worldly;

enum Task {
    /// A timer.
    Sleep(Reply<()>),
    /// A conversation over a socket.
    Echo(Reply<[u8; 5]>),
    /// A task of the runtime.
    Spawn(Reply<u32>),
    Hang,
}

impl Actor for Worldly {
    type Msg = Task;

    async fn handle(&mut self, task: Task, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match task {
            Task::Sleep(reply) => {
                time::sleep(Duration::from_millis(1)).await;
                let _ = reply.send(());
            }
            Task::Echo(reply) => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                let server = ::tokio::spawn(async move {
                    let (mut stream, _) = listener.accept().await?;
                    let mut bytes = [0; 5];
                    stream.read_exact(&mut bytes).await?;
                    bytes.reverse();
                    stream.write_all(&bytes).await
                });
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(b"hello").await?;
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await?;
                server.await??;
                let _ = reply.send(bytes);
            }
            Task::Spawn(reply) => {
                let _ = reply.send(::tokio::spawn(async { 7 }).await?);
            }
            Task::Hang => std::future::pending().await,
        }
        Ok(())
    }
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    [
        (
            "multi-thread",
            Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
        ),
        (
            "current-thread",
            Builder::new_current_thread().enable_all().build().unwrap(),
        ),
    ]
}

#[test]
fn handlers_await_the_timers_io_and_tasks_of_the_runtime() {
    for (flavour, runtime) in runtimes() {
        runtime.block_on(async {
            let system = ActorSystem::new("inside").unwrap();
            let actors: Vec<_> = (0..5).map(|_| system.spawn(|| Worldly).unwrap()).collect();
            let sleeps: Vec<_> = actors.iter().map(|actor| actor.ask(Task::Sleep)).collect();
            for sleep in sleeps {
                sleep.await.unwrap();
            }
            for actor in &actors {
                assert_eq!(actor.ask(Task::Echo).await.unwrap(), *b"olleh", "{flavour}");
                assert_eq!(actor.ask(Task::Spawn).await, Ok(7));
            }
            system.graceful_shutdown().await;
            assert_eq!(system.state(), SystemState::Stopped);
            assert_eq!(system.metrics().live_actors, 0, "{flavour}");
        });
    }
}

#[test]
fn a_current_thread_runtime_takes_one_worker() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let error = ActorSystem::builder("two").workers(2).build().unwrap_err();
    assert!(matches!(error, BuildError::TooManyWorkers(2)));
    assert_eq!(
        error.to_string(),
        "2 workers were asked for inside a current-thread Tokio runtime, which has one thread"
    );
    let system = ActorSystem::builder("one").workers(1).build().unwrap();
    assert_eq!(system.metrics().workers, 1);
    drop(system);
}

/// Actors in every state are ended when the runtime that runs them goes.
#[test]
fn row20_a_runtime_that_is_dropped_takes_its_actors_along() {
    struct Counted(Arc<AtomicUsize>);
    impl Actor for Counted {
        type Msg = bool;
        async fn handle(&mut self, hang: bool, _: &mut Context<'_, Self>) -> Result<(), Failure> {
            if hang {
                time::sleep(Duration::from_secs(3600)).await;
            }
            Ok(())
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let alive = Arc::new(AtomicUsize::new(0));
    let (system, actors) = runtime.block_on(async {
        let system = ActorSystem::new("doomed").unwrap();
        let mut actors = Vec::new();
        for _ in 0..3 {
            let alive = alive.clone();
            let factory = move || {
                alive.fetch_add(1, Ordering::Relaxed);
                Counted(alive.clone())
            };
            let actor = system.spawn(factory).unwrap();
            actor.started().await.unwrap();
            actors.push(actor);
        }
        actors[0].tell(true).unwrap();
        ::tokio::task::yield_now().await;
        // One hangs, one has something queued, one is idle.
        actors[1].tell(true).unwrap();
        (system, actors)
    });
    assert_eq!(alive.load(Ordering::Relaxed), 3);
    drop(runtime);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    assert_eq!(system.state(), SystemState::Stopped);
    block_on(system.terminated());
    for actor in actors {
        assert!(actor.tell(false).is_err());
        assert!(matches!(block_on(actor.stopped()), StopCause::Shutdown));
    }
}

/// In a multi-thread runtime the workers have threads of their own, so the actors outlive it; what
/// they await of it fails, and nothing hangs.
#[test]
fn a_system_outlives_a_multi_thread_runtime_without_hanging() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let system = runtime
        .block_on(async { ActorSystem::builder("survivor").workers(2).build() })
        .unwrap();
    let actor = system.spawn(|| Worldly).unwrap();
    actor.tell(Task::Hang).unwrap();
    drop(runtime);
    let orphan = system.spawn(|| Worldly).unwrap();
    // The timer is gone: the handler fails, or never answers.
    drop(orphan.ask(Task::Sleep));
    system.force_stop();
    system.join();
    assert_eq!(system.metrics().live_actors, 0);
}

#[test]
fn dropping_a_system_in_an_async_context_neither_blocks_nor_panics() {
    for (flavour, runtime) in runtimes() {
        let plain = runtime.block_on(async {
            let system = ActorSystem::new("dropped").unwrap();
            let actor = system.spawn(|| Worldly).unwrap();
            actor.tell(Task::Hang).unwrap();
            actor.started().await.unwrap();
            let plain = System::clone(&system);
            let stopped = actor.stopped();
            drop(system);
            // The runtime runs on, and with it the end.
            assert!(matches!(stopped.await, StopCause::Shutdown), "{flavour}");
            plain.terminated().await;
            plain
        });
        assert_eq!(plain.metrics().live_actors, 0, "{flavour}");
    }
}

/// Actors and tasks of the runtime talk to each other.
#[test]
fn row08_tasks_and_actors_answer_each_other() {
    struct Player;
    impl Actor for Player {
        type Msg = (u32, Reply<u32>);
        async fn handle(
            &mut self,
            (n, reply): Self::Msg,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            let _ = reply.send(n + 1);
            Ok(())
        }
    }
    for (flavour, runtime) in runtimes() {
        runtime.block_on(async {
            let system = ActorSystem::new("players").unwrap();
            let player = system.spawn(|| Player).unwrap();
            let games: Vec<_> = (0..4)
                .map(|_| {
                    let player = player.clone();
                    ::tokio::spawn(async move {
                        let mut n = 0;
                        while n < 500 {
                            n = player.ask(|reply| (n, reply)).await.unwrap();
                        }
                    })
                })
                .collect();
            for game in games {
                game.await.unwrap();
            }
            system.graceful_shutdown().await;
            assert_eq!(system.metrics().handled, 2000, "{flavour}");
        });
    }
}
