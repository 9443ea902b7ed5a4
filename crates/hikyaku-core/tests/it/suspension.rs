//! Suspend and resume: the proof is that no message is handled while an actor is suspended.

use crate::puppet::{Do, Gate, Hook, Log, Puppet, child_of, within};
use ResumeCondition::{After, Explicit, ExternalSignal};
use SuspendReason::{AwaitExternal, Backpressure, RateLimit, UserDefined};
use hikyaku_core::{
    ActorRef, AskError, Backoff, Event, MailboxOptions, RestartPolicy, ResumeCondition,
    SpawnOptions, StopCause, Supervision, SuspendError, SuspendReason, System, Timer,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn signal(key: &'static str) -> ResumeCondition {
    ExternalSignal(key.into())
}

/// What is done to the actor. `!` in front of a name: from outside.
enum Step {
    /// Sends a number.
    Tell(u64),
    /// Suspends from outside.
    Suspend(ResumeCondition),
    Resume,
    ResumeAll,
    Signal(&'static str),
    /// Sends a message whose handler suspends its actor.
    Within(ResumeCondition),
    /// Sends a message whose handler suspends its actor and is the last one of its incarnation.
    WithinAndAnew(ResumeCondition),
    /// Sends a message whose handler suspends, resumes and goes on.
    Both,
    /// Sends a message whose handler waits for the gate, before it suspends and after it.
    Pending(Gate),
    Open(Gate),
    /// Lets time pass.
    Advance(u64),
    Fail,
    /// Starts a timer from inside.
    Timer(u64, u64),
    Stop,
    Drain,
    Kill,
    /// Runs until nothing is left to do, and compares what was logged since the last time.
    Expect(&'static str),
    /// How many suspensions are in force.
    Nesting(usize),
}
use Step::{
    Advance, Both, Drain, Expect, Fail, Kill, Nesting, Open, Pending, Resume, ResumeAll, Signal,
    Stop, Suspend, Tell, Within, WithinAndAnew,
};

fn perform(sim: &mut Sim, name: &str, actor: &ActorRef<Do>, log: &Log, steps: Vec<Step>) {
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Tell(n) => actor.tell(Do::Note(n)).unwrap(),
            Suspend(until) => actor.suspend(UserDefined, until).unwrap(),
            Resume => actor.resume(),
            ResumeAll => actor.resume_all(),
            Signal(key) => actor.signal(key),
            Within(until) => {
                let call = Do::call(move |cx| cx.suspend(UserDefined, until).unwrap());
                actor.tell(call).unwrap();
            }
            WithinAndAnew(until) => {
                let call = Do::call(move |cx| {
                    cx.suspend(UserDefined, until).unwrap();
                    cx.stop();
                });
                actor.tell(call).unwrap();
            }
            Both => {
                let call = Do::call(|cx| {
                    assert!(!cx.resume(), "there is none");
                    cx.suspend(UserDefined, Explicit).unwrap();
                    assert_eq!(cx.suspension().nesting, 1);
                    assert!(cx.resume());
                });
                actor.tell(call).unwrap();
            }
            Pending(gate) => {
                let run = Do::run(move |cx| {
                    cx.suspend(UserDefined, Explicit).unwrap();
                    async move { gate.pass().await }
                });
                actor.tell(run).unwrap();
            }
            Open(gate) => gate.open(),
            Advance(by) => {
                sim.run_until_idle();
                sim.advance(ms(by));
            }
            Fail => actor.tell(Do::Fail("as asked")).unwrap(),
            Step::Timer(after, n) => {
                let call = Do::call(move |cx| {
                    cx.start_timer(n, Timer::once(ms(after), Do::Note(n)))
                        .unwrap();
                });
                actor.tell(call).unwrap();
            }
            Stop => actor.stop(),
            Drain => actor.stop_gracefully(),
            Kill => actor.kill(),
            Expect(expected) => {
                sim.run_until_idle();
                assert_eq!(log.line(), expected, "{name}, step {number}");
            }
            Nesting(expected) => {
                let stats = sim.block_on(actor.suspension()).unwrap();
                assert_eq!(stats.nesting, expected, "{name}, step {number}");
            }
        }
    }
}

#[cfg(feature = "supervision")]
#[test]
fn row15_row76_no_message_is_handled_while_an_actor_is_suspended() {
    let cases: fn() -> Vec<(&'static str, Vec<Step>)> = || {
        let gate = Gate::default();
        vec![
            (
                "from outside, until resumed",
                vec![
                    Tell(1),
                    Expect("+ 1"),
                    Suspend(Explicit),
                    Tell(2),
                    Tell(3),
                    Expect(""),
                    Resume,
                    Expect("2 3"),
                ],
            ),
            (
                "before the start: the hook runs",
                vec![Suspend(Explicit), Tell(1), Expect("+"), Resume, Expect("1")],
            ),
            (
                "behind messages that are queued: they wait",
                vec![
                    Expect("+"),
                    Tell(1),
                    Tell(2),
                    Suspend(Explicit),
                    Expect(""),
                    Resume,
                    Expect("1 2"),
                ],
            ),
            (
                "from inside: the messages behind wait",
                vec![
                    Within(Explicit),
                    Tell(1),
                    Tell(2),
                    Expect("+"),
                    Resume,
                    Expect("1 2"),
                ],
            ),
            (
                "nested: counted",
                vec![
                    Suspend(Explicit),
                    Suspend(Explicit),
                    Suspend(Explicit),
                    Tell(1),
                    Nesting(3),
                    Expect("+"),
                    Resume,
                    Expect(""),
                    Resume,
                    Expect(""),
                    Nesting(1),
                    Resume,
                    Expect("1"),
                    Nesting(0),
                ],
            ),
            (
                "nested, outside and inside",
                vec![
                    Within(Explicit),
                    Expect("+"),
                    Suspend(Explicit),
                    Tell(1),
                    Resume,
                    Expect(""),
                    Resume,
                    Expect("1"),
                ],
            ),
            (
                "all at once",
                vec![
                    Suspend(Explicit),
                    Suspend(signal("x")),
                    Suspend(After(ms(5))),
                    Tell(1),
                    Expect("+"),
                    ResumeAll,
                    Expect("1"),
                    Nesting(0),
                ],
            ),
            (
                "resume without suspension is not remembered",
                vec![
                    Resume,
                    Resume,
                    Suspend(Explicit),
                    Tell(1),
                    Expect("+"),
                    Resume,
                    Expect("1"),
                ],
            ),
            (
                "after a time",
                vec![
                    Suspend(After(ms(10))),
                    Tell(1),
                    Expect("+"),
                    Advance(9),
                    Expect(""),
                    Advance(1),
                    Expect("1"),
                ],
            ),
            (
                "after a time, from inside",
                vec![
                    Within(After(ms(10))),
                    Tell(1),
                    Expect("+"),
                    Advance(9),
                    Expect(""),
                    Advance(1),
                    Expect("1"),
                ],
            ),
            (
                "after no time",
                vec![Suspend(After(ms(0))), Tell(1), Advance(0), Expect("+ 1")],
            ),
            (
                "after a time, but resumed before",
                vec![
                    Suspend(After(ms(10))),
                    Tell(1),
                    Expect("+"),
                    Advance(3),
                    Resume,
                    Expect("1"),
                    Suspend(Explicit),
                    Tell(2),
                    Advance(20),
                    Expect(""),
                    Resume,
                    Expect("2"),
                ],
            ),
            (
                "the longer of two times",
                vec![
                    Suspend(After(ms(10))),
                    Suspend(After(ms(20))),
                    Tell(1),
                    Advance(10),
                    Expect("+"),
                    Advance(9),
                    Expect(""),
                    Advance(1),
                    Expect("1"),
                ],
            ),
            (
                "a signal",
                vec![
                    Suspend(signal("go")),
                    Tell(1),
                    Expect("+"),
                    Signal("no"),
                    Expect(""),
                    Signal("go"),
                    Expect("1"),
                ],
            ),
            (
                "a signal that came before",
                vec![
                    Signal("go"),
                    Expect("+"),
                    Suspend(signal("go")),
                    Tell(1),
                    Expect("1"),
                ],
            ),
            (
                "a signal is remembered once",
                vec![
                    Signal("go"),
                    Signal("go"),
                    Suspend(signal("go")),
                    Suspend(signal("go")),
                    Tell(1),
                    Expect("+"),
                    Signal("go"),
                    Expect("1"),
                ],
            ),
            (
                "a signal that ended one suspension is used up",
                vec![
                    Suspend(signal("go")),
                    Signal("go"),
                    Suspend(signal("go")),
                    Tell(1),
                    Expect("+"),
                    Signal("go"),
                    Expect("1"),
                ],
            ),
            (
                "a signal ends all that wait for it",
                vec![
                    Suspend(signal("go")),
                    Suspend(signal("go")),
                    Tell(1),
                    Expect("+"),
                    Signal("go"),
                    Expect("1"),
                ],
            ),
            (
                "a signal leaves the others",
                vec![
                    Suspend(signal("a")),
                    Suspend(signal("b")),
                    Tell(1),
                    Signal("a"),
                    Expect("+"),
                    Signal("b"),
                    Expect("1"),
                ],
            ),
            (
                "a signal before an explicit resume",
                vec![
                    Suspend(signal("a")),
                    Suspend(Explicit),
                    Tell(1),
                    Signal("a"),
                    Expect("+"),
                    Resume,
                    Expect("1"),
                ],
            ),
            (
                "a resume in place of the signal",
                vec![Suspend(signal("a")), Tell(1), Resume, Expect("+ 1")],
            ),
            (
                "suspended and resumed in one handler",
                vec![Both, Tell(1), Expect("+ 1"), Nesting(0)],
            ),
            (
                "a handler in flight goes on to its end",
                vec![
                    Pending(gate.clone()),
                    Tell(1),
                    Expect("+"),
                    Open(gate.clone()),
                    Expect(""),
                    Resume,
                    Expect("1"),
                ],
            ),
            (
                "resumed while the handler that suspended is pending",
                vec![
                    Pending(Gate::default()),
                    Tell(1),
                    Expect("+"),
                    Resume,
                    Expect(""),
                    Kill,
                    Expect(""),
                ],
            ),
            (
                "a timer's tick waits, and comes before the messages",
                vec![
                    Step::Timer(5, 9),
                    Expect("+"),
                    Suspend(Explicit),
                    Tell(1),
                    Advance(10),
                    Expect(""),
                    Resume,
                    Expect("9 1"),
                ],
            ),
            (
                "stopped",
                vec![Suspend(Explicit), Tell(1), Expect("+"), Stop, Expect("-")],
            ),
            (
                "killed",
                vec![Suspend(Explicit), Tell(1), Expect("+"), Kill, Expect("")],
            ),
            (
                "stopped gracefully: waits for the resume",
                vec![
                    Suspend(Explicit),
                    Tell(1),
                    Expect("+"),
                    Drain,
                    Expect(""),
                    Resume,
                    Expect("1 -"),
                ],
            ),
            (
                "a restart ends what came from inside",
                vec![
                    Expect("+"),
                    WithinAndAnew(Explicit),
                    Tell(1),
                    Expect("~ + 1"),
                    Nesting(0),
                ],
            ),
            (
                "a restart leaves what came from outside",
                vec![
                    Expect("+"),
                    WithinAndAnew(After(ms(10))),
                    Suspend(Explicit),
                    Tell(1),
                    Expect(""),
                    ResumeAll,
                    Suspend(Explicit),
                    Expect(""),
                    Resume,
                    Expect("~ + 1"),
                ],
            ),
            (
                "a restart forgets signals",
                vec![
                    Signal("go"),
                    Fail,
                    Expect("+ ~ +"),
                    Suspend(signal("go")),
                    Tell(1),
                    Expect(""),
                    Signal("go"),
                    Expect("1"),
                ],
            ),
        ]
    };
    for case in 0..cases().len() {
        for shared in [false, true] {
            check_seeds(10, |sim| {
                if shared {
                    *sim = Sim::builder(sim.seed()).workers(2).build();
                }
                let (name, steps) = cases().swap_remove(case);
                let log = Log::default();
                let options = SpawnOptions::new().restart(RestartPolicy::Permanent);
                let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
                perform(sim, name, &actor, &log, steps);
            });
        }
    }
}

#[cfg(feature = "supervision")]
#[test]
fn row15_failure_and_suspension_must_both_be_undone() {
    for resumed_first in [false, true] {
        check_seeds(20, |sim| {
            let log = Log::default();
            let by = Supervision::one_for_one().backoff(Backoff::new(ms(100), ms(100)));
            let options = SpawnOptions::new().supervision(by);
            let parent = sim
                .spawn_with(options, Puppet::factory("p", &Log::default()))
                .unwrap();
            let child = child_of(sim, &parent, SpawnOptions::new(), Puppet::factory("", &log));
            sim.run_until_idle();
            log.take();
            child.tell(Do::Fail("as asked")).unwrap();
            sim.run_until_idle();
            child.suspend(UserDefined, Explicit).unwrap();
            child.tell(Do::Note(1)).unwrap();
            sim.run_until_idle();
            assert_eq!(log.line(), "");
            if resumed_first {
                child.resume();
                sim.run_until_idle();
                assert_eq!(log.line(), "", "it has failed");
                sim.run_for(ms(200));
                assert_eq!(log.line(), "~ + 1");
            } else {
                sim.run_for(ms(200));
                assert_eq!(log.line(), "~ +", "it is suspended");
                child.resume();
                sim.run_until_idle();
                assert_eq!(log.line(), "1");
            }
        });
    }
}

#[test]
fn row15_a_suspended_actor_is_in_no_queue() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        sim.run_until_idle();
        actor.suspend(UserDefined, Explicit).unwrap();
        sim.run_until_idle();
        let before = sim.trace().steps();
        for n in 0..100 {
            actor.tell(Do::Note(n)).unwrap();
        }
        sim.run_until_idle();
        // Nobody schedules it. The bell of an owned cell rings once, for the first message.
        let steps = sim.trace().steps() - before;
        assert!(steps <= 5, "{steps}");
        actor.resume();
        sim.run_until_idle();
        assert_eq!(log.len(), 101);
    });
}

