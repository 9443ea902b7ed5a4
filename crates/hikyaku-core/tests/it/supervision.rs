//! What becomes of actors that fail.

use crate::puppet::{Count, Do, Gate, Hook, Log, Puppet, child_of, mortal, within};
use hikyaku_core::{
    Actor, ActorRef, AskError, AutoShutdown, Backoff, Context, Escalation, Failure, MailboxOptions,
    RestartPolicy, SpawnOptions, StopCause, Supervision, SupervisionDirective, SystemState,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use SupervisionDirective::{Escalate, Restart, Resume, Stop};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn always(directive: SupervisionDirective) -> Supervision {
    Supervision::one_for_one().decider(move |_| directive)
}

fn supervised(by: Supervision) -> SpawnOptions {
    SpawnOptions::new().supervision(by)
}

/// How often it was made; none if it is not there or does not handle messages.
fn incarnation(sim: &mut Sim, actor: &ActorRef<Do>) -> Option<u16> {
    within(sim, actor, |cx| cx.incarnation())
}

fn fail(sim: &mut Sim, actor: &ActorRef<Do>) {
    assert!(actor.tell(Do::Fail("as asked")).is_ok());
    sim.run_until_idle();
}

fn note(actor: &ActorRef<Do>, n: u64) {
    assert!(actor.tell(Do::Note(n)).is_ok());
}

/// A parent and children that log under their names.
fn family(
    sim: &mut Sim,
    by: Supervision,
    children: &[&str],
) -> (Log, ActorRef<Do>, Vec<ActorRef<Do>>) {
    let log = Log::default();
    let parent = sim
        .spawn_with(supervised(by), Puppet::factory("p", &log))
        .unwrap();
    let children = children
        .iter()
        .map(|name| {
            let factory = Puppet::factory(name, &log);
            child_of(sim, &parent, SpawnOptions::new(), factory)
        })
        .collect();
    sim.run_until_idle();
    log.take();
    (log, parent, children)
}

fn text(cause: &StopCause) -> String {
    match cause {
        StopCause::Failed(failure) => format!("failed: {failure}"),
        cause => cause.to_string(),
    }
}

/// Those in the log with this ending, in their order.
fn with_end(log: &[String], end: char) -> String {
    let those = log.iter().filter_map(|entry| entry.strip_suffix(end));
    those.collect::<Vec<_>>().join("")
}

fn sorted(text: &str) -> String {
    let mut letters: Vec<_> = text.chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

#[test]
fn row32_each_policy_and_each_kind_of_end() {
    use RestartPolicy::{Permanent, Temporary, Transient};
    type End = fn(&ActorRef<Do>);
    let itself: End = |a| assert!(a.tell(Do::call(|cx| cx.stop())).is_ok());
    let told: End = |a| a.stop();
    let gently: End = |a| a.stop_gracefully();
    let killed: End = |a| a.kill();
    let fails: End = |a| assert!(a.tell(Do::Fail("x")).is_ok());
    let cases: [(&str, RestartPolicy, End, Option<&str>); 15] = [
        ("permanent stops itself", Permanent, itself, None),
        ("permanent is told", Permanent, told, Some("stopped")),
        (
            "permanent is told gently",
            Permanent,
            gently,
            Some("stopped"),
        ),
        ("permanent is killed", Permanent, killed, Some("killed")),
        ("permanent fails", Permanent, fails, None),
        ("transient stops itself", Transient, itself, Some("stopped")),
        ("transient is told", Transient, told, Some("stopped")),
        (
            "transient is told gently",
            Transient,
            gently,
            Some("stopped"),
        ),
        ("transient is killed", Transient, killed, Some("killed")),
        ("transient fails", Transient, fails, None),
        ("temporary stops itself", Temporary, itself, Some("stopped")),
        ("temporary is told", Temporary, told, Some("stopped")),
        (
            "temporary is told gently",
            Temporary,
            gently,
            Some("stopped"),
        ),
        ("temporary is killed", Temporary, killed, Some("killed")),
        ("temporary fails", Temporary, fails, Some("failed: x")),
    ];
    check_seeds(20, |sim| {
        for (what, policy, end, cause) in cases {
            for top in [false, true] {
                let log = Log::default();
                let options = SpawnOptions::new().restart(policy);
                let factory = Puppet::factory("c", &log);
                let actor = if top {
                    sim.spawn_with(options, factory).unwrap()
                } else {
                    let parent = sim.spawn(Puppet::factory("p", &Log::default())).unwrap();
                    child_of(sim, &parent, options, factory)
                };
                sim.run_until_idle();
                end(&actor);
                sim.run_until_idle();
                match cause {
                    None => {
                        assert!(actor.is_alive(), "{what} {top}");
                        assert_eq!(log.line(), "c+ c~ c+", "{what} {top}");
                        assert_eq!(incarnation(sim, &actor), Some(2), "{what} {top}");
                    }
                    Some(cause) => {
                        let ended = sim.block_on(actor.stopped());
                        assert_eq!(text(&ended), cause, "{what} {top}");
                    }
                }
            }
        }
        assert_eq!(sim.state(), SystemState::Running);
    });
}

#[test]
fn row32_a_permanent_actor_that_stops_in_a_hook() {
    // In `started` it fails only once it has started; in `stopped` it changes nothing.
    check_seeds(20, |sim| {
        let (log, made) = (Log::default(), Arc::new(AtomicUsize::new(0)));
        let actor = {
            let (log, made) = (log.clone(), made.clone());
            let options = SpawnOptions::new().restart(RestartPolicy::Permanent);
            sim.spawn_with(options, move || {
                let first = made.fetch_add(1, Ordering::Relaxed) == 0;
                let hook = if first { Hook::Stop } else { Hook::Fine };
                Puppet::new("a", &log).started(&hook).stopped(&Hook::Stop)
            })
            .unwrap()
        };
        sim.run_until_idle();
        assert_eq!(log.line(), "a+ a~ a+");
        actor.stop_gracefully();
        assert_eq!(text(&sim.block_on(actor.stopped())), "stopped");
        assert_eq!(log.line(), "a-");
    });
}

#[test]
fn row31_strategies_affect_whom_they_say() {
    type Strategy = fn() -> Supervision;
    let cases: [(&str, Strategy, [&str; 4]); 3] = [
        ("one", Supervision::one_for_one, ["a", "b", "c", "d"]),
        ("all", Supervision::all_for_one, ["abcd"; 4]),
        (
            "rest",
            Supervision::rest_for_one,
            ["abcd", "bcd", "cd", "d"],
        ),
    ];
    check_seeds(20, |sim| {
        for (what, by, affected) in &cases {
            for (place, affected) in affected.iter().enumerate() {
                for directive in [Restart, Stop] {
                    let by = by().decider(move |_| directive);
                    let (log, _, children) = family(sim, by, &["a", "b", "c", "d"]);
                    fail(sim, &children[place]);
                    let log = log.take();
                    let case = format!("{what} {place} {directive:?} {log:?}");
                    let end = if directive == Restart { '+' } else { '-' };
                    let ended_or_made = with_end(&log, end);
                    assert_eq!(sorted(&ended_or_made), *affected, "{case}");
                    if directive == Restart {
                        assert_eq!(ended_or_made, *affected, "{case}: in their order");
                    }
                    let restarts = if directive == Restart { *affected } else { "" };
                    assert_eq!(sorted(&with_end(&log, '~')), restarts, "{case}");
                }
            }
        }
    });
}

/// Children `a` to `d` whose second incarnations do in `started` what `second` says for each.
fn family_of_four(
    sim: &mut Sim,
    by: Supervision,
    second: [Hook; 4],
) -> (Log, ActorRef<Do>, Vec<ActorRef<Do>>) {
    let log = Log::default();
    let parent = sim
        .spawn_with(supervised(by), Puppet::factory("p", &log))
        .unwrap();
    let children = ["a", "b", "c", "d"].iter().zip(second).map(|(name, hook)| {
        let (log, mut made) = (log.clone(), 0);
        let factory = move || {
            made += 1;
            let hook = if made == 2 { &hook } else { &Hook::Fine };
            Puppet::new(name, &log).started(hook)
        };
        child_of(sim, &parent, SpawnOptions::new(), factory)
    });
    let children = children.collect();
    sim.run_until_idle();
    log.take();
    (log, parent, children)
}

/// Whoever is restarted with others is made when the older ones have started, and keeps its messages until then.
#[test]
fn row31_each_waits_until_the_older_have_started() {
    check_seeds(20, |sim| {
        let gates: [Gate; 4] = Default::default();
        let slow = gates.clone().map(Hook::Wait);
        let (log, parent, children) = family_of_four(sim, Supervision::all_for_one(), slow);
        fail(sim, &children[2]);
        children.iter().for_each(|child| note(child, 7));
        let seen = log.take();
        assert_eq!(sorted(&with_end(&seen, '~')), "abcd");
        assert_eq!(with_end(&seen, '+'), "a");
        for (place, gate) in gates.iter().enumerate() {
            sim.run_until_idle();
            assert_eq!(log.len(), 0);
            gate.open();
            sim.run_until_idle();
            let mut seen = log.take();
            seen.sort();
            let expected = [["a7", "b+"], ["b7", "c+"], ["c7", "d+"], ["d7", ""]];
            let expected = expected[place].iter().filter(|entry| !entry.is_empty());
            assert!(seen.iter().eq(expected), "{seen:?}");
        }
        assert_eq!(within(sim, &parent, |cx| cx.children()), Some(4));
    });
}

/// A start that never ends keeps the younger ones down, but nobody from ending.
#[test]
fn row31_row47_ends_while_an_older_one_starts() {
    type End = fn(&ActorRef<Do>);
    let ends: [(&str, End); 3] = [
        ("stop", |actor| actor.stop()),
        ("gently", |actor| actor.stop_gracefully()),
        ("kill", |actor| actor.kill()),
    ];
    check_seeds(20, |sim| {
        for (what, end) in ends {
            let gate = Gate::default();
            let second = [Hook::Fine, Hook::Wait(gate.clone()), Hook::Fine, Hook::Fine];
            let (log, parent, children) = family_of_four(sim, Supervision::all_for_one(), second);
            fail(sim, &children[0]);
            assert_eq!(with_end(&log.take(), '+'), "ab", "{what}");
            // One that waits for its turn: it is down, and has no value that could be told.
            end(&children[2]);
            sim.run_until_idle();
            assert!(!children[2].is_alive(), "{what}");
            assert_eq!(log.line(), "", "{what}");
            // The one that has the turn, by its handler's time limit or by force.
            children[1].kill();
            sim.run_until_idle();
            assert_eq!(log.line(), "d+", "{what}: the next one has its turn");
            end(&parent);
            sim.run_until_idle();
            assert!(!parent.is_alive() && !children[3].is_alive(), "{what}");
            // The whole family, with one that starts for ever.
            let gate = Gate::default();
            let second = [Hook::Wait(gate.clone()), Hook::Fine, Hook::Fine, Hook::Fine];
            let (_, parent, children) = family_of_four(sim, Supervision::all_for_one(), second);
            fail(sim, &children[3]);
            end(&parent);
            sim.run_until_idle();
            assert!(
                children[1..].iter().all(|child| !child.is_alive()),
                "{what}"
            );
            gate.open();
            sim.run_until_idle();
            assert!(!parent.is_alive(), "{what}");
        }
    });
}

/// One that fails in its turn, by each verdict: nobody is left waiting.
#[test]
fn row31_row36_a_start_that_fails_among_others() {
    type Strategy = fn() -> Supervision;
    let cases: [(SupervisionDirective, Strategy, &str, usize); 4] = [
        (Restart, Supervision::all_for_one, "ab abcd", 4),
        (Restart, Supervision::rest_for_one, "ab bcd", 4),
        (Stop, Supervision::all_for_one, "ab ", 0),
        (Stop, Supervision::rest_for_one, "ab ", 1),
    ];
    check_seeds(20, |sim| {
        for (directive, by, starts, left) in cases {
            let by = by().decider(move |failure| match failure.is_start() {
                true => directive,
                false => Restart,
            });
            let second = [Hook::Fine, Hook::Fail, Hook::Fine, Hook::Fine];
            let (log, parent, children) = family_of_four(sim, by, second);
            fail(sim, &children[0]);
            let case = format!("{directive:?} {starts}");
            let made = with_end(&log.take(), '+');
            assert_eq!(made, starts.replace(' ', ""), "{case}");
            assert_eq!(
                within(sim, &parent, |cx| cx.children()),
                Some(left),
                "{case}"
            );
            let counts = children.iter().filter(|child| child.is_alive()).count();
            assert_eq!(counts, left, "{case}");
        }
    });
}

/// Resumed by its own supervisor, a parent stops the child whose start it escalated, and the younger have their turn.
#[test]
fn row31_row34_an_escalated_start_among_others() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let top = sim
            .spawn_with(supervised(always(Resume)), Puppet::factory("t", &log))
            .unwrap();
        let by = Supervision::all_for_one().decider(|failure| match failure.is_start() {
            true => Escalate,
            false => Restart,
        });
        let parent = child_of(sim, &top, supervised(by), Puppet::factory("p", &log));
        let mut children = Vec::new();
        for name in ["a", "b", "c"] {
            let (log, mut made) = (log.clone(), 0);
            let factory = move || {
                made += 1;
                let fails = name == "b" && made == 2;
                let hook = if fails { Hook::Fail } else { Hook::Fine };
                Puppet::new(name, &log).started(&hook)
            };
            children.push(child_of(sim, &parent, SpawnOptions::new(), factory));
        }
        sim.run_until_idle();
        log.take();
        fail(sim, &children[0]);
        assert_eq!(with_end(&log.take(), '+'), "abc");
        assert!(!children[1].is_alive());
        note(&children[2], 1);
        sim.run_until_idle();
        assert_eq!(log.line(), "c1");
    });
}

