//! Systems with threads of their own.

use hikyaku::{
    Actor, ActorRef, ActorSystem, Context, Failure, Reply, RestartPolicy, SpawnError, SpawnOptions,
    StopCause, System, SystemState, block_on,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Counts the actors that are alive, and the messages they got.
#[derive(Default)]
struct Tally {
    alive: AtomicUsize,
    handled: AtomicUsize,
}

struct Counter {
    tally: Arc<Tally>,
    total: u64,
}

enum Add {
    One,
    Total(Reply<u64>),
}

impl Counter {
    fn factory(tally: &Arc<Tally>) -> impl FnMut() -> Self + Send + 'static {
        let tally = tally.clone();
        move || {
            tally.alive.fetch_add(1, Ordering::Relaxed);
            Self {
                tally: tally.clone(),
                total: 0,
            }
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.tally.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Actor for Counter {
    type Msg = Add;

    async fn handle(&mut self, msg: Add, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.tally.handled.fetch_add(1, Ordering::Relaxed);
        match msg {
            Add::One => self.total += 1,
            Add::Total(reply) => {
                let _ = reply.send(self.total);
            }
        }
        Ok(())
    }
}

/// Blocks until no worker has anything to do, or fails: what is still awake then never sleeps.
fn quiet(system: &System) {
    for _ in 0..20_000_000 {
        let metrics = system.metrics();
        if metrics.workers_asleep == metrics.workers {
            return;
        }
        thread::yield_now();
    }
    panic!("the workers do not come to rest: {:?}", system.metrics());
}

/// Waves of actors, each used and stopped in one of several ways.
#[test]
fn row17_a_hundred_thousand_actors_in_waves_leave_nothing() {
    const WAVES: usize = 10;
    const WAVE: usize = 10_000;
    let system = ActorSystem::builder("waves").workers(4).build().unwrap();
    let tally = Arc::new(Tally::default());
    for _ in 0..WAVES {
        let actors: Vec<_> = (0..WAVE)
            .map(|_| system.spawn(Counter::factory(&tally)).unwrap())
            .collect();
        for actor in &actors {
            actor.tell(Add::One).unwrap();
            actor.tell(Add::One).unwrap();
        }
        for actor in actors.iter().step_by(100) {
            assert_eq!(block_on(actor.ask(Add::Total)), Ok(2));
        }
        for (number, actor) in actors.iter().enumerate() {
            match number % 3 {
                0 => actor.stop_gracefully(),
                1 => actor.stop(),
                _ => actor.kill(),
            }
        }
        for actor in &actors {
            let cause = block_on(actor.stopped());
            assert!(matches!(cause, StopCause::Stopped | StopCause::Killed));
        }
        assert_eq!(system.metrics().live_actors, 0);
        assert_eq!(tally.alive.load(Ordering::Relaxed), 0);
    }
    let metrics = system.metrics();
    let handled = tally.handled.load(Ordering::Relaxed);
    // Each message was handled or is a dead letter.
    assert_eq!(
        handled + metrics.dead_letters,
        WAVES * (2 * WAVE + WAVE / 100)
    );
    quiet(&system);
    block_on(system.graceful_shutdown());
    system.join();
}

/// Not atomic, on purpose, and looked at by whatever thread runs the handler.
#[test]
fn row13_handlers_never_overlap_on_real_threads() {
    struct Alone {
        inside: Arc<AtomicBool>,
        threads: Vec<thread::ThreadId>,
        handled: u64,
    }
    impl Actor for Alone {
        type Msg = Option<Reply<(u64, usize)>>;
        async fn handle(
            &mut self,
            msg: Self::Msg,
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            assert!(!self.inside.swap(true, Ordering::Relaxed));
            let before = self.handled;
            if before.is_multiple_of(5) {
                cx.yield_now().await;
            }
            self.handled = before + 1;
            let thread = thread::current().id();
            if !self.threads.contains(&thread) {
                self.threads.push(thread);
            }
            assert!(self.inside.swap(false, Ordering::Relaxed));
            if let Some(reply) = msg {
                let _ = reply.send((self.handled, self.threads.len()));
            }
            Ok(())
        }
    }
    const SENDERS: u64 = 4;
    const EACH: u64 = 20_000;
    let system = ActorSystem::builder("alone")
        .workers(4)
        .throughput(3)
        .build()
        .unwrap();
    let actors: Vec<ActorRef<_>> = (0..4)
        .map(|_| {
            let inside = Arc::new(AtomicBool::new(false));
            let factory = move || Alone {
                inside: inside.clone(),
                threads: Vec::new(),
                handled: 0,
            };
            system.spawn(factory).unwrap()
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    for actor in &actors {
                        actor.tell(None).unwrap();
                    }
                }
            });
        }
    });
    for actor in &actors {
        let (handled, _) = block_on(actor.ask(Some)).unwrap();
        assert_eq!(handled, SENDERS * EACH + 1);
    }
}