#[test]
fn row15_system_messages_run_and_senders_wait() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(2));
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        actor.suspend(RateLimit, Explicit).unwrap();
        sim.run_until_idle();
        for n in 1..3 {
            actor.tell(Do::Note(n)).unwrap();
        }
        assert!(actor.tell(Do::Note(9)).is_err(), "full");
        let sender = actor.clone();
        let sent = sim.spawn_task(async move { sender.send(Do::Note(3)).await.is_ok() });
        let watched = actor.clone();
        let started = sim.spawn_task(async move { watched.started().await.is_ok() });
        let watched = actor.clone();
        let stopped = sim.spawn_task(async move { watched.stopped().await });
        sim.run_until_idle();
        assert_eq!((sent.take(), started.take()), (None, Some(true)));
        actor.resume();
        sim.run_until_idle();
        assert_eq!((log.line().as_str(), sent.take()), ("+ 1 2 3", Some(true)));
        actor.suspend(RateLimit, Explicit).unwrap();
        actor.stop();
        sim.run_until_idle();
        assert!(matches!(stopped.take(), Some(StopCause::Stopped)));
        assert_eq!(
            actor.suspend(RateLimit, Explicit),
            Err(SuspendError::Stopping)
        );
        let gone = sim.block_on(actor.suspension());
        assert_eq!(gone, Err(AskError::Closed));
    });
}