/// Nobody deals with a fatal failure: neither a decider nor a policy, wherever it happens.
#[test]
fn row42_a_fatal_failure_goes_to_the_top() {
    enum Where {
        Running,
        Starting,
        Stopping,
        ParentStopping,
        ParentHasFailed(SupervisionDirective),
    }
    let places = [
        Where::Running,
        Where::Starting,
        Where::Stopping,
        Where::ParentStopping,
        Where::ParentHasFailed(Resume),
        Where::ParentHasFailed(Restart),
    ];
    fn fatal() -> Failure {
        Failure::msg("no ground").fatal()
    }
    check_seeds(30, |sim| {
        for place in &places {
            for directive in [Resume, Restart, Stop] {
                for policy in [RestartPolicy::Transient, RestartPolicy::Temporary] {
                    let mut sim = Sim::builder(sim.below(1 << 20) as u64).workers(2).build();
                    let up = match place {
                        Where::ParentHasFailed(up) => *up,
                        _ => directive,
                    };
                    let log = Log::default();
                    let top = sim
                        .spawn_with(supervised(always(up)), Puppet::factory("t", &log))
                        .unwrap();
                    let by = supervised(always(directive));
                    let parent = child_of(&mut sim, &top, by, Puppet::factory("p", &log));
                    let gate = Gate::default();
                    let before = gate.clone();
                    let starting = matches!(place, Where::Starting);
                    let options = SpawnOptions::new().restart(policy);
                    let child = within(&mut sim, &parent, move |cx| {
                        let make = move || Fatal(starting.then(fatal), before.clone());
                        cx.spawn_with(options, make).unwrap()
                    })
                    .unwrap();
                    sim.run_until_idle();
                    assert!(starting || child.tell(fatal()).is_ok());
                    sim.run_until_idle();
                    match place {
                        Where::Running | Where::Starting => {}
                        Where::Stopping => child.stop(),
                        Where::ParentStopping => parent.stop(),
                        Where::ParentHasFailed(_) => {
                            assert!(parent.tell(Do::Fail("first")).is_ok());
                        }
                    }
                    let steps = sim.below(20);
                    sim.run_steps(steps);
                    gate.open();
                    sim.run_until_idle();
                    // A parent that is restarted may have dropped the handler before it failed.
                    if sim.state() != SystemState::Stopped {
                        assert!(matches!(place, Where::ParentHasFailed(Restart)));
                        continue;
                    }
                    let failure = sim.system().failure().expect("it was escalated");
                    assert!(failure.is_fatal());
                    assert_eq!(failure.to_string(), "no ground");
                }
            }
        }
    });
}

/// Fails when it starts, or with what it is told, both when the gate is open.
struct Fatal(Option<Failure>, Gate);

impl Actor for Fatal {
    type Msg = Failure;

    async fn started(&mut self, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match self.0.take() {
            Some(failure) => {
                self.1.pass().await;
                Err(failure)
            }
            None => Ok(()),
        }
    }

    async fn handle(&mut self, msg: Failure, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.1.pass().await;
        Err(msg)
    }
}

/// A temporary child fails alone, and is not brought back with the others.
#[test]
fn row31_row32_temporary_children_among_others() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let by = Supervision::all_for_one();
        let parent = sim
            .spawn_with(supervised(by), Puppet::factory("p", &log))
            .unwrap();
        let a = child_of(
            sim,
            &parent,
            SpawnOptions::new(),
            Puppet::factory("a", &log),
        );
        let t = child_of(sim, &parent, mortal(), Puppet::factory("t", &log));
        let u = child_of(sim, &parent, mortal(), Puppet::factory("u", &log));
        sim.run_until_idle();
        log.take();
        fail(sim, &t);
        assert_eq!(log.line(), "t-");
        fail(sim, &a);
        let mut entries = log.take();
        entries.sort();
        assert_eq!(entries.join(" "), "a+ a~ u-");
        assert!(!u.is_alive());
        assert_eq!(within(sim, &parent, |cx| cx.children()), Some(1));
    });
}

#[test]
fn row34_each_directive() {
    struct Case {
        directive: Option<SupervisionDirective>,
        log: &'static str,
        incarnation: Option<u16>,
        parent: Option<u16>,
    }
    let cases = [
        Case {
            directive: Some(Resume),
            log: "c1 c2",
            incarnation: Some(1),
            parent: Some(1),
        },
        Case {
            directive: Some(Restart),
            log: "c1 c~ c+ c2",
            incarnation: Some(2),
            parent: Some(1),
        },
        Case {
            directive: Some(Stop),
            log: "c1 c-",
            incarnation: None,
            parent: Some(1),
        },
        Case {
            directive: Some(Escalate),
            log: "c1 p~ c- p+",
            incarnation: None,
            parent: Some(2),
        },
        Case {
            directive: None,
            log: "c1 c~ c+ c2",
            incarnation: Some(2),
            parent: Some(1),
        },
    ];
    check_seeds(50, |sim| {
        for case in &cases {
            let by = match case.directive {
                Some(directive) => always(directive),
                None => Supervision::default(),
            };
            let (log, parent, children) = family(sim, by, &["c"]);
            let child = &children[0];
            assert!(
                child
                    .tell_all([Do::Note(1), Do::Fail("x"), Do::Note(2)])
                    .is_ok()
            );
            sim.run_until_idle();
            let case_name = format!("{:?}", case.directive);
            assert_eq!(log.line(), case.log, "{case_name}");
            assert_eq!(incarnation(sim, child), case.incarnation, "{case_name}");
            assert_eq!(incarnation(sim, &parent), case.parent, "{case_name}");
        }
    });
}

