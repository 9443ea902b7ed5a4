//! Services and groups.

use crate::puppet::{Do, Gate, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, Context, Failure, Listing, MailboxOptions, Recipient, RegisterError,
    ServiceKey, SpawnOptions, SubscribeError,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const A: ServiceKey<Do> = ServiceKey::new("a");
const B: ServiceKey<Do> = ServiceKey::new("b");

fn spawn(sim: &Sim) -> ActorRef<Do> {
    sim.spawn(Puppet::factory("p", &Log::default())).unwrap()
}

/// What subscribers are sent, in order. Waits at the gate before each, if there is one.
struct Ear {
    heard: Heard,
    gate: Option<Gate>,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Listing<Do>>>>);

impl Actor for Ear {
    type Msg = Listing<Do>;

    async fn handle(&mut self, it: Self::Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        self.heard.0.lock().unwrap().push(it);
        Ok(())
    }
}

impl Heard {
    fn ear(&self, gate: Option<Gate>) -> impl FnMut() -> Ear + Send + 'static {
        let heard = self.clone();
        move || Ear {
            heard: heard.clone(),
            gate: gate.clone(),
        }
    }

    /// A subscriber.
    fn subscriber(&self, sim: &Sim, key: &ServiceKey<Do>) -> Recipient<Listing<Do>> {
        let ear: Recipient<Listing<Do>> = sim.spawn(self.ear(None)).unwrap().recipient();
        sim.receptionist().subscribe(key, &ear).unwrap();
        ear
    }

    /// What was sent since the last time, with the places of the actors in a list: `a=01 a+1 a-0`.
    fn line(&self, actors: &[ActorRef<Do>]) -> String {
        let listings = std::mem::take(&mut *self.0.lock().unwrap());
        let texts = listings.iter().map(|listing| text(listing, actors));
        texts.collect::<Vec<_>>().join(" ")
    }

    /// The members that follow from what was sent.
    fn members(&self) -> BTreeMap<hikyaku_core::MailboxIndex, usize> {
        let mut members = BTreeMap::new();
        for listing in std::mem::take(&mut *self.0.lock().unwrap()) {
            let (all, change) = taken_apart(&listing);
            if change == '=' {
                members.clear();
            }
            for member in all {
                let times = members.entry(member.index()).or_insert(0usize);
                *times = match change {
                    '-' => times.checked_sub(1).expect("who leaves was a member"),
                    _ => *times + 1,
                };
            }
            members.retain(|_, times| *times != 0);
        }
        members
    }
}

fn taken_apart(listing: &Listing<Do>) -> (&[ActorRef<Do>], char) {
    match listing {
        Listing::All { members, .. } => (members, '='),
        Listing::Joined { member, .. } => (std::slice::from_ref(member), '+'),
        Listing::Left { member, .. } => (std::slice::from_ref(member), '-'),
        _ => unreachable!("there are no others"),
    }
}

fn text(listing: &Listing<Do>, actors: &[ActorRef<Do>]) -> String {
    let (members, change) = taken_apart(listing);
    let mut places: Vec<_> = members
        .iter()
        .map(|member| actors.iter().position(|it| it == member).expect("known"))
        .collect();
    places.sort_unstable();
    let places: String = places.iter().map(ToString::to_string).collect();
    format!("{}{change}{places}", listing.key().name())
}

