//! The event stream, and what is told of dead letters.

use crate::puppet::{Count, Do, Gate, Hook, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, Event, Failure, MailboxOptions, Recipient, RestartPolicy,
    SpawnOptions, StopCause, SubscribeError, System,
};
use hikyaku_testkit::{Sim, check_seeds};

/// An event in a few words, with the slot of the actor.
fn text(event: &Event) -> String {
    let actor = event.actor().slot;
    match event {
        Event::DeadLetter { reason, .. } => format!("letter({actor},{reason:?})"),
        Event::Failed { name, failure, .. } => {
            format!(
                "failed({actor},{},{failure})",
                name.as_deref().unwrap_or("-")
            )
        }
        Event::Stopped { name, cause, .. } => {
            let cause = match cause {
                StopCause::Failed(_) => "failed".into(),
                other => other.to_string(),
            };
            format!(
                "stopped({actor},{},{cause})",
                name.as_deref().unwrap_or("-")
            )
        }
        other => format!("{other:?}"),
    }
}

/// A closure that logs all events but starts.
fn listen(system: &System, log: &Log) -> hikyaku_core::Subscription {
    let log = log.clone();
    system.events().listen(move |event| {
        if !matches!(event, Event::Started { .. }) {
            log.push(text(event));
        }
    })
}

fn named(name: &str) -> SpawnOptions {
    SpawnOptions::new().name(name)
}

#[test]
fn row80_dead_letters_failures_and_ends_are_events() {
    struct Case {
        what: &'static str,
        act: fn(&ActorRef<Do>),
        events: &'static [&'static str],
    }
    let cases = [
        Case {
            what: "a failure with two messages behind it",
            act: |a| {
                a.tell(Do::Fail("x")).unwrap();
                a.tell_all([Do::Note(1), Do::Note(2)]).unwrap();
            },
            events: &[
                "failed(0,a,x)",
                "letter(0,Stopped)",
                "letter(0,Stopped)",
                "stopped(0,a,failed)",
            ],
        },
        Case {
            what: "a kill in a handler",
            act: |a| {
                a.tell(Do::Note(1)).unwrap();
                a.kill();
            },
            events: &["letter(0,Stopped)", "stopped(0,a,killed)"],
        },
        Case {
            what: "a stop",
            act: |a| {
                a.tell(Do::Note(1)).unwrap();
                a.stop();
            },
            events: &["letter(0,Stopped)", "stopped(0,a,stopped)"],
        },
        Case {
            what: "a graceful stop",
            act: |a| {
                a.tell(Do::Note(1)).unwrap();
                a.stop_gracefully();
            },
            events: &["stopped(0,a,stopped)"],
        },
        Case {
            what: "a kill",
            act: ActorRef::kill,
            events: &["stopped(0,a,killed)"],
        },
    ];
    check_seeds(20, |sim| {
        for case in &cases {
            let (log, quiet) = (Log::default(), Log::default());
            let listening = listen(sim, &log);
            let actor = sim
                .spawn_with(
                    named("a").restart(RestartPolicy::Temporary),
                    Puppet::factory("a", &quiet),
                )
                .unwrap();
            (case.act)(&actor);
            sim.run_until_idle();
            assert!(sim.events().unsubscribe(listening));
            let zero = format!("({},", actor.index().slot);
            let events: Vec<_> = log
                .take()
                .iter()
                .map(|it| it.replace(&zero, "(0,"))
                .collect();
            assert_eq!(events, case.events, "{}", case.what);
        }
    });
}