/// Five levels; level `handles` restarts, those below it escalate.
#[test]
fn row34_an_escalation_goes_up_to_the_first_who_deals_with_it() {
    const LEVELS: usize = 5;
    check_seeds(20, |sim| {
        for handles in 0..=LEVELS {
            for policy in [Escalation::StopSystem, Escalation::StopActor] {
                let by = |level: usize| always(if level == handles { Restart } else { Escalate });
                let mut sim = Sim::builder(sim.seed())
                    .supervision(by(0))
                    .escalation(policy)
                    .build();
                let bystander = sim.spawn(Puppet::factory("x", &Log::default())).unwrap();
                let log = Log::default();
                let top = sim
                    .spawn_with(supervised(by(1)), Puppet::factory("1", &log))
                    .unwrap();
                let mut line = vec![top];
                for level in 2..=LEVELS {
                    let options = supervised(by(level));
                    let factory = Puppet::factory(&level.to_string(), &log);
                    let child = child_of(&mut sim, line.last().unwrap(), options, factory);
                    line.push(child);
                }
                sim.run_until_idle();
                log.take();
                fail(&mut sim, line.last().unwrap());
                // Level n is the child of level n - 1; level 1 is the system's.
                let what = format!("{handles} {policy:?}");
                let mut made = vec![];
                for actor in &line {
                    made.push(incarnation(&mut sim, actor));
                }
                let expected: Vec<_> = (1..=LEVELS)
                    .map(|level| match level.cmp(&(handles + 1)) {
                        _ if handles == LEVELS => None,
                        std::cmp::Ordering::Less => Some(1),
                        std::cmp::Ordering::Equal => Some(2),
                        std::cmp::Ordering::Greater => None,
                    })
                    .collect();
                if handles == LEVELS {
                    // Nobody has dealt with it.
                    assert!(made.iter().all(Option::is_none), "{what} {made:?}");
                    let stopped = policy == Escalation::StopSystem;
                    assert_eq!(sim.state() == SystemState::Stopped, stopped, "{what}");
                    let failure = sim.failure().map(|failure| failure.to_string());
                    assert_eq!(failure, stopped.then(|| "as asked".into()), "{what}");
                    assert_eq!(bystander.is_alive(), !stopped, "{what}");
                } else {
                    assert_eq!(made, expected, "{what}");
                }
            }
        }
    });
}

/// The one that escalated is resumed with its parent, also if it is one of several, and stopped if
/// it has never started.
#[test]
fn row34_a_resumed_parent_resumes_those_that_escalated() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let top = sim
            .spawn_with(supervised(always(Resume)), Puppet::factory("t", &log))
            .unwrap();
        let options = supervised(always(Escalate));
        let middle = child_of(sim, &top, options, Puppet::factory("m", &log));
        let a = child_of(
            sim,
            &middle,
            SpawnOptions::new(),
            Puppet::factory("a", &log),
        );
        let b = child_of(
            sim,
            &middle,
            SpawnOptions::new(),
            Puppet::factory("b", &log),
        );
        sim.run_until_idle();
        // Both before the parent looks.
        for child in [&a, &b] {
            assert!(child.tell(Do::Fail("x")).is_ok());
        }
        sim.run_until_idle();
        for actor in [&top, &middle, &a, &b] {
            assert_eq!(incarnation(sim, actor), Some(1), "{log:?}");
        }
        let failing = {
            let log = log.clone();
            let factory = move || Puppet::new("c", &log).started(&Hook::Fail);
            child_of(sim, &middle, SpawnOptions::new(), factory)
        };
        assert_eq!(text(&sim.block_on(failing.stopped())), "failed: as asked");
        assert_eq!(incarnation(sim, &middle), Some(1));
    });
}

/// A failure at the start of a child is none at the start of the parent that takes it over.
#[test]
fn row34_an_escalated_start_is_the_parents_ordinary_failure() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let top = sim.spawn(Puppet::factory("t", &log)).unwrap();
        let options = supervised(always(Escalate));
        let middle = child_of(sim, &top, options, Puppet::factory("m", &log));
        let factory = {
            let log = log.clone();
            move || Puppet::new("c", &log).started(&Hook::Fail)
        };
        child_of(sim, &middle, SpawnOptions::new(), factory);
        sim.run_until_idle();
        assert_eq!(incarnation(sim, &middle), Some(2), "{log:?}");
    });
}

#[test]
fn row33_restart_intensity() {
    check_seeds(20, |sim| {
        for (most, times, middle_made) in [(0, 1, 2), (1, 1, 1), (1, 2, 2), (3, 3, 1), (3, 4, 2)] {
            let log = Log::default();
            let top = sim.spawn(Puppet::factory("t", &log)).unwrap();
            let by = Supervision::one_for_one().max_restarts(most, ms(1000));
            let middle = child_of(sim, &top, supervised(by), Puppet::factory("m", &log));
            let child = child_of(
                sim,
                &middle,
                SpawnOptions::new(),
                Puppet::factory("c", &log),
            );
            for _ in 0..times {
                fail(sim, &child);
            }
            let what = format!("{most} {times}");
            assert_eq!(incarnation(sim, &middle), Some(middle_made), "{what}");
            assert_eq!(child.is_alive(), middle_made == 1, "{what}");
            if child.is_alive() && most == times {
                // Outside the window the count begins anew.
                sim.run_for(ms(1001));
                fail(sim, &child);
                assert_eq!(incarnation(sim, &child), Some(times as u16 + 2), "{what}");
            }
        }
        let by = Supervision::one_for_one().unlimited_restarts();
        let (_, _, children) = family(sim, by, &["c"]);
        for _ in 0..50 {
            fail(sim, &children[0]);
        }
        assert_eq!(incarnation(sim, &children[0]), Some(51));
    });
}

#[test]
fn row23_row43_a_restart_in_order_with_what_stays() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let watcher = sim.spawn(Puppet::factory("w", &log)).unwrap();
        let parent = sim
            .spawn_with(SpawnOptions::new().name("it"), Puppet::factory("p", &log))
            .unwrap();
        let noted = Log::default();
        {
            let (parent, noted) = (parent.clone(), noted.clone());
            within(sim, &watcher, move |cx| {
                let told = move |ended: hikyaku_core::Ended| {
                    noted.push(ended.cause.to_string());
                    Do::Note(0)
                };
                cx.watch(&parent, told).unwrap();
            });
        }
        for name in ["a", "b"] {
            child_of(
                sim,
                &parent,
                SpawnOptions::new(),
                Puppet::factory(name, &log),
            );
        }
        sim.run_until_idle();
        log.take();
        let stopped = sim.spawn_task(parent.stopped());
        let messages = [Do::Note(1), Do::Fail("x"), Do::Note(2), Do::Note(3)];
        assert!(parent.tell_all(messages).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "p1 p~ b- a- p+ p2 p3");
        assert_eq!(noted.line(), "");
        assert!(!stopped.is_done());
        assert_eq!(sim.lookup::<Do>("it"), Some(parent.clone()));
        assert_eq!(sim.resolve::<Do>(parent.index()), Some(parent.clone()));
        assert_eq!(sim.metrics().restarts, 1);
        assert_eq!(sim.metrics().dead_letters, 0);
        // An old reference kills the new incarnation.
        parent.kill();
        sim.run_until_idle();
        assert_eq!(noted.line(), "killed");
        assert!(sim.lookup::<Do>("it").is_none());
    });
}

/// Timers, pipes, watches, the receive timeout: those of the old incarnation are gone.
#[test]
fn row43_what_does_not_outlive_a_restart() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let count = Count::default();
        let other = sim.spawn(Puppet::factory("o", &Log::default())).unwrap();
        for resumed in [false, true] {
            let by = always(if resumed { Resume } else { Restart });
            let (log, _, children) = family(sim, by, &["c"]);
            let child = &children[0];
            let (gate, carried, watched) = (Gate::default(), count.one(), other.clone());
            let open = gate.clone();
            within(sim, child, move |cx| {
                cx.start_timer("t", hikyaku_core::Timer::once(ms(10), Do::Note(1)))
                    .unwrap();
                cx.set_receive_timeout(ms(20), || Do::Note(2)).unwrap();
                let future = async move {
                    gate.pass().await;
                    drop(carried);
                };
                cx.pipe_to_self(future, |()| Do::Note(3)).unwrap();
                cx.watch(&watched, |_| Do::Note(4)).unwrap();
            });
            fail(sim, child);
            log.take();
            assert_eq!(count.alive(), isize::from(resumed));
            open.open();
            sim.run_for(ms(25));
            other.stop();
            sim.run_until_idle();
            let expected = if resumed { "c3 c1 c2" } else { "" };
            assert_eq!(log.line(), expected);
        }
        drop(log);
    });
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    Never,
    First,
    Second,
}

