//! What comes between an actor and its messages: suspension, the stash, other policies than waiting, an order,
//! middleware, pressure.

use crate::bench::{Bench, end, room, small};
use core::time::Duration;
use hikyaku_core::{
    Actor, ActorRef, Context, Decision, Event, Failure, Incoming, MailboxOptions,
    MailboxOverflowPolicy, Middleware, Pressure, Priority, Reply, ResumeCondition, SpawnOptions,
    SuspendReason, System,
};

/// What an actor is told.
enum Say {
    Note(u32),
    /// It is to suspend itself.
    Hold(ResumeCondition, Reply<()>),
    /// For when it is open.
    Later(u32),
    Open,
    Seen(Reply<u32>),
}

impl Say {
    fn number(&self) -> u32 {
        match self {
            Self::Note(n) | Self::Later(n) => *n,
            _ => 0,
        }
    }
}

/// Keeps what it has seen: each number is a hexadecimal digit.
struct Notes {
    seen: u32,
    open: bool,
}

impl Actor for Notes {
    type Msg = Say;

    async fn handle(&mut self, say: Say, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match say {
            Say::Hold(until, reply) => {
                cx.suspend(SuspendReason::UserDefined, until)?;
                let _ = reply.send(());
            }
            Say::Later(_) if !self.open => {
                cx.stash(say).map_err(|_| Failure::msg("no room"))?;
            }
            Say::Note(n) | Say::Later(n) => self.seen = self.seen << 4 | n,
            Say::Open => {
                self.open = true;
                cx.unstash_all();
            }
            Say::Seen(reply) => drop(reply.send(core::mem::take(&mut self.seen))),
        }
        Ok(())
    }
}

fn notes(system: &System, options: SpawnOptions) -> ActorRef<Say> {
    let open = false;
    system
        .spawn_with(options, move || Notes { seen: 0, open })
        .unwrap()
}

fn tell(actor: &ActorRef<Say>, numbers: &[u32]) {
    for n in numbers {
        actor.tell(Say::Note(*n)).ok().unwrap();
    }
}

fn suspend(actor: &ActorRef<Say>) {
    let told = actor.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit);
    told.unwrap();
}

pub(crate) async fn a_suspended_actor_keeps_its_messages_in_order(bench: &Bench) {
    type Way = (ResumeCondition, fn(&ActorRef<Say>));
    let ways: [Way; 3] = [
        (ResumeCondition::Explicit, |actor| actor.resume()),
        (ResumeCondition::ExternalSignal("go".into()), |actor| {
            actor.signal("go");
        }),
        (
            ResumeCondition::After(Duration::from_millis(20)),
            |_time_does| (),
        ),
    ];
    let system = bench.start_timed(small(1).max_timers(2));
    let actor = notes(&system, room(4));
    for (until, end) in ways {
        for inside in [false, true] {
            if inside {
                let held = actor.ask(|reply| Say::Hold(until, reply)).await;
                assert_eq!(held, Ok(()));
            } else {
                actor.suspend(SuspendReason::UserDefined, until).unwrap();
            }
            let handled = system.metrics().handled;
            tell(&actor, &[1, 2, 3]);
            let stats = actor.suspension().await.unwrap();
            assert_eq!((stats.nesting, system.metrics().suspended), (1, 1));
            assert_eq!(system.metrics().handled, handled, "{until:?}");
            end(&actor);
            assert_eq!(actor.ask(Say::Seen).await, Ok(0x123), "{until:?} {inside}");
        }
    }
    assert_eq!(system.metrics().suspended, 0);
    end(system).await;
}

pub(crate) async fn a_suspended_actor_can_be_stopped(bench: &Bench) {
    let system = bench.start(small(1));
    let actor = notes(&system, room(4));
    suspend(&actor);
    tell(&actor, &[1, 2]);
    actor.stop();
    actor.stopped().await;
    let counted = system.metrics();
    assert_eq!((counted.dead_letters, counted.suspended), (2, 0));
    end(system).await;
}

