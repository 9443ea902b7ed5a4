//! From the factory to the last hook.

use crate::puppet::{Count, Do, Gate, Hook, Log, Puppet, mortal};
use hikyaku_core::{
    ActorRef, MailboxOptions, SendError, SpawnError, SpawnOptions, StartError, StopCause,
};
use hikyaku_testkit::{Sim, check_seeds};
#[cfg(not(feature = "std"))]
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Shorter than the cause itself.
fn text(cause: &StopCause) -> &'static str {
    match cause {
        StopCause::Stopped => "stopped",
        StopCause::Killed => "killed",
        StopCause::Failed(failure) if failure.is_panic() => "panicked",
        StopCause::Failed(_) => "failed",
        StopCause::Shutdown => "shutdown",
        _ => "?",
    }
}

/// The end of `actor`, when everything is idle.
fn end_of(sim: &mut Sim, actor: &ActorRef<Do>) -> &'static str {
    let cause = sim.block_on(actor.stopped());
    text(&cause)
}

struct HookCase {
    what: &'static str,
    started: Hook,
    stopped: Hook,
    end: fn(&mut Sim, &ActorRef<Do>),
    /// The log when it has ended, and how.
    log: &'static str,
    cause: &'static str,
}

fn hook_cases() -> Vec<HookCase> {
    fn case(
        what: &'static str,
        started: Hook,
        stopped: Hook,
        end: fn(&mut Sim, &ActorRef<Do>),
        log: &'static str,
        cause: &'static str,
    ) -> HookCase {
        HookCase {
            what,
            started,
            stopped,
            end,
            log,
            cause,
        }
    }
    fn tell(actor: &ActorRef<Do>, message: Do) {
        let _ = actor.tell(message);
    }
    use Hook::{Fail, Fine, Stop};
    let mut cases = vec![
        case(
            "stop",
            Fine,
            Fine,
            |sim, a| {
                sim.run_until_idle();
                a.stop();
            },
            "a+ a1 a-",
            "stopped",
        ),
        case(
            "stop_gracefully",
            Fine,
            Fine,
            |_, a| a.stop_gracefully(),
            "a+ a1 a-",
            "stopped",
        ),
        case(
            "Context::stop",
            Fine,
            Fine,
            |_, a| tell(a, Do::call(|cx| cx.stop())),
            "a+ a1 a-",
            "stopped",
        ),
        case("stop in started", Stop, Fine, |_, _| {}, "a+ a-", "stopped"),
        case("error in started", Fail, Fine, |_, _| {}, "a+ a-", "failed"),
        case(
            "error in a handler",
            Fine,
            Fine,
            |_, a| tell(a, Do::Fail("x")),
            "a+ a1 a-",
            "failed",
        ),
        case(
            "kill when idle",
            Fine,
            Fine,
            |sim, a| {
                sim.run_until_idle();
                a.kill();
            },
            "a+ a1",
            "killed",
        ),
        case(
            "stop twice",
            Fine,
            Fine,
            |sim, a| {
                sim.run_until_idle();
                a.stop();
                a.stop();
                a.stop_gracefully();
            },
            "a+ a1 a-",
            "stopped",
        ),
        case(
            "stop, then kill",
            Fine,
            Hook::Wait(Gate::default()),
            |sim, a| {
                sim.run_until_idle();
                a.stop();
                sim.run_until_idle();
                a.kill();
            },
            "a+ a1 a-",
            "killed",
        ),
        case(
            "error in stopped",
            Fine,
            Fail,
            |_, a| a.stop_gracefully(),
            "a+ a1 a-",
            "stopped",
        ),
        case(
            "stop in stopped",
            Fine,
            Stop,
            |_, a| a.stop_gracefully(),
            "a+ a1 a-",
            "stopped",
        ),
        case(
            "graceful shutdown",
            Fine,
            Fine,
            |sim, _| drop(sim.graceful_shutdown()),
            "a+ a1 a-",
            "shutdown",
        ),
        case(
            "forced shutdown",
            Fine,
            Fine,
            |sim, _| {
                sim.run_until_idle();
                sim.force_stop();
            },
            "a+ a1",
            "shutdown",
        ),
    ];
    #[cfg(feature = "std")]
    cases.extend([
        case(
            "panic in started",
            Hook::Panic,
            Fine,
            |_, _| {},
            "a+ a-",
            "panicked",
        ),
        case(
            "panic in a handler",
            Fine,
            Fine,
            |_, a| tell(a, Do::Panic("x")),
            "a+ a1 a-",
            "panicked",
        ),
        case(
            "panic after an await",
            Fine,
            Fine,
            |sim, a| {
                let gate = Gate::default();
                tell(a, Do::After(gate.clone(), Box::new(Do::Panic("x"))));
                sim.run_until_idle();
                gate.open();
            },
            "a+ a1 a-",
            "panicked",
        ),
        case(
            "panic in stopped",
            Fine,
            Hook::Panic,
            |_, a| a.stop_gracefully(),
            "a+ a1 a-",
            "panicked",
        ),
    ]);
    cases
}