/// Fails at one moment or another. What is logged, and how it ends if it does.
#[cfg(feature = "std")]
#[test]
fn row35_failures_at_odd_moments() {
    struct Case {
        what: &'static str,
        factory: At,
        started: (At, Hook),
        restarting: Hook,
        stopped: Hook,
        by: Supervision,
        log: &'static str,
        /// After the first failure of a handler; `None`: alive.
        end: Option<&'static str>,
    }
    fn case(what: &'static str, log: &'static str, end: Option<&'static str>) -> Case {
        Case {
            what,
            factory: At::Never,
            started: (At::Never, Hook::Fine),
            restarting: Hook::Fine,
            stopped: Hook::Fine,
            by: Supervision::one_for_one(),
            log,
            end,
        }
    }
    let panicked = "failed: panicked: as asked";
    let failed = "failed: as asked";
    let cases = [
        case("nowhere", "c+ c1 c~ c+ c2", None),
        Case {
            factory: At::First,
            ..case("the factory", "", Some(panicked))
        },
        Case {
            factory: At::Second,
            ..case("the second factory", "c+ c1 c~", Some(panicked))
        },
        Case {
            factory: At::First,
            by: always(Restart),
            ..case("the factory, restarted", "c+ c1 c~ c+ c2", None)
        },
        Case {
            factory: At::Second,
            by: always(Restart),
            ..case("the second factory, restarted", "c+ c1 c~ c+ c2", None)
        },
        Case {
            started: (At::First, Hook::Fail),
            ..case("started", "c+ c-", Some(failed))
        },
        Case {
            started: (At::First, Hook::Panic),
            by: always(Resume),
            ..case("started, resumed", "c+ c-", Some(panicked))
        },
        Case {
            started: (At::First, Hook::Fail),
            by: always(Restart),
            // The hook before the restart is for actors that had started.
            ..case("started, restarted", "c+ c+ c1 c~ c+ c2", None)
        },
        Case {
            started: (At::Second, Hook::Panic),
            ..case("the second started", "c+ c1 c~ c+ c-", Some(panicked))
        },
        Case {
            started: (At::Second, Hook::Panic),
            by: always(Restart),
            ..case("the second started, restarted", "c+ c1 c~ c+ c+ c2", None)
        },
        Case {
            restarting: Hook::Panic,
            ..case("restarting", "c+ c1 c~ c+ c2", None)
        },
        Case {
            stopped: Hook::Panic,
            by: always(Stop),
            ..case("stopped", "c+ c1 c-", Some("failed: x"))
        },
        Case {
            by: Supervision::one_for_one().decider(|_| panic!("in the decider")),
            ..case("the decider", "c+ c1 c-", Some("failed: x"))
        },
    ];
    check_seeds(30, |sim| {
        for case in &cases {
            let (log, count, factories) = (
                Log::default(),
                Count::default(),
                Arc::new(AtomicUsize::new(0)),
            );
            let options = supervised(case.by.clone());
            let parent = sim
                .spawn_with(options, Puppet::factory("p", &Log::default()))
                .unwrap();
            let child = {
                let (log, count) = (log.clone(), count.clone());
                let (factory, (at, started)) = (case.factory, case.started.clone());
                let (restarting, stopped) = (case.restarting.clone(), case.stopped.clone());
                let mut started_at = 0;
                child_of(sim, &parent, SpawnOptions::new(), move || {
                    let made = factories.fetch_add(1, Ordering::Relaxed);
                    let number = |at| match at {
                        At::Never => usize::MAX,
                        At::First => 0,
                        At::Second => 1,
                    };
                    assert!(made != number(factory), "as asked");
                    let hook = if started_at == number(at) {
                        started.clone()
                    } else {
                        Hook::Fine
                    };
                    started_at += 1;
                    Puppet::new("c", &log)
                        .started(&hook)
                        .restarting(&restarting)
                        .stopped(&stopped)
                        .counted(count.one())
                })
            };
            let _ = child.tell_all([Do::Note(1), Do::Fail("x"), Do::Note(2)]);
            sim.run_until_idle();
            let what = case.what;
            assert_eq!(log.line().replace("as asked", ""), case.log, "{what}");
            match case.end {
                None => assert!(child.is_alive(), "{what}"),
                Some(end) if what != "stopped" => {
                    assert_eq!(text(&sim.block_on(child.stopped())), end, "{what}");
                }
                Some(_) => drop(sim.block_on(child.stopped())),
            }
            assert_eq!(count.alive(), isize::from(case.end.is_none()), "{what}");
        }
    });
}

/// Several fail at the same time: each is restarted once for it.
#[test]
fn row36_failures_at_the_same_time_restart_once() {
    check_seeds(200, |sim| {
        let (log, parent, children) = family(sim, Supervision::all_for_one(), &["a", "b", "c"]);
        // The parent is busy, so that it hears of all of them together.
        let gate = Gate::default();
        assert!(parent.tell(Do::Pass(1, gate.clone())).is_ok());
        let fails = 1 + sim.below(3);
        for child in &children[..fails] {
            assert!(child.tell(Do::Fail("x")).is_ok());
        }
        gate.open();
        sim.run_until_idle();
        let entries = log.take();
        // Those that failed before they heard of the others were restarted for both; a child that
        // failed after its restart was restarted again. But all failed once: never more than that.
        let restarts = sim.metrics().restarts;
        assert!(
            (3..=3 * fails).contains(&restarts),
            "{restarts} {entries:?}"
        );
        for child in &children {
            assert!(incarnation(sim, child).is_some_and(|made| usize::from(made) <= 1 + fails));
        }
    });
}

/// All have failed before the supervisor is told of the first: one restart each.
#[test]
fn row36_nobody_is_restarted_twice_for_one_failure() {
    check_seeds(200, |sim| {
        for (by, expected) in [
            (Supervision::all_for_one as fn() -> Supervision, [2, 2, 2]),
            (Supervision::rest_for_one, [2, 2, 2]),
            (Supervision::one_for_one, [2, 2, 2]),
        ] {
            let mut sim = Sim::builder(sim.seed()).single_core().throughput(1).build();
            let (_, parent, children) = family(&mut sim, by(), &["a", "b", "c"]);
            // One worker runs the children first, and the parent's lane afterwards.
            let (all, gate) = (children.clone(), Gate::default());
            let _ = gate;
            within(&mut sim, &parent, move |_| {
                for child in &all {
                    assert!(child.tell(Do::Fail("x")).is_ok());
                }
            });
            let made: Vec<_> = children
                .iter()
                .map(|child| incarnation(&mut sim, child).unwrap())
                .collect();
            assert_eq!(made, expected);
        }
    });
}

/// A delayed restart that is overtaken by another one does not happen again later.
#[test]
fn row36_row39_an_overtaken_restart_does_not_come_late() {
    check_seeds(50, |sim| {
        let backoff = Backoff::new(ms(100), ms(100));
        let by = Supervision::all_for_one().backoff(backoff);
        let (_, _, children) = family(sim, by, &["a", "b"]);
        fail(sim, &children[0]);
        sim.run_for(ms(50));
        // The other one is healthy and fails before its own restart.
        fail(sim, &children[1]);
        sim.run_for(ms(1000));
        for child in &children {
            assert_eq!(incarnation(sim, child), Some(2));
        }
    });
}

#[test]
fn row37_children_are_held_while_their_parent_has_failed() {
    check_seeds(100, |sim| {
        for directive in [Resume, Restart, Stop] {
            // The one who decides takes its time, in which the middle is down.
            let backoff = Backoff::new(ms(100), ms(100));
            let decided = Gate::default();
            let by = always(directive).backoff(backoff);
            let (log, top, middle) = family(sim, by, &["m"]);
            let middle = &middle[0];
            let child = child_of(sim, middle, SpawnOptions::new(), Puppet::factory("c", &log));
            let leaf = child_of(sim, &child, SpawnOptions::new(), Puppet::factory("l", &log));
            sim.run_until_idle();
            log.take();
            if directive == Restart {
                fail(sim, middle);
                note(&child, 1);
                note(&leaf, 2);
                sim.run_until_idle();
                assert_eq!(log.line(), "", "held");
                sim.run_for(ms(200));
                assert_eq!(log.line(), "m~ l- c- m+");
                assert!(!child.is_alive() && !leaf.is_alive());
            } else {
                assert!(middle.tell(Do::Fail("x")).is_ok());
                note(&child, 1);
                note(&leaf, 2);
                sim.run_until_idle();
                let entries = log.take();
                if directive == Resume {
                    assert_eq!(entries.len(), 2, "{entries:?}");
                    note(&child, 3);
                    note(&leaf, 4);
                    sim.run_until_idle();
                    assert_eq!(log.len(), 2);
                } else {
                    assert!(!child.is_alive() && !leaf.is_alive());
                    assert_eq!(within(sim, &top, |cx| cx.children()), Some(0));
                }
            }
            let _ = decided;
        }
    });
}

