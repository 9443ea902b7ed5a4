//! Who runs when, and that nobody is forgotten.

use crate::puppet::{Count, Do, Gate, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, Clock, Context, Failure, MailboxOptions, Reply, SpawnOptions, Staffing,
    StopCause, System, Turn, Worker,
};
use hikyaku_testkit::{Sim, VirtualClock, check_seeds, explore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

struct Nothing;

impl Actor for Nothing {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The wake comes between the two polls that put the worker to sleep, and another worker does what
/// there was to do.
#[test]
fn a_wake_between_two_polls_is_not_forgotten() {
    explore(1, |_| {
        let (system, mut workers) = System::builder("test").workers(2).build().unwrap();
        let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
        let wakers = bells.clone().map(Waker::from);
        // One step to search, one to be counted as asleep; without `std` it sleeps at once.
        let asleep = workers[0].poll(2, &wakers[0]) != Turn::Ready;
        assert_eq!(asleep, !cfg!(feature = "std"));
        system.spawn(|| Nothing).unwrap();
        assert!(bells[0].0.swap(false, Ordering::Relaxed));
        while workers[1].poll(1, &wakers[1]) == Turn::Ready {}
        while workers[0].poll(1, &wakers[0]) == Turn::Ready {}
        assert_eq!(system.metrics().workers_asleep, 2);
        system.spawn(|| Nothing).unwrap();
        assert!(bells.iter().any(|bell| bell.0.load(Ordering::Relaxed)));
    });
}

/// Wakes the thread of a worker.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Workers on threads sleep whenever they can, while others send. A wake that is lost leaves somebody parked for ever.
#[test]
fn row08_workers_on_threads_are_woken_for_all_that_comes() {
    const MESSAGES: u32 = if cfg!(miri) { 20 } else { 2_000 };
    let (system, workers) = System::builder("threads").workers(3).build().unwrap();
    let work = |mut worker: Worker| {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match worker.poll(3, &waker) {
                Turn::Ready | Turn::Idle { on_watch: true } => thread::yield_now(),
                Turn::Idle { .. } => thread::park(),
                Turn::Stopped => return,
            }
        }
    };
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| work(worker));
        }
        let senders = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..MESSAGES {
                    let actor = system.spawn(|| Nothing).unwrap();
                    assert!(actor.tell(()).is_ok());
                    actor.stop_gracefully();
                    while actor.is_alive() {
                        thread::yield_now();
                    }
                }
            })
        });
        for sender in senders {
            sender.join().unwrap();
        }
        drop(system.graceful_shutdown());
    });
    assert_eq!(system.metrics().live_actors, 0);
}

// === nobody is forgotten, nobody runs for nothing ===

/// Answers a number with the next one.
struct Player {
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Tell,
    Send,
    Ask,
}

enum Ball {
    /// Until which number, to whom, and who waits for the end.
    Play(u64, u64, ActorRef<Ball>, Reply<u64>),
    Next(u64, Reply<u64>),
}

impl Actor for Player {
    type Msg = Ball;

    async fn handle(&mut self, ball: Ball, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match ball {
            Ball::Next(n, reply) => {
                let _ = reply.send(n + 1);
            }
            Ball::Play(n, until, _, end) if n == until => {
                let _ = end.send(n);
            }
            Ball::Play(mut n, until, other, end) => match self.way {
                Way::Tell => {
                    let _ = other.tell(Ball::Play(n + 1, until, cx.me(), end));
                }
                Way::Send => {
                    let _ = other.send(Ball::Play(n + 1, until, cx.me(), end)).await;
                }
                Way::Ask => {
                    while n < until {
                        n = other.ask(|reply| Ball::Next(n, reply)).await?;
                    }
                    let _ = end.send(n);
                }
            },
        }
        Ok(())
    }
}

/// The steps in which a worker handled something are the messages; the others are a few for each
/// change of worker, and none when the game is over.
#[test]
fn row08_two_actors_answer_each_other_without_a_lost_wake_up_or_an_idle_turn() {
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 200 };
    check_seeds(60, |sim| {
        for way in [Way::Tell, Way::Send, Way::Ask] {
            for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(1)] {
                let options = SpawnOptions::new().mailbox(mailbox);
                let ping = sim
                    .spawn_with(options.clone(), move || Player { way })
                    .unwrap();
                let pong = sim.spawn_with(options, move || Player { way }).unwrap();
                sim.run_until_idle();
                let before = sim.trace().steps();
                let end =
                    sim.block_on(ping.ask(|reply| Ball::Play(0, ROUNDS, pong.clone(), reply)));
                assert_eq!(end, Ok(ROUNDS), "{way:?} {mailbox:?}");
                // Until idle, and until the watcher has seen that nothing happens any more.
                sim.run_until_idle();
                sim.run_until_idle();
                sim.run_until_idle();
                let steps = sim.trace().steps() - before;
                assert!(
                    steps < 10 * ROUNDS + 100,
                    "{way:?} {mailbox:?}: {steps} steps"
                );
                // Waiting costs nothing.
                sim.run_until_idle();
                assert_eq!(sim.trace().steps() - before, steps);
                ping.stop();
                pong.stop();
            }
        }
    });
}