#[test]
fn row22_hooks_run_in_order_and_once() {
    check_seeds(100, |sim| {
        for case in hook_cases() {
            // A shutdown ends the system, so each case has one of its own.
            let mut sim = Sim::new(sim.seed());
            let log = Log::default();
            let count = Count::default();
            let (started, stopped) = (case.started, case.stopped);
            let actor = {
                let (log, count) = (log.clone(), count.clone());
                sim.spawn_with(mortal(), move || {
                    Puppet::new("a", &log)
                        .started(&started)
                        .stopped(&stopped)
                        .counted(count.one())
                })
                .unwrap()
            };
            assert!(actor.tell(Do::Note(1)).is_ok());
            (case.end)(&mut sim, &actor);
            assert_eq!(end_of(&mut sim, &actor), case.cause, "{}", case.what);
            assert_eq!(log.line(), case.log, "{}", case.what);
            assert_eq!(count.alive(), 0, "{}", case.what);
        }
    });
}

#[test]
fn row22_started_precedes_the_first_message() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let actor = {
            let (log, hook) = (log.clone(), Hook::Wait(gate.clone()));
            sim.spawn(move || Puppet::new("a", &log).started(&hook))
                .unwrap()
        };
        for n in 0..3 {
            let actor = actor.clone();
            sim.spawn_task(async move { actor.send(Do::Note(n)).await.is_ok() });
        }
        sim.run_until_idle();
        assert_eq!(log.line(), "a+");
        gate.open();
        sim.run_until_idle();
        assert_eq!(log.len(), 3);
        assert!(sim.block_on(actor.started()).is_ok());
    });
}

/// What is queued behind the running handler, and how the end treats it.
#[test]
fn row26_stop_and_kill_against_a_running_handler() {
    struct Case {
        what: &'static str,
        end: fn(&ActorRef<Do>),
        /// Before the gate of the running handler opens, and after.
        before: &'static str,
        after: &'static str,
        cause: &'static str,
        dead: usize,
    }
    let cases = [
        Case {
            what: "stop",
            end: |a| a.stop(),
            before: "",
            after: "a1> a-",
            cause: "stopped",
            dead: 2,
        },
        Case {
            what: "kill",
            end: |a| a.kill(),
            before: "",
            after: "",
            cause: "killed",
            dead: 2,
        },
        Case {
            what: "graceful",
            end: |a| a.stop_gracefully(),
            before: "",
            after: "a1> a2 a3 a-",
            cause: "stopped",
            dead: 0,
        },
        Case {
            what: "graceful, then stop",
            end: |a| {
                a.stop_gracefully();
                a.stop();
            },
            before: "",
            after: "a1> a-",
            cause: "stopped",
            dead: 2,
        },
        Case {
            what: "stop, then graceful",
            end: |a| {
                a.stop();
                a.stop_gracefully();
            },
            before: "",
            after: "a1> a-",
            cause: "stopped",
            dead: 2,
        },
        Case {
            what: "stop, then kill",
            end: |a| {
                a.stop();
                a.kill();
            },
            before: "",
            after: "",
            cause: "killed",
            dead: 2,
        },
    ];
    check_seeds(100, |sim| {
        for case in &cases {
            let (log, gate, count) = (Log::default(), Gate::default(), Count::default());
            let dead = sim.metrics().dead_letters;
            let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
            assert!(actor.tell(Do::Pass(1, gate.clone())).is_ok());
            assert!(
                actor
                    .tell_all([Do::Carry(2, count.one()), Do::Carry(3, count.one())])
                    .is_ok()
            );
            sim.run_until_idle();
            assert_eq!(log.line(), "a+ a<1");
            (case.end)(&actor);
            sim.run_until_idle();
            assert_eq!(log.line(), case.before, "{}", case.what);
            gate.open();
            assert_eq!(end_of(sim, &actor), case.cause, "{}", case.what);
            assert_eq!(log.line(), case.after, "{}", case.what);
            assert_eq!(count.alive(), 0, "{}", case.what);
            assert_eq!(
                sim.metrics().dead_letters - dead,
                case.dead,
                "{}",
                case.what
            );
        }
    });
}