/// A child that is made while its parent is held is held as well, and let go.
#[test]
fn row37_a_hold_reaches_all_levels_and_ends() {
    check_seeds(100, |sim| {
        let by = always(Restart).backoff(Backoff::new(ms(100), ms(100)));
        let (log, _, tops) = family(sim, by, &["t"]);
        let mut line = vec![tops[0].clone()];
        for name in ["1", "2", "3"] {
            let parent = line.last().unwrap().clone();
            line.push(child_of(
                sim,
                &parent,
                SpawnOptions::new(),
                Puppet::factory(name, &log),
            ));
        }
        // A handler that is under way goes on while its actor is held, and may spawn.
        let (gate, slot) = (Gate::default(), Arc::new(Mutex::new(None)));
        let (out, made) = (slot.clone(), log.clone());
        let spawn = Do::call(move |cx: &mut Context<'_, Puppet>| {
            let child = cx.spawn(Puppet::factory("n", &made)).unwrap();
            child.tell(Do::Note(7)).unwrap();
            *out.lock().unwrap() = Some(child);
        });
        assert!(
            line[3]
                .tell(Do::After(gate.clone(), Box::new(spawn)))
                .is_ok()
        );
        sim.run_until_idle();
        fail(sim, &line[0]);
        gate.open();
        sim.run_until_idle();
        let entries = log.take();
        assert!(!entries.contains(&"n7".to_string()), "{entries:?}");
        sim.run_for(ms(200));
        assert!(
            slot.lock()
                .unwrap()
                .take()
                .is_some_and(|child| !child.is_alive())
        );
        assert_eq!(incarnation(sim, &line[0]), Some(2));
    });
}

#[test]
fn row39_messages_wait_while_an_actor_is_down() {
    check_seeds(50, |sim| {
        for options in [
            SpawnOptions::new(),
            SpawnOptions::new().mailbox(MailboxOptions::bounded(3)),
        ] {
            let by = Supervision::one_for_one().backoff(Backoff::new(ms(100), ms(1000)));
            let log = Log::default();
            let parent = sim
                .spawn_with(supervised(by), Puppet::factory("p", &log))
                .unwrap();
            let child = child_of(sim, &parent, options, Puppet::factory("c", &log));
            sim.run_until_idle();
            log.take();
            for delay in [100, 200, 400] {
                fail(sim, &child);
                for n in 1..=3 {
                    note(&child, n);
                }
                sim.run_for(ms(delay - 1));
                assert_eq!(log.line(), "");
                assert!(child.is_alive());
                sim.run_for(ms(2));
                assert_eq!(log.line(), "c~ c+ c1 c2 c3");
            }
            // After a quiet time the delays begin anew.
            sim.run_for(ms(1001));
            fail(sim, &child);
            sim.run_for(ms(99));
            assert_eq!(log.line(), "");
            sim.run_for(ms(2));
            assert_eq!(log.line(), "c~ c+");
        }
        assert_eq!(sim.metrics().dead_letters, 0);
    });
}

/// Backoff and limit together; of two of the same kind the later one counts.
#[test]
fn row38_a_backoff_within_a_limit() {
    check_seeds(20, |sim| {
        let by = Supervision::one_for_one()
            .max_restarts(1, ms(1))
            .max_restarts(2, ms(10_000))
            .backoff(Backoff::new(ms(1), ms(1)))
            .backoff(Backoff::new(ms(100), ms(1000)));
        let top = sim.spawn(Puppet::factory("t", &Log::default())).unwrap();
        let middle = child_of(
            sim,
            &top,
            supervised(by),
            Puppet::factory("m", &Log::default()),
        );
        let child = child_of(
            sim,
            &middle,
            SpawnOptions::new(),
            Puppet::factory("c", &Log::default()),
        );
        for (delay, made) in [(100, 2), (200, 3)] {
            fail(sim, &child);
            sim.run_for(ms(delay - 1));
            assert!(child.is_alive());
            sim.run_for(ms(2));
            assert_eq!(incarnation(sim, &child), Some(made));
        }
        fail(sim, &child);
        assert!(!child.is_alive());
        assert_eq!(incarnation(sim, &middle), Some(2));
    });
}

/// Told to end while it is down: it ends at once, and does not come back.
#[test]
fn row39_row43_ends_during_a_backoff() {
    type End = fn(&mut Sim, &ActorRef<Do>);
    let ends: [(&str, End, &str); 5] = [
        ("stop", |_, a| a.stop(), "c-"),
        ("gracefully", |_, a| a.stop_gracefully(), "c-"),
        ("kill", |_, a| a.kill(), ""),
        ("shutdown", |sim, _| drop(sim.graceful_shutdown()), "c-"),
        ("force", |sim, _| sim.force_stop(), ""),
    ];
    check_seeds(50, |sim| {
        for top in [false, true] {
            for (what, end, logged) in ends {
                let by = Supervision::one_for_one().backoff(Backoff::new(ms(100), ms(100)));
                let mut sim = Sim::builder(sim.seed()).supervision(by.clone()).build();
                let (log, count) = (Log::default(), Count::default());
                let factory = {
                    let (log, count) = (log.clone(), count.clone());
                    move || Puppet::new("c", &log).counted(count.one())
                };
                let child = if top {
                    sim.spawn(factory).unwrap()
                } else {
                    let parent = Puppet::factory("p", &Log::default());
                    let parent = sim.spawn_with(supervised(by), parent).unwrap();
                    child_of(&mut sim, &parent, SpawnOptions::new(), factory)
                };
                sim.run_until_idle();
                log.take();
                fail(&mut sim, &child);
                note(&child, 1);
                sim.run_until_idle();
                end(&mut sim, &child);
                sim.run_until_idle();
                assert_eq!(log.line(), logged, "{what} {top}");
                assert_eq!(count.alive(), 0, "{what} {top}");
                assert_eq!(text(&sim.block_on(child.stopped())), "failed: as asked");
                assert_eq!(sim.metrics().dead_letters, 1, "{what} {top}");
                sim.run_for(ms(200));
                assert_eq!(log.line(), "", "{what} {top}");
            }
        }
    });
}

/// How an actor ended that was restarted before: not by the old failure.
#[test]
fn row54_an_old_failure_is_no_cause() {
    check_seeds(50, |sim| {
        for (kill, cause) in [(false, "stopped"), (true, "killed")] {
            let (log, gate) = (Log::default(), Gate::default());
            let mut made = 0;
            let actor = {
                let (log, gate) = (log.clone(), gate.clone());
                sim.spawn(move || {
                    made += 1;
                    let hook = if made == 1 {
                        Hook::Fine
                    } else {
                        Hook::Wait(gate.clone())
                    };
                    Puppet::new("a", &log).started(&hook)
                })
                .unwrap()
            };
            fail(sim, &actor);
            // The new one is starting.
            assert_eq!(log.line(), "a+ a~ a+");
            if kill {
                actor.kill();
            } else {
                actor.stop();
            }
            gate.open();
            assert_eq!(text(&sim.block_on(actor.stopped())), cause);
        }
    });
}

/// A stop that comes between the hook before the restart and the new actor: the old one is stopped.
#[test]
fn row22_row47_a_stop_while_a_restart_waits_for_the_children() {
    check_seeds(50, |sim| {
        let (log, parent, _) = family(sim, Supervision::default(), &[]);
        let gate = Gate::default();
        let factory = {
            let (log, gate) = (log.clone(), gate.clone());
            move || Puppet::new("c", &log).stopped(&Hook::Wait(gate.clone()))
        };
        child_of(sim, &parent, SpawnOptions::new(), factory);
        sim.run_until_idle();
        log.take();
        fail(sim, &parent);
        assert_eq!(log.line(), "p~ c-");
        parent.stop();
        sim.run_until_idle();
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.line(), "p-");
        assert_eq!(sim.metrics().restarts, 0);
        assert!(!parent.is_alive());
    });
}

/// A healthy child that is to be restarted for another one finishes its handler, or is cut short.
#[test]
fn row31_row36_a_handler_in_flight_has_its_time() {
    check_seeds(50, |sim| {
        for in_time in [true, false] {
            let by = Supervision::all_for_one().handler_timeout(ms(100));
            let (log, _, children) = family(sim, by, &["a", "b"]);
            let (gate, count) = (Gate::default(), Count::default());
            assert!(children[1].tell(Do::Pass(1, gate.clone())).is_ok());
            assert!(children[1].tell(Do::Carry(2, count.one())).is_ok());
            sim.run_until_idle();
            log.take();
            fail(sim, &children[0]);
            assert_eq!(log.line(), "a~ a+");
            sim.run_for(ms(99));
            assert_eq!(log.line(), "");
            if in_time {
                gate.open();
                sim.run_until_idle();
                assert_eq!(log.line(), "b1> b~ b+ b2");
            } else {
                sim.run_for(ms(2));
                assert_eq!(log.line(), "b~ b+ b2");
                gate.open();
                sim.run_until_idle();
            }
            assert_eq!(count.alive(), 0);
            // The time of that restart is not that of the next.
            sim.run_for(ms(50));
            let gate = Gate::default();
            assert!(children[1].tell(Do::Pass(3, gate.clone())).is_ok());
            fail(sim, &children[0]);
            sim.run_for(ms(99));
            assert!(log.take().contains(&"b<3".into()));
            gate.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "b3> b~ b+");
        }
    });
}

