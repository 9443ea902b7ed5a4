//! What a worker that is stuck, and code that misbehaves, may not do to others.

use hikyaku::prelude::*;
use hikyaku::{RestartPolicy, SendError, block_on};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Ends a test that would hang otherwise. Nothing depends on how long it is.
const LONG: Duration = Duration::from_secs(20);

struct Neighbour(mpsc::Sender<()>);

impl Actor for Neighbour {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0.send(())?;
        Ok(())
    }
}

/// Tells its neighbour, then blocks its thread until the neighbour has run.
struct Stuck {
    neighbour: ActorRef<()>,
    ran: Mutex<mpsc::Receiver<()>>,
}

impl Actor for Stuck {
    type Msg = Reply<bool>;

    async fn handle(
        &mut self,
        reply: Reply<bool>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        self.neighbour.tell(())?;
        let ran = self.ran.get_mut().expect("not poisoned").recv_timeout(LONG);
        let _ = reply.send(ran.is_ok());
        Ok(())
    }
}

#[test]
fn row08_what_a_stuck_worker_was_about_to_run_is_run_by_another() {
    for workers in [2, 3, 4, 8] {
        let system = ActorSystem::builder("stuck")
            .workers(workers)
            .build()
            .expect("it starts");
        let (sender, receiver) = mpsc::channel();
        let neighbour = system
            .spawn(once(Neighbour(sender)))
            .expect("there is room");
        block_on(neighbour.started()).expect("it starts");
        let stuck = system
            .spawn(once(Stuck {
                neighbour,
                ran: Mutex::new(receiver),
            }))
            .expect("there is room");
        for round in 0..3 {
            assert_eq!(
                block_on(stuck.ask(|reply| reply)),
                Ok(true),
                "{workers} workers, round {round}"
            );
        }
        block_on(system.graceful_shutdown());
        system.join();
    }
}

/// Panics when it is dropped, with a value that panics when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Bomblet);
    }
}

struct Bomblet;

impl Drop for Bomblet {
    fn drop(&mut self) {
        panic!("the value of a panic");
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::panic::panic_any(Bomblet);
    }
}

impl std::error::Error for Bomb {}

struct Fails;

impl Actor for Fails {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Err(Bomb)?;
        Ok(())
    }
}

#[test]
fn row18_an_error_that_panics_in_every_way_ends_one_actor_once() {
    for workers in [1, 2] {
        let told = std::sync::Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        let system = ActorSystem::builder("bombs")
            .workers(workers)
            .on_failure(move |_| {
                tell.store(true, Ordering::SeqCst);
                std::panic::panic_any(Bomblet);
            })
            .build()
            .expect("it starts");
        for round in 0..10 {
            let actor = system
                .spawn_with(
                    SpawnOptions::new()
                        .name("bomber")
                        .restart(RestartPolicy::Temporary),
                    || Fails,
                )
                .expect("the name is free again");
            let ended = actor.stopped();
            assert_eq!(actor.tell(()), Ok(()), "round {round}");
            assert!(matches!(block_on(ended), StopCause::Failed(_)));
            // The one who asks late gets a text.
            assert!(matches!(block_on(actor.stopped()), StopCause::Failed(_)));
            assert_eq!(actor.tell(()), Err(SendError::Closed(())));
        }
        assert!(told.load(Ordering::SeqCst));
        block_on(system.graceful_shutdown());
        system.join();
        assert_eq!(system.metrics().live_actors, 0);
        assert_eq!(system.metrics().failures, 10);
    }
}