#[test]
fn row26_a_kill_at_any_moment_ends_the_actor() {
    check_seeds(300, |sim| {
        let (log, gate, count) = (Log::default(), Gate::default(), Count::default());
        let actor = {
            let (log, count, hook) = (log.clone(), count.clone(), Hook::Wait(gate.clone()));
            sim.spawn(move || Puppet::new("a", &log).counted(count.one()).started(&hook))
                .unwrap()
        };
        for n in 0..3 {
            assert!(actor.tell(Do::Yield(2, n)).is_ok());
        }
        let steps = sim.below(15);
        sim.run_steps(steps);
        gate.open();
        let steps = sim.below(15);
        sim.run_steps(steps);
        actor.kill();
        assert_eq!(end_of(sim, &actor), "killed");
        assert_eq!(count.alive(), 0);
        assert!(!log.take().contains(&"a-".to_string()));
    });
}

// === graceful stop ===

#[test]
fn row25_a_graceful_stop_handles_what_is_queued_and_refuses_the_rest() {
    check_seeds(200, |sim| {
        for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(8)] {
            let before = sim.metrics().dead_letters;
            let (log, gate) = (Log::default(), Gate::default());
            let options = SpawnOptions::new().name("a").mailbox(mailbox);
            let actor = sim.spawn_with(options, Puppet::factory("a", &log)).unwrap();
            let recipient = actor.recipient::<Do>();
            let weak = actor.downgrade();
            let index = actor.index();
            assert!(actor.tell(Do::Pass(1, gate.clone())).is_ok());
            for n in 2..5 {
                assert!(actor.tell(Do::Note(n)).is_ok());
            }
            let queued = actor.ask(|reply| Do::Answer(reply, 7));
            let steps = sim.below(10);
            sim.run_steps(steps);
            assert!(actor.is_alive() && recipient.is_alive() && weak.upgrade().is_some());

            actor.stop_gracefully();
            // From this moment, whether or not a worker has seen the order.
            let found = sim.lookup::<Do>("a").unwrap();
            let resolved = sim.resolve::<Do>(index).unwrap();
            assert!(found == actor && resolved == actor);
            for alive in [
                actor.is_alive(),
                actor.clone().is_alive(),
                recipient.is_alive(),
                found.is_alive(),
                resolved.is_alive(),
            ] {
                assert!(!alive);
            }
            assert!(weak.upgrade().is_none());
            let refused = [
                actor.tell(Do::Note(90)),
                actor.try_send(Do::Note(90)),
                recipient.tell(Do::Note(90)),
                recipient.try_send(Do::Note(90)),
                sim.block_on(actor.send(Do::Note(90))),
            ];
            for refused in refused {
                let Err(SendError::Closed(message)) = refused else {
                    panic!("{refused:?}")
                };
                assert_eq!(message.number(), Some(90));
            }
            let Err(SendError::Closed(all)) = actor.tell_all([Do::Note(90), Do::Note(91)]) else {
                panic!()
            };
            assert_eq!(
                all.iter().filter_map(Do::number).collect::<Vec<_>>(),
                [90, 91]
            );
            assert_eq!(
                sim.block_on(actor.ask(|reply| Do::Answer(reply, 1))),
                Err(hikyaku_core::AskError::Closed)
            );

            gate.open();
            assert_eq!(sim.block_on(queued), Ok(7));
            assert_eq!(end_of(sim, &actor), "stopped");
            assert_eq!(log.line(), "a+ a<1 a1> a2 a3 a4 a-");
            assert!(sim.lookup::<Do>("a").is_none() && sim.resolve::<Do>(index).is_none());
            assert!(!actor.is_alive() && !recipient.is_alive() && weak.upgrade().is_none());
            assert_eq!(sim.metrics().dead_letters, before + 1, "the question");
        }
    });
}