/// The time limit for a handler is no limit for a hook that runs by then.
#[test]
fn row22_a_late_time_limit_does_not_cut_a_hook() {
    check_seeds(50, |sim| {
        let log = Log::default();
        let by = Supervision::all_for_one().handler_timeout(ms(100));
        let parent = sim
            .spawn_with(supervised(by), Puppet::factory("p", &log))
            .unwrap();
        let a = child_of(
            sim,
            &parent,
            SpawnOptions::new(),
            Puppet::factory("a", &log),
        );
        let hook = Gate::default();
        let factory = {
            let (log, hook) = (log.clone(), hook.clone());
            move || Puppet::new("b", &log).stopped(&Hook::Wait(hook.clone()))
        };
        let b = child_of(sim, &parent, SpawnOptions::new(), factory);
        let gate = Gate::default();
        assert!(b.tell(Do::Pass(1, gate.clone())).is_ok());
        sim.run_until_idle();
        fail(sim, &a);
        b.stop();
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.take().last().unwrap(), "b-");
        let stopped = sim.spawn_task(b.stopped());
        sim.run_for(ms(500));
        assert!(!stopped.is_done(), "the hook was cut");
        hook.open();
        sim.run_until_idle();
        assert!(stopped.is_done());
    });
}

#[test]
fn row44_a_parent_that_awaits_a_failing_child_goes_on() {
    check_seeds(100, |sim| {
        for directive in [Resume, Restart, Stop, Escalate] {
            // The question is the one that fails, or is queued behind it; the parent may have been
            // told to stop meanwhile.
            for (behind, stopped) in [(false, false), (true, false), (true, true)] {
                let (_, parent, children) = family(sim, always(directive), &["c"]);
                let child = children[0].clone();
                let answer = Log::default();
                let told = answer.clone();
                let parent_ref = parent.clone();
                let question = async move {
                    if behind {
                        let _ = child.tell(Do::Fail("x"));
                        let _ = parent_ref;
                        let ask = child.ask(|reply| Do::Answer(reply, 7));
                        told.push(format!("{:?}", ask.await));
                    } else {
                        let ask = child.ask(|reply| {
                            Do::call(move |_| {
                                let _reply: hikyaku_core::Reply<u64> = reply;
                                panic_or_nothing();
                            })
                        });
                        told.push(format!("{:?}", ask.await));
                    }
                };
                let asking = Do::Await(Box::pin(question));
                assert!(parent.tell(asking).is_ok());
                if stopped {
                    let after = 1 + sim.below(8);
                    sim.run_steps(after);
                    parent.stop();
                }
                sim.run_until_idle();
                let answer = answer.line();
                let what = format!("{directive:?} {behind} {stopped}: {answer}");
                let fine = match directive {
                    _ if stopped => true,
                    Resume | Restart if behind => answer == "Ok(7)",
                    Stop | Escalate if behind => answer != "Ok(7)",
                    _ => answer.starts_with("Err") || answer.is_empty(),
                };
                assert!(fine, "{what}");
                assert_eq!(parent.is_alive(), !stopped, "{what}");
                if !stopped {
                    assert!(incarnation(sim, &parent).is_some(), "{what}");
                }
            }
        }
    });
}

fn panic_or_nothing() {
    #[cfg(feature = "std")]
    panic!("with the question in hand");
}

#[test]
fn row44_children_that_ask_a_stopping_or_restarting_parent() {
    check_seeds(100, |sim| {
        for restarts in [false, true] {
            for queued in [false, true] {
                let (_, parent, children) = family(sim, Supervision::default(), &["a", "b"]);
                let answers = Log::default();
                let ends: fn(&ActorRef<Do>) = if restarts {
                    |parent| assert!(parent.tell(Do::Fail("x")).is_ok())
                } else {
                    |parent| parent.stop()
                };
                // Queued before the end, or asked afterwards.
                let gate = Gate::default();
                if queued {
                    assert!(parent.tell(Do::Pass(1, gate.clone())).is_ok());
                    if restarts {
                        ends(&parent);
                    }
                } else {
                    ends(&parent);
                }
                for child in &children {
                    let (parent, answers) = (parent.clone(), answers.clone());
                    let question = async move {
                        let answer = parent.ask(|reply| Do::Answer(reply, 7)).await;
                        answers.push(format!("{answer:?}"));
                    };
                    let _ = child.tell(Do::Await(Box::pin(question)));
                }
                sim.run_until_idle();
                if queued && !restarts {
                    ends(&parent);
                }
                gate.open();
                sim.run_until_idle();
                if restarts {
                    // A handler that waits for the parent has its time, then it is dropped.
                    sim.run_for(Duration::from_secs(11));
                    assert_eq!(incarnation(sim, &parent), Some(2), "{queued}");
                } else {
                    assert!(sim.resolve::<Do>(parent.index()).is_none(), "{queued}");
                }
                assert!(
                    children
                        .iter()
                        .all(|child| sim.resolve::<Do>(child.index()).is_none())
                );
            }
        }
    });
}

/// A future that an actor was given panics, and orders come with it: none is lost.
#[cfg(feature = "std")]
#[test]
fn row41_a_panic_beside_orders_loses_none() {
    check_seeds(200, |sim| {
        for directive in [Resume, Restart] {
            let (log, _, parents) = family(sim, always(directive), &["p"]);
            let parent = &parents[0];
            let child = child_of(sim, parent, SpawnOptions::new(), Puppet::factory("c", &log));
            let (gate, other) = (Gate::default(), Gate::default());
            let (mine, ours) = (gate.clone(), other.clone());
            within(sim, parent, move |cx| {
                let panics = async move {
                    mine.pass().await;
                    panic!("beside the handler");
                };
                cx.pipe_to_self(panics, |()| Do::Note(1)).unwrap();
                cx.pipe_to_self(async move { ours.pass().await }, |()| Do::Note(2))
                    .unwrap();
            });
            sim.run_until_idle();
            log.take();
            // The panic, the other future, the end of a child: all in one look.
            let started = sim.spawn_task(parent.started());
            child.kill();
            gate.open();
            other.open();
            sim.run_until_idle();
            assert!(started.is_done());
            assert_eq!(within(sim, parent, |cx| cx.children()), Some(0));
            let made = incarnation(sim, parent);
            let entries = log.take();
            if directive == Resume {
                assert_eq!(made, Some(1));
                assert_eq!(
                    entries.iter().filter(|it| *it == "p2").count(),
                    1,
                    "{entries:?}"
                );
            } else {
                assert_eq!(made, Some(2));
            }
            // Once: the future that panicked is gone.
            assert_eq!(sim.metrics().failures, 1);
            let gate = Gate::default();
            let mine = gate.clone();
            within(sim, parent, move |cx| {
                let panics = async move {
                    mine.pass().await;
                    panic!("beside the handler");
                };
                cx.pipe_to_self(panics, |()| Do::Note(1)).unwrap();
            });
            gate.open();
            parent.stop();
            sim.run_until_idle();
            assert!(sim.resolve::<Do>(parent.index()).is_none());
            sim.force_stop();
            sim.run_until_idle();
            *sim = Sim::new(sim.seed());
        }
    });
}

#[test]
fn row30_what_a_restart_leaves_in_the_mailbox() {
    check_seeds(50, |sim| {
        let by = Supervision::one_for_one().max_restarts(1, ms(1000));
        let (log, _, children) = family(sim, by, &["c"]);
        let child = &children[0];
        assert!(child.tell_all([Do::Fail("x"), Do::Note(1)]).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "c~ c+ c1");
        assert_eq!(sim.metrics().dead_letters, 0);
        let ask = child.ask(|reply| Do::Answer(reply, 1));
        assert_eq!(sim.block_on(ask), Ok(1));
        assert!(
            child
                .tell_all([Do::Fail("x"), Do::Note(2), Do::Note(3)])
                .is_ok()
        );
        let ask = child.ask(|reply| Do::Answer(reply, 1));
        assert_eq!(sim.block_on(ask), Err(AskError::Dropped));
        sim.run_until_idle();
        assert_eq!(sim.metrics().dead_letters, 3);
    });
}

/// The first message of an idle actor lies where a hook's future will be.
#[test]
fn row23_a_first_message_and_a_restart_at_the_same_time() {
    check_seeds(500, |sim| {
        let (log, _, children) = family(sim, Supervision::all_for_one(), &["a", "b"]);
        let count = Count::default();
        assert!(children[0].tell(Do::Fail("x")).is_ok());
        let carried = count.one();
        let (b, after) = (children[1].clone(), 1 + sim.below(12));
        sim.run_steps(after);
        assert!(b.tell(Do::Carry(5, carried)).is_ok());
        note(&b, 6);
        sim.run_until_idle();
        let entries: Vec<_> = log.take();
        let mine: Vec<_> = entries
            .iter()
            .filter(|it| *it == "b5" || *it == "b6")
            .collect();
        assert_eq!(mine, ["b5", "b6"], "{entries:?}");
        assert_eq!(count.alive(), 0);
        assert_eq!(incarnation(sim, &b), Some(2));
    });
}

/// The work per child does not grow with their number.
#[test]
fn row45_many_children_come_and_go() {
    fn steps(seed: u64, children: usize, end: fn(&ActorRef<Do>, &[ActorRef<Do>])) -> u64 {
        let mut sim = Sim::builder(seed).workers(2).throughput(1024).build();
        let parent = sim.spawn(Puppet::factory("", &Log::default())).unwrap();
        let family = within(&mut sim, &parent, move |cx| {
            let one = |_| {
                cx.spawn_with(mortal(), Puppet::factory("", &Log::default()))
                    .unwrap()
            };
            (0..children).map(one).collect::<Vec<_>>()
        })
        .unwrap();
        let before = sim.trace().steps();
        end(&parent, &family);
        sim.run_until_idle();
        assert!(
            family
                .iter()
                .all(|child| sim.resolve::<Do>(child.index()).is_none())
        );
        sim.trace().steps() - before
    }
    let (few, many) = if cfg!(miri) { (3, 30) } else { (1_000, 10_000) };
    type EndOf = fn(&ActorRef<Do>, &[ActorRef<Do>]);
    let ends: [EndOf; 4] = [
        |_, children| children.iter().for_each(|child| child.stop()),
        |_, children| {
            children
                .iter()
                .for_each(|child| assert!(child.tell(Do::Fail("x")).is_ok()))
        },
        |parent, _| parent.stop(),
        |parent, _| parent.kill(),
    ];
    for (place, end) in ends.into_iter().enumerate() {
        let (few, many) = (steps(1, few, end), steps(1, many, end));
        assert!(many < 12 * few, "{place}: {few} {many}");
    }
}

