//! What happens to messages for which there is no room.

use crate::puppet::{Count, Counted, Do, Gate, Log, Puppet, within};
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, DeadLetterReason, Failure, MailboxOptions,
    MailboxOverflowPolicy, Priority, SendError, SpawnError, SpawnOptions, System,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::sync::{Arc, Mutex};

pub(crate) const GROW: MailboxOverflowPolicy = MailboxOverflowPolicy::Grow { max: 3 };
const NEWEST: MailboxOverflowPolicy = MailboxOverflowPolicy::DropNewest;
const OLDEST: MailboxOverflowPolicy = MailboxOverflowPolicy::DropOldest;
const BLOCK: MailboxOverflowPolicy = MailboxOverflowPolicy::Block;

/// An actor whose handler waits for the gate, so that what is sent is queued.
pub(crate) fn busy(sim: &mut Sim, mailbox: MailboxOptions, log: &Log) -> (ActorRef<Do>, Gate) {
    let options = SpawnOptions::new().mailbox(mailbox);
    let actor = sim.spawn_with(options, Puppet::factory("", log)).unwrap();
    let gate = Gate::default();
    assert!(actor.tell(Do::Pass(0, gate.clone())).is_ok());
    sim.run_until_idle();
    assert_eq!(log.line(), "+ <0");
    (actor, gate)
}

/// The number of a note that was refused for want of room.
pub(crate) fn full(refused: Result<(), SendError<Do>>) -> Option<u64> {
    match refused {
        Err(SendError::Full(back)) => back.number(),
        Err(SendError::Closed(_)) => panic!("it is open"),
        Ok(()) => None,
    }
}

/// Numbers of notes that became dead letters, with their reasons.
fn listening(seed: u64, log: &Log) -> Sim {
    let log = log.clone();
    Sim::builder(seed)
        .on_dead_letter(move |letter| {
            let number = letter.message.downcast_ref::<Do>().and_then(Do::number);
            log.push(format!("{}{:?}", number.unwrap_or(0), letter.reason));
        })
        .build()
}

#[test]
fn row03_row04_each_policy_and_each_way_to_send() {
    struct Case {
        policy: MailboxOverflowPolicy,
        /// Which of the notes 1 to 5 come back.
        told: &'static [u64],
        tried: &'static [u64],
        /// What is handled after `tell`, what is dropped.
        handled: &'static str,
        dropped: &'static str,
        /// What is handled after `try_send`.
        handled_tried: &'static str,
    }
    let cases = [
        Case {
            policy: BLOCK,
            told: &[3, 4, 5],
            tried: &[3, 4, 5],
            handled: "1 2",
            dropped: "",
            handled_tried: "1 2",
        },
        Case {
            policy: NEWEST,
            told: &[],
            tried: &[3, 4, 5],
            handled: "1 2",
            dropped: "3Overflow 4Overflow 5Overflow",
            handled_tried: "1 2",
        },
        Case {
            policy: OLDEST,
            told: &[],
            tried: &[3, 4, 5],
            handled: "4 5",
            dropped: "1Overflow 2Overflow 3Overflow",
            handled_tried: "1 2",
        },
        Case {
            policy: GROW,
            told: &[4, 5],
            tried: &[4, 5],
            handled: "1 2 3",
            dropped: "",
            handled_tried: "1 2 3",
        },
    ];
    for case in cases {
        for by_try in [false, true] {
            let (log, dead) = (Log::default(), Log::default());
            let mut sim = listening(0, &dead);
            let mailbox = MailboxOptions::bounded(2).overflow(case.policy);
            let (actor, gate) = busy(&mut sim, mailbox, &log);
            let back: Vec<_> = (1..=5)
                .filter_map(|n| {
                    full(if by_try {
                        actor.try_send(Do::Note(n))
                    } else {
                        actor.tell(Do::Note(n))
                    })
                })
                .collect();
            let what = format!("{:?} {by_try}", case.policy);
            let dropped = if by_try { "" } else { case.dropped };
            assert_eq!(back, if by_try { case.tried } else { case.told }, "{what}");
            // At once, not when the actor looks.
            assert_eq!(dead.line(), dropped, "{what}");
            let count = dropped.split_whitespace().count();
            assert_eq!(sim.metrics().overflowed, count, "{what}");
            assert_eq!(sim.metrics().dead_letters, count, "{what}");
            gate.open();
            sim.run_until_idle();
            let handled = if by_try {
                case.handled_tried
            } else {
                case.handled
            };
            assert_eq!(log.line(), format!("0> {handled}"), "{what}");
            // With room again, all is as before.
            assert!(actor.tell(Do::Note(9)).is_ok());
            sim.run_until_idle();
            assert_eq!(log.line(), "9", "{what}");
        }
    }
}