#[test]
fn row15_asks_to_a_suspended_actor_time_out_or_wait() {
    check_seeds(20, |sim| {
        let actor = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        actor.suspend(AwaitExternal, Explicit).unwrap();
        let asked = actor.clone();
        let late =
            sim.spawn_task(
                async move { asked.ask(|reply| Do::Answer(reply, 1)).within(ms(10)).await },
            );
        let asked = actor.clone();
        let patient = sim.spawn_task(async move { asked.ask(|reply| Do::Answer(reply, 2)).await });
        sim.run_for(ms(20));
        assert!(matches!(late.take(), Some(Err(AskError::Timeout { .. }))));
        assert_eq!(patient.take(), None);
        actor.resume();
        sim.run_until_idle();
        assert_eq!(patient.take(), Some(Ok(2)));
    });
}

#[test]
fn row15_the_statistics_add_up() {
    check_seeds(20, |sim| {
        let actor = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let stats = |sim: &mut Sim| sim.block_on(actor.suspension()).unwrap();
        assert_eq!(stats(sim), Default::default());
        sim.advance(ms(5));
        actor.suspend(Backpressure, Explicit).unwrap();
        sim.run_until_idle();
        sim.advance(ms(10));
        actor.suspend(RateLimit, signal("go")).unwrap();
        sim.run_until_idle();
        sim.advance(ms(10));
        let seen = stats(sim);
        assert_eq!((seen.nesting, seen.reason), (2, Some(RateLimit)));
        assert_eq!((seen.since, seen.total), (Some(ms(5)), ms(20)));
        assert_eq!((seen.count, seen.resumes), (2, 0));
        assert_eq!(sim.system().metrics().suspended, 1);
        actor.signal("go");
        let seen = stats(sim);
        assert_eq!(
            (seen.nesting, seen.reason, seen.resumes),
            (1, Some(Backpressure), 1)
        );
        sim.advance(ms(10));
        actor.resume();
        let seen = stats(sim);
        assert_eq!((seen.nesting, seen.reason, seen.since), (0, None, None));
        assert_eq!((seen.total, seen.count, seen.resumes), (ms(30), 2, 2));
        sim.advance(ms(10));
        assert_eq!(stats(sim), seen, "time goes by, and it is not suspended");
        assert_eq!(sim.system().metrics().suspended, 0);
        // One that ends is suspended no longer.
        actor.suspend(RateLimit, Explicit).unwrap();
        sim.run_until_idle();
        actor.stop();
        sim.run_until_idle();
        assert_eq!(sim.system().metrics().suspended, 0);
    });
}

