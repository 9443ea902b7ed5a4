//! Middleware.

use crate::puppet::{Count, Counted, Do, Gate, Log, Puppet, child_of, mortal, within};
use hikyaku_core::{
    Actor, AskError, Context, DeadLetterReason, Deadline, Decision, Done, Failure, Incoming,
    MailboxOptions, MessageOutcome, Middleware, PauseWhileFull, RateLimit, ResumeCondition,
    SpawnError, SpawnMiddleware, SpawnOptions, Spawning, Supervision, SuspendReason, TimeToLive,
    Timer, TokenBucket,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{self, Poll};
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Logs what it sees: `name(` before and `)outcome` after.
struct Seen {
    name: &'static str,
    log: Log,
    decide: fn(&mut Do) -> Decision,
}

fn seen(name: &'static str, log: &Log) -> Seen {
    Seen {
        name,
        log: log.clone(),
        decide: |_| Decision::Pass,
    }
}

impl Seen {
    fn deciding(mut self, decide: fn(&mut Do) -> Decision) -> Self {
        self.decide = decide;
        self
    }
}

impl Middleware for Seen {
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        self.log.push(format!("{}(", self.name));
        (self.decide)(incoming.message.downcast_mut().expect("a puppet's message"))
    }

    fn after(&self, done: &Done<'_>) {
        let outcome = match &done.outcome {
            MessageOutcome::Ok => "ok".into(),
            MessageOutcome::Err(failure) => format!("err:{failure}"),
            MessageOutcome::Panicked(_) => "panicked".into(),
            MessageOutcome::Cancelled => "cancelled".into(),
            MessageOutcome::Refused(why) => format!("refused:{why}"),
            MessageOutcome::Held => "held".into(),
            other => format!("{other:?}"),
        };
        self.log.push(format!("){}:{outcome}", self.name));
    }
}

/// One middleware of the system, two of the actor.
fn three(sim: &Sim, log: &Log, second: fn(&mut Do) -> Decision) -> (Sim, SpawnOptions) {
    let outer = seen("a", log);
    let sim = Sim::builder(sim.seed())
        .configure(|system| system.middleware(outer))
        .build();
    let options = mortal()
        .middleware(seen("b", log).deciding(second))
        .middleware(seen("c", log));
    (sim, options)
}

#[test]
fn row79_the_chain_in_order_and_back_whatever_the_handler_does() {
    type Send = fn() -> Do;
    type Then = fn(&hikyaku_core::ActorRef<Do>);
    let cases: [(&str, Send, Then, &str); 6] = [
        ("ok", || Do::Note(1), |_| {}, "a( b( c( 1 )c:ok )b:ok )a:ok"),
        (
            "after a while",
            || Do::Yield(3, 1),
            |_| {},
            "a( b( c( 1 )c:ok )b:ok )a:ok",
        ),
        (
            "error",
            || Do::Fail("x"),
            |_| {},
            "a( b( c( )c:err:x )b:err:x )a:err:x -",
        ),
        #[cfg(feature = "std")]
        (
            "panic",
            || Do::Panic("x"),
            |_| {},
            "a( b( c( )c:panicked )b:panicked )a:panicked -",
        ),
        #[cfg(not(feature = "std"))]
        (
            "error",
            || Do::Fail("x"),
            |_| {},
            "a( b( c( )c:err:x )b:err:x )a:err:x -",
        ),
        (
            "killed while it is pending",
            || Do::Pass(1, Gate::default()),
            |actor| actor.kill(),
            "a( b( c( <1 )c:cancelled )b:cancelled )a:cancelled",
        ),
        (
            "stops itself",
            || Do::call(|cx| cx.stop()),
            |_| {},
            "a( b( c( )c:ok )b:ok )a:ok -",
        ),
    ];
    for (name, send, then, expected) in cases {
        check_seeds(20, |sim| {
            let log = Log::default();
            let (mut sim, options) = three(sim, &log, |_| Decision::Pass);
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            sim.run_until_idle();
            assert_eq!(log.line(), "+");
            actor.tell(send()).unwrap();
            sim.run_until_idle();
            then(&actor);
            sim.run_until_idle();
            assert_eq!(log.line(), expected, "{name}");
        });
    }
}

