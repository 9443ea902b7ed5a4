//! A test fails when something is left behind.

use hikyaku_core::{Actor, Context, Failure, RestartPolicy, SpawnOptions};
use hikyaku_testkit::{Effect, Sim, explore};
use std::panic::{AssertUnwindSafe, catch_unwind};

struct Worker;

enum Work {
    Nothing,
    Fail,
    Hang,
    Stop,
    Child(Box<Work>),
}

impl Actor for Worker {
    type Msg = Work;

    async fn handle(&mut self, work: Work, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match work {
            Work::Nothing => {}
            Work::Fail => return Err(Failure::msg("as told")),
            Work::Hang => std::future::pending().await,
            Work::Stop => cx.stop(),
            Work::Child(work) => {
                let _ = cx.spawn(|| Worker)?.tell(*work);
            }
        }
        Ok(())
    }
}

type Leave = fn(&mut Sim);

/// What a test leaves behind, and what it is told. Nothing: it passes.
const CASES: [(&str, Leave, &[&str]); 11] = [
    ("nothing at all", |_| {}, &[]),
    (
        "actors that end when told",
        |sim| {
            let worker = sim.spawn(|| Worker).unwrap();
            let _ = worker.tell(Work::Child(Box::new(Work::Nothing)));
        },
        &[],
    ),
    (
        "messages in a probe",
        |sim| {
            let mut probe = sim.probe();
            probe.actor().tell_all([1_u8, 2, 3]).unwrap();
            assert_eq!(probe.expect(sim), 1);
        },
        &["2 unread in a probe of u8; the first: 2"],
    ),
    (
        "messages on the way to a probe",
        |sim| {
            let probe = sim.probe::<u8>();
            let slow = sim.delayed(&probe.actor(), 9).unwrap();
            slow.tell(1).unwrap();
        },
        &["1 unread in a probe of u8; the first: 1"],
    ),
    (
        "a dead letter",
        |sim| {
            let worker = sim.spawn(|| Worker).unwrap();
            let _ = worker.tell_all([Work::Stop, Work::Nothing]);
        },
        &["a dead letter for actor ", "finish::Work, Stopped"],
    ),
    (
        "a dead letter that was taken",
        |sim| {
            let worker = sim.spawn(|| Worker).unwrap();
            let _ = worker.tell_all([Work::Stop, Work::Nothing]);
            sim.run_until_idle();
            let effects = sim.take_effects();
            assert!(
                matches!(&*effects, [Effect::DeadLetter { target, .. }] if *target == worker.index()),
                "{effects:?}"
            );
        },
        &[],
    ),
    (
        "a failure",
        |sim| {
            let worker = sim.spawn(|| Worker).unwrap();
            let _ = worker.tell(Work::Fail);
        },
        &[" failed: as told"],
    ),
    (
        "an actor that hangs",
        |sim| {
            let worker = sim.spawn(|| Worker).unwrap();
            let _ = worker.tell(Work::Hang);
        },
        &["finish::Worker, has not ended"],
    ),
    (
        "a child that hangs, and its parent with it",
        |sim| {
            let worker = sim.spawn(|| Worker).unwrap();
            let _ = worker.tell(Work::Child(Box::new(Work::Hang)));
        },
        &[
            "finish::Worker, has not ended",
            "actors besides that have not ended: 1",
        ],
    ),
    (
        "an actor that hangs, spawned behind its back",
        |sim| {
            let worker = sim.system().spawn(|| Worker).unwrap();
            let _ = worker.tell(Work::Hang);
        },
        &["actors besides that have not ended: 1"],
    ),
    (
        "several things",
        |sim| {
            let options = SpawnOptions::new().restart(RestartPolicy::Temporary);
            let worker = sim.spawn_with(options, || Worker).unwrap();
            let _ = worker.tell_all([Work::Fail, Work::Nothing]);
            sim.probe().actor().tell("x").unwrap();
        },
        &[
            "1 unread in a probe of &str",
            "a dead letter",
            "failed: as told",
        ],
    ),
];

#[test]
fn row89_what_is_left_over_fails_the_test() {
    for (name, leave, texts) in CASES {
        explore(20, |seed| {
            let mut sim = Sim::builder(seed).build();
            leave(&mut sim);
            check(name, texts, || sim.finish());
            let strict = || {
                let mut sim = Sim::builder(seed).strict().build();
                leave(&mut sim);
            };
            check(name, texts, strict);
        });
    }
}

fn check(name: &str, texts: &[&str], finish: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(finish));
    let text = outcome.map_err(|panic| *panic.downcast::<String>().unwrap());
    match text {
        Ok(()) => assert!(texts.is_empty(), "{name} was not noticed"),
        Err(text) => {
            assert!(!texts.is_empty(), "{name}: {text}");
            let place = text.find("left behind:").expect(&text);
            for part in texts {
                assert!(text[place..].contains(part), "{name}: `{part}` in {text}");
            }
        }
    }
}

#[test]
fn a_strict_simulation_does_not_hide_the_failure_of_the_test() {
    explore(5, |seed| {
        let test = || {
            let sim = Sim::builder(seed).strict().build();
            sim.spawn(|| Worker).unwrap().tell(Work::Hang).ok();
            panic!("the test's own");
        };
        let panic = catch_unwind(AssertUnwindSafe(test)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the test's own"));
    });
}