#[test]
fn row13_handlers_of_one_actor_never_overlap_and_see_what_was_written() {
    /// Not atomic: what it counts is right only if its handlers follow one another.
    struct Alone {
        inside: Arc<AtomicBool>,
        handled: u64,
    }
    impl Actor for Alone {
        type Msg = Option<Reply<u64>>;
        async fn handle(
            &mut self,
            msg: Self::Msg,
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            assert!(!self.inside.swap(true, Ordering::Relaxed));
            let before = self.handled;
            for _ in 0..before % 3 {
                cx.yield_now().await;
            }
            assert_eq!(self.handled, before);
            self.handled += 1;
            assert!(self.inside.swap(false, Ordering::Relaxed));
            if let Some(reply) = msg {
                let _ = reply.send(self.handled);
            }
            Ok(())
        }
    }
    check_seeds(200, |sim| {
        let alone = {
            let inside = Arc::new(AtomicBool::new(false));
            sim.spawn(move || Alone {
                inside: inside.clone(),
                handled: 0,
            })
            .unwrap()
        };
        for _ in 0..5 {
            let alone = alone.clone();
            sim.spawn_task(async move {
                for _ in 0..6 {
                    alone.tell(None).unwrap();
                    alone.ask(Some).await.unwrap();
                }
            });
        }
        sim.run_until_idle();
        assert_eq!(sim.block_on(alone.ask(Some)), Ok(61));
    });
}

/// Runs to the end and counts the steps in which messages were handled.
fn activations(sim: &mut Sim) -> usize {
    let mut activations = 0;
    loop {
        let (steps, handled) = (sim.trace().steps(), sim.metrics().handled);
        sim.run_steps(1);
        if sim.trace().steps() == steps {
            return activations;
        }
        activations += usize::from(sim.metrics().handled != handled);
    }
}

#[test]
fn row14_messages_that_arrive_together_schedule_an_idle_actor_once() {
    explore(100, |seed| {
        let mut sim = Sim::builder(seed).throughput(1000).build();
        let log = Log::default();
        let idle: Vec<_> = (0..50)
            .map(|_| sim.spawn(Puppet::factory("", &log)).unwrap())
            .collect();
        sim.run_until_idle();
        for (n, actor) in (1..).zip(&idle[..5]) {
            for _ in 0..n {
                assert!(actor.tell(Do::Note(n)).is_ok());
            }
            if n % 2 == 0 {
                assert!(actor.tell_all((0..n).map(Do::Note)).is_ok());
            }
        }
        let (handled, steps) = (sim.metrics().handled, sim.trace().steps());
        assert_eq!(activations(&mut sim), 5);
        assert_eq!(sim.metrics().handled - handled, 15 + 2 + 4);
        // The other 45 were in no queue: nobody was polled for them.
        assert!(sim.trace().steps() - steps < 60, "{}", sim.trace());
        // Nor is anybody now.
        let steps = sim.trace().steps();
        sim.run_until_idle();
        assert_eq!(sim.trace().steps(), steps);
    });
}

// === sharing a worker ===

/// Three actors with so many messages each; in which order they are handled.
fn shared_worker(sim: &mut Sim, options: [SpawnOptions; 3], messages: u64) -> String {
    let log = Log::default();
    let actors: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(options)
        .map(|(name, options)| {
            sim.spawn_with(options, Puppet::factory(name, &log))
                .unwrap()
        })
        .collect();
    sim.run_until_idle();
    log.take();
    for actor in &actors {
        assert!(actor.tell_all((0..messages).map(Do::Note)).is_ok());
    }
    sim.run_until_idle();
    log.line()
}