#[test]
fn row79_a_system_that_loses_its_workers_cancels_the_message_in_hand() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let (mut sim, options) = three(sim, &log, |_| Decision::Pass);
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        actor.tell(Do::Pass(1, Gate::default())).unwrap();
        actor.tell(Do::Note(2)).unwrap();
        sim.run_until_idle();
        assert_eq!(log.line(), "+ a( b( c( <1");
        sim.drop_workers();
        assert_eq!(log.line(), ")c:cancelled )b:cancelled )a:cancelled");
    });
}

#[test]
fn row79_a_linked_actor_s_end_cancels_the_message_in_hand() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let (mut sim, options) = three(sim, &log, |_| Decision::Pass);
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        let other = sim
            .spawn_with(mortal(), Puppet::factory("", &Log::default()))
            .unwrap();
        let target = other.clone();
        within(&mut sim, &actor, move |cx| cx.link(&target).unwrap());
        log.take();
        actor.tell(Do::Pass(1, Gate::default())).unwrap();
        sim.run_until_idle();
        other.kill();
        sim.run_until_idle();
        let line = log.take();
        let line: Vec<_> = line
            .iter()
            .filter(|entry| entry.contains(":cancelled"))
            .collect();
        assert_eq!(line.len(), 3, "{line:?}");
    });
}

#[test]
fn row79_a_middleware_drops_holds_and_replaces() {
    let held = |_: &mut Do| Decision::Hold {
        reason: SuspendReason::UserDefined,
        until: ResumeCondition::Explicit,
    };
    type Decide = fn(&mut Do) -> Decision;
    let cases: [(&str, Decide, &str, &str); 4] = [
        (
            "drops",
            |_| Decision::Refuse("no"),
            "+ a( b( )a:refused:no a( b( )a:refused:no",
            "no no",
        ),
        ("holds", held, "+ a( b( )a:held", ""),
        (
            "replaces",
            |message| {
                *message = Do::Note(7);
                Decision::Pass
            },
            "+ a( b( c( 7 )c:ok )b:ok )a:ok a( b( c( 7 )c:ok )b:ok )a:ok",
            "",
        ),
        (
            "by what it carries",
            |message| match message.number() {
                Some(1) => Decision::Refuse("one"),
                _ => Decision::Pass,
            },
            "+ a( b( )a:refused:one a( b( c( 2 )c:ok )b:ok )a:ok",
            "one",
        ),
    ];
    for (name, decide, expected, dead) in cases {
        for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(8)] {
            check_seeds(20, |sim| {
                let (log, letters) = (Log::default(), Log::default());
                let outer = seen("a", &log);
                let dead_letters = letters.clone();
                *sim = Sim::builder(sim.seed())
                    .configure(|system| system.middleware(outer))
                    .on_dead_letter(move |letter| match letter.reason {
                        DeadLetterReason::Refused(why) => dead_letters.push(why),
                        reason => assert_eq!(reason, DeadLetterReason::Stopped),
                    })
                    .build();
                let options = SpawnOptions::new()
                    .mailbox(mailbox)
                    .middleware(seen("b", &log).deciding(decide))
                    .middleware(seen("c", &log));
                let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
                actor.tell(Do::Note(1)).unwrap();
                actor.tell(Do::Note(2)).unwrap();
                sim.run_until_idle();
                assert_eq!(log.line(), expected, "{name}");
                assert_eq!(letters.line(), dead, "{name}");
                if name == "holds" {
                    let stats = sim.block_on(actor.suspension()).unwrap();
                    assert_eq!(stats.nesting, 1);
                    // The chain sees it again, and holds it again; it is the next one all the same.
                    actor.resume();
                    sim.run_until_idle();
                    assert_eq!(log.line(), "a( b( )a:held");
                }
                actor.kill();
                sim.run_until_idle();
            });
        }
    }
}

