//! Priorities.

use crate::overflow::{busy, full};
use crate::puppet::{Do, Gate, Log, Puppet, within};
use hikyaku_core::{
    ActorRef, MailboxOptions, MailboxOverflowPolicy, Priority, SendError, SpawnOptions,
};
use hikyaku_testkit::{Sim, check_seeds};

/// By the hundreds; what has no number comes first.
fn hundreds(msg: &Do) -> Priority {
    msg.number()
        .map_or(Priority::HIGHEST, |n| Priority((n / 100) as u8))
}

fn tell_all(actor: &ActorRef<Do>, numbers: &[u64]) -> Vec<u64> {
    let told = numbers.iter().map(|&n| actor.tell(Do::Note(n)));
    told.filter_map(full).collect()
}

#[test]
fn row07_the_highest_first_and_equals_in_order() {
    let unbounded = MailboxOptions::unbounded();
    let five = MailboxOptions::bounded(5);
    let cases: [(MailboxOptions, &[u64], &str); 5] = [
        (unbounded, &[], "201 202 203 101 102 1 2"),
        (five, &[102, 203], "201 202 101 1 2"),
        (
            five.overflow(MailboxOverflowPolicy::DropNewest),
            &[],
            "201 202 101 1 2",
        ),
        (
            MailboxOptions::bounded(3).overflow(MailboxOverflowPolicy::Grow { max: 6 }),
            &[203],
            "201 202 101 102 1 2",
        ),
        (MailboxOptions::bounded(9), &[], "201 202 203 101 102 1 2"),
    ];
    check_seeds(20, |sim| {
        for (mailbox, back, handled) in cases {
            let log = Log::default();
            let (actor, gate) = busy(sim, mailbox.priority(hundreds), &log);
            let told = tell_all(&actor, &[1, 201, 101, 2, 202, 102, 203]);
            assert_eq!(told, back, "{mailbox:?}");
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), format!("0> {handled}"), "{mailbox:?}");
        }
    });
}

/// What came in while one was handled is looked at before the next one.
#[test]
fn row07_a_message_that_comes_late_still_overtakes() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::unbounded().priority(hundreds);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    let second = Gate::default();
    assert!(actor.tell(Do::Pass(150, second.clone())).is_ok());
    assert_eq!(tell_all(&actor, &[1, 101]), []);
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> <150");
    assert_eq!(tell_all(&actor, &[2, 102, 201]), []);
    second.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "150> 201 101 102 1 2");
}

/// A message in the heap keeps its room.
#[test]
fn row07_the_bound_counts_what_is_in_order_already() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::bounded(3).priority(hundreds);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    let second = Gate::default();
    assert!(actor.tell(Do::Pass(150, second.clone())).is_ok());
    assert_eq!(tell_all(&actor, &[1, 2, 3]), [3]);
    gate.open();
    sim.run_until_idle();
    // One is in hand, two are in the heap.
    assert_eq!(tell_all(&actor, &[101, 102]), [102]);
    second.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> <150 150> 101 1 2");
}

#[cfg(feature = "std")]
#[test]
fn row07_a_panic_of_the_classifier_means_the_default() {
    fn panics(msg: &Do) -> Priority {
        match msg.number() {
            Some(13) => panic!("as asked"),
            Some(n) => Priority(n as u8),
            None => Priority::NORMAL,
        }
    }
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::unbounded().priority(panics);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    assert_eq!(tell_all(&actor, &[127, 13, 129]), []);
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 129 13 127");
    assert_eq!(sim.metrics().failures, 0);
}

#[test]
fn row09_what_is_left_becomes_dead_letters_by_priority() {
    let (log, dead) = (Log::default(), Log::default());
    let notes = dead.clone();
    let mut sim = Sim::builder(0)
        .on_dead_letter(move |letter| {
            let number = letter.message.downcast_ref::<Do>().and_then(Do::number);
            notes.push(number.unwrap_or(0).to_string());
        })
        .build();
    let mailbox = MailboxOptions::unbounded()
        .priority(hundreds)
        .control(|msg: &Do| msg.number() == Some(7), 1);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    assert_eq!(tell_all(&actor, &[1, 101, 7, 2, 102]), []);
    actor.stop();
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> -");
    assert_eq!(dead.line(), "7 101 102 1 2");
    assert!(matches!(actor.tell(Do::Note(1)), Err(SendError::Closed(_))));
}