/// Something done to a service by the actor of this place.
#[derive(Clone, Copy, Debug)]
enum Act {
    Register(&'static ServiceKey<Do>, usize, Result<bool, RegisterError>),
    Deregister(&'static ServiceKey<Do>, usize, bool),
    Join(usize, usize),
    Leave(usize, bool),
    Stop(usize),
}
use Act::{Deregister, Join, Leave, Register, Stop};

struct Case {
    what: &'static str,
    acts: &'static [Act],
    /// Who is found under `A` and `B`.
    found: [&'static [usize]; 2],
    /// What a subscriber of `A` is sent.
    heard: &'static str,
}

const CASES: &[Case] = &[
    Case {
        what: "row 82: registering twice is registering once",
        acts: &[Register(&A, 0, Ok(true)), Register(&A, 0, Ok(false))],
        found: [&[0], &[]],
        heard: "a= a+0",
    },
    Case {
        what: "row 82: two services",
        acts: &[
            Register(&A, 0, Ok(true)),
            Register(&B, 0, Ok(true)),
            Register(&B, 1, Ok(true)),
        ],
        found: [&[0], &[0, 1]],
        heard: "a= a+0",
    },
    Case {
        what: "row 82: deregistering and registering again",
        acts: &[
            Deregister(&A, 0, false),
            Register(&A, 0, Ok(true)),
            Deregister(&A, 0, true),
            Deregister(&A, 0, false),
            Register(&A, 0, Ok(true)),
        ],
        found: [&[0], &[]],
        heard: "a= a+0 a-0 a+0",
    },
    Case {
        what: "row 82: deregistering from one of two",
        acts: &[
            Register(&A, 0, Ok(true)),
            Register(&B, 0, Ok(true)),
            Deregister(&A, 0, true),
        ],
        found: [&[], &[0]],
        heard: "a= a+0 a-0",
    },
    Case {
        what: "row 82: removal at the stop, from all",
        acts: &[
            Register(&A, 0, Ok(true)),
            Register(&A, 1, Ok(true)),
            Register(&B, 0, Ok(true)),
            Stop(0),
            Register(&A, 0, Err(RegisterError::Stopped)),
        ],
        found: [&[1], &[]],
        heard: "a= a+0 a+1 a-0",
    },
    Case {
        what: "row 83: joining twice counts twice",
        acts: &[Join(0, 1), Join(0, 2), Join(1, 1), Leave(0, true)],
        found: [&[0, 1], &[]],
        heard: "a= a+0 a+0 a+1 a-0",
    },
    Case {
        what: "row 83: twice a member is found twice",
        acts: &[Join(0, 1), Join(0, 2)],
        found: [&[0, 0], &[]],
        heard: "a= a+0 a+0",
    },
    Case {
        what: "row 83: leaving what was not joined",
        acts: &[
            Leave(0, false),
            Join(0, 1),
            Leave(1, false),
            Leave(0, true),
            Leave(0, false),
        ],
        found: [&[], &[]],
        heard: "a= a+0 a-0",
    },
    Case {
        what: "row 83: the end leaves as often as was joined",
        acts: &[Join(0, 1), Join(0, 2), Join(1, 1), Stop(0)],
        found: [&[1], &[]],
        heard: "a= a+0 a+0 a+1 a-0 a-0",
    },
    Case {
        what: "deregistering removes every membership",
        acts: &[Join(0, 1), Join(0, 2), Deregister(&A, 0, true)],
        found: [&[], &[]],
        heard: "a= a+0 a+0 a-0 a-0",
    },
];

#[test]
fn row82_row83_services_and_groups() {
    check_seeds(20, |sim| {
        for Case {
            what,
            acts,
            found,
            heard,
        } in CASES
        {
            let actors = [spawn(sim), spawn(sim)];
            let ears = Heard::default();
            let ear = ears.subscriber(sim, &A);
            for act in *acts {
                let desk = sim.receptionist();
                let act_text = format!("{what}: {act:?}");
                match *act {
                    Register(key, who, expected) => {
                        assert_eq!(desk.register(key, &actors[who]), expected, "{act_text}");
                    }
                    Deregister(key, who, expected) => {
                        assert_eq!(desk.deregister(key, &actors[who]), expected, "{act_text}");
                    }
                    Join(who, times) => {
                        assert_eq!(desk.join(&A, &actors[who]), Ok(times), "{act_text}");
                    }
                    Leave(who, expected) => {
                        assert_eq!(desk.leave(&A, &actors[who]), expected, "{act_text}");
                    }
                    Stop(who) => {
                        actors[who].stop();
                        let ended = actors[who].stopped();
                        sim.block_on(ended);
                    }
                }
            }
            for (key, found) in [&A, &B].into_iter().zip(found) {
                let mut places: Vec<_> = sim
                    .receptionist()
                    .find(key)
                    .iter()
                    .map(|it| actors.iter().position(|actor| actor == it).unwrap())
                    .collect();
                places.sort_unstable();
                assert_eq!(places, *found, "{what}: {}", key.name());
            }
            sim.run_until_idle();
            assert_eq!(ears.line(&actors), *heard, "{what}");
            assert!(sim.receptionist().unsubscribe(&A, &ear), "{what}");
            assert!(!sim.receptionist().unsubscribe(&A, &ear), "{what}");
            for actor in actors {
                actor.stop();
                sim.block_on(actor.stopped());
            }
            assert_eq!(sim.receptionist().find(&A), [], "{what}");
        }
    });
}

#[test]
fn row82_a_key_is_a_name_and_a_type() {
    let sim = Sim::new(1);
    let actor = spawn(&sim);
    sim.receptionist().register(&A, &actor).unwrap();
    let other: ServiceKey<Listing<Do>> = ServiceKey::new("a");
    assert_eq!(sim.receptionist().find(&other), []);
    let made: ServiceKey<Do> = ServiceKey::from(String::from("a"));
    assert_eq!(made, A);
    assert_eq!(sim.receptionist().find(&made), [actor]);
}

#[test]
fn row82_an_actor_told_to_stop_is_not_found_and_leaves_when_it_has_ended() {
    check_seeds(20, |sim| {
        let (gate, heard) = (Gate::default(), Heard::default());
        let actors = [spawn(sim)];
        actors[0].tell(Do::Pass(1, gate.clone())).unwrap();
        sim.receptionist().register(&A, &actors[0]).unwrap();
        heard.subscriber(sim, &A);
        sim.run_until_idle();
        actors[0].stop();
        sim.run_until_idle();
        assert_eq!(sim.receptionist().find(&A), []);
        assert_eq!(heard.line(&actors), "a=0");
        heard.subscriber(sim, &A);
        gate.open();
        sim.run_until_idle();
        assert_eq!(heard.line(&actors), "a=0 a-0 a-0");
    });
}

#[test]
fn row82_subscribing_again_sends_all_again() {
    check_seeds(20, |sim| {
        let heard = Heard::default();
        let actors = [spawn(sim), spawn(sim)];
        let ear = heard.subscriber(sim, &A);
        sim.receptionist().join(&A, &actors[1]).unwrap();
        sim.receptionist().subscribe(&A, &ear).unwrap();
        sim.receptionist().join(&A, &actors[0]).unwrap();
        sim.run_until_idle();
        assert_eq!(heard.line(&actors), "a= a+1 a=1 a+0");
    });
}

#[test]
fn row82_a_subscriber_that_missed_something_is_sent_all_at_the_next_change() {
    check_seeds(50, |sim| {
        let (gate, heard) = (Gate::default(), Heard::default());
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let ear = sim
            .spawn_with(options, heard.ear(Some(gate.clone())))
            .unwrap();
        let actors = [spawn(sim), spawn(sim), spawn(sim)];
        let desk = |sim: &Sim, place: usize| {
            sim.receptionist().join(&A, &actors[place]).unwrap();
        };
        sim.receptionist().subscribe(&A, &ear.recipient()).unwrap();
        // The first is in hand, the next in the mailbox, the third is missed.
        sim.run_until_idle();
        desk(sim, 0);
        sim.run_until_idle();
        desk(sim, 1);
        desk(sim, 2);
        gate.open();
        sim.run_until_idle();
        assert_eq!(heard.line(&actors), "a= a+0");
        desk(sim, 0);
        sim.run_until_idle();
        assert_eq!(heard.line(&actors), "a=0012");
        desk(sim, 1);
        sim.run_until_idle();
        assert_eq!(heard.line(&actors), "a+1");
    });
}

#[test]
fn row83_leaving_races_with_ending() {
    check_seeds(100, |sim| {
        let heard = Heard::default();
        heard.subscriber(sim, &A);
        let actors: Vec<_> = (0..4).map(|_| spawn(sim)).collect();
        for actor in &actors {
            for leaves in [false, true] {
                let (system, actor) = (sim.system().clone(), actor.clone());
                sim.spawn_task(async move {
                    if leaves {
                        system.receptionist().leave(&A, &actor);
                    } else {
                        let _ = system.receptionist().join(&A, &actor);
                    }
                });
            }
            let actor = actor.clone();
            sim.spawn_task(async move { actor.stop() });
        }
        sim.run_until_idle();
        // Whoever looks after the end finds nothing, and a subscriber has seen each leave who joined.
        assert_eq!(sim.receptionist().find(&A), []);
        assert!(heard.members().is_empty());
        for actor in &actors {
            assert_eq!(
                sim.receptionist().join(&A, actor),
                Err(RegisterError::Stopped)
            );
            assert!(!sim.receptionist().leave(&A, actor));
        }
    });
}

#[test]
fn row83_many_members_at_once() {
    let members = if cfg!(miri) { 20 } else { 2000 };
    let mut sim = Sim::new(1);
    let heard = Heard::default();
    heard.subscriber(&sim, &A);
    let actors: Vec<_> = (0..members).map(|_| spawn(&sim)).collect();
    for actor in &actors {
        sim.receptionist().join(&A, actor).unwrap();
    }
    sim.run_until_idle();
    assert_eq!(sim.receptionist().find(&A).len(), members);
    assert_eq!(heard.members().len(), members);
    for actor in &actors {
        actor.kill();
    }
    sim.run_until_idle();
    assert_eq!(sim.receptionist().find(&A).len(), 0);
    let left = heard.0.lock().unwrap().len();
    assert_eq!(left, members);
}

#[test]
fn row82_a_registration_keeps_no_actor_alive() {
    check_seeds(20, |sim| {
        let options = SpawnOptions::new().stop_when_unreferenced();
        let actor = sim
            .spawn_with(options, Puppet::factory("p", &Log::default()))
            .unwrap();
        sim.receptionist().register(&A, &actor).unwrap();
        drop(actor);
        sim.run_until_idle();
        assert_eq!(sim.metrics().live_actors, 0);
        assert_eq!(sim.receptionist().find(&A), []);
    });
}

#[test]
fn row82_the_end_of_a_subscriber_ends_its_subscription() {
    check_seeds(50, |sim| {
        let heard = Heard::default();
        let ear = sim.spawn(heard.ear(None)).unwrap();
        let to: Recipient<Listing<Do>> = ear.recipient();
        let (system, recipient) = (sim.system().clone(), to.clone());
        sim.spawn_task(async move {
            let _ = system.receptionist().subscribe(&A, &recipient);
        });
        ear.stop();
        sim.run_until_idle();
        sim.take_effects();
        assert!(!sim.receptionist().unsubscribe(&A, &to));
        assert_eq!(
            sim.receptionist().subscribe(&A, &to),
            Err(SubscribeError::Stopped)
        );
        assert!(!sim.receptionist().unsubscribe(&A, &to));
    });
}

#[test]
fn actors_of_another_system_are_refused() {
    let (sim, other) = (Sim::new(1), Sim::new(2));
    let stranger = spawn(&other);
    let ear: Recipient<Listing<Do>> = other.spawn(Heard::default().ear(None)).unwrap().recipient();
    let desk = sim.receptionist();
    assert_eq!(desk.join(&A, &stranger), Err(RegisterError::ForeignActor));
    assert_eq!(
        desk.register(&A, &stranger),
        Err(RegisterError::ForeignActor)
    );
    assert_eq!(desk.subscribe(&A, &ear), Err(SubscribeError::ForeignActor));
    assert_eq!(desk.find(&A), []);
}