#[test]
fn row79_a_held_message_stays_the_next_one() {
    /// Lets nothing pass until it is opened.
    struct Lock(Open);
    #[derive(Clone, Default)]
    struct Open(Arc<std::sync::atomic::AtomicBool>);
    impl Middleware for Lock {
        fn before(&self, _: &mut Incoming<'_>) -> Decision {
            if self.0.0.load(std::sync::atomic::Ordering::Relaxed) {
                return Decision::Pass;
            }
            Decision::Hold {
                reason: SuspendReason::AwaitExternal,
                until: ResumeCondition::ExternalSignal("open".into()),
            }
        }
    }
    for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(8)] {
        for drains in [false, true] {
            check_seeds(20, |sim| {
                let (log, lock, count) = (Log::default(), Open::default(), Count::default());
                let options = SpawnOptions::new()
                    .mailbox(mailbox)
                    .middleware(Lock(lock.clone()));
                let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
                for n in 1..4 {
                    actor.tell(Do::Carry(n, count.one())).unwrap();
                }
                sim.run_until_idle();
                assert_eq!(log.line(), "+");
                if drains {
                    actor.stop_gracefully();
                } else {
                    actor.tell(Do::Carry(4, count.one())).unwrap();
                }
                sim.run_until_idle();
                assert_eq!(
                    (log.line().as_str(), count.alive()),
                    ("", if drains { 3 } else { 4 })
                );
                lock.0.store(true, std::sync::atomic::Ordering::Relaxed);
                actor.signal("open");
                sim.run_until_idle();
                assert_eq!(log.line(), if drains { "1 2 3 -" } else { "1 2 3 4" });
                assert_eq!(count.alive(), 0);
            });
        }
    }
}

#[test]
fn row79_one_that_is_there_twice_counts_once_at_its_first_place() {
    check_seeds(5, |sim| {
        let log = Log::default();
        let both = Arc::new(seen("a", &log));
        let outer = both.clone();
        *sim = Sim::builder(sim.seed())
            .configure(|system| system.middleware(outer))
            .build();
        let options = SpawnOptions::new()
            .middleware(seen("b", &log))
            .middleware(both.clone())
            .middleware(both);
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        actor.tell(Do::Note(1)).unwrap();
        sim.run_until_idle();
        assert_eq!(log.line(), "+ a( b( 1 )b:ok )a:ok");
    });
}

#[test]
fn row79_the_message_s_identity_is_told() {
    struct Who(Log);
    impl Middleware for Who {
        fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
            let name = incoming.name.unwrap_or("-");
            self.0.push(format!(
                "{name}/{}/{:?}",
                incoming.incarnation,
                incoming.now()
            ));
            assert_eq!(incoming.type_name, std::any::type_name::<Do>());
            Decision::Pass
        }
        fn after(&self, done: &Done<'_>) {
            self.0.push(format!("{:?}", done.took));
        }
        fn is_timed(&self) -> bool {
            true
        }
    }
    check_seeds(5, |sim| {
        let log = Log::default();
        let options = SpawnOptions::new().name("n").middleware(Who(log.clone()));
        let actor = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        actor.tell(Do::Fail("x")).unwrap();
        sim.run_until_idle();
        let gate = Gate::default();
        actor.tell(Do::Pass(1, gate.clone())).unwrap();
        sim.run_until_idle();
        sim.advance(ms(3));
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "n/1/0ns Some(0ns) n/2/0ns Some(3ms)");
    });
}