// === children ===

/// Spawns children with these names under `parent`, each with children of its own, and so on.
fn family(sim: &mut Sim, parent: &ActorRef<Do>, log: &Log, name: &str, width: usize, depth: usize) {
    if depth == 0 {
        return;
    }
    for n in 0..width {
        let child = child(sim, parent, log, &format!("{name}{n}"), &Hook::Fine);
        family(sim, &child, log, &format!("{name}{n}"), width, depth - 1);
    }
}

/// Spawns one child and waits for its reference.
fn child(
    sim: &mut Sim,
    parent: &ActorRef<Do>,
    log: &Log,
    name: &str,
    stopped: &Hook,
) -> ActorRef<Do> {
    let slot = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (out, log, name, stopped) = (slot.clone(), log.clone(), name.to_string(), stopped.clone());
    let spawn = Do::call(move |cx| {
        let child = cx
            .spawn(move || Puppet::new(&name, &log).stopped(&stopped))
            .unwrap();
        *out.lock().unwrap() = Some(child);
    });
    assert!(parent.tell(spawn).is_ok());
    sim.run_until(|| slot.lock().unwrap().is_some());
    let child = slot.lock().unwrap().take();
    child.unwrap()
}

/// Depth first, the younger before the older, children before their parent.
fn expected(name: &str, width: usize, depth: usize, out: &mut Vec<String>) {
    for n in (0..width).rev().filter(|_| depth > 0) {
        expected(&format!("{name}{n}"), width, depth - 1, out);
    }
    out.push(format!("{name}-"));
}

#[test]
fn row27_children_stop_first_in_reverse_order() {
    type End = fn(&mut Sim, &ActorRef<Do>);
    let mut ends: Vec<(&str, End)> = vec![
        ("stop", |_, a| a.stop()),
        ("graceful", |_, a| a.stop_gracefully()),
        ("Context::stop", |_, a| {
            assert!(a.tell(Do::call(|cx| cx.stop())).is_ok())
        }),
        ("error", |_, a| assert!(a.tell(Do::Fail("x")).is_ok())),
        ("shutdown", |sim, _| drop(sim.graceful_shutdown())),
    ];
    #[cfg(feature = "std")]
    ends.push(("panic", |_, a| assert!(a.tell(Do::Panic("x")).is_ok())));
    check_seeds(40, |sim| {
        for (what, end) in &ends {
            let mut sim = Sim::new(sim.seed());
            let log = Log::default();
            let root = sim
                .spawn_with(mortal(), Puppet::factory("r", &log))
                .unwrap();
            family(&mut sim, &root, &log, "r", 2, 3);
            sim.run_until_idle();
            assert_eq!(log.take().len(), 15);
            end(&mut sim, &root);
            end_of(&mut sim, &root);
            let mut order = Vec::new();
            expected("r", 2, 3, &mut order);
            assert_eq!(log.take(), order, "{what}");
            assert_eq!(sim.metrics().live_actors, 0, "{what}");
        }
    });
}

/// The older sibling is told only when the younger one has ended, however long that takes.
#[test]
fn row27_a_slow_child_holds_up_its_older_sibling_and_its_parent() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let root = sim.spawn(Puppet::factory("r", &log)).unwrap();
        let older = child(sim, &root, &log, "o", &Hook::Fine);
        let younger = child(sim, &root, &log, "y", &Hook::Wait(gate.clone()));
        sim.run_until_idle();
        log.take();
        root.stop();
        sim.run_until_idle();
        assert_eq!(log.line(), "y-");
        assert!(older.is_alive() && !younger.is_alive() && !root.is_alive());
        assert_eq!(sim.metrics().live_actors, 3);
        gate.open();
        end_of(sim, &root);
        assert_eq!(log.line(), "o- r-");
    });
}