/// A recipient differs in nothing.
#[test]
fn row03_recipients_apply_the_policy_too() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let (actor, gate) = busy(&mut sim, MailboxOptions::latest(1), &log);
    let recipient = actor.recipient::<Do>();
    assert!(recipient.tell(Do::Note(1)).is_ok());
    assert!(recipient.try_send(Do::Note(2)).is_err());
    assert!(recipient.tell(Do::Note(3)).is_ok());
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 3");
}

#[test]
fn row05_only_dropping_the_oldest_makes_waiting_needless() {
    for (policy, waits, handled) in [
        (BLOCK, true, "1 2 3"),
        (NEWEST, true, "1 2 3"),
        (OLDEST, false, "2 3"),
        (MailboxOverflowPolicy::Grow { max: 2 }, true, "1 2 3"),
    ] {
        let log = Log::default();
        let mut sim = Sim::new(0);
        let capacity = if matches!(policy, MailboxOverflowPolicy::Grow { .. }) {
            1
        } else {
            2
        };
        let mailbox = MailboxOptions::bounded(capacity).overflow(policy);
        let (actor, gate) = busy(&mut sim, mailbox, &log);
        assert!(actor.tell(Do::Note(1)).is_ok());
        assert!(actor.tell(Do::Note(2)).is_ok());
        let to = actor.clone();
        let task = sim.spawn_task(async move { to.send(Do::Note(3)).await.is_ok() });
        sim.run_until_idle();
        assert_eq!(task.take().is_none(), waits, "{policy:?}");
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), format!("0> {handled}"), "{policy:?}");
        assert!(!waits || task.take() == Some(true), "{policy:?}");
    }
}

#[test]
fn row05_those_who_wait_get_their_messages_back_at_the_end() {
    for policy in [NEWEST, GROW] {
        check_seeds(50, |sim| {
            let log = Log::default();
            let mailbox = MailboxOptions::bounded(1).overflow(policy);
            let (actor, gate) = busy(sim, mailbox, &log);
            let tasks: Vec<_> = (1..6)
                .map(|n| {
                    let to = actor.clone();
                    sim.spawn_task(async move { to.send(Do::Note(n)).await.is_ok() })
                })
                .collect();
            let steps = sim.below(12);
            sim.run_steps(steps);
            actor.stop_gracefully();
            gate.open();
            sim.run_until_idle();
            let sent = tasks
                .iter()
                .filter(|task| task.take().expect("one is stuck"))
                .count();
            let handled = log.line();
            assert_eq!(handled.split_whitespace().count(), sent + 2, "{handled}");
        });
    }
}

#[test]
fn row11_a_self_send_to_a_full_mailbox_never_waits() {
    for (policy, told, sent, handled) in [
        (BLOCK, false, false, "1 2"),
        (NEWEST, true, false, "1 2"),
        (OLDEST, true, true, "8 9"),
        (MailboxOverflowPolicy::Grow { max: 2 }, false, false, "1 2"),
    ] {
        let log = Log::default();
        let mut sim = Sim::new(0);
        let capacity = if matches!(policy, MailboxOverflowPolicy::Grow { .. }) {
            1
        } else {
            2
        };
        let options =
            SpawnOptions::new().mailbox(MailboxOptions::bounded(capacity).overflow(policy));
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        let me = actor.clone();
        let notes = log.clone();
        let call = Do::run(move |_| async move {
            for n in [1, 2] {
                assert!(me.tell(Do::Note(n)).is_ok());
            }
            let told = me.tell(Do::Note(8)).is_ok();
            let sent = me.send(Do::Note(9)).await;
            assert!(!matches!(sent, Err(SendError::Closed(_))));
            notes.push(format!("{told}{}", sent.is_ok()));
        });
        assert!(actor.tell(call).is_ok());
        sim.run_until_idle();
        assert_eq!(
            log.line(),
            format!("+ {told}{sent} {handled}"),
            "{policy:?}"
        );
    }
}

#[test]
fn row61_a_question_that_is_dropped_is_answered_at_once() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    for (policy, first) in [(NEWEST, false), (OLDEST, true)] {
        let mailbox = MailboxOptions::bounded(1).overflow(policy);
        let (actor, gate) = busy(&mut sim, mailbox, &log);
        let ask = |n| {
            let actor = actor.clone();
            async move { actor.ask(|reply| Do::Answer(reply, n)).await }
        };
        let one = sim.spawn_task(ask(1));
        sim.run_until_idle();
        let two = sim.spawn_task(ask(2));
        sim.run_until_idle();
        let dropped = if first { one.take() } else { two.take() };
        assert_eq!(dropped, Some(Err(AskError::Dropped)), "{policy:?}");
        gate.open();
        sim.run_until_idle();
        let answered = if first { two.take() } else { one.take() };
        assert!(answered.is_some_and(|answer| answer.is_ok()), "{policy:?}");
        actor.kill();
        sim.run_until_idle();
        log.take();
    }
}