#[cfg(feature = "std")]
#[test]
fn row79_a_middleware_that_panics_is_not_the_actor_s_failure() {
    struct Panics(bool);
    impl Middleware for Panics {
        fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
            let number = incoming.message.downcast_ref().and_then(Do::number);
            assert!(!self.0 || number != Some(1), "as asked");
            Decision::Pass
        }
        fn after(&self, _: &Done<'_>) {
            assert!(self.0, "as asked");
        }
    }
    for before in [false, true] {
        check_seeds(20, |sim| {
            let (log, count) = (Log::default(), Count::default());
            let options = SpawnOptions::new()
                .middleware(seen("a", &log))
                .middleware(Panics(before));
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            actor.tell(Do::Carry(1, count.one())).unwrap();
            actor.tell(Do::Note(2)).unwrap();
            sim.run_until_idle();
            let expected = if before {
                "+ a( )a:refused:a middleware panicked a( 2 )a:ok"
            } else {
                "+ a( 1 )a:ok a( 2 )a:ok"
            };
            assert_eq!(log.line(), expected);
            assert_eq!(count.alive(), 0);
            let metrics = sim.system().metrics();
            assert_eq!(metrics.failures, if before { 1 } else { 2 }, "reported");
            assert_eq!(metrics.restarts, 0);
        });
    }
}

#[test]
fn a_refused_question_is_answered_at_once() {
    check_seeds(5, |sim| {
        let options = SpawnOptions::new()
            .middleware(seen("a", &Log::default()).deciding(|_| Decision::Refuse("no")));
        let actor = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        let asked = actor.clone();
        let answer = sim.spawn_task(async move { asked.ask(|reply| Do::Answer(reply, 1)).await });
        sim.run_until_idle();
        assert_eq!(answer.take(), Some(Err(AskError::Dropped)));
    });
}

#[test]
fn a_flood_of_refused_messages_leaves_others_their_turn() {
    check_seeds(5, |sim| {
        *sim = Sim::builder(sim.seed())
            .single_core()
            .throughput(10)
            .build();
        let log = Log::default();
        let options = SpawnOptions::new()
            .middleware(seen("a", &Log::default()).deciding(|_| Decision::Refuse("no")));
        let flooded = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        let other = sim.spawn(Puppet::factory("", &log)).unwrap();
        sim.run_until_idle();
        for _ in 0..1000 {
            flooded.tell(Do::Note(0)).unwrap();
        }
        other.tell(Do::Note(1)).unwrap();
        sim.run_steps(6);
        assert_eq!(log.line(), "+ 1");
        assert!(sim.system().metrics().dead_letters < 200);
        sim.run_until_idle();
        assert_eq!(sim.system().metrics().dead_letters, 1000);
    });
}

