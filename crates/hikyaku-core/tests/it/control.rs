//! Control messages.

use crate::overflow::{busy, full};
use crate::puppet::{Do, Gate, Log, Puppet};
use hikyaku_core::{
    ActorRef, MailboxOptions, MailboxOverflowPolicy, Priority, SendError, SpawnOptions,
};
use hikyaku_testkit::{Sim, check_seeds};

/// Notes from 900 on.
fn is_control(msg: &Do) -> bool {
    msg.number().is_some_and(|n| n >= 900)
}

fn tell_all(actor: &ActorRef<Do>, numbers: &[u64]) -> Vec<u64> {
    let told = numbers.iter().map(|&n| actor.tell(Do::Note(n)));
    told.filter_map(full).collect()
}

#[test]
fn row06_control_messages_overtake_and_have_their_own_places() {
    let two = MailboxOptions::bounded(2);
    let cases: [(MailboxOptions, &[u64], &str); 6] = [
        (MailboxOptions::unbounded(), &[902], "900 901 1 2 3"),
        (two, &[902, 3], "900 901 1 2"),
        (
            two.overflow(MailboxOverflowPolicy::DropNewest),
            &[902],
            "900 901 1 2",
        ),
        (
            two.overflow(MailboxOverflowPolicy::DropOldest),
            &[902],
            "900 901 2 3",
        ),
        (
            two.overflow(MailboxOverflowPolicy::Grow { max: 3 }),
            &[902],
            "900 901 1 2 3",
        ),
        (
            MailboxOptions::unbounded()
                .priority(|msg: &Do| Priority(msg.number().unwrap_or(0) as u8)),
            &[902],
            "900 901 3 2 1",
        ),
    ];
    check_seeds(20, |sim| {
        for (mailbox, back, handled) in cases {
            let log = Log::default();
            let (actor, gate) = busy(sim, mailbox.control(is_control, 2), &log);
            assert_eq!(
                tell_all(&actor, &[1, 900, 2, 901, 902, 3]),
                back,
                "{mailbox:?}"
            );
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), format!("0> {handled}"), "{mailbox:?}");
            assert_eq!(tell_all(&actor, &[4, 903]), []);
            sim.run_until_idle();
            assert_eq!(log.line().split_whitespace().count(), 2, "{mailbox:?}");
        }
    });
}

#[test]
fn row06_a_flood_of_user_messages_evicts_no_control_message() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::latest(2).control(is_control, 1);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    assert_eq!(tell_all(&actor, &[900]), []);
    for n in 1..100 {
        assert_eq!(tell_all(&actor, &[n]), []);
    }
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 900 98 99");
}

/// An actor that keeps itself busy with control messages hears an order all the same.
#[test]
fn row06_a_flood_of_control_messages_does_not_starve_the_system_lane() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let mailbox = MailboxOptions::unbounded().control(|msg: &Do| matches!(msg, Do::Call(_)), 2);
        let options = SpawnOptions::new().mailbox(mailbox);
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        fn again(me: ActorRef<Do>) -> Do {
            Do::call(move |_| {
                let next = again(me.clone());
                let _ = me.tell(next);
            })
        }
        assert!(actor.tell(again(actor.clone())).is_ok());
        assert!(actor.tell(Do::Note(1)).is_ok());
        sim.run_steps(20);
        assert!(!log.line().contains('1'), "user messages wait");
        actor.stop();
        sim.run_until_idle();
        assert_eq!(log.line(), "-");
    });
}

/// A `send().await` of a control message never waits.
#[test]
fn row06_a_control_message_without_a_place_is_refused_by_send_too() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::bounded(1).control(is_control, 1);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    assert_eq!(tell_all(&actor, &[900]), []);
    let to = actor.clone();
    let refused = sim.block_on(async move { to.send(Do::Note(901)).await });
    assert!(matches!(refused, Err(SendError::Full(_))));
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 900");
}

/// A handler that awaits is not disturbed, and an idle actor is woken.
#[test]
fn row06_a_control_message_comes_between_two_messages() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let mailbox = MailboxOptions::unbounded().control(is_control, 4);
        let (actor, gate) = busy(sim, mailbox, &log);
        let second = Gate::default();
        assert!(actor.tell(Do::Pass(1, second.clone())).is_ok());
        assert!(actor.tell(Do::Note(2)).is_ok());
        assert_eq!(tell_all(&actor, &[900]), []);
        sim.run_until_idle();
        assert_eq!(log.line(), "");
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "0> 900 <1");
        assert_eq!(tell_all(&actor, &[901]), []);
        second.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "1> 901 2");
        assert_eq!(tell_all(&actor, &[902]), []);
        sim.run_until_idle();
        assert_eq!(log.line(), "902");
    });
}

#[test]
fn row06_row74_a_control_message_comes_before_what_was_unstashed() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let options =
            SpawnOptions::new().mailbox(MailboxOptions::unbounded().control(is_control, 2));
        let actor = sim.spawn_with(options, Puppet::factory("", &log)).unwrap();
        let unstash = Do::call(|cx| {
            for n in 1..4 {
                cx.stash(Do::Note(n)).unwrap();
            }
            cx.unstash_all();
            cx.me().tell(Do::Note(4)).unwrap();
            cx.me().tell(Do::Note(900)).unwrap();
        });
        actor.tell(unstash).unwrap();
        sim.run_until_idle();
        assert_eq!(log.line(), "+ 900 1 2 3 4");
    });
}