/// Who is shown a dead letter may send, also to the same mailbox.
#[test]
fn row04_the_listener_may_send_to_the_mailbox_that_dropped() {
    let target: Arc<Mutex<Option<ActorRef<Do>>>> = Arc::default();
    let listener = target.clone();
    let mut sim = Sim::builder(0)
        .on_dead_letter(move |letter| {
            let number = letter.message.downcast_ref::<Do>().and_then(Do::number);
            let target = listener.lock().unwrap().clone();
            if let (Some(number @ 1..5), Some(target)) = (number, target) {
                assert!(target.tell(Do::Note(number + 10)).is_ok());
            }
        })
        .build();
    let log = Log::default();
    let (actor, gate) = busy(&mut sim, MailboxOptions::latest(2), &log);
    *target.lock().unwrap() = Some(actor.clone());
    for n in 1..5 {
        assert!(actor.tell(Do::Note(n)).is_ok());
    }
    *target.lock().unwrap() = None;
    gate.open();
    sim.run_until_idle();
    // 3 lets 1 go, which comes back as 11 and lets 2 go, and so on.
    assert_eq!(log.line().split_whitespace().count(), 3);
}

// === a storm ===

/// Senders and numbers.
type Labels = Vec<(usize, u64)>;

struct Parcel(
    usize,
    u64,
    #[allow(dead_code, reason = "for its drop")] Counted,
);

struct Sink(Arc<Mutex<Labels>>);

impl Actor for Sink {
    type Msg = Parcel;

    async fn handle(&mut self, msg: Parcel, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0.lock().unwrap().push((msg.0, msg.1));
        if msg.1 % 5 == 3 {
            cx.yield_now().await;
        }
        Ok(())
    }
}

/// Each message has one fate, and those of one sender keep their order in each fate; also at a stop.
#[test]
fn row01_row04_row09_every_message_has_one_fate_while_some_are_dropped() {
    for mailbox in [
        MailboxOptions::latest(1),
        MailboxOptions::latest(3),
        MailboxOptions::bounded(2).overflow(NEWEST),
        MailboxOptions::bounded(2).overflow(GROW),
        MailboxOptions::latest(2).control(|parcel: &Parcel| parcel.0 == 0, 2),
        MailboxOptions::bounded(2)
            .overflow(NEWEST)
            .priority(|parcel: &Parcel| Priority(parcel.0 as u8)),
    ] {
        for stops in [false, true] {
            check_seeds(40, |sim| {
                let fates: Arc<Mutex<[Labels; 2]>> = Arc::default();
                let dead = fates.clone();
                let mut sim = Sim::builder(sim.seed())
                    .on_dead_letter(move |letter| {
                        let parcel: &Parcel = letter.message.downcast_ref().unwrap();
                        let fate = usize::from(letter.reason == DeadLetterReason::Stopped);
                        dead.lock().unwrap()[fate].push((parcel.0, parcel.1));
                    })
                    .build();
                let got: Arc<Mutex<Labels>> = Arc::default();
                let notes = got.clone();
                let options = SpawnOptions::new().mailbox(mailbox);
                let sink = sim
                    .spawn_with(options, move || Sink(notes.clone()))
                    .unwrap();
                let count = Count::default();
                let tasks: Vec<_> = (0..3)
                    .map(|sender| {
                        let (to, count) = (sink.clone(), count.clone());
                        sim.spawn_task(async move {
                            let mut back = Vec::new();
                            for n in 0..20 {
                                let parcel = Parcel(sender, n, count.one());
                                let result = match n % 3 {
                                    0 => to.send(parcel).await,
                                    1 => to.tell(parcel),
                                    _ => to.try_send(parcel),
                                };
                                if let Err(refused) = result {
                                    let parcel = refused.into_inner();
                                    back.push((parcel.0, parcel.1));
                                }
                            }
                            back
                        })
                    })
                    .collect();
                if stops {
                    let steps = sim.below(60);
                    sim.run_steps(steps);
                    sink.stop();
                }
                sim.run_until_idle();
                let [dropped, left] = std::mem::take(&mut *fates.lock().unwrap());
                let got = std::mem::take(&mut *got.lock().unwrap());
                let mut all: Vec<_> = got.iter().chain(&dropped).chain(&left).copied().collect();
                for task in &tasks {
                    all.extend(task.take().expect("a sender is stuck"));
                }
                all.sort_unstable();
                let wanted: Vec<_> = (0..3)
                    .flat_map(|sender| (0..20).map(move |n| (sender, n)))
                    .collect();
                assert_eq!(all, wanted, "{mailbox:?}");
                assert_eq!(count.alive(), 0);
                for fate in [&got, &dropped, &left] {
                    for sender in 0..3 {
                        let own = fate.iter().filter(|one| one.0 == sender);
                        assert!(own.is_sorted(), "{mailbox:?} {fate:?}");
                    }
                }
                let metrics = sim.metrics();
                assert_eq!(metrics.overflowed, dropped.len());
                assert_eq!(metrics.dead_letters, dropped.len() + left.len());
            });
        }
    }
}