#[test]
fn row79_spawn_middleware_that_panics_leaves_nothing() {
    struct Clumsy;
    impl SpawnMiddleware for Clumsy {
        fn spawning(&self, _: &mut Spawning<'_>) -> Result<(), &'static str> {
            panic!("as planned")
        }
    }
    let builder = Sim::builder(0).configure(|system| system.spawn_middleware(Clumsy));
    let (sim, count, log) = (builder.build(), Count::default(), Log::default());
    let mut counted = Some(count.one());
    let spawned = catch_unwind(AssertUnwindSafe(|| {
        sim.spawn(move || Puppet::new("", &log).counted(counted.take().unwrap()))
    }));
    assert!(spawned.is_err());
    assert_eq!(count.alive(), 0);
    assert_eq!(sim.metrics().live_actors, 0);
}

#[test]
fn row79_spawn_middleware_changes_and_refuses() {
    struct Doorman(Log);
    impl SpawnMiddleware for Doorman {
        fn spawning(&self, spawning: &mut Spawning<'_>) -> Result<(), &'static str> {
            let is_child = spawning.parent.is_some();
            assert_eq!(spawning.actor_type, std::any::type_name::<Puppet>());
            self.0.push(if is_child { "child" } else { "top" });
            if is_child {
                return Err("no children");
            }
            let options = std::mem::take(spawning.options);
            *spawning.options = options.middleware(seen("a", &self.0));
            Ok(())
        }
    }
    check_seeds(5, |sim| {
        let log = Log::default();
        let doorman = Doorman(log.clone());
        *sim = Sim::builder(sim.seed())
            .configure(|system| system.spawn_middleware(doorman))
            .build();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let made = log.clone();
        let child = within(sim, &actor, move |cx| {
            cx.spawn(Puppet::factory("", &made)).map(drop)
        });
        assert_eq!(child, Some(Err(SpawnError::Refused("no children"))));
        assert_eq!(log.line(), "top + a( child )a:ok");
    });
}

// === ready-made ===

#[test]
fn row79_time_to_live() {
    struct Sample(
        Option<Duration>,
        u64,
        #[allow(dead_code, reason = "for its drop")] Counted,
    );
    struct Sink(Log);
    impl Actor for Sink {
        type Msg = Sample;
        async fn handle(&mut self, msg: Sample, _: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0.push(msg.1.to_string());
            Ok(())
        }
    }
    check_seeds(10, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let made = log.clone();
        let options =
            SpawnOptions::new().middleware(TimeToLive::new(ms(10), |sample: &Sample| sample.0));
        let sink = sim.spawn_with(options, move || Sink(made.clone())).unwrap();
        sim.run_until_idle();
        sim.advance(ms(20));
        for (at, n) in [
            (Some(9), 1),
            (Some(10), 2),
            (Some(20), 3),
            (None, 4),
            (Some(99), 5),
        ] {
            sink.tell(Sample(at.map(ms), n, count.one())).unwrap();
        }
        sim.run_until_idle();
        assert_eq!(log.line(), "2 3 4 5");
        assert_eq!((count.alive(), sim.system().metrics().dead_letters), (0, 1));
    });
}

#[test]
fn a_token_bucket_is_exact() {
    // Interval, burst, at which times a token is asked for (ms), and what is given: a token, or a time.
    type Asked = &'static [(u64, Option<u64>)];
    let cases: [(u64, u32, Asked); 6] = [
        (
            10,
            1,
            &[
                (0, None),
                (0, Some(10)),
                (9, Some(1)),
                (10, None),
                (10, Some(10)),
            ],
        ),
        (
            10,
            3,
            &[
                (0, None),
                (0, None),
                (0, None),
                (0, Some(10)),
                (5, Some(5)),
                (10, None),
                (10, Some(10)),
            ],
        ),
        (
            10,
            2,
            &[
                (100, None),
                (100, None),
                (100, Some(10)),
                (130, None),
                (130, None),
                (130, Some(10)),
            ],
        ),
        (
            10,
            2,
            &[
                (0, None),
                (15, None),
                (15, None),
                (15, Some(10)),
                (25, None),
            ],
        ),
        (10, 0, &[(0, None), (0, Some(10))]),
        // A clock that goes back, or stands, gives no more than it should.
        (10, 1, &[(50, None), (40, Some(20)), (60, None)]),
    ];
    for (number, (interval, burst, asked)) in cases.iter().enumerate() {
        let mut bucket = TokenBucket::new(ms(*interval), *burst);
        for (at, expected) in *asked {
            let expected = expected.map_or(Ok(()), |missing| Err(ms(missing)));
            assert_eq!(bucket.take(ms(*at)), expected, "case {number} at {at}");
        }
    }
    // However it is asked: never more than the rate allows, and as many.
    for seed in 0..50u64 {
        let (interval, burst) = (1 + seed % 7, 1 + (seed % 5) as u32);
        let mut bucket = TokenBucket::new(ms(interval), burst);
        let (mut given, mut now) = (0, 0);
        for step in 0..500u64 {
            now += if seed % 2 == 0 {
                1
            } else {
                (step * (seed + 3)) % 4
            };
            while bucket.take(ms(now)).is_ok() {
                given += 1;
            }
            assert!(given <= u64::from(burst) + now / interval);
        }
        // Asked all the time, it loses nothing.
        assert!(seed % 2 != 0 || given >= now / interval, "{given} in {now}");
    }
}

#[test]
fn row85_a_rate_limit_holds_or_refuses() {
    for refuses in [false, true] {
        check_seeds(10, |sim| {
            let log = Log::default();
            let limit = RateLimit::new(ms(10), 2);
            let limit = if refuses { limit.refusing() } else { limit };
            let options = SpawnOptions::new().middleware(limit);
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            for n in 1..6 {
                actor.tell(Do::Note(n)).unwrap();
            }
            sim.run_until_idle();
            assert_eq!(log.line(), "+ 1 2");
            let mut at_ten = Vec::new();
            for _ in 0..4 {
                sim.run_for(ms(10));
                at_ten.push(log.line());
            }
            if refuses {
                assert_eq!(at_ten, ["", "", "", ""]);
                assert_eq!(sim.system().metrics().dead_letters, 3);
            } else {
                assert_eq!(at_ten, ["3", "4", "5", ""]);
                let stats = sim.block_on(actor.suspension()).unwrap();
                assert_eq!((stats.count, stats.resumes, stats.total), (3, 3, ms(30)));
            }
        });
    }
}

/// What comes from timers and streams comes in its order, too, although it comes before what waits.
#[test]
fn row85_row79_what_is_held_keeps_its_place_among_ticks_and_items() {
    type Begin = fn(&mut Context<'_, Puppet>);
    let cases: [(&str, Begin); 3] = [
        ("ticks", |cx| {
            for n in 1..5 {
                cx.start_timer(n, Timer::once(ms(n), Do::Note(n))).unwrap();
            }
        }),
        ("items", |cx| {
            let items = Items(1..5);
            cx.attach_stream(items, Do::Note, || None).unwrap();
        }),
        ("a message that ticks come after", |cx| {
            cx.me().tell(Do::Note(1)).unwrap();
            for n in 2..5 {
                cx.start_timer(n, Timer::once(ms(9 + n), Do::Note(n)))
                    .unwrap();
            }
        }),
    ];
    for (name, begin) in cases {
        check_seeds(20, |sim| {
            let log = Log::default();
            let limit = RateLimit::new(ms(30), 1);
            let options = SpawnOptions::new().middleware(limit);
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            actor.tell(Do::call(begin)).unwrap();
            sim.run_for(ms(1000));
            assert_eq!(log.line(), "+ 1 2 3 4", "{name}");
        });
    }
}

/// A stream of numbers that are there.
struct Items(std::ops::Range<u64>);

impl futures_core::Stream for Items {
    type Item = u64;

    fn poll_next(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Option<u64>> {
        Poll::Ready(self.get_mut().0.next())
    }
}

#[test]
fn an_actor_pauses_while_another_one_is_full() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let bounded = SpawnOptions::new().mailbox(MailboxOptions::bounded(2));
        let sink = sim.spawn_with(bounded, Puppet::factory("s", &log)).unwrap();
        let options = SpawnOptions::new().middleware(PauseWhileFull::of(&sink));
        let source = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        sink.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)
            .unwrap();
        sim.run_until_idle();
        log.take();
        for n in 0..6 {
            let to = sink.clone();
            let forward = Do::call(move |_| to.tell(Do::Note(n)).expect("there is room"));
            source.tell(forward).unwrap();
        }
        sim.run_until_idle();
        let stats = sim.block_on(source.suspension()).unwrap();
        assert_eq!(stats.reason, Some(SuspendReason::Backpressure));
        sink.resume();
        sim.run_until_idle();
        assert_eq!(log.line(), "s0 s1 s2 s3 s4 s5");
    });
}