#[test]
fn row27_a_kill_of_the_parent_kills_its_descendants_before_it_ends() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let root = sim.spawn(Puppet::factory("r", &log)).unwrap();
        let middle = child(sim, &root, &log, "m", &Hook::Fine);
        let leaf = child(sim, &middle, &log, "l", &Hook::Wait(gate.clone()));
        sim.run_until_idle();
        // One already waits in its last hook; one awaits in a handler.
        leaf.stop();
        assert!(middle.tell(Do::Pass(1, gate)).is_ok());
        sim.run_until_idle();
        let ends: Vec<_> = [(&root, "root"), (&middle, "middle"), (&leaf, "leaf")]
            .map(|(actor, name)| {
                let (stopped, log) = (actor.stopped(), log.clone());
                sim.spawn_task(async move {
                    let cause = stopped.await;
                    log.push(name);
                    cause
                })
            })
            .into();
        sim.run_until_idle();
        log.take();
        root.kill();
        sim.run_until_idle();
        for end in &ends {
            let end = end.take();
            assert!(matches!(end, Some(StopCause::Killed)), "{end:?}");
        }
        // Each learns of its end on its own, so only the numbers are sure here.
        assert_eq!(log.take().len(), 3);
        assert_eq!(sim.metrics().live_actors, 0);
    });
}

#[test]
fn a_parent_counts_its_children_and_none_is_spawned_while_it_ends() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let root = sim.spawn(Puppet::factory("r", &log)).unwrap();
        let children: Vec<_> = (0..3)
            .map(|_| child(sim, &root, &log, "c", &Hook::Fine))
            .collect();
        let count = |sim: &mut Sim| {
            sim.block_on(root.ask(|reply| {
                Do::call(move |cx| {
                    let _ = reply.send(cx.children() as u64);
                })
            }))
        };
        assert_eq!(count(sim), Ok(3));
        children[1].stop();
        end_of(sim, &children[1]);
        sim.run_until_idle();
        assert_eq!(count(sim), Ok(2));
        drop(sim.graceful_shutdown());
        assert!(matches!(
            sim.spawn(Puppet::factory("x", &log)),
            Err(SpawnError::ShuttingDown)
        ));
        sim.run_until_idle();
        assert_eq!(sim.metrics().live_actors, 0);
    });
}

// === references ===

#[test]
fn row28_an_unreferenced_actor_stops_after_what_is_queued() {
    check_seeds(200, |sim| {
        for wanted in [true, false] {
            let log = Log::default();
            let options = match wanted {
                true => SpawnOptions::new().stop_when_unreferenced(),
                false => SpawnOptions::new(),
            };
            let before = sim.metrics().live_actors;
            let actor = sim.spawn_with(options, Puppet::factory("a", &log)).unwrap();
            let index = actor.index();
            let steps = sim.below(6);
            sim.run_steps(steps);
            for n in 0..3 {
                assert!(actor.tell(Do::Note(n)).is_ok());
            }
            drop(actor);
            sim.run_until_idle();
            let end = if wanted { " a-" } else { "" };
            assert_eq!(log.line(), format!("a+ a0 a1 a2{end}"));
            assert_eq!(sim.metrics().live_actors - before, usize::from(!wanted));
            assert_eq!(sim.resolve::<Do>(index).is_none(), wanted);
        }
    });
}

