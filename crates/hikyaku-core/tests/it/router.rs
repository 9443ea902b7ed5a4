//! Routers and pools.

use crate::puppet::{Do, Gate, Log, Puppet};
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, Failure, Listing, MailboxOptions, Pool, PoolRef, Resizer,
    RestartPolicy, Router, Routing, SendError, ServiceKey, SpawnOptions, Supervision,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Logs what it gets.
struct Noter(String, Log);

impl Actor for Noter {
    type Msg = u64;

    async fn handle(&mut self, n: u64, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        if n == POISON {
            return Err(Failure::msg("poison"));
        }
        self.1.push(format!("{}{n}", self.0));
        Ok(())
    }
}

/// Makes a noter fail.
const POISON: u64 = u64::MAX;

fn noter(sim: &Sim, name: &str, log: &Log) -> ActorRef<u64> {
    noter_with(sim, SpawnOptions::new(), name, log)
}

fn noter_with(sim: &Sim, options: SpawnOptions, name: &str, log: &Log) -> ActorRef<u64> {
    let (name, log) = (name.to_string(), log.clone());
    sim.spawn_with(options, move || Noter(name.clone(), log.clone()))
        .unwrap()
}

fn sorted(log: &Log) -> String {
    let mut lines = log.take();
    lines.sort();
    lines.join(" ")
}

// === routers ===

#[test]
fn row84_round_robin_serves_all_and_then_those_that_are_left() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let actors = ["a", "b", "c", "d"].map(|name| noter(sim, name, &log));
        let mut router = Router::new(Routing::RoundRobin, actors.clone());
        for n in 0..8 {
            router.tell(n).unwrap();
        }
        sim.run_until_idle();
        assert_eq!(sorted(&log), "a0 a4 b1 b5 c2 c6 d3 d7");
        actors[1].stop();
        actors[3].kill();
        for n in 0..8 {
            router.tell(n).unwrap();
        }
        assert_eq!(router.len(), 2);
        sim.run_until_idle();
        let lines = log.take();
        let to = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
        assert_eq!((to("a") + to("c"), lines.len()), (8, 8));
        assert!(to("a") >= 3 && to("c") >= 3, "{lines:?}");
        actors[0].stop();
        actors[2].stop();
        assert_eq!(router.tell(7), Err(SendError::Closed(7)));
        assert!(router.is_empty());
    });
}

#[test]
fn row84_without_routees_the_message_comes_back() {
    for routing in [
        Routing::RoundRobin,
        Routing::Random(1),
        Routing::LeastLoaded,
        Routing::ByKey(|n: &u64| *n),
    ] {
        let mut router = Router::new(routing, []);
        assert_eq!(router.tell(1), Err(SendError::Closed(1)), "{routing:?}");
        assert_eq!(router.broadcast(2), Err(SendError::Closed(2)));
    }
    check_seeds(5, |sim| {
        let mut router: Router<Do> = Router::new(Routing::RoundRobin, []);
        let answer = router.ask(|reply| Do::Answer(reply, 1)).within(ms(1));
        assert_eq!(sim.block_on(answer), Err(AskError::Closed));
    });
}

#[test]
fn row84_broadcast_reaches_all_that_take_it() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let full = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let actors = [
            noter(sim, "a", &log),
            noter(sim, "b", &log),
            noter_with(sim, full, "c", &log),
        ];
        let mut router = Router::new(Routing::RoundRobin, actors.clone());
        assert_eq!(router.broadcast(1), Ok(3));
        assert_eq!(router.broadcast(2), Ok(2));
        actors[0].stop_gracefully();
        assert_eq!(router.broadcast(3), Ok(1));
        actors[1].stop_gracefully();
        assert_eq!(router.broadcast(4), Err(SendError::Full(4)));
        sim.run_until_idle();
        assert_eq!(sorted(&log), "a1 a2 b1 b2 b3 c1");
        assert_eq!(router.broadcast(5), Ok(1));
    });
}