#[test]
fn messages_past_their_deadline_are_not_shown() {
    struct Late(Log);
    impl Actor for Late {
        type Msg = hikyaku_core::Reply<u64>;
        fn deadline(msg: &Self::Msg) -> Option<Deadline> {
            msg.deadline()
        }
        async fn handle(
            &mut self,
            msg: Self::Msg,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            self.0.push("handled");
            let _ = msg.send(1);
            Ok(())
        }
    }
    struct Shown(Log);
    impl Middleware for Shown {
        fn before(&self, _: &mut Incoming<'_>) -> Decision {
            self.0.push("shown");
            Decision::Pass
        }
    }
    check_seeds(5, |sim| {
        let log = Log::default();
        let made = log.clone();
        let options = SpawnOptions::new().middleware(Shown(log.clone()));
        let actor = sim.spawn_with(options, move || Late(made.clone())).unwrap();
        actor
            .suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)
            .unwrap();
        let asked = actor.clone();
        let answer = sim.spawn_task(async move { asked.ask(|reply| reply).within(ms(5)).await });
        sim.run_for(ms(10));
        assert!(matches!(answer.take(), Some(Err(AskError::Timeout { .. }))));
        actor.resume();
        sim.run_until_idle();
        assert_eq!(log.line(), "");
        assert_eq!(sim.system().metrics().expired, 1);
    });
}