#[test]
fn row16_after_its_share_an_actor_makes_way_for_the_others() {
    let plain = || SpawnOptions::new();
    let own = |messages| SpawnOptions::new().throughput(messages);
    let cases = [
        // The system's throughput, the actors' own, and the order of four messages each.
        (
            1,
            [plain(), plain(), plain()],
            "a0 b0 c0 a1 b1 c1 a2 b2 c2 a3 b3 c3",
        ),
        (
            2,
            [plain(), plain(), plain()],
            "a0 a1 b0 b1 c0 c1 a2 a3 b2 b3 c2 c3",
        ),
        (
            3,
            [plain(), plain(), plain()],
            "a0 a1 a2 b0 b1 b2 c0 c1 c2 a3 b3 c3",
        ),
        (
            4,
            [plain(), plain(), plain()],
            "a0 a1 a2 a3 b0 b1 b2 b3 c0 c1 c2 c3",
        ),
        (
            1,
            [plain(), own(3), plain()],
            "a0 b0 b1 b2 c0 a1 b3 c1 a2 c2 a3 c3",
        ),
        (
            9,
            [own(1), own(2), plain()],
            "a0 b0 b1 c0 c1 c2 c3 a1 b2 b3 a2 a3",
        ),
    ];
    explore(20, |seed| {
        for (throughput, options, order) in &cases {
            for single in [true, false] {
                let sim = Sim::builder(seed).throughput(*throughput);
                let mut sim = if single {
                    sim.single_core()
                } else {
                    sim.workers(1)
                }
                .build();
                let got = shared_worker(&mut sim, options.clone(), 4);
                assert_eq!(
                    got, *order,
                    "throughput {throughput}, single core: {single}"
                );
            }
        }
    });
}

/// On several workers too, nobody is two shares ahead of one that is ready.
#[test]
fn row16_a_throughput_of_one_is_round_robin_also_for_what_handlers_send() {
    struct Spreader(Vec<ActorRef<Do>>);
    impl Actor for Spreader {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            for actor in &self.0 {
                assert!(actor.tell_all((0..4).map(Do::Note)).is_ok());
            }
            Ok(())
        }
    }
    explore(20, |seed| {
        for single in [true, false] {
            let sim = Sim::builder(seed).throughput(1);
            let mut sim = if single {
                sim.single_core()
            } else {
                sim.workers(1)
            }
            .build();
            let log = Log::default();
            let actors: Vec<_> = ["a", "b", "c"]
                .map(|name| sim.spawn(Puppet::factory(name, &log)).unwrap())
                .into();
            let spreader = sim.spawn(move || Spreader(actors.clone())).unwrap();
            sim.run_until_idle();
            log.take();
            spreader.tell(()).unwrap();
            sim.run_until_idle();
            // Depth first for the one woken last, then in turns.
            let got = log.take();
            for turn in got.chunks(3) {
                let mut turn: Vec<_> = turn.iter().map(|note| &note[1..]).collect();
                turn.dedup();
                assert_eq!(turn.len(), 1, "{got:?}");
            }
        }
    });
}

#[test]
fn row16_the_time_budget_makes_an_actor_yield() {
    /// Each message takes a millisecond.
    struct Slow(Log, &'static str, VirtualClock);
    impl Actor for Slow {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.2.advance(Duration::from_millis(1));
            self.0.push(self.1);
            Ok(())
        }
    }
    explore(20, |seed| {
        // How long the first one keeps the worker, by budget.
        for (budget, turn) in [
            (None, 100),
            (Some(5), 16),
            (Some(20), 64),
            (Some(1000), 100),
        ] {
            let mut sim = Sim::builder(seed).single_core().throughput(1024);
            if let Some(budget) = budget {
                sim = sim.time_budget(Duration::from_millis(budget));
            }
            let mut sim = sim.build();
            let log = Log::default();
            let actors = ["a", "b"].map(|name| {
                let (log, clock) = (log.clone(), sim.clock().clone());
                sim.spawn(move || Slow(log.clone(), name, clock.clone()))
                    .unwrap()
            });
            sim.run_until_idle();
            for actor in &actors {
                actor.tell_all([(); 100]).unwrap();
            }
            sim.run_until_idle();
            let log = log.take();
            let first = log.iter().take_while(|name| *name == "a").count();
            assert!(
                first <= turn && (budget.is_some() || first == 100),
                "{budget:?}: {first}"
            );
            if turn < 100 {
                assert!(first >= 8, "{budget:?}: {first}");
            }
            assert_eq!(log.len(), 200);
            assert_eq!(sim.clock().now(), Duration::from_millis(200));
        }
    });
}

/// A handler whose awaits are always ready lets others run where it yields.
#[test]
fn yield_now_lets_others_run() {
    explore(20, |seed| {
        let mut sim = Sim::builder(seed).single_core().build();
        let log = Log::default();
        let a = sim.spawn(Puppet::factory("a", &log)).unwrap();
        let b = sim.spawn(Puppet::factory("b", &log)).unwrap();
        sim.run_until_idle();
        log.take();
        assert!(a.tell(Do::Yield(3, 1)).is_ok());
        assert!(b.tell(Do::Note(1)).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "b1 a1");
    });
}