/// What is left when the spawner's reference goes, and whether it keeps the actor alive.
#[test]
fn row28_which_references_keep_an_actor_alive() {
    use std::any::Any;
    struct Case {
        what: &'static str,
        left: fn(&mut Sim, &ActorRef<Do>) -> Box<dyn Any>,
        keeps: bool,
    }
    fn boxed<T: 'static>(value: T) -> Box<dyn Any> {
        Box::new(value)
    }
    let cases = [
        Case {
            what: "nothing",
            left: |_, _| boxed(()),
            keeps: false,
        },
        Case {
            what: "a clone",
            left: |_, a| boxed(a.clone()),
            keeps: true,
        },
        Case {
            what: "a recipient",
            left: |_, a| boxed(a.recipient::<Do>()),
            keeps: true,
        },
        Case {
            what: "a found reference",
            left: |sim, _| boxed(sim.lookup::<Do>("a").unwrap()),
            keeps: true,
        },
        Case {
            what: "a resolved reference",
            left: |sim, a| boxed(sim.resolve::<Do>(a.index()).unwrap()),
            keeps: true,
        },
        Case {
            what: "an upgraded weak reference",
            left: |_, a| boxed(a.downgrade().upgrade().unwrap()),
            keeps: true,
        },
        Case {
            what: "a reference in its own mailbox",
            left: |_, a| {
                let (me, gate) = (a.clone(), Gate::default());
                let _ = a.tell(Do::After(
                    gate.clone(),
                    Box::new(Do::call(move |_| drop(me))),
                ));
                boxed(gate)
            },
            keeps: true,
        },
        Case {
            what: "a sender that waits",
            left: |sim, a| {
                let a = a.clone();
                boxed(sim.spawn_task(async move {
                    let gate = Gate::default();
                    let _ = a.send(Do::Note(1)).await;
                    gate.pass().await;
                }))
            },
            keeps: true,
        },
        Case {
            what: "a weak reference",
            left: |_, a| boxed(a.downgrade()),
            keeps: false,
        },
        Case {
            what: "an index",
            left: |_, a| boxed(a.index()),
            keeps: false,
        },
        Case {
            what: "a pending stopped()",
            left: |sim, a| {
                let stopped = a.stopped();
                boxed(sim.spawn_task(stopped))
            },
            keeps: false,
        },
        Case {
            what: "a pending started()",
            left: |_, a| boxed(a.started()),
            keeps: false,
        },
        Case {
            what: "a reference of its own, dropped",
            left: |_, a| {
                let _ = a.tell(Do::call(|cx| drop(cx.me())));
                boxed(())
            },
            keeps: false,
        },
    ];
    check_seeds(60, |sim| {
        for case in &cases {
            let log = Log::default();
            let options = SpawnOptions::new().name("a").stop_when_unreferenced();
            let actor = sim.spawn_with(options, Puppet::factory("a", &log)).unwrap();
            let weak = actor.downgrade();
            let left = (case.left)(sim, &actor);
            let steps = sim.below(8);
            sim.run_steps(steps);
            drop(actor);
            sim.run_until_idle();
            let alive = sim.lookup::<Do>("a");
            assert_eq!(alive.is_some(), case.keeps, "{}", case.what);
            assert_eq!(weak.upgrade().is_some(), case.keeps, "{}", case.what);
            if let Some(alive) = alive {
                alive.kill();
            }
            drop(left);
            sim.run_until_idle();
        }
    });
}

#[test]
fn row28_a_pending_answer_arrives_before_an_unreferenced_actor_ends() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let options = SpawnOptions::new().stop_when_unreferenced();
        let actor = sim.spawn_with(options, Puppet::factory("a", &log)).unwrap();
        let stopped = actor.stopped();
        let asked = sim.spawn_task(async move { actor.ask(|reply| Do::Answer(reply, 5)).await });
        assert_eq!(sim.block_on(asked), Ok(5));
        assert!(matches!(sim.block_on(stopped), StopCause::Stopped));
    });
}

// === names and indices ===