#[test]
fn row25_a_graceful_stop_handles_all_that_is_queued() {
    check_seeds(50, |sim| {
        for mailbox in [
            MailboxOptions::unbounded().priority(hundreds),
            MailboxOptions::latest(5),
            MailboxOptions::unbounded().control(|msg: &Do| msg.number() == Some(101), 1),
        ] {
            let log = Log::default();
            let (actor, gate) = busy(sim, mailbox, &log);
            assert_eq!(tell_all(&actor, &[1, 101, 2]), []);
            actor.stop_gracefully();
            gate.open();
            sim.run_until_idle();
            let mut line: Vec<_> = log.take();
            assert_eq!(line.pop().as_deref(), Some("-"), "{mailbox:?}");
            line.sort_unstable();
            assert_eq!(line, ["0>", "1", "101", "2"], "{mailbox:?}");
        }
    });
}

/// The end of another actor is told behind the messages that were queued before, and not behind later
/// ones, whatever overtakes.
#[test]
fn row55_an_end_has_its_turn_among_the_messages_of_every_mailbox() {
    let unbounded = MailboxOptions::unbounded();
    let cases: [(&str, MailboxOptions, &str); 5] = [
        ("priority", unbounded.priority(hundreds), "201 101 1 end 2"),
        (
            "priority, bounded",
            MailboxOptions::bounded(9).priority(hundreds),
            "201 101 1 end 2",
        ),
        ("ring", MailboxOptions::latest(9), "1 101 201 end 2"),
        // 1 is let go.
        ("small ring", MailboxOptions::latest(2), "101 201 end 2"),
        (
            "control",
            unbounded.control(|msg: &Do| msg.number() == Some(201), 1),
            "201 1 101 end 2",
        ),
    ];
    check_seeds(30, |sim| {
        for (what, mailbox, line) in cases {
            let log = Log::default();
            let target = sim.spawn(Puppet::factory("t", &Log::default())).unwrap();
            let options = SpawnOptions::new().mailbox(mailbox);
            let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
            let (watched, notes) = (target.clone(), log.clone());
            let told = within(sim, &actor, move |cx| {
                cx.watch(&watched, move |_| {
                    let notes = notes.clone();
                    Do::call(move |_| notes.push("end"))
                })
            });
            assert_eq!(told, Some(Ok(())), "{what}");
            log.take();
            let gate = Gate::default();
            assert!(actor.tell(Do::Pass(0, gate.clone())).is_ok());
            sim.run_until_idle();
            assert_eq!(tell_all(&actor, &[1, 101, 201]), []);
            target.stop();
            sim.run_until_idle();
            gate.open();
            sim.run_until_idle();
            assert_eq!(tell_all(&actor, &[2]), []);
            sim.run_until_idle();
            let seen = log.line();
            assert_eq!(seen, format!("<0 0> {line}"), "{what}");
        }
    });
}

/// What comes after the end with a higher priority overtakes the message in front of it, and not the end's turn.
#[test]
fn row55_later_messages_that_overtake_do_not_count() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let target = sim.spawn(Puppet::factory("t", &Log::default())).unwrap();
    let options = SpawnOptions::new().mailbox(MailboxOptions::unbounded().priority(hundreds));
    let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
    let (watched, notes) = (target.clone(), log.clone());
    let told = within(&mut sim, &actor, move |cx| {
        cx.watch(&watched, move |_| {
            let notes = notes.clone();
            Do::call(move |_| notes.push("end"))
        })
    });
    assert_eq!(told, Some(Ok(())));
    let (first, second) = (Gate::default(), Gate::default());
    assert!(actor.tell(Do::Pass(0, first.clone())).is_ok());
    sim.run_until_idle();
    assert!(actor.tell(Do::Pass(200, second.clone())).is_ok());
    assert_eq!(tell_all(&actor, &[1, 2]), []);
    target.stop();
    sim.run_until_idle();
    first.open();
    sim.run_until_idle();
    // 200 is in hand, 1 and 2 were queued before the end, these were not.
    assert_eq!(tell_all(&actor, &[301, 302, 3]), []);
    second.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "+ <0 0> <200 200> 301 302 1 2 end 3");
}

#[test]
fn row07_options_are_equal_if_they_order_the_same_messages_alike() {
    fn all_alike<M>(_: &M) -> Priority {
        Priority::NORMAL
    }
    let plain = MailboxOptions::bounded(4);
    let by_hundreds = plain.priority(hundreds);
    assert_eq!(by_hundreds, plain.priority(hundreds));
    assert_ne!(by_hundreds, plain);
    assert_ne!(
        plain.priority(all_alike::<u8>),
        plain.priority(all_alike::<u16>)
    );
}