#[test]
fn suspensions_are_events() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let seen = log.clone();
        let _subscription = sim.system().events().listen(move |event| {
            if let Event::Suspended { name, reason, .. } = event {
                seen.push(format!("{}:{reason:?}", name.as_deref().unwrap_or("-")));
            } else if let Event::Resumed { after, .. } = event {
                seen.push(format!("{after:?}"));
            }
        });
        let options = SpawnOptions::new().name("a");
        let actor = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        actor.suspend(Backpressure, Explicit).unwrap();
        actor.suspend(RateLimit, Explicit).unwrap();
        sim.run_until_idle();
        sim.advance(ms(7));
        actor.resume();
        sim.run_until_idle();
        assert_eq!(log.line(), "a:Backpressure");
        actor.resume();
        actor.suspend(UserDefined, Explicit).unwrap();
        sim.run_until_idle();
        actor.kill();
        sim.run_until_idle();
        assert_eq!(log.line(), "7ms a:UserDefined 0ns");
    });
}

#[test]
fn a_system_without_timers_refuses_to_suspend_for_a_time() {
    let (system, _workers) = System::builder("no time").build().unwrap();
    let actor = system.spawn(Puppet::factory("", &Log::default())).unwrap();
    assert_eq!(
        actor.suspend(RateLimit, After(ms(1))),
        Err(SuspendError::NoTime)
    );
    assert_eq!(actor.suspend(RateLimit, Explicit), Ok(()));
}