/// A full mailbox is passed over, unless the message has a key.
#[test]
fn row84_full_members_are_passed_over() {
    let cases: [(Routing<u64>, &str); 4] = [
        (Routing::RoundRobin, "0 1 2 Full Full"),
        (Routing::Random(7), "0 1 2 Full Full"),
        (Routing::LeastLoaded, "0 1 2 Full Full"),
        (Routing::ByKey(|_| 5), "0 Full Full Full Full"),
    ];
    check_seeds(10, |sim| {
        for (routing, wanted) in cases {
            let log = Log::default();
            let small = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
            let actors = ["a", "b", "c"].map(|name| noter_with(sim, small.clone(), name, &log));
            let mut router = Router::new(routing, actors);
            let results: Vec<_> = (0..5)
                .map(|n| match router.tell(n) {
                    Ok(()) => n.to_string(),
                    Err(SendError::Full(back)) if back == n => "Full".into(),
                    Err(other) => format!("{other:?}"),
                })
                .collect();
            assert_eq!(results.join(" "), wanted, "{routing:?}");
        }
    });
}

#[test]
fn row84_a_changing_set_is_seen_by_all_clones() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| noter(sim, name, &log));
        let mut router = Router::new(Routing::RoundRobin, [a.clone()]);
        let mut other = router.clone();
        other.tell(1).unwrap();
        router.add(b.clone());
        for n in 2..4 {
            other.tell(n).unwrap();
        }
        sim.run_until_idle();
        let lines = log.take();
        assert!(lines.iter().any(|line| line.starts_with('b')), "{lines:?}");
        assert!(other.remove(&a) && !router.remove(&a));
        for n in 4..6 {
            router.tell(n).unwrap();
        }
        sim.run_until_idle();
        assert_eq!(log.line(), "b4 b5");
        router.set([c.clone(), b]);
        assert_eq!(router.broadcast(6), Ok(2));
        // Twice in it, twice as many.
        router.set([c.clone(), c]);
        assert_eq!(router.broadcast(7), Ok(2));
        sim.run_until_idle();
        assert_eq!(sorted(&log), "b6 c6 c7 c7");
    });
}

#[test]
fn row84_routers_of_one_set_share_the_work() {
    check_seeds(10, |sim| {
        let log = Log::default();
        let actors = ["a", "b", "c", "d"].map(|name| noter(sim, name, &log));
        let router = Router::new(Routing::RoundRobin, actors);
        // Each sender sends once: if all began with the first member, it would get everything.
        for n in 0..8 {
            router.clone().tell(n).unwrap();
        }
        sim.run_until_idle();
        let lines = log.take();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(
                lines.iter().filter(|line| line.starts_with(name)).count(),
                2
            );
        }
    });
}

#[test]
fn row84_random_routing_spreads_and_repeats() {
    check_seeds(5, |sim| {
        let draw = |seed: u64, sim: &mut Sim| {
            let log = Log::default();
            let actors = ["a", "b", "c", "d"].map(|name| noter(sim, name, &log));
            let mut router = Router::new(Routing::Random(seed), actors);
            for n in 0..400 {
                router.tell(n).unwrap();
            }
            sim.run_until_idle();
            let mut lines = log.take();
            lines.sort_by_key(|line| line[1..].parse::<u32>().unwrap());
            lines
        };
        let (one, same, other) = (draw(1, sim), draw(1, sim), draw(2, sim));
        assert_eq!(one, same);
        assert_ne!(one, other);
        for name in ["a", "b", "c", "d"] {
            let count = one.iter().filter(|line| line.starts_with(name)).count();
            assert!((60..140).contains(&count), "{name}: {count}");
        }
    });
}

/// Which member gets each key.
fn keys_of(sim: &mut Sim, router: &mut Router<u64>, log: &Log) -> BTreeMap<u64, String> {
    for key in 1000..2000 {
        router.tell(key).unwrap();
    }
    sim.run_until_idle();
    let lines = log.take();
    assert_eq!(lines.len(), 1000);
    let split = lines.iter().map(|line| {
        let (name, key) = line.split_at(1);
        (key.parse().unwrap(), name.to_string())
    });
    split.collect()
}