/// A question that is refused is a dead letter, and one that has a known sender if an actor asked.
#[test]
fn row30_row80_a_refused_question_names_who_asked() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let seen = log.clone();
        sim.system().events().listen(move |event| {
            if let Event::DeadLetter {
                target,
                reason,
                sender,
                ..
            } = event
            {
                let sender = sender.map(|sender| sender.to_string());
                let sender = sender.as_deref().unwrap_or("outside");
                seen.push(format!("{sender} to {target}: {reason:?}"));
            }
        });
        let bounded = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let full = sim.spawn_with(bounded, Puppet::factory("f", &log)).unwrap();
        let ended = sim.spawn(Puppet::factory("e", &log)).unwrap();
        let asker = sim.spawn(Puppet::factory("a", &log)).unwrap();
        ended.stop();
        let gate = Gate::default();
        assert!(full.tell(Do::Pass(1, gate.clone())).is_ok());
        sim.run_until_idle();
        assert!(full.tell(Do::Note(2)).is_ok());
        log.take();
        for (target, error) in [(&full, AskError::Full), (&ended, AskError::Closed)] {
            let answer = sim.block_on(target.ask(|reply| Do::Answer(reply, 1)));
            assert_eq!(answer, Err(error));
            let to = target.clone();
            let ask = Do::run(move |_| async move {
                assert_eq!(to.ask(|reply| Do::Answer(reply, 1)).await, Err(error));
            });
            assert!(asker.tell(ask).is_ok());
            sim.run_until_idle();
            let to = target.index();
            let from = if cfg!(feature = "std") {
                asker.index().to_string()
            } else {
                // It might have been an interrupt.
                "outside".into()
            };
            let both = [
                format!("outside to {to}: Bounced"),
                format!("{from} to {to}: Bounced"),
            ];
            assert_eq!(log.take(), both);
        }
        assert_eq!(sim.metrics().dead_letters, 4);
        gate.open();
        sim.run_until_idle();
    });
}

#[test]
fn row80_what_is_not_worth_a_report_is_counted_only() {
    check_seeds(20, |sim| {
        let log = Log::default();
        listen(sim, &log);
        sim.ignore_dead_letters(|message: &Do| message.number() == Some(1));
        let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        let letters = sim.metrics().dead_letters;
        actor
            .tell_all([Do::Note(1), Do::Note(2), Do::Note(1)])
            .unwrap();
        actor.stop();
        sim.run_until_idle();
        assert_eq!(sim.metrics().dead_letters - letters, 3);
        let reported = log.take();
        assert_eq!(reported.len(), 2, "one letter and the end: {reported:?}");
        assert_eq!(sim.take_effects().len(), 1, "the listener sees one as well");

        // The last call for a type counts.
        sim.ignore_dead_letters(|_: &Do| false);
        let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        actor.tell(Do::Note(1)).unwrap();
        actor.stop();
        sim.run_until_idle();
        assert_eq!(log.len(), 2);
        sim.take_effects();
    });
}

/// A probe's view of the events of one actor.
fn about(actor: &ActorRef<Do>) -> impl Fn(&Event) -> Option<String> + Send + Sync + use<> {
    let actor = actor.index();
    move |event| (event.actor() == actor).then(|| text(event))
}

#[test]
fn row81_a_subscription_lasts_until_it_or_the_actor_ends() {
    check_seeds(50, |sim| {
        let mut probe = sim.probe::<String>();
        let stopping = |sim: &mut Sim, map: &mut dyn FnMut(&ActorRef<Do>)| {
            let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
            map(&actor);
            actor.stop();
            sim.run_until_idle();
        };
        // Not subscribed.
        stopping(sim, &mut |_| {});
        probe.expect_none(sim);
        // Subscribed twice: each event twice.
        let mut subscriptions = Vec::new();
        let system = sim.system().clone();
        for _ in 0..2 {
            let map = |event: &Event| Some(text(event));
            let subscription = system.events().subscribe_with(&probe.actor(), map);
            subscriptions.push(subscription.unwrap());
        }
        stopping(sim, &mut |_| {});
        probe.expect_n(sim, 2);
        // Once.
        assert!(system.events().unsubscribe(subscriptions[0]));
        assert!(!system.events().unsubscribe(subscriptions[0]), "twice");
        stopping(sim, &mut |_| {});
        probe.expect(sim);
        probe.expect_none(sim);
        // Filtered by the closure.
        assert!(system.events().unsubscribe(subscriptions[1]));
        let to = probe.actor();
        stopping(sim, &mut |actor| {
            let subscribed = system.events().subscribe_with(&to, about(actor));
            subscriptions.push(subscribed.unwrap());
        });
        probe.expect(sim);
        stopping(sim, &mut |_| {});
        probe.expect_none(sim);
        // The end of the subscriber ends its subscription.
        to.stop();
        sim.run_until_idle();
        assert!(!system.events().unsubscribe(subscriptions[2]));
        assert_eq!(
            system.events().subscribe_with(&to, |_| None),
            Err(SubscribeError::Stopped)
        );
        assert_eq!(
            format!("{:?}", system.events()),
            "EventStream { listeners: 0, .. }"
        );
    });
}

