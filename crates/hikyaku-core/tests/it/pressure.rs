//! Events of how much is queued.

use crate::overflow::busy;
use crate::puppet::{Do, Log, Puppet};
use hikyaku_core::{
    ActorRef, Event, MailboxOptions, MailboxOverflowPolicy, Pressure, Priority, SpawnOptions,
    System,
};
use hikyaku_testkit::{Sim, check_seeds};

fn listen(system: &System, log: &Log) {
    let log = log.clone();
    system.events().listen(move |event| {
        if let Event::Pressure {
            name,
            pressure,
            depth,
            ..
        } = event
        {
            let name = name.as_deref().unwrap_or("-");
            log.push(format!("{name}{pressure:?}{depth}"));
        }
    });
}

#[test]
fn row04_pressure_is_told_by_the_sender_and_relief_by_the_actor() {
    let unbounded = MailboxOptions::unbounded();
    let cases: [(MailboxOptions, &str, &str); 7] = [
        (unbounded.pressure(3, 1), "-High3", "-Low1"),
        (MailboxOptions::bounded(5).pressure(5, 0), "-High5", "-Low0"),
        (MailboxOptions::latest(4).pressure(4, 2), "-High4", "-Low2"),
        (
            MailboxOptions::bounded(4)
                .overflow(MailboxOverflowPolicy::DropNewest)
                .pressure(2, 1),
            "-High2",
            "-Low1",
        ),
        (
            unbounded.priority(|_: &Do| Priority::NORMAL).pressure(4, 3),
            "-High4",
            "-Low3",
        ),
        (
            MailboxOptions::bounded(2).overflow(MailboxOverflowPolicy::Grow { max: 6 }),
            "-High3",
            "-Low2",
        ),
        (
            unbounded
                .control(|msg: &Do| msg.number() > Some(3), 9)
                .pressure(5, 1),
            "-High5",
            "-Low1",
        ),
    ];
    for (mailbox, high, low) in cases {
        let (log, told) = (Log::default(), Log::default());
        let mut sim = Sim::new(0);
        listen(sim.system(), &told);
        let (actor, gate) = busy(&mut sim, mailbox, &log);
        for n in 1..6 {
            let _ = actor.tell(Do::Note(n));
        }
        assert_eq!(told.line(), high, "{mailbox:?}");
        gate.open();
        sim.run_until_idle();
        assert_eq!(told.line(), low, "{mailbox:?}");
        assert_eq!(actor.depth(), Some(0));
        for n in 1..6 {
            let _ = actor.tell(Do::Note(n));
        }
        // Relief comes also when it ends.
        actor.kill();
        sim.run_until_idle();
        assert_eq!(told.line(), format!("{high} {low}"), "{mailbox:?}");
    }
}

#[test]
fn row01_the_depth_is_what_went_in_minus_what_came_out() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::bounded(3).pressure(3, 1);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    for (n, depth) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
        let _ = actor.tell(Do::Note(n));
        assert_eq!(actor.depth(), Some(depth));
    }
    gate.open();
    sim.run_until_idle();
    assert_eq!(actor.depth(), Some(0));
    let plain = sim.spawn(Puppet::factory("", &log)).unwrap();
    assert_eq!(plain.depth(), None);
}

/// Whatever the order of things is, high and low come in turns, the last one fits, and the name is there.
#[test]
fn row04_high_and_low_come_in_turns() {
    check_seeds(100, |sim| {
        let told = Log::default();
        listen(sim.system(), &told);
        let mailbox = MailboxOptions::unbounded().pressure(3, 1);
        let options = SpawnOptions::new().name("a").mailbox(mailbox);
        let actor = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        for _ in 0..3 {
            let to = actor.clone();
            sim.spawn_task(async move {
                for n in 0..12 {
                    let _ = to.tell(Do::Yield((n % 3) as usize, n));
                    if n % 4 == 3 {
                        hikyaku_testkit_yield().await;
                    }
                }
            });
        }
        sim.run_until_idle();
        let events = told.take();
        for (index, event) in events.iter().enumerate() {
            let wanted = if index % 2 == 0 { "aHigh" } else { "aLow" };
            assert!(event.starts_with(wanted), "{events:?}");
        }
        assert!(events.len() % 2 == 0 && !events.is_empty(), "{events:?}");
    });
}

/// Once, so that others have their turn.
async fn hikyaku_testkit_yield() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Who listens may be the actor itself, or send to it.
#[test]
fn row80_the_actor_under_pressure_may_be_the_one_that_hears_of_it() {
    let log = Log::default();
    let mut sim = Sim::new(0);
    let mailbox = MailboxOptions::unbounded().pressure(2, 0);
    let (actor, gate) = busy(&mut sim, mailbox, &log);
    let map = |event: &Event| match event {
        Event::Pressure {
            pressure: Pressure::High,
            ..
        } => Some(Do::Note(77)),
        Event::Pressure { .. } => Some(Do::Note(88)),
        _ => None,
    };
    let system = sim.system().clone();
    system.events().subscribe_with(&actor, map).unwrap();
    let to: ActorRef<Do> = actor.clone();
    system.events().listen(move |event| {
        if matches!(
            event,
            Event::Pressure {
                pressure: Pressure::High,
                ..
            }
        ) {
            let _ = to.tell(Do::Note(66));
        }
    });
    for n in 1..3 {
        assert!(actor.tell(Do::Note(n)).is_ok());
    }
    gate.open();
    sim.run_until_idle();
    assert_eq!(log.line(), "0> 1 2 77 66 88");
}