#[test]
fn an_actor_may_wait_for_something_before_its_first_message() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let gate = Gate::default();
        let started = Hook::Wait(gate.clone());
        let (made, hook) = (log.clone(), started);
        let actor = sim
            .spawn(move || Puppet::new("", &made).started(&hook))
            .unwrap();
        actor.tell(Do::Note(1)).unwrap();
        sim.run_until_idle();
        assert_eq!(log.line(), "+", "started is pending");
        actor.suspend(AwaitExternal, signal("ready")).unwrap();
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "");
        actor.signal("ready");
        sim.run_until_idle();
        assert_eq!(log.line(), "1");
    });
}

#[test]
fn an_actor_that_stops_or_starts_anew_cannot_suspend_itself() {
    check_seeds(5, |sim| {
        let actor = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let refused = within(sim, &actor, |cx| {
            cx.me().stop();
            cx.suspend(UserDefined, Explicit)
        });
        // The order is read after the handler, so it is suspended, and stops.
        assert_eq!(refused, Some(Ok(())));
        assert!(matches!(sim.block_on(actor.stopped()), StopCause::Stopped));
    });
}

/// Somebody with a bounded mailbox, and somebody who waits for room in it.
fn waits_for_room(sim: &mut Sim, log: &Log) -> (ActorRef<Do>, ActorRef<Do>) {
    let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(2));
    let target = sim.spawn_with(options, Puppet::factory("t", log)).unwrap();
    let waiter = sim.spawn(Puppet::factory("w", log)).unwrap();
    sim.run_until_idle();
    log.take();
    (target, waiter)
}