pub(crate) async fn stashed_messages_come_before_the_others(bench: &Bench) {
    let system = bench.start(small(1));
    let actor = notes(&system, room(8).stash_capacity(2));
    actor.tell(Say::Later(1)).ok().unwrap();
    actor.tell(Say::Note(2)).ok().unwrap();
    actor.tell(Say::Later(3)).ok().unwrap();
    actor.tell(Say::Open).ok().unwrap();
    actor.tell(Say::Note(4)).ok().unwrap();
    assert_eq!(actor.ask(Say::Seen).await, Ok(0x2134));
    end(system).await;
}

pub(crate) async fn policies_and_orders_do_what_they_say(bench: &Bench) {
    let two = MailboxOptions::bounded(2);
    let by_number = |say: &Say| Priority(say.number() as u8);
    // What is seen of the messages 1, 2, 3 and 4, which come while nothing is handled.
    let table = [
        (two, 0x12),
        (two.overflow(MailboxOverflowPolicy::DropNewest), 0x12),
        (two.overflow(MailboxOverflowPolicy::DropOldest), 0x34),
        (two.overflow(MailboxOverflowPolicy::Grow { max: 3 }), 0x123),
        (MailboxOptions::bounded(4).priority(by_number), 0x4321),
        (two.control(|say: &Say| say.number() == 4, 1), 0x412),
    ];
    let system = bench.start(small(1));
    for (mailbox, seen) in table {
        let actor = notes(&system, SpawnOptions::new().mailbox(mailbox));
        suspend(&actor);
        actor.suspension().await.unwrap();
        for n in 1..=4 {
            let _full = actor.tell(Say::Note(n));
        }
        actor.resume();
        while actor.suspension().await.unwrap().nesting != 0 {}
        // A mailbox may be full still.
        let answer = loop {
            match actor.ask(Say::Seen).await {
                Ok(0) | Err(_) => embassy_futures::yield_now().await,
                Ok(seen) => break seen,
            }
        };
        assert_eq!(answer, seen, "{mailbox:?}");
        actor.stop();
        actor.stopped().await;
    }
    end(system).await;
}

/// Lets no thirteen pass.
struct Superstition;

impl Middleware for Superstition {
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        match incoming.message.downcast_ref::<Say>() {
            Some(say) if say.number() == 13 => Decision::Refuse("it would bring bad luck"),
            _ => Decision::Pass,
        }
    }
}

pub(crate) async fn middleware_refuses_a_message(bench: &Bench) {
    let system = bench.start(small(1));
    let actor = notes(&system, room(4).middleware(Superstition));
    tell(&actor, &[12, 13, 14]);
    assert_eq!(actor.ask(Say::Seen).await, Ok(0xCE));
    assert_eq!(system.metrics().dead_letters, 1);
    end(system).await;
}

pub(crate) async fn pressure_is_told_when_it_comes_and_goes(bench: &Bench) {
    let system = bench.start(small(2));
    let watch = notes(&system, room(4));
    let events = system.events();
    let watched = events.subscribe_with(&watch, |event| match event {
        Event::Pressure { pressure, .. } if *pressure == Pressure::High => Some(Say::Note(1)),
        Event::Pressure { .. } => Some(Say::Note(2)),
        _ => None,
    });
    watched.unwrap();
    let mailbox = MailboxOptions::bounded(4).pressure(3, 1);
    let actor = notes(&system, SpawnOptions::new().mailbox(mailbox));
    suspend(&actor);
    actor.suspension().await.unwrap();
    tell(&actor, &[1, 2]);
    assert_eq!(watch.ask(Say::Seen).await, Ok(0));
    tell(&actor, &[3]);
    assert_eq!(watch.ask(Say::Seen).await, Ok(1));
    actor.resume();
    assert_eq!(actor.ask(Say::Seen).await, Ok(0x123));
    assert_eq!(watch.ask(Say::Seen).await, Ok(2));
    end(system).await;
}