#[test]
fn row84_keys_move_only_to_and_from_the_member_that_comes_or_goes() {
    check_seeds(5, |sim| {
        let log = Log::default();
        let actors = ["a", "b", "c", "d", "e"].map(|name| noter(sim, name, &log));
        let by_key = Routing::ByKey(|n: &u64| *n);
        let mut router = Router::new(by_key, actors.clone());
        let before = keys_of(sim, &mut router, &log);
        // Another router with the same members, in another order, agrees.
        let reversed = actors.iter().rev().cloned();
        assert_eq!(
            keys_of(sim, &mut Router::new(by_key, reversed), &log),
            before
        );
        for name in ["a", "b", "c", "d", "e"] {
            let count = before.values().filter(|to| *to == name).count();
            assert!((140..260).contains(&count), "{name}: {count}");
        }
        // One leaves: its keys are spread over all others.
        actors[2].stop();
        let after = keys_of(sim, &mut router, &log);
        let mut heirs = BTreeMap::<&str, usize>::new();
        for (key, to) in &before {
            if to == "c" {
                *heirs.entry(&after[key]).or_default() += 1;
            } else {
                assert_eq!(&after[key], to);
            }
        }
        assert!(
            heirs.len() == 4 && heirs.values().all(|n| *n >= 20),
            "{heirs:?}"
        );
        // One comes: what moves goes to it.
        router.add(noter(sim, "f", &log));
        let then = keys_of(sim, &mut router, &log);
        let moved: Vec<_> = after.iter().filter(|(key, to)| then[key] != **to).collect();
        assert!(moved.iter().all(|(key, _)| then[key] == "f"));
        assert!((140..260).contains(&moved.len()), "{}", moved.len());
    });
}

#[test]
fn row84_the_least_loaded_gets_the_next_question() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let slow = Gate::default();
        let actors = ["a", "b", "c"].map(|name| sim.spawn(Puppet::factory(name, &log)).unwrap());
        let mut router = Router::new(Routing::LeastLoaded, actors);
        let gate = slow.clone();
        // One question hangs; whoever has it gets no other while the others are free.
        let hanging = router.ask(|reply| Do::After(gate, Box::new(Do::Answer(reply, 0))));
        for n in 1..=6 {
            let answer = router.ask(|reply| Do::Answer(reply, n));
            assert_eq!(sim.block_on(answer), Ok(n));
        }
        let two: Vec<_> = (0..2).map(|_| router.ask(Do::Keep)).collect();
        slow.open();
        assert_eq!(sim.block_on(hanging), Ok(0));
        drop(two);
        // Nothing is counted any more: they take turns again.
        sim.run_until_idle();
        log.take();
        for n in 0..6 {
            router.tell(Do::Note(n)).unwrap_or_else(|_| panic!());
        }
        sim.run_until_idle();
        let lines = log.take();
        for name in ["a", "b", "c"] {
            assert_eq!(
                lines.iter().filter(|line| line.starts_with(name)).count(),
                2
            );
        }
    });
}

#[test]
fn row84_row30_a_question_that_no_member_takes_is_a_dead_letter() {
    for (stops, error) in [(false, AskError::Full), (true, AskError::Closed)] {
        let mut sim = Sim::new(0);
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let actor = sim
            .spawn_with(options, Puppet::factory("", &Log::default()))
            .unwrap();
        let mut router = Router::new(Routing::RoundRobin, [actor.clone()]);
        router.tell(Do::Note(1)).unwrap();
        if stops {
            actor.stop();
        }
        let answer = router.ask(|reply| Do::Answer(reply, 1));
        assert_eq!(sim.system().metrics().dead_letters, 1);
        assert_eq!(sim.block_on(answer), Err(error));
    }
}

#[test]
fn row84_a_router_that_is_asked_waits_no_longer_than_it_said() {
    check_seeds(20, |sim| {
        let actor = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let mut router = Router::new(Routing::RoundRobin, [actor]);
        let kept = router.ask(Do::Keep).within(ms(10));
        let kept = sim.spawn_task(kept);
        sim.run_until_idle();
        sim.advance(ms(11));
        sim.run_until_idle();
        assert!(matches!(kept.take(), Some(Err(AskError::Timeout { .. }))));
    });
}

/// Keeps a router to a group.
struct Follower(Router<u64>);

enum FollowerMsg {
    Changed(Listing<u64>),
    Send(u64),
}

impl hikyaku_core::Wrap<Listing<u64>> for FollowerMsg {
    fn wrap(listing: Listing<u64>) -> Self {
        Self::Changed(listing)
    }

    fn unwrap(self) -> Listing<u64> {
        match self {
            Self::Changed(listing) => listing,
            Self::Send(_) => unreachable!("never wrapped"),
        }
    }
}

const NOTERS: ServiceKey<u64> = ServiceKey::new("noters");