#[test]
fn row81_an_end_that_races_with_subscribing_leaves_nothing() {
    check_seeds(100, |sim| {
        let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        let (system, subscriber) = (sim.system().clone(), actor.clone());
        sim.spawn_task(async move {
            let _ = system.events().subscribe_with(&subscriber, |_| None);
        });
        actor.stop();
        sim.run_until_idle();
        assert_eq!(
            format!("{:?}", sim.events()),
            "EventStream { listeners: 0, .. }"
        );
    });
}

#[test]
fn row81_a_slow_subscriber_loses_events_and_holds_nobody_up() {
    check_seeds(50, |sim| {
        let gate = Gate::default();
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(2));
        let slow = sim
            .spawn_with(options, Puppet::factory("s", &Log::default()))
            .unwrap();
        slow.tell(Do::Pass(0, gate.clone())).unwrap();
        sim.run_until_idle();
        let map = |event: &Event| matches!(event, Event::Stopped { .. }).then_some(Do::Note(1));
        sim.events().subscribe_with(&slow, map).unwrap();
        for _ in 0..5 {
            let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
            actor.stop();
            sim.block_on(actor.stopped());
        }
        assert_eq!(sim.events().dropped(), 3);
        gate.open();
        sim.run_until_idle();
        let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        actor.stop();
        sim.run_until_idle();
        assert_eq!(sim.events().dropped(), 3, "there is room again");
    });
}

#[test]
fn row81_letters_of_subscribers_are_for_closures_only() {
    check_seeds(20, |sim| {
        let log = Log::default();
        listen(sim, &log);
        let mut probe = sim.probe::<String>();
        let other = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        for (to, filter) in [(&other, true), (&other, false)] {
            let map = move |_: &Event| filter.then_some(Do::Note(1));
            sim.events().subscribe_with(to, map).unwrap();
        }
        let letters =
            |event: &Event| matches!(event, Event::DeadLetter { .. }).then(|| text(event));
        sim.events()
            .subscribe_with(&probe.actor(), letters)
            .unwrap();
        other.tell(Do::Note(2)).unwrap();
        other.stop();
        sim.run_until_idle();
        assert!(log.take().iter().any(|event| event.starts_with("letter")));
        probe.expect_none(sim);
        sim.take_effects();
    });
}

#[test]
fn row81_a_subscription_keeps_no_actor_alive() {
    check_seeds(20, |sim| {
        let options = SpawnOptions::new().stop_when_unreferenced();
        let actor = sim
            .spawn_with(options, Puppet::factory("a", &Log::default()))
            .unwrap();
        sim.events().subscribe_with(&actor, |_| None).unwrap();
        drop(actor);
        sim.run_until_idle();
        assert_eq!(sim.metrics().live_actors, 0);
    });
}

/// Subscribes itself, as a recipient.
struct Ear(Log);

impl Actor for Ear {
    type Msg = Event;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let me: Recipient<Event> = cx.me().recipient();
        cx.system().events().subscribe(&me)?;
        Ok(())
    }

    async fn handle(&mut self, event: Event, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0.push(text(&event));
        Ok(())
    }
}