#[test]
fn row48_significant_children_end_their_parent() {
    type End = fn(&mut Sim, &ActorRef<Do>, &[ActorRef<Do>]);
    struct Case {
        what: &'static str,
        when: AutoShutdown,
        by: fn() -> Supervision,
        /// Of `a`, `b` and `c`; `a` and `b` are significant.
        policy: RestartPolicy,
        end: End,
        goes_on: bool,
    }
    let by_itself: End = |_, _, those| assert!(those[0].tell(Do::call(|cx| cx.stop())).is_ok());
    let both: End = |_, _, those| those[..2].iter().for_each(ActorRef::stop);
    let fails: End = |_, _, those| assert!(those[0].tell(Do::Fail("x")).is_ok());
    let killed: End = |_, _, those| those[0].kill();
    let other: End = |_, _, those| those[2].kill();
    let requested: End = |sim, parent, those| {
        let index = those[0].index();
        assert_eq!(
            within(sim, parent, move |cx| cx.stop_child(index)),
            Some(true)
        );
    };
    let sibling: End = |_, _, those| assert!(those[2].tell(Do::Fail("x")).is_ok());
    let one = Supervision::one_for_one;
    let all = Supervision::all_for_one;
    let stopping = || Supervision::all_for_one().decider(|_| Stop);
    let transient = RestartPolicy::Transient;
    let temporary = RestartPolicy::Temporary;
    use AutoShutdown::{All, Any, Never};
    let cases = [
        ("never", Never, one as fn() -> _, transient, both, true),
        ("any: one stops", Any, one, transient, by_itself, false),
        ("any: one is killed", Any, one, transient, killed, false),
        ("any: one is restarted", Any, one, transient, fails, true),
        (
            "any: a temporary one fails",
            Any,
            one,
            temporary,
            fails,
            false,
        ),
        (
            "any: one of no significance",
            Any,
            one,
            transient,
            other,
            true,
        ),
        (
            "any: it was asked for",
            Any,
            one,
            transient,
            requested,
            true,
        ),
        (
            "any: with a sibling",
            Any,
            stopping,
            transient,
            sibling,
            true,
        ),
        ("all: the first", All, one, transient, by_itself, true),
        ("all: the last", All, one, transient, both, false),
        (
            "all: restarted together",
            All,
            all,
            transient,
            sibling,
            true,
        ),
    ];
    let cases = cases.map(|(what, when, by, policy, end, goes_on)| Case {
        what,
        when,
        by,
        policy,
        end,
        goes_on,
    });
    check_seeds(30, |sim| {
        for case in &cases {
            for lasting in [false, true] {
                let log = Log::default();
                let mut options = supervised((case.by)().auto_shutdown(case.when));
                if lasting {
                    options = options.restart(RestartPolicy::Permanent);
                }
                let parent = sim.spawn_with(options, Puppet::factory("p", &log)).unwrap();
                let children = ["a", "b", "c"].map(|name| {
                    let options = SpawnOptions::new().restart(case.policy);
                    let significant = name != "c";
                    let options = if significant {
                        options.significant()
                    } else {
                        options
                    };
                    child_of(sim, &parent, options, Puppet::factory(name, &log))
                });
                sim.run_until_idle();
                (case.end)(sim, &parent, &children);
                sim.run_until_idle();
                let what = case.what;
                assert_eq!(parent.is_alive(), case.goes_on || lasting, "{what}");
                if parent.is_alive() {
                    let made = if case.goes_on { 1 } else { 2 };
                    assert_eq!(incarnation(sim, &parent), Some(made), "{what}");
                } else {
                    assert_eq!(text(&sim.block_on(parent.stopped())), "stopped", "{what}");
                    assert!(children.iter().all(|child| !child.is_alive()), "{what}");
                }
            }
        }
    });
}

/// Children by request: listed, stopped, made anew.
#[test]
fn row46_children_by_request() {
    check_seeds(50, |sim| {
        let (log, parent, children) = family(sim, Supervision::all_for_one(), &["a", "b", "c"]);
        let mine: Vec<_> = children.iter().map(ActorRef::index).collect();
        let listed = within(sim, &parent, |cx| cx.child_list()).unwrap();
        assert!(listed.iter().map(|child| child.index).eq(mine.clone()));
        assert!(
            listed
                .iter()
                .all(|child| child.message_type.ends_with("Do"))
        );
        // One alone, whatever the strategy; what waits in its mailbox stays.
        let b = mine[1];
        note(&children[1], 1);
        assert_eq!(
            within(sim, &parent, move |cx| cx.restart_child(b)),
            Some(true)
        );
        let mut entries = log.take();
        entries.sort();
        assert_eq!(entries.join(" "), "b+ b1 b~");
        assert_eq!(incarnation(sim, &children[1]), Some(2));
        let restarts = move |cx: &mut Context<'_, Puppet>| (cx.stop_child(b), cx.restart_child(b));
        // Told to stop, it is still there; the stop counts.
        assert_eq!(
            within(sim, &parent, restarts).map(|told| told.0),
            Some(true)
        );
        assert!(!children[1].is_alive());
        assert_eq!(log.line(), "b-");
        let after = within(sim, &parent, |cx| (cx.children(), cx.child_list().len()));
        assert_eq!(after, Some((2, 2)));
        assert_eq!(within(sim, &parent, restarts), Some((false, false)), "gone");
        // Only one's own.
        let (top, stranger) = (
            parent.index(),
            sim.spawn(Puppet::factory("s", &log)).unwrap(),
        );
        let other = stranger.index();
        let both =
            move |cx: &mut Context<'_, Puppet>| (cx.stop_child(top), cx.restart_child(other));
        assert_eq!(within(sim, &parent, both), Some((false, false)));
        assert!(parent.is_alive() && stranger.is_alive());
    });
}

/// Asked for while siblings that are restarted together take turns: the order stays.
#[test]
fn row31_row46_a_restart_by_request_among_others() {
    check_seeds(100, |sim| {
        let gate = Gate::default();
        let second = [Hook::Wait(gate.clone()), Hook::Fine, Hook::Fine, Hook::Fine];
        let (log, parent, children) = family_of_four(sim, Supervision::all_for_one(), second);
        assert!(children[3].tell(Do::Fail("x")).is_ok());
        let steps = sim.below(40);
        sim.run_steps(steps);
        let which = sim.below(4);
        let index = children[which].index();
        assert_eq!(
            within(sim, &parent, move |cx| cx.restart_child(index)),
            Some(true)
        );
        gate.open();
        sim.run_until_idle();
        let made = with_end(&log.take(), '+');
        assert!("abcd".chars().all(|name| made.contains(name)), "{made}");
        for child in &children {
            note(child, 1);
        }
        sim.run_until_idle();
        assert_eq!(log.len(), 4, "{made}: nobody is left waiting");
    });
}

#[test]
fn row46_counts_of_children_agree() {
    check_seeds(100, |sim| {
        let (_, parent, mut children) = family(sim, Supervision::default(), &["a", "b", "c"]);
        for step in 0..20_u32 {
            if children.is_empty() || sim.below(3) == 0 {
                let factory = Puppet::factory("n", &Log::default());
                children.push(child_of(sim, &parent, SpawnOptions::new(), factory));
            } else {
                let place = sim.below(children.len());
                match sim.below(4) {
                    0 => fail(sim, &children[place]),
                    1 => children.remove(place).stop(),
                    2 => children.remove(place).stop_gracefully(),
                    _ => children.remove(place).kill(),
                }
            }
            sim.run_until_idle();
            assert_eq!(
                within(sim, &parent, |cx| cx.children()),
                Some(children.len()),
                "{step}"
            );
        }
    });
}

#[test]
fn row47_an_endless_restart_loop_can_be_stopped() {
    check_seeds(100, |sim| {
        for kill in [false, true] {
            let by = Supervision::one_for_one()
                .decider(|_| Restart)
                .unlimited_restarts();
            let parent = sim
                .spawn_with(supervised(by), Puppet::factory("p", &Log::default()))
                .unwrap();
            let log = Log::default();
            let inner = log.clone();
            let failing = move || Puppet::new("c", &inner).started(&Hook::Fail);
            let (slot, spawn) = (
                Arc::new(Mutex::new(None)),
                Arc::new(Mutex::new(Some(failing))),
            );
            let out = slot.clone();
            assert!(
                parent
                    .tell(Do::call(move |cx| {
                        let failing = spawn.lock().unwrap().take().unwrap();
                        *out.lock().unwrap() = cx.spawn(failing).ok();
                    }))
                    .is_ok()
            );
            sim.run_until(|| log.len() > 20);
            if kill {
                parent.kill();
            } else {
                parent.stop();
            }
            sim.run_until_idle();
            assert!(sim.resolve::<Do>(parent.index()).is_none());
            let child = slot.lock().unwrap().take().unwrap();
            assert!(sim.resolve::<Do>(child.index()).is_none());
        }
    });
}

