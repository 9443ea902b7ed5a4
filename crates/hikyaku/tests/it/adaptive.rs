//! Workers that come when work piles up, and go when there is none.

use crate::{LONG, eventually};
use hikyaku::{Actor, ActorRef, ActorSystem, Context, Failure, Reply, block_on, once};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Blocks its thread until so many others do the same.
struct Meets(Arc<Barrier>);

impl Actor for Meets {
    type Msg = Reply<()>;

    async fn handle(&mut self, reply: Reply<()>, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let barrier = self.0.clone();
        barrier.wait();
        let _ = reply.send(());
        Ok(())
    }
}

/// Answers.
struct Echo;

impl Actor for Echo {
    type Msg = Reply<()>;

    async fn handle(&mut self, reply: Reply<()>, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let _ = reply.send(());
        Ok(())
    }
}

fn adaptive(least: usize, most: usize, idle: Duration) -> ActorSystem {
    ActorSystem::builder("adaptive")
        .own_threads()
        .workers(least..=most)
        .idle_time(idle)
        .build()
        .unwrap()
}

#[test]
fn row21_workers_come_when_work_piles_up_and_go_when_there_is_none() {
    for (least, most) in [(1, 4), (2, 5), (1, 2)] {
        let system = adaptive(least, most, Duration::from_millis(5));
        assert_eq!(system.metrics().workers, least);
        for _ in 0..3 {
            let barrier = Arc::new(Barrier::new(most));
            let actors: Vec<_> = (0..most)
                .map(|_| {
                    let barrier = barrier.clone();
                    system.spawn(move || Meets(barrier.clone())).unwrap()
                })
                .collect();
            // They can meet only if each has a worker.
            let asks: Vec<_> = actors
                .iter()
                .map(|actor| actor.ask(|reply| reply))
                .collect();
            for ask in asks {
                assert_eq!(block_on(ask), Ok(()));
            }
            eventually("the others have gone", || {
                let metrics = system.metrics();
                (metrics.workers, metrics.workers_asleep) == (least, least)
            });
        }
        block_on(system.terminate());
        system.join();
    }
}

#[test]
fn row21_no_wake_up_is_lost_while_workers_come_and_go() {
    // Idle for so short that each pause ends a thread, or nearly.
    let system = adaptive(1, 3, Duration::from_micros(50));
    system.update_settings(|settings| settings.idle_spins = 10);
    let actors: Vec<ActorRef<_>> = (0..8).map(|_| system.spawn(|| Echo).unwrap()).collect();
    let mut random = fastrand::Rng::with_seed(21);
    for _ in 0..if cfg!(debug_assertions) {
        2_000
    } else {
        10_000
    } {
        let asks: Vec<_> = (0..random.usize(1..12))
            .map(|_| actors[random.usize(..actors.len())].ask(|reply| reply))
            .collect();
        for ask in asks {
            assert_eq!(block_on(ask.within(LONG)).map_err(drop), Ok(()));
        }
        for _ in 0..random.usize(..3000) {
            std::hint::spin_loop();
        }
    }
    let metrics = system.metrics();
    assert!((1..=3).contains(&metrics.workers), "{metrics:?}");
    block_on(system.terminate());
}

/// The only worker is stuck, and what it woke itself is in no queue that others would look at.
#[test]
fn row21_the_foreman_comes_to_the_aid_of_what_is_stranded() {
    struct Neighbour(Sender<()>);
    impl Actor for Neighbour {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0.send(())?;
            Ok(())
        }
    }
    struct Stuck(ActorRef<()>);
    impl Actor for Stuck {
        type Msg = (Reply<bool>, Receiver<()>);
        async fn handle(
            &mut self,
            (reply, ran): Self::Msg,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            self.0.tell(())?;
            let _ = reply.send(ran.recv_timeout(LONG).is_ok());
            Ok(())
        }
    }
    let system = adaptive(1, 2, Duration::from_millis(1));
    for _ in 0..5 {
        let (sender, ran) = channel();
        let neighbour = system.spawn(once(Neighbour(sender))).unwrap();
        block_on(neighbour.started()).unwrap();
        let stuck = system.spawn(once(Stuck(neighbour))).unwrap();
        assert_eq!(block_on(stuck.ask(|reply| (reply, ran))), Ok(true));
    }
}

#[test]
fn row20_a_system_whose_workers_come_and_go_ends_under_load() {
    for forced in [true, false] {
        for _ in 0..20 {
            let system = adaptive(1, 4, Duration::from_micros(20));
            let actors: Vec<_> = (0..20).map(|_| system.spawn(|| Echo).unwrap()).collect();
            thread::scope(|scope| {
                scope.spawn(|| {
                    for actor in actors.iter().cycle().take(2_000) {
                        drop(actor.ask(|reply| reply));
                    }
                });
                if forced {
                    system.force_stop();
                } else {
                    drop(system.graceful_shutdown());
                }
                system.join();
            });
            assert_eq!(system.metrics().live_actors, 0);
        }
    }
}
