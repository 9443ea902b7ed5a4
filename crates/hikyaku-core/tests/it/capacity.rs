//! Changing the bound.

use crate::overflow::{busy, full};
use crate::puppet::{Do, Log, Puppet};
use hikyaku_core::{
    ActorRef, CapacityError, MailboxOptions, MailboxOverflowPolicy, Priority, SpawnOptions,
};
use hikyaku_testkit::{Sim, check_seeds};

fn tell_all(actor: &ActorRef<Do>, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let told = numbers.map(|n| actor.tell(Do::Note(n)));
    told.filter_map(full).collect()
}

/// Mailboxes with room for four at first, each of another make.
fn fours() -> [MailboxOptions; 5] {
    let four = MailboxOptions::bounded(4);
    [
        four.up_to(9),
        four.priority(|_: &Do| Priority::NORMAL),
        four.control(|_: &Do| false, 1),
        four.pressure(3, 1),
        MailboxOptions::bounded(1).overflow(MailboxOverflowPolicy::Grow { max: 4 }),
    ]
}

#[test]
fn row12_the_bound_changes_while_the_handler_waits_and_the_mailbox_is_full() {
    check_seeds(30, |sim| {
        for mailbox in fours() {
            let log = Log::default();
            let (actor, gate) = busy(sim, mailbox, &log);
            assert_eq!(actor.capacity(), Some(4));
            assert_eq!(tell_all(&actor, 1..7), [5, 6], "{mailbox:?}");
            actor.set_capacity(6).unwrap();
            sim.run_until_idle();
            assert_eq!(actor.capacity(), Some(6));
            assert_eq!(tell_all(&actor, 5..9), [7, 8], "{mailbox:?}");
            // What is queued stays, and nobody comes in before it is less.
            actor.set_capacity(2).unwrap();
            sim.run_until_idle();
            assert_eq!(tell_all(&actor, 7..8), [7], "{mailbox:?}");
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "0> 1 2 3 4 5 6", "{mailbox:?}");
            let gate = crate::puppet::Gate::default();
            assert!(actor.tell(Do::Pass(0, gate.clone())).is_ok());
            sim.run_until_idle();
            assert_eq!(tell_all(&actor, 1..5), [3, 4], "{mailbox:?}");
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "<0 0> 1 2", "{mailbox:?}");
        }
    });
}

#[test]
fn row12_those_who_wait_are_served_in_order_when_it_grows() {
    check_seeds(30, |sim| {
        for mailbox in fours() {
            let log = Log::default();
            let (actor, gate) = busy(sim, mailbox, &log);
            assert_eq!(tell_all(&actor, 1..5), []);
            let tasks: Vec<_> = (5..9)
                .map(|n| {
                    let to = actor.clone();
                    let task = sim.spawn_task(async move { to.send(Do::Note(n)).await.is_ok() });
                    sim.run_until_idle();
                    task
                })
                .collect();
            // Lowered, then raised above what it was: two of the four have room.
            actor.set_capacity(1).unwrap();
            actor.set_capacity(6).unwrap();
            sim.run_until_idle();
            let served: Vec<_> = tasks.iter().map(|task| task.take()).collect();
            let wanted = [Some(true), Some(true), None, None];
            assert_eq!(served, wanted, "{mailbox:?}");
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "0> 1 2 3 4 5 6 7 8", "{mailbox:?}");
        }
    });
}

#[test]
fn row12_the_ring_lets_as_many_go_as_are_too_many() {
    let (log, mut sim) = (Log::default(), Sim::new(0));
    let (actor, gate) = busy(&mut sim, MailboxOptions::latest(4).up_to(6), &log);
    assert_eq!(tell_all(&actor, 1..5), []);
    actor.set_capacity(6).unwrap();
    sim.run_until_idle();
    assert_eq!(tell_all(&actor, 5..8), []);
    actor.set_capacity(3).unwrap();
    sim.run_until_idle();
    assert_eq!(sim.metrics().overflowed, 1);
    assert_eq!(full(actor.try_send(Do::Note(90))), Some(90));
    assert_eq!(tell_all(&actor, 8..9), []);
    assert_eq!(sim.metrics().overflowed, 5);
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 6 7 8");
}

/// It takes no longer, the more room there was.
#[test]
fn row12_a_very_large_bound_is_lowered_at_once() {
    let (log, mut sim) = (Log::default(), Sim::new(0));
    let huge = MailboxOptions::bounded(usize::MAX >> (usize::BITS / 2 + 1));
    let (actor, gate) = busy(&mut sim, huge.priority(|_: &Do| Priority::NORMAL), &log);
    assert_eq!(tell_all(&actor, 1..5), []);
    actor.set_capacity(2).unwrap();
    sim.run_until_idle();
    assert_eq!(tell_all(&actor, 5..6), [5]);
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 1 2 3 4");
}

#[test]
fn row12_what_cannot_be_is_an_error() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let spawn = |mailbox| {
        let options = SpawnOptions::new().mailbox(mailbox);
        sim.spawn_with(options, Puppet::factory("", &log)).unwrap()
    };
    let plain = MailboxOptions::unbounded();
    let ordered = plain.priority(|_: &Do| Priority::NORMAL);
    let cases = [
        (plain, 1, CapacityError::Unbounded),
        (ordered, 1, CapacityError::Unbounded),
        (MailboxOptions::bounded(4), 0, CapacityError::Zero),
        (
            MailboxOptions::bounded(4),
            5,
            CapacityError::TooMuch { most: 4 },
        ),
        (
            MailboxOptions::bounded(4).up_to(7),
            8,
            CapacityError::TooMuch { most: 7 },
        ),
        (
            MailboxOptions::latest(4),
            5,
            CapacityError::TooMuch { most: 4 },
        ),
    ];
    for (mailbox, capacity, error) in cases {
        let actor = spawn(mailbox);
        assert_eq!(actor.set_capacity(capacity), Err(error), "{mailbox:?}");
        assert!(!error.to_string().is_empty());
    }
    let ended = spawn(MailboxOptions::bounded(4));
    ended.kill();
    sim.run_until_idle();
    assert_eq!(ended.set_capacity(2), Err(CapacityError::Ended));
}