// === many ===

#[test]
fn row17_waves_of_actors_leave_nothing() {
    let (waves, size) = if cfg!(miri) { (2, 20) } else { (8, 400) };
    check_seeds(6, |sim| {
        let count = Count::default();
        for _ in 0..waves {
            let log = Log::default();
            let actors: Vec<_> = (0..size)
                .map(|_| {
                    let (log, count) = (log.clone(), count.clone());
                    sim.spawn(move || Puppet::new("", &log).counted(count.one()))
                        .unwrap()
                })
                .collect();
            for (n, actor) in actors.iter().enumerate() {
                assert!(
                    actor
                        .tell_all((0..3).map(|n| Do::Carry(n, count.one())))
                        .is_ok()
                );
                match n % 3 {
                    0 => actor.stop_gracefully(),
                    1 => actor.stop(),
                    _ => {}
                }
            }
            sim.run_until_idle();
            for actor in &actors {
                actor.kill();
            }
            sim.run_until_idle();
            assert_eq!((count.alive(), sim.metrics().live_actors), (0, 0));
            assert_eq!(sim.metrics().workers_asleep, sim.metrics().workers);
        }
    });
}

/// Counts, and adds up what it counts when it ends.
struct Adder {
    seen: u64,
    sum: Arc<AtomicUsize>,
}

impl Actor for Adder {
    type Msg = u64;

    async fn handle(&mut self, n: u64, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        assert_eq!(n, self.seen);
        self.seen += 1;
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<'_, Self>) {
        self.sum.fetch_add(self.seen as usize, Ordering::Relaxed);
    }
}

fn adders(sim: &mut Sim, actors: usize, messages: u64) {
    let sum = Arc::new(AtomicUsize::new(0));
    let actors: Vec<_> = (0..actors)
        .map(|_| {
            let sum = sum.clone();
            sim.spawn(move || Adder {
                seen: 0,
                sum: sum.clone(),
            })
            .unwrap()
        })
        .collect();
    for actor in &actors {
        let actor = actor.clone();
        sim.spawn_task(async move {
            for n in 0..messages {
                actor.send(n).await.unwrap();
            }
            actor.stop_gracefully();
        });
    }
    sim.run_until_idle();
    assert_eq!(
        sum.load(Ordering::Relaxed),
        actors.len() * messages as usize
    );
    assert_eq!(sim.metrics().live_actors, 0);
    assert_eq!(sim.metrics().handled, actors.len() * messages as usize);
}

#[test]
fn row01_one_actor_with_one_message() {
    check_seeds(50, |sim| adders(sim, 1, 1));
}

#[test]
fn row01_a_hundred_actors_with_ten_thousand_messages_each() {
    let messages = if cfg!(miri) { 5 } else { 10_000 };
    check_seeds(1, |sim| adders(sim, 100, messages));
}

#[test]
fn row17_a_spike_of_a_thousand_actors() {
    let actors = if cfg!(miri) { 20 } else { 1000 };
    check_seeds(5, |sim| adders(sim, actors, 3));
}

// === the worst ===