/// Ends of every kind, at every moment of a failure, a restart and a backoff.
#[test]
fn row22_row43_ends_at_every_moment() {
    check_seeds(1500, |sim| {
        let seed = sim.seed();
        let by = || {
            let by = Supervision::all_for_one().handler_timeout(ms(20));
            if seed % 3 == 0 {
                by.backoff(Backoff::new(ms(10), ms(50)).jitter(50))
            } else {
                by
            }
        };
        let mut sim = Sim::builder(seed).supervision(by()).build();
        let (log, count) = (Log::default(), Count::default());
        let make = |name: &str| {
            let (log, count, name) = (log.clone(), count.clone(), name.to_string());
            move || Puppet::new(&name, &log).counted(count.one())
        };
        let top = sim.spawn_with(supervised(by()), make("t")).unwrap();
        let middle = child_of(&mut sim, &top, supervised(by()), make("m"));
        let mut all = vec![top, middle];
        for name in ["a", "b"] {
            let parent = all[1].clone();
            let options = if sim.below(2) == 0 {
                SpawnOptions::new()
            } else {
                SpawnOptions::new().mailbox(MailboxOptions::bounded(4))
            };
            all.push(child_of(&mut sim, &parent, options, make(name)));
        }
        for _ in 0..12 {
            let who = all[sim.below(all.len())].clone();
            let _ = match sim.below(4) {
                0 => who.tell(Do::Fail("x")),
                1 => who.tell(Do::Yield(3, 1)),
                2 => who.tell(Do::Carry(2, count.one())),
                _ => who.tell(Do::call(|cx| cx.stop())),
            };
            let steps = sim.below(6);
            sim.run_steps(steps);
            if sim.below(8) == 0 {
                sim.advance(ms(10));
            }
        }
        let who = all[sim.below(all.len())].clone();
        match sim.below(5) {
            0 => who.stop(),
            1 => who.stop_gracefully(),
            2 => who.kill(),
            3 => drop(sim.graceful_shutdown()),
            _ => sim.force_stop(),
        }
        let steps = sim.below(30);
        sim.run_steps(steps);
        drop(sim.graceful_shutdown());
        sim.run_for(ms(1000));
        assert_eq!(sim.state(), SystemState::Stopped, "{log:?}");
        assert_eq!(count.alive(), 0);
        assert_eq!(sim.metrics().live_actors, 0);
    });
}

#[test]
fn row49_a_storm_in_a_tree_ends_with_everyone_healthy_or_stopped() {
    check_seeds(if cfg!(miri) { 3 } else { 300 }, |sim| {
        let directives = [Resume, Restart, Restart, Stop, Escalate];
        let by = |sim: &mut Sim| {
            let base = match sim.below(3) {
                0 => Supervision::one_for_one(),
                1 => Supervision::all_for_one(),
                _ => Supervision::rest_for_one(),
            };
            let (first, chosen) = (sim.below(5), AtomicUsize::new(0));
            let base = base
                .decider(move |_| directives[(first + chosen.fetch_add(1, Ordering::Relaxed)) % 5])
                .max_restarts(4, ms(100))
                .handler_timeout(ms(5));
            if sim.below(3) == 0 {
                base.backoff(Backoff::new(ms(3), ms(20)).jitter(100))
            } else {
                base
            }
        };
        let root = by(sim);
        let mut sim = Sim::builder(sim.seed())
            .supervision(root)
            .escalation(Escalation::StopActor)
            .build();
        let (log, count) = (Log::default(), Count::default());
        let mut all: Vec<ActorRef<Do>> = vec![];
        let mut level: Vec<ActorRef<Do>> = vec![];
        for depth in 0..5 {
            let parents = std::mem::take(&mut level);
            let places = if depth == 0 { 1 } else { parents.len() * 2 };
            for place in 0..places {
                let options = supervised(by(&mut sim));
                let options = match sim.below(4) {
                    0 => options.restart(RestartPolicy::Permanent),
                    1 => options.mailbox(MailboxOptions::bounded(8)),
                    _ => options,
                };
                let factory = {
                    let (log, count) = (log.clone(), count.clone());
                    move || Puppet::new("", &log).counted(count.one())
                };
                let actor = if depth == 0 {
                    sim.spawn_with(options, factory).unwrap()
                } else {
                    child_of(&mut sim, &parents[place / 2], options, factory)
                };
                level.push(actor);
            }
            all.extend(level.iter().cloned());
        }
        for _ in 0..60 {
            let who = all[sim.below(all.len())].clone();
            let _ = match sim.below(16) {
                0 => {
                    who.stop();
                    Ok(())
                }
                1 => {
                    who.kill();
                    Ok(())
                }
                2 => who.tell(Do::call(|cx| cx.stop())),
                3 | 4 => who.tell(Do::Yield(4, 1)),
                5 => {
                    // Older ones only: actors that wait for each other in a circle wait for ever.
                    let place = all.iter().position(|actor| *actor == who).unwrap_or(0);
                    let up = all[sim.below(place.max(1))].clone();
                    if up == who {
                        continue;
                    }
                    let question = async move {
                        let _ = up.ask(|reply| Do::Answer(reply, 1)).await;
                    };
                    who.tell(Do::Await(Box::pin(question)))
                }
                6 => {
                    let log = log.clone();
                    who.tell(Do::call(move |cx| {
                        let _ = cx.spawn(Puppet::factory("", &log));
                    }))
                }
                _ => who.tell(Do::Fail("x")),
            };
            let steps = sim.below(10);
            sim.run_steps(steps);
            if sim.below(6) == 0 {
                sim.advance(ms(2));
            }
        }
        // Longer than every delay and every time limit, one after the other.
        sim.run_for(ms(2000));
        for actor in &all {
            if !actor.is_alive() {
                assert!(
                    sim.resolve::<Do>(actor.index()).is_none(),
                    "told to end, and there"
                );
                continue;
            }
            assert!(incarnation(&mut sim, actor).is_some(), "alive, and stuck");
        }
        drop(sim.graceful_shutdown());
        sim.run_for(ms(1000));
        assert_eq!(sim.state(), SystemState::Stopped);
        assert_eq!(count.alive(), 0);
    });
}

/// What the hooks are told of the failure.
#[test]
fn row23_the_hooks_know_why() {
    use hikyaku_core::Actor;
    struct Curious(Log);
    impl Actor for Curious {
        type Msg = bool;
        async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0
                .push(format!("+{:?}", cx.failure().map(ToString::to_string)));
            Ok(())
        }
        async fn handle(&mut self, fail: bool, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
            self.0.push(format!("{:?}", cx.failure().is_some()));
            if fail { Err(Failure::msg("x")) } else { Ok(()) }
        }
        async fn restarting(&mut self, cx: &mut Context<'_, Self>) {
            self.0
                .push(format!("~{:?}", cx.failure().map(ToString::to_string)));
        }
    }
    check_seeds(20, |sim| {
        let log = Log::default();
        let inner = log.clone();
        let actor = sim.spawn(move || Curious(inner.clone())).unwrap();
        assert!(actor.tell_all([true, false]).is_ok());
        sim.run_until_idle();
        let expected = r#"+None false ~Some("x") +Some("x") false"#;
        assert_eq!(log.line(), expected);
    });
}

/// A sibling that has not begun yet is not restarted for another one, and its own failures count.
#[test]
fn row31_row36_a_sibling_that_is_just_being_made() {
    check_seeds(300, |sim| {
        let (log, parent, children) = family(sim, Supervision::all_for_one(), &["a"]);
        let (slot, factory) = (
            Arc::new(Mutex::new(None)),
            Mutex::new(Some(Puppet::factory("b", &log))),
        );
        let out = slot.clone();
        let spawn = Do::call(move |cx| {
            let factory = factory.lock().unwrap().take().unwrap();
            *out.lock().unwrap() = cx.spawn(factory).ok();
        });
        let _ = children[0].tell(Do::Fail("x"));
        let _ = parent.tell(spawn);
        sim.run_until_idle();
        let b = slot.lock().unwrap().take().unwrap();
        let made = incarnation(sim, &b).unwrap();
        assert!(made <= 2);
        fail(sim, &b);
        assert_eq!(incarnation(sim, &b), Some(made + 1));
    });
}

/// Also for the descendants of those that stop because of a restart: they may be waiting for one
/// that is held.
#[test]
fn row44_a_grandchild_that_asks_one_who_is_held() {
    check_seeds(100, |sim| {
        let (log, parent, children) = family(sim, Supervision::default(), &["a", "b"]);
        let (a, b) = (children[0].clone(), children[1].clone());
        let leaf = child_of(sim, &b, SpawnOptions::new(), Puppet::factory("l", &log));
        sim.run_until_idle();
        let gate = Gate::default();
        let (wait, asked) = (gate.clone(), a.clone());
        let question = async move {
            wait.pass().await;
            let _ = asked.ask(|reply| Do::Answer(reply, 1)).await;
        };
        assert!(leaf.tell(Do::Await(Box::pin(question))).is_ok());
        sim.run_until_idle();
        fail(sim, &parent);
        gate.open();
        sim.run_for(Duration::from_secs(6));
        assert_eq!(incarnation(sim, &parent), Some(2));
        assert!(!leaf.is_alive());
    });
}