#[test]
fn row81_an_actor_subscribes_itself_as_a_recipient() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let heard = log.clone();
        sim.spawn(move || Ear(heard.clone())).unwrap();
        sim.run_until_idle();
        assert!(
            log.line().starts_with("Started"),
            "it has subscribed before"
        );
        let actor = sim
            .spawn_with(named("x"), Puppet::factory("a", &Log::default()))
            .unwrap();
        actor.kill();
        sim.run_until_idle();
        let slot = actor.index().slot;
        assert_eq!(log.line(), format!("stopped({slot},x,killed)"));
    });
}

#[test]
fn an_actor_of_another_system_cannot_subscribe() {
    let (sim, other) = (Sim::new(1), Sim::new(2));
    let actor = other.spawn(Puppet::factory("a", &Log::default())).unwrap();
    assert_eq!(
        sim.events().subscribe_with(&actor, |_| None),
        Err(SubscribeError::ForeignActor)
    );
}

#[test]
fn listeners_are_dropped_when_the_system_has_stopped() {
    check_seeds(20, |sim| {
        let count = Count::default();
        let system = sim.system().clone();
        let (held, kept) = (count.one(), system.clone());
        system.events().listen(move |_| {
            let _ = (&held, &kept);
        });
        let (held, kept) = (count.one(), system.clone());
        system.ignore_dead_letters(move |_: &Do| {
            let _ = (&held, &kept);
            false
        });
        assert_eq!(count.alive(), 2);
        sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        let terminated = system.graceful_shutdown();
        sim.block_on(terminated);
        assert_eq!(count.alive(), 0);
        let held = count.one();
        let late = system.events().listen(move |_| {
            let _ = &held;
        });
        assert_eq!(count.alive(), 0, "nothing will happen any more");
        assert!(!system.events().unsubscribe(late));
    });
}

#[cfg(feature = "std")]
#[test]
fn a_listener_that_panics_harms_nobody() {
    check_seeds(10, |sim| {
        let log = Log::default();
        sim.events().listen(|_| panic!("as asked"));
        listen(sim, &log);
        let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        actor.stop();
        sim.run_until_idle();
        assert_eq!(log.len(), 1);
    });
}

/// Once for each incarnation that has started, before its first message, and not for one that has not.
#[cfg(feature = "supervision")]
#[test]
fn row80_starts_are_events() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let seen = log.clone();
        sim.system().events().listen(move |event| {
            if let Event::Started { actor, name, .. } = event {
                assert_eq!((event.actor(), event.name()), (*actor, name.as_deref()));
                seen.push(format!("started:{}", name.as_deref().unwrap_or("-")));
            }
        });
        let gate = Gate::default();
        let hook = Hook::Wait(gate.clone());
        let (its, mut made) = (log.clone(), 0);
        let factory = move || {
            made += 1;
            let hook = match made {
                1 => &hook,
                3 => &Hook::Fail,
                _ => &Hook::Fine,
            };
            Puppet::new("a", &its).started(hook)
        };
        let actor = sim.spawn_with(named("a"), factory).unwrap();
        assert!(actor.tell(Do::Note(1)).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "a+");
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "started:a a1");
        assert!(actor.tell(Do::Fail("x")).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "a~ a+ started:a");
        assert!(actor.tell(Do::Fail("x")).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "a~ a+ a-", "its start failed");
        assert!(!actor.is_alive());
    });
}

#[cfg(feature = "supervision")]
#[test]
fn row80_a_restart_is_an_event_and_no_end() {
    check_seeds(20, |sim| {
        let (log, quiet) = (Log::default(), Log::default());
        let listening = listen(sim, &log);
        let actor = sim
            .spawn_with(named("a"), Puppet::factory("a", &quiet))
            .unwrap();
        for _ in 0..2 {
            actor.tell(Do::Fail("x")).unwrap();
        }
        sim.run_until_idle();
        let events = log.take();
        assert_eq!(events.len(), 4, "{events:?}");
        assert!(events[1].starts_with("Restarted") && events[3].starts_with("Restarted"));
        assert!(actor.is_alive() && sim.events().unsubscribe(listening));
    });
}