// === options ===

#[test]
fn row10_options_that_contradict_each_other_are_refused() {
    let order = |_: &Do| Priority::NORMAL;
    let foreign = |_: &u8| Priority::NORMAL;
    let some = MailboxOptions::bounded(4);
    let most = usize::MAX;
    let cases = [
        (some.overflow(OLDEST).priority(order), "dropping the oldest"),
        (
            some.overflow(MailboxOverflowPolicy::Grow { max: 4 }),
            "`max` above",
        ),
        (
            some.overflow(MailboxOverflowPolicy::Grow { max: most }),
            "platform's limit",
        ),
        (
            MailboxOptions::unbounded().overflow(NEWEST),
            "needs a bounded",
        ),
        (
            MailboxOptions::unbounded().overflow(OLDEST),
            "needs a bounded",
        ),
        (
            MailboxOptions::unbounded().overflow(GROW),
            "needs a bounded",
        ),
        (MailboxOptions::bounded(0), "room for one message"),
        (MailboxOptions::latest(0), "room for one message"),
        (MailboxOptions::bounded(most), "platform's limit"),
        (some.up_to(most), "platform's limit"),
        (some.up_to(3), "`up_to`"),
        (MailboxOptions::unbounded().up_to(3), "`up_to`"),
        (some.control(|_: &Do| true, 0), "reserve"),
        (some.control(|_: &u8| true, 1), "another message type"),
        (some.priority(foreign), "another message type"),
        (some.pressure(3, 3), "pressure"),
        (some.pressure(5, 1), "pressure"),
        (MailboxOptions::unbounded().pressure(0, 0), "pressure"),
    ];
    let sim = Sim::new(0);
    for (mailbox, why) in cases {
        let options = SpawnOptions::new().mailbox(mailbox);
        let spawned = sim.spawn_with(options, Puppet::factory("", &Log::default()));
        let Err(SpawnError::InvalidOptions(error)) = spawned else {
            panic!("{mailbox:?} was taken");
        };
        assert!(error.to_string().contains(why), "{mailbox:?}: {error}");
    }
    assert_eq!(sim.metrics().live_actors, 0);
}

#[test]
fn row10_the_systems_mailbox_is_used_where_a_spawn_names_none() {
    let (system, _workers) = System::builder("test")
        .mailbox(MailboxOptions::bounded(2).up_to(9))
        .build()
        .unwrap();
    let log = Log::default();
    let of_system = system.spawn(Puppet::factory("", &log)).unwrap();
    assert_eq!(of_system.capacity(), Some(2));
    let own = SpawnOptions::new().mailbox(MailboxOptions::unbounded());
    let own = system.spawn_with(own, Puppet::factory("", &log)).unwrap();
    assert_eq!(own.capacity(), None);
}

#[test]
fn row39_what_is_queued_survives_a_restart_in_every_mailbox() {
    for mailbox in [
        MailboxOptions::latest(4),
        MailboxOptions::bounded(4).overflow(NEWEST),
        MailboxOptions::bounded(3).overflow(MailboxOverflowPolicy::Grow { max: 4 }),
        MailboxOptions::unbounded().priority(|_: &Do| Priority::NORMAL),
        MailboxOptions::unbounded().control(|_: &Do| false, 1),
    ] {
        check_seeds(20, |sim| {
            let log = Log::default();
            let (actor, gate) = busy(sim, mailbox, &log);
            assert!(actor.tell(Do::Note(1)).is_ok());
            assert!(actor.tell(Do::Fail("x")).is_ok());
            assert!(actor.tell(Do::Note(2)).is_ok());
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "0> 1 ~ + 2", "{mailbox:?}");
            assert_eq!(within(sim, &actor, |_| 7), Some(7));
        });
    }
}