impl Actor for Follower {
    type Msg = FollowerMsg;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let me = cx.me().recipient();
        cx.system().receptionist().subscribe(&NOTERS, &me)?;
        Ok(())
    }

    async fn handle(&mut self, msg: FollowerMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            FollowerMsg::Changed(listing) => self.0.follow(&listing),
            FollowerMsg::Send(n) => drop(self.0.tell(n)),
        }
        Ok(())
    }
}

#[test]
fn row84_a_router_follows_a_group() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let [a, b] = ["a", "b"].map(|name| noter(sim, name, &log));
        let receptionist = sim.system().clone();
        receptionist.receptionist().register(&NOTERS, &a).unwrap();
        let router = Router::new(Routing::RoundRobin, []);
        let seen = router.clone();
        let follower = sim.spawn(move || Follower(router.clone())).unwrap();
        sim.run_until_idle();
        assert_eq!(seen.len(), 1);
        receptionist.receptionist().register(&NOTERS, &b).unwrap();
        sim.run_until_idle();
        for n in 0..2 {
            assert!(follower.tell(FollowerMsg::Send(n)).is_ok());
        }
        sim.run_until_idle();
        assert_eq!(log.take().len(), 2);
        a.stop();
        sim.run_until_idle();
        assert_eq!(seen.len(), 1);
        assert!(follower.tell(FollowerMsg::Send(2)).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "b2");
    });
}

// === pools ===

/// A pool of noters with names by the order in which they were made.
fn noters(size: usize, log: &Log) -> Pool<Noter> {
    let (log, made) = (log.clone(), Arc::new(AtomicUsize::new(0)));
    Pool::new(size, move || {
        let number = made.fetch_add(1, Ordering::Relaxed) as u8;
        Noter(char::from(b'a' + number).to_string(), log.clone())
    })
}

fn start<A: Actor>(sim: &mut Sim, pool: Pool<A>) -> PoolRef<A::Msg> {
    let pool = pool.spawn(sim.system()).unwrap();
    assert!(sim.block_on(pool.started()).is_ok());
    sim.run_until_idle();
    pool
}

fn spread(sim: &mut Sim, router: &mut Router<u64>, messages: u64, log: &Log) -> usize {
    for n in 0..messages {
        router.tell(n).unwrap();
    }
    sim.run_until_idle();
    let lines = log.take();
    assert_eq!(lines.len() as u64, messages);
    let names: std::collections::BTreeSet<_> = lines.iter().map(|line| &line[..1]).collect();
    names.len()
}

#[cfg(feature = "supervision")]
#[test]
fn row84_a_pool_has_n_members_and_outlives_some_of_them() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let pool = start(sim, noters(4, &log));
        let mut router = pool.router();
        assert_eq!((pool.size(), spread(sim, &mut router, 8, &log)), (4, 4));
        // A failed member is made anew, and keeps its place and what it was sent.
        for _ in 0..4 {
            router.tell(POISON).unwrap();
        }
        for n in 0..4 {
            router.tell(n).unwrap();
        }
        sim.run_until_idle();
        assert_eq!((pool.size(), log.take().len()), (4, 4));
        pool.stop_gracefully();
        sim.run_until_idle();
        assert_eq!(router.tell(1), Err(SendError::Closed(1)));
        assert!(router.is_empty() && !pool.is_alive());
    });
}

/// Members that end leave; whether the pool ends with the last one is its choice.
#[test]
fn row84_the_end_when_all_have_ended() {
    check_seeds(30, |sim| {
        for ends in [false, true] {
            let log = Log::default();
            let mortal = SpawnOptions::new().restart(RestartPolicy::Temporary);
            let mut plan = noters(3, &log).members(mortal);
            if ends {
                plan = plan.stop_when_empty();
            }
            let pool = start(sim, plan);
            let mut router = pool.router();
            for left in (0..3).rev() {
                router.tell(POISON).unwrap();
                sim.run_until_idle();
                assert_eq!(pool.size(), left);
                assert_eq!(pool.is_alive(), !ends || left > 0);
            }
            assert_eq!(router.tell(1), Err(SendError::Closed(1)));
            pool.resize(2);
            sim.run_until_idle();
            assert_eq!(pool.size(), if ends { 0 } else { 2 });
            assert_eq!(router.tell(2).is_ok(), !ends);
        }
    });
}