#[test]
fn row79_row06_row07_every_kind_of_mailbox_has_it() {
    let three = MailboxOptions::bounded(3);
    let cases = [
        (MailboxOptions::unbounded(), "1 2 3 4"),
        (three, "1 2 3"),
        (MailboxOptions::latest(3), "2 3 4"),
        (three.pressure(2, 1), "1 2 3"),
        (
            MailboxOptions::unbounded().control(|msg: &Do| msg.number() == Some(3), 1),
            "3 1 2 4",
        ),
        (
            MailboxOptions::unbounded()
                .priority(|msg: &Do| hikyaku_core::Priority(msg.number().unwrap_or(0) as u8)),
            "4 3 2 1",
        ),
    ];
    check_seeds(10, |sim| {
        for (mailbox, expected) in cases {
            let (log, seen) = (Log::default(), Log::default());
            let options = SpawnOptions::new()
                .mailbox(mailbox)
                .middleware(self::seen("a", &seen));
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            actor
                .suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)
                .unwrap();
            sim.run_until_idle();
            for n in 1..5 {
                let _ = actor.tell(Do::Note(n));
            }
            actor.resume();
            sim.run_until_idle();
            assert_eq!(log.line(), format!("+ {expected}"), "{mailbox:?}");
            let handled = expected.split(' ').count();
            assert_eq!(seen.len(), 2 * handled, "{mailbox:?}");
        }
    });
}

/// Notes when it is not told of each message once, or of two at a time; decides by chance.
struct Strict {
    open: AtomicUsize,
    wrong: Arc<AtomicUsize>,
    state: AtomicUsize,
}

impl Strict {
    fn new(seed: usize, wrong: &Arc<AtomicUsize>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            wrong: Arc::clone(wrong),
            state: AtomicUsize::new(seed),
        }
    }
}

impl Middleware for Strict {
    fn before(&self, _: &mut Incoming<'_>) -> Decision {
        let before = self.open.load(Relaxed);
        self.wrong.fetch_add(before, Relaxed);
        let state = self.state.load(Relaxed);
        let next = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.state.store(next, Relaxed);
        let hold = |until| Decision::Hold {
            reason: SuspendReason::UserDefined,
            until,
        };
        match next >> 32 & 15 {
            0 if state & 1 != 0 => Decision::Refuse("by chance"),
            1 | 2 => hold(ResumeCondition::After(ms(1))),
            3 => hold(ResumeCondition::ExternalSignal("go".into())),
            4 => hold(ResumeCondition::After(ms(0))),
            _ => {
                self.open.store(1, Relaxed);
                Decision::Pass
            }
        }
    }

    fn after(&self, _: &Done<'_>) {
        if self.open.swap(0, Relaxed) != 1 {
            self.wrong.fetch_add(1, Relaxed);
        }
    }
}