#[test]
fn row20_a_shutdown_under_load_has_one_fate_for_each_message() {
    check_seeds(200, |sim| {
        let log = Log::default();
        let count = Count::default();
        let parents: Vec<_> = (0..3)
            .map(|_| sim.spawn(Puppet::factory("", &log)).unwrap())
            .collect();
        let refused = Arc::new(AtomicUsize::new(0));
        let mut sent = 0;
        for n in 0..30 {
            let actor = parents[n % 3].clone();
            let (message, refused) = (Do::Carry(n as u64, count.one()), refused.clone());
            sent += 1;
            sim.spawn_task(async move {
                if actor.send(message).await.is_err() {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let steps = sim.below(60);
        sim.run_steps(steps);
        let gentle = sim.below(2) == 0;
        if gentle {
            drop(sim.graceful_shutdown());
        } else {
            sim.force_stop();
        }
        // Late work is refused, from this moment.
        assert!(sim.spawn(Puppet::factory("", &log)).is_err());
        assert!(
            parents
                .iter()
                .all(|parent| parent.tell(Do::Note(99)).is_err())
        );
        let terminated = sim.terminated();
        sim.block_on(terminated);
        let at_end = log.take();
        sim.run_until_idle();
        // Nothing runs after the end.
        assert_eq!(log.len(), 0);
        let handled = at_end
            .iter()
            .filter(|note| note.parse::<u64>().is_ok())
            .count();
        let dead = sim.metrics().dead_letters;
        assert_eq!(handled + dead + refused.load(Ordering::Relaxed), sent);
        assert!(!gentle || dead == 0);
        assert_eq!((count.alive(), sim.metrics().live_actors), (0, 0));
    });
}

/// The system's workers are dropped, in any order, at any moment, by whoever ran them.
#[test]
fn row20_dropped_workers_end_the_actors() {
    check_seeds(300, |sim| {
        let (log, count, gate) = (Log::default(), Count::default(), Gate::default());
        let mut stopped = Vec::new();
        for n in 0..8 {
            let actor = {
                let (log, count) = (log.clone(), count.clone());
                sim.spawn(move || Puppet::new("", &log).counted(count.one()))
                    .unwrap()
            };
            assert!(actor.tell(Do::Carry(n, count.one())).is_ok());
            let (child_log, carried) = (log.clone(), count.one());
            let spawn = Do::call(move |cx| {
                let child = cx.spawn(Puppet::factory("", &child_log)).unwrap();
                assert!(child.tell(Do::Carry(1, carried)).is_ok());
            });
            assert!(actor.tell(spawn).is_ok());
            let wait = Do::After(gate.clone(), Box::new(Do::Carry(5, count.one())));
            assert!(actor.tell(wait).is_ok());
            assert!(actor.tell(Do::Carry(6, count.one())).is_ok());
            let end = actor.stopped();
            stopped.push(sim.spawn_task(end));
        }
        let steps = sim.below(80);
        sim.run_steps(steps);
        sim.drop_workers();
        assert_eq!((count.alive(), sim.metrics().live_actors), (0, 0));
        sim.run_until_idle();
        for end in stopped {
            assert!(matches!(end.take(), Some(StopCause::Shutdown)));
        }
        assert!(sim.spawn(Puppet::factory("", &log)).is_err());
        gate.open();
    });
}

/// A worker that has retired and is still there, while the others are dropped before their time, is the last one: it
/// ends what they have left.
#[test]
#[cfg(feature = "std")]
fn row20_row21_a_retired_worker_ends_what_the_others_left() {
    let (system, mut workers) = System::builder("retired")
        .adaptive_workers(1, 2)
        .build()
        .unwrap();
    let mut first = workers.pop().unwrap();
    let until_idle = |worker: &mut Worker| {
        while worker.poll(100, Waker::noop()) == Turn::Ready {}
    };
    let mut foreman = system.foreman().unwrap().impatient();
    let log = Log::default();
    let one = system.spawn(Puppet::factory("a", &log)).unwrap();
    let mut second = (0..3)
        .find_map(|_| match foreman.poll(Waker::noop()) {
            Staffing::Short => foreman.hire(),
            _ => None,
        })
        .expect("all are busy and an actor waits");
    assert!(first.can_retire() && !second.retire(), "awake");
    until_idle(&mut second);
    until_idle(&mut first);
    assert_eq!(log.line(), "a+");
    assert!(second.retire());
    assert_eq!(second.poll(1, Waker::noop()), Turn::Stopped);
    assert_eq!(system.metrics().workers, 1);
    assert_eq!(foreman.poll(Waker::noop()), Staffing::Enough);
    let two = system.spawn(Puppet::factory("b", &log)).unwrap();
    drop(first);
    assert_eq!(system.metrics().live_actors, 2);
    assert!(!one.is_alive() && !two.is_alive(), "they are told");
    drop(second);
    assert_eq!(system.metrics().live_actors, 0);
    assert_eq!(foreman.poll(Waker::noop()), Staffing::Stopped);
    assert!(foreman.hire().is_none());
}

/// Spawned by another thread than the worker's, and by nobody's: everything still ends.
#[test]
fn references_outlive_the_system() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let mut sim = Sim::new(sim.seed());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let (weak, recipient) = (actor.downgrade(), actor.recipient::<Do>());
        sim.run_until_idle();
        let system = sim.system().clone();
        drop(sim);
        assert!(actor.tell(Do::Note(1)).is_err() && recipient.tell(Do::Note(1)).is_err());
        assert!(weak.upgrade().is_none() && !actor.is_alive());
        assert_eq!(system.metrics().live_actors, 0);
        actor.stop();
        actor.kill();
        let mut end = Box::pin(actor.stopped());
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(end.as_mut().poll(&mut cx).is_ready());
        drop(system);
        drop((actor, weak, recipient, end));
    });
}