#[test]
fn row84_resizing_by_command_keeps_within_bounds_and_loses_nothing() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let pool = start(sim, noters(9, &log).bounds(2..=6));
        assert_eq!(pool.size(), 6);
        let mut router = pool.router();
        for (wanted, size) in [(3, 3), (0, 2), (100, 6), (4, 4), (4, 4)] {
            // What is queued with those who have to go is handled.
            for n in 0..20 {
                router.tell(n).unwrap();
            }
            pool.resize(wanted);
            let mut refused = 0;
            for _ in 0..20 {
                let steps = sim.below(5);
                sim.run_steps(steps);
                refused += usize::from(router.tell(7).is_err());
            }
            sim.run_until_idle();
            assert_eq!((log.take().len(), refused), (40, 0));
            assert_eq!(pool.size(), size, "{wanted}");
            assert_eq!(spread(sim, &mut router, 30, &log), size);
        }
    });
}

/// A member that takes the place of another takes over its keys.
#[test]
fn row84_keys_of_a_pool_belong_to_places() {
    check_seeds(10, |sim| {
        let log = Log::default();
        let mortal = SpawnOptions::new().restart(RestartPolicy::Temporary);
        let by_key = Routing::ByKey(|n: &u64| *n);
        let pool = start(sim, noters(4, &log).members(mortal).routing(by_key));
        let mut router = pool.router();
        let before = keys_of(sim, &mut router, &log);
        router.tell(POISON).unwrap();
        sim.run_until_idle();
        assert_eq!(pool.size(), 3);
        pool.resize(4);
        sim.run_until_idle();
        let after = keys_of(sim, &mut router, &log);
        let mut renamed = BTreeMap::new();
        for (key, to) in &before {
            assert_eq!(renamed.entry(to).or_insert(&after[key]), &&after[key]);
        }
        assert_eq!(renamed.values().filter(|to| **to == "e").count(), 1);
    });
}

#[test]
fn row84_a_pool_grows_under_pressure_and_shrinks_after_it() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let made = log.clone();
        let plan = Pool::new(1, move || Puppet::new("m", &made))
            .routing(Routing::LeastLoaded)
            .bounds(1..=4)
            .resizer(Resizer::every(ms(10)).pressure(2).step(2).patience(3));
        let pool = start(sim, plan);
        let mut router = pool.router();
        let look = |sim: &mut Sim| {
            sim.advance(ms(10));
            sim.run_until_idle();
            pool.size()
        };
        assert_eq!([look(sim), look(sim)], [1, 1]);
        let mut questions: Vec<_> = (0..2).map(|_| router.ask(Do::Keep)).collect();
        assert_eq!([look(sim), look(sim)], [3, 3]);
        questions.extend((0..20).map(|_| router.ask(Do::Keep)));
        // Up to the bound, and no further.
        assert_eq!([look(sim), look(sim), look(sim)], [4, 4, 4]);
        // Six questions are too many for three members.
        questions.truncate(6);
        assert_eq!([look(sim), look(sim), look(sim), look(sim)], [4, 4, 4, 4]);
        questions.clear();
        let sizes: Vec<_> = (0..12).map(|_| look(sim)).collect();
        assert_eq!(sizes, [4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1]);
    });
}

/// The pool itself is restarted, because a member fails too often: with new members, of the size it had.
#[cfg(feature = "supervision")]
#[test]
fn row84_a_pool_that_is_restarted_has_its_size() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let strict = Supervision::one_for_one().max_restarts(0, ms(1000));
        let plan = noters(2, &log).options(SpawnOptions::new().supervision(strict));
        let pool = start(sim, plan);
        pool.resize(5);
        sim.run_until_idle();
        let mut router = pool.router();
        router.tell(POISON).unwrap();
        sim.run_until_idle();
        assert_eq!((pool.size(), spread(sim, &mut router, 10, &log)), (5, 5));
    });
}

#[test]
fn row84_a_pool_in_an_actor_ends_with_it() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let parent = sim.spawn(Puppet::factory("p", &Log::default())).unwrap();
        let plan = noters(2, &log);
        let pool =
            crate::puppet::within(sim, &parent, move |cx| plan.spawn_in(cx).unwrap()).unwrap();
        let mut router = pool.router();
        assert_eq!(spread(sim, &mut router, 4, &log), 2);
        parent.stop();
        sim.run_until_idle();
        assert!(router.tell(1).is_err());
        assert_eq!(sim.system().metrics().live_actors, 0);
    });
}