/// Suspensions, holds, stash, timers, restarts for a sibling's sake and ends, in any order: each message that a
/// middleware let pass is told of once, each message has one fate, and they stay in order.
#[test]
fn row79_row15_row01_a_storm() {
    let three = MailboxOptions::bounded(3);
    let mailboxes = [
        MailboxOptions::unbounded(),
        three,
        MailboxOptions::latest(3),
        three.control(|_: &Do| false, 1),
        MailboxOptions::unbounded().priority(|_: &Do| hikyaku_core::Priority::NORMAL),
    ];
    check_seeds(200, |sim| {
        let (log, dead, wrong) = (Log::default(), Log::default(), Arc::default());
        let letters = dead.clone();
        let mut sim = Sim::builder(sim.seed())
            .on_dead_letter(move |letter| {
                let number = letter.message.downcast_ref().and_then(Do::number);
                letters.push(number.unwrap_or(u64::MAX).to_string());
            })
            .build();
        let by = Supervision::all_for_one()
            .unlimited_restarts()
            .handler_timeout(Duration::ZERO);
        let parent = sim
            .spawn_with(
                SpawnOptions::new().supervision(by),
                Puppet::factory("p", &Log::default()),
            )
            .unwrap();
        let seed = sim.below(1 << 20);
        let which = sim.below(mailboxes.len());
        let options = SpawnOptions::new()
            .mailbox(mailboxes[which])
            .middleware(Strict::new(seed, &wrong))
            .middleware(Strict::new(seed + 1, &wrong));
        let actor = child_of(&mut sim, &parent, options, Puppet::factory("", &log));
        let other = Puppet::factory("o", &Log::default());
        let sibling = child_of(&mut sim, &parent, SpawnOptions::new(), other);
        let count = Count::default();
        let (mut next, mut plain) = (0, Vec::new());
        for _ in 0..80 {
            next += 1;
            match sim.below(12) {
                0 => drop(actor.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)),
                1 => actor.resume(),
                2 => actor.signal("go"),
                3 => drop(sibling.tell(Do::Fail("x"))),
                4 => drop(actor.tell(Do::Fail("x"))),
                5 => drop(actor.tell(Do::Yield(sim.below(4), next))),
                6 => {
                    let carry = Do::Carry(next, count.one());
                    let stash = move |cx: &mut Context<'_, Puppet>| drop(cx.stash(carry));
                    drop(actor.tell(Do::call(stash)));
                }
                7 => {
                    let tick = Do::Carry(next, count.one());
                    drop(actor.tell(Do::call(move |cx| {
                        cx.unstash(2);
                        let _ = cx.start_timer("t", Timer::once(ms(1), tick));
                    })));
                }
                8 => sim.advance(ms(1)),
                9 => {
                    let steps = sim.below(20);
                    sim.run_steps(steps);
                }
                _ => {
                    if actor.tell(Do::Carry(next, count.one())).is_ok() {
                        plain.push(next.to_string());
                    }
                }
            }
        }
        match sim.below(4) {
            0 => actor.stop(),
            1 => actor.kill(),
            2 => actor.stop_gracefully(),
            _ => {}
        }
        for _ in 0..400 {
            actor.resume();
            actor.signal("go");
            sim.run_for(ms(1));
        }
        let ended = !actor.is_alive();
        if !ended {
            assert_eq!(actor.depth().unwrap_or(0), 0);
        }
        parent.stop();
        sim.run_until_idle();
        assert_eq!(sim.system().metrics().live_actors, 0);
        assert_eq!(wrong.load(Relaxed), 0, "told of twice, never or at once");
        let (mut handled, dead) = (log.take(), dead.take());
        assert_eq!(count.alive(), 0);
        for number in &plain {
            let times = |list: &Vec<String>| list.iter().filter(|seen| *seen == number).count();
            assert_eq!(times(&handled) + times(&dead), 1, "{number}");
        }
        handled.retain(|line| plain.contains(line));
        let handled: Vec<u64> = handled.iter().map(|line| line.parse().unwrap()).collect();
        assert!(handled.is_sorted(), "{handled:?}");
        assert_eq!(sim.system().metrics().suspended, 0);
    });
}