/// A worker that blocks strands nobody: what it woke itself is taken by another.
#[test]
fn row18_an_actor_that_blocks_its_thread_does_not_strand_what_it_woke() {
    struct Blocking(ActorRef<Add>);
    impl Actor for Blocking {
        type Msg = (Reply<()>, std::sync::mpsc::Receiver<()>);
        async fn handle(
            &mut self,
            (reply, wait): Self::Msg,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            // In this worker's own next slot.
            let _ = self.0.tell(Add::One);
            let _ = reply.send(());
            let _ = wait.recv();
            Ok(())
        }
    }
    let system = ActorSystem::builder("blocking").workers(2).build().unwrap();
    let tally = Arc::new(Tally::default());
    let counter = system.spawn(Counter::factory(&tally)).unwrap();
    let target = counter.clone();
    let blocking = system.spawn(move || Blocking(target.clone())).unwrap();
    for n in 1..=3 {
        let (free, wait) = channel();
        block_on(blocking.ask(|reply| (reply, wait))).unwrap();
        assert_eq!(block_on(counter.ask(Add::Total)), Ok(n));
        free.send(()).unwrap();
    }
}

#[test]
fn row20_join_returns_when_the_last_worker_has_ended_and_late_work_is_refused() {
    /// Says on which thread it was dropped.
    struct Last(Sender<thread::ThreadId>);
    impl Actor for Last {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            std::future::pending().await
        }
    }
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }
    for forced in [true, false] {
        let system = ActorSystem::builder("join").workers(3).build().unwrap();
        let (dropped, by) = channel();
        let actors: Vec<_> = (0..10)
            .map(|_| {
                let dropped = dropped.clone();
                system.spawn(move || Last(dropped.clone())).unwrap()
            })
            .collect();
        drop(dropped);
        if forced {
            // They hang in their handlers, and have something queued.
            for actor in &actors {
                actor.tell(()).unwrap();
                actor.tell(()).unwrap();
            }
            system.force_stop();
        } else {
            drop(system.graceful_shutdown());
        }
        system.join();
        system.join();
        assert_eq!(system.state(), SystemState::Stopped);
        let me = thread::current().id();
        let dropped: Vec<_> = by.try_iter().collect();
        // Some had not been made yet when they were killed.
        assert!(dropped.len() <= 10 && (forced || dropped.len() == 10));
        assert!(dropped.iter().all(|thread| *thread != me));
        assert_eq!(system.metrics().live_actors, 0);
        let (dropped, _by) = channel();
        assert!(matches!(
            system.spawn(move || Last(dropped.clone())),
            Err(SpawnError::ShuttingDown)
        ));
        assert!(actors.iter().all(|actor| actor.tell(()).is_err()));
        block_on(system.terminated());
    }
}

#[test]
fn the_last_clone_of_a_system_ends_it() {
    let tally = Arc::new(Tally::default());
    let system = ActorSystem::builder("clones").workers(2).build().unwrap();
    let clone = system.clone();
    let plain = System::clone(&system);
    let actor = system.spawn(Counter::factory(&tally)).unwrap();
    drop(system);
    actor.tell(Add::One).unwrap();
    assert_eq!(block_on(actor.ask(Add::Total)), Ok(1));
    drop(clone);
    assert!(matches!(block_on(actor.stopped()), StopCause::Shutdown));
    block_on(plain.terminated());
    assert_eq!(tally.alive.load(Ordering::Relaxed), 0);
}

#[test]
fn an_actor_may_end_its_own_system() {
    struct Ender(System);
    impl Actor for Ender {
        type Msg = bool;
        async fn handle(&mut self, forced: bool, _: &mut Context<'_, Self>) -> Result<(), Failure> {
            if forced {
                self.0.force_stop();
            } else {
                drop(self.0.graceful_shutdown());
            }
            Ok(())
        }
    }
    for forced in [true, false] {
        let system = ActorSystem::builder("ender").workers(2).build().unwrap();
        let plain = System::clone(&system);
        let ender = system.spawn(move || Ender(plain.clone())).unwrap();
        ender.tell(forced).unwrap();
        system.join();
        assert_eq!(system.state(), SystemState::Stopped);
    }
}

#[test]
fn joining_from_a_worker_is_refused_instead_of_waiting_for_itself() {
    struct Joiner(ActorSystem);
    impl Actor for Joiner {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0.join();
            Ok(())
        }
    }
    let system = ActorSystem::builder("joiner").workers(2).build().unwrap();
    let own = system.clone();
    let options = SpawnOptions::new().restart(RestartPolicy::Temporary);
    let joiner = system
        .spawn_with(options, move || Joiner(own.clone()))
        .unwrap();
    joiner.tell(()).unwrap();
    let StopCause::Failed(failure) = block_on(joiner.stopped()) else {
        panic!()
    };
    assert!(
        failure
            .panic_message()
            .is_some_and(|text| text.contains("join was called on a worker"))
    );
}

#[test]
fn block_on_sleeps_until_another_thread_wakes_it() {
    let (asked, ask) = channel::<std::task::Waker>();
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    let waker = thread::spawn(move || {
        for waker in ask {
            flag.store(true, Ordering::Release);
            waker.wake();
        }
    });
    for _ in 0..100 {
        done.store(false, Ordering::Release);
        let mut sent = false;
        block_on(std::future::poll_fn(|cx| {
            if done.load(Ordering::Acquire) {
                return std::task::Poll::Ready(());
            }
            if !sent {
                sent = true;
                asked.send(cx.waker().clone()).unwrap();
            }
            std::task::Poll::Pending
        }));
    }
    drop(asked);
    waker.join().unwrap();
}