#[test]
fn row29_a_name_is_taken_until_its_actor_has_fully_ended() {
    check_seeds(100, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let named = || SpawnOptions::new().name("n");
        let first = {
            let (log, hook) = (log.clone(), Hook::Wait(gate.clone()));
            sim.spawn_with(named(), move || Puppet::new("a", &log).stopped(&hook))
                .unwrap()
        };
        let refused = |sim: &Sim| {
            let again = sim.spawn_with(named(), Puppet::factory("b", &log));
            assert!(matches!(again, Err(SpawnError::NameTaken)), "{again:?}");
        };
        refused(sim);
        sim.run_until_idle();
        first.stop();
        refused(sim);
        sim.run_until_idle();
        refused(sim);
        gate.open();
        end_of(sim, &first);
        let second = sim.spawn_with(named(), Puppet::factory("b", &log)).unwrap();
        assert!(first != second && first.index() != second.index());
        assert!(sim.lookup::<Do>("n") == Some(second.clone()));
        assert!(sim.lookup::<u8>("n").is_none());
        assert!(sim.resolve::<Do>(first.index()).is_none());
        assert!(sim.resolve::<Do>(second.index()) == Some(second.clone()));
        assert!(first.tell(Do::Note(1)).is_err() && second.tell(Do::Note(2)).is_ok());
        sim.run_until_idle();
        assert_eq!(log.line(), "a+ a- b+ b2");
    });
}

#[test]
fn row29_of_concurrent_spawns_with_one_name_one_wins() {
    check_seeds(200, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let parents: Vec<_> = (0..4)
            .map(|_| sim.spawn(Puppet::factory("", &log)).unwrap())
            .collect();
        let wins = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        // Some from handlers, some from outside.
        for parent in &parents {
            let (wins, log, counted) = (wins.clone(), log.clone(), count.one());
            let spawn = Do::call(move |cx| {
                let mut counted = Some(counted);
                let made = cx.spawn_with(SpawnOptions::new().name("n"), move || {
                    Puppet::new("n", &log).counted(counted.take().unwrap())
                });
                wins.lock().unwrap().push(made);
            });
            assert!(parent.tell(spawn).is_ok());
        }
        for _ in 0..4 {
            let (wins, log, counted, system) =
                (wins.clone(), log.clone(), count.one(), sim.system().clone());
            sim.spawn_task(async move {
                let mut counted = Some(counted);
                let made = system.spawn_with(SpawnOptions::new().name("n"), move || {
                    Puppet::new("n", &log).counted(counted.take().unwrap())
                });
                wins.lock().unwrap().push(made);
            });
        }
        sim.run_until_idle();
        let wins = std::mem::take(&mut *wins.lock().unwrap());
        let (won, lost): (Vec<_>, Vec<_>) = wins.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7));
        assert!(
            lost.iter()
                .all(|lost| matches!(lost, Err(SpawnError::NameTaken)))
        );
        // The factories of those who lost are gone.
        assert_eq!(count.alive(), 1);
        assert!(sim.lookup::<Do>("n").as_ref() == won[0].as_ref().ok());
    });
}

#[test]
fn row29_a_stale_index_never_resolves_though_its_slot_is_used_again() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let mut stale = Vec::new();
        for _ in 0..50 {
            let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
            let index = actor.index();
            assert!(sim.resolve::<Do>(index) == Some(actor.clone()));
            assert!(sim.resolve::<u8>(index).is_none());
            actor.stop();
            end_of(sim, &actor);
            stale.push(index);
            assert!(
                stale
                    .iter()
                    .all(|&index| sim.resolve::<Do>(index).is_none())
            );
        }
        stale.sort_unstable();
        stale.dedup();
        assert_eq!(stale.len(), 50);
        // Without both the actors are numbered.
        let used_again = stale.iter().any(|index| index.generation > 1);
        assert_eq!(used_again, cfg!(any(feature = "std", feature = "flow")));
    });
}

// === starting ===