#[test]
fn row15_an_actor_waits_for_the_room_of_another_one() {
    type End = fn(&ActorRef<Do>);
    let cases: [(&str, End, &str); 5] = [
        (
            "it handles what it has",
            |target| target.resume(),
            "t1 t2 w7",
        ),
        ("it is stopped", |target| target.stop(), "t- w7"),
        ("it is killed", |target| target.kill(), "w7"),
        (
            "it drains",
            |target| {
                target.stop_gracefully();
                target.resume();
            },
            "t1 t2 w7 t-",
        ),
        ("nothing", |_| {}, ""),
    ];
    for (name, end, expected) in cases {
        check_seeds(20, |sim| {
            let log = Log::default();
            let (target, waiter) = waits_for_room(sim, &log);
            target.suspend(UserDefined, Explicit).unwrap();
            sim.run_until_idle();
            for n in 1..3 {
                target.tell(Do::Note(n)).unwrap();
            }
            let room = ResumeCondition::WhenCapacityAvailable(target.index());
            waiter.suspend(Backpressure, room).unwrap();
            waiter.tell(Do::Note(7)).unwrap();
            sim.run_until_idle();
            assert_eq!(log.line(), "", "{name}");
            end(&target);
            sim.run_until_idle();
            let mut seen = log.take();
            let mut expected: Vec<_> = expected.split_whitespace().map(String::from).collect();
            // Two actors: their order among each other is the scheduler's.
            seen.sort();
            expected.sort();
            assert_eq!(seen, expected, "{name}");
        });
    }
}

#[test]
fn row15_room_that_is_there_ends_the_wait_at_once() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let (target, waiter) = waits_for_room(sim, &log);
        let unbounded = sim.spawn(Puppet::factory("u", &Log::default())).unwrap();
        let gone = sim.spawn(Puppet::factory("g", &Log::default())).unwrap();
        gone.stop();
        sim.run_until_idle();
        for (n, other) in [&target, &unbounded, &gone, &waiter]
            .into_iter()
            .enumerate()
        {
            let room = ResumeCondition::WhenCapacityAvailable(other.index());
            waiter.suspend(Backpressure, room).unwrap();
            waiter.tell(Do::Note(n as u64)).unwrap();
            sim.run_until_idle();
            assert_eq!(log.line(), format!("w{n}"));
        }
    });
}

#[test]
fn row15_those_who_wait_again_and_again_leave_nothing() {
    check_seeds(5, |sim| {
        let log = Log::default();
        let (target, waiter) = waits_for_room(sim, &log);
        target.suspend(UserDefined, Explicit).unwrap();
        for n in 1..3 {
            target.tell(Do::Note(n)).unwrap();
        }
        let room = ResumeCondition::WhenCapacityAvailable(target.index());
        for _ in 0..100 {
            waiter.suspend(Backpressure, room).unwrap();
            sim.run_until_idle();
            waiter.resume();
            sim.run_until_idle();
        }
        waiter.suspend(Backpressure, room).unwrap();
        waiter.suspend(Backpressure, room).unwrap();
        waiter.tell(Do::Note(7)).unwrap();
        sim.run_until_idle();
        assert_eq!(log.line(), "");
        target.resume();
        sim.run_until_idle();
        assert!(log.line().contains("w7"));
    });
}

/// Whatever happens in whatever order: the handler runs in no moment in which it must not, and in the end everything
/// was handled in order.
#[test]
fn row15_row76_a_storm_of_suspensions() {
    check_seeds(200, |sim| {
        let log = Log::default();
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        let mut told = 0;
        let mut expected = vec!["+".to_string()];
        let mut nesting = 0;
        for _ in 0..60 {
            match sim.below(5) {
                0 => {
                    actor.suspend(UserDefined, Explicit).unwrap();
                    nesting += 1;
                }
                1 => {
                    actor.resume();
                    nesting = usize::saturating_sub(nesting, 1);
                }
                2 => {
                    // What is known now has taken effect.
                    assert_eq!(sim.block_on(actor.suspension()).unwrap().nesting, nesting);
                    if nesting > 0 {
                        let before = log.len();
                        sim.run_until_idle();
                        assert_eq!(log.len(), before);
                    }
                }
                3 => {
                    let steps = sim.below(5);
                    sim.run_steps(steps);
                }
                _ => {
                    actor.tell(Do::Note(told)).unwrap();
                    expected.push(told.to_string());
                    told += 1;
                }
            }
        }
        actor.resume_all();
        sim.run_until_idle();
        assert_eq!(log.take(), expected);
    });
}