#[test]
fn how_a_start_ends_is_told_to_whoever_waits() {
    type Case = (
        &'static str,
        Hook,
        fn(&ActorRef<Do>),
        fn(&Result<(), StartError>) -> bool,
    );
    let mut cases: Vec<Case> = vec![
        ("fine", Hook::Fine, |_| {}, Result::is_ok),
        (
            "error",
            Hook::Fail,
            |_| {},
            |r| matches!(r, Err(StartError::Failed(f)) if f.to_string() == "as asked"),
        ),
        (
            "stopped before",
            Hook::Fine,
            |a| a.stop(),
            |r| matches!(r, Err(StartError::Stopped(StopCause::Stopped))),
        ),
        (
            "killed before",
            Hook::Fine,
            |a| a.kill(),
            |r| matches!(r, Err(StartError::Stopped(StopCause::Killed))),
        ),
        (
            "graceful before",
            Hook::Fine,
            |a| a.stop_gracefully(),
            Result::is_ok,
        ),
        ("stop in started", Hook::Stop, |_| {}, Result::is_ok),
    ];
    #[cfg(feature = "std")]
    cases.push((
        "panic",
        Hook::Panic,
        |_| {},
        |r| matches!(r, Err(StartError::Failed(f)) if f.is_panic()),
    ));
    check_seeds(100, |sim| {
        for (what, hook, end, holds) in &cases {
            let log = Log::default();
            let actor = {
                let (log, hook) = (log.clone(), hook.clone());
                sim.spawn(move || Puppet::new("a", &log).started(&hook))
                    .unwrap()
            };
            let early = actor.started();
            let early = sim.spawn_task(early);
            end(&actor);
            sim.run_until_idle();
            let early = early.take().unwrap();
            let late = sim.block_on(actor.started());
            assert!(holds(&early), "{what}: {early:?}");
            assert!(holds(&late), "{what}, asked late: {late:?}");
        }
    });
}

/// Dropped at whatever moment, neither leaves anything or takes anything along.
#[test]
fn started_and_stopped_can_be_dropped_at_any_moment() {
    check_seeds(200, |sim| {
        let (log, count) = (Log::default(), Count::default());
        let actor = {
            let (log, count) = (log.clone(), count.clone());
            sim.spawn(move || Puppet::new("a", &log).counted(count.one()))
                .unwrap()
        };
        let mut tasks = Vec::new();
        for _ in 0..6 {
            let (started, stopped) = (actor.started(), actor.stopped());
            tasks.push(sim.spawn_task(async move { drop(started.await) }));
            tasks.push(sim.spawn_task(async move { drop(stopped.await) }));
            let steps = sim.below(6);
            sim.run_steps(steps);
            let victim = sim.below(tasks.len());
            tasks[victim].cancel();
            if sim.below(8) == 0 {
                actor.stop();
            }
        }
        actor.stop();
        sim.run_until_idle();
        assert!(tasks.iter().all(hikyaku_testkit::Task::is_done));
        assert_eq!(count.alive(), 0);
    });
}

/// As many as can be made, and what the one too many panics with.
#[cfg(not(feature = "std"))]
fn as_many_as_can_be<T>(make: impl Fn() -> T) -> (Vec<T>, Box<dyn std::any::Any + Send>) {
    let mut all = Vec::new();
    loop {
        match catch_unwind(AssertUnwindSafe(&make)) {
            Ok(one) => all.push(one),
            Err(refused) => return (all, refused),
        }
    }
}

/// Counts are short without `std`: one reference too many is refused, and changes nothing.
#[test]
#[cfg(not(feature = "std"))]
fn more_references_than_can_be_counted_are_refused() {
    let mut sim = Sim::new(1);
    let log = Log::default();
    let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
    let weak = actor.downgrade();
    let (others, refused) = as_many_as_can_be(|| actor.clone());
    assert_eq!(others.len() + 1, 1 << 15);
    assert_eq!(
        refused.downcast_ref(),
        Some(&"too many references to one actor")
    );
    assert!(catch_unwind(AssertUnwindSafe(|| weak.upgrade())).is_err());
    drop(others);
    actor.tell(Do::Note(7)).unwrap();
    sim.run_until_idle();
    assert!(log.line().contains('7'));
}

/// As many weak references as are allowed must not keep the system from shutting down.
#[test]
#[cfg(not(feature = "std"))]
fn a_system_with_as_many_weak_references_as_are_allowed_can_be_shut_down() {
    let mut sim = Sim::new(1);
    let log = Log::default();
    let actor = sim.spawn(Puppet::factory("a", &log)).unwrap();
    sim.run_until_idle();
    let (weak, _) = as_many_as_can_be(|| actor.downgrade());
    assert!(weak.len() > 1 << 14);
    sim.force_stop();
    sim.run_until_idle();
    assert_eq!(sim.metrics().live_actors, 0);
}
