//! Coordinated shutdown: its phases on the seeded driver, its end on real executors.

use hikyaku::{
    Actor, ActorRef, ActorSystem, AddTaskError, Context, CoordinatedShutdown, CurrentThread,
    Failure, Phase, Phases, PhasesError, ShutdownError, ShutdownReason, SpawnError, System,
    SystemState, TaskFailure, TaskKey, block_on,
};
use hikyaku_testkit::{Sim, check_seeds};
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn line(&self) -> String {
        self.0.lock().unwrap().join(" ")
    }
}

// === the order of phases ===

#[test]
fn row86_phases_run_in_topological_order() {
    struct Case {
        what: &'static str,
        /// A phase, and which it comes after.
        phases: &'static [(&'static str, &'static [&'static str])],
        order: Result<&'static [&'static str], &'static str>,
    }
    let cases = [
        Case {
            what: "none",
            phases: &[],
            order: Ok(&["terminate"]),
        },
        Case {
            what: "no dependencies: as given",
            phases: &[("b", &[]), ("a", &[]), ("c", &[])],
            order: Ok(&["b", "a", "c", "terminate"]),
        },
        Case {
            what: "a chain, backwards",
            phases: &[("c", &["b"]), ("b", &["a"]), ("a", &[])],
            order: Ok(&["a", "b", "c", "terminate"]),
        },
        Case {
            what: "a diamond",
            phases: &[("d", &["b", "c"]), ("c", &["a"]), ("b", &["a"]), ("a", &[])],
            order: Ok(&["a", "c", "b", "d", "terminate"]),
        },
        Case {
            what: "terminate is last, wherever it is given",
            phases: &[("terminate", &[]), ("b", &["a"]), ("a", &[])],
            order: Ok(&["a", "b", "terminate"]),
        },
        Case {
            what: "after itself",
            phases: &[("a", &["a"])],
            order: Err("phases wait for each other: a"),
        },
        Case {
            what: "a cycle behind an entrance",
            phases: &[("x", &["a"]), ("a", &["c"]), ("b", &["a"]), ("c", &["b"])],
            order: Err("phases wait for each other: b, c, a"),
        },
        Case {
            what: "after terminate",
            phases: &[("a", &["terminate"])],
            order: Err("phases wait for each other: terminate, a"),
        },
        Case {
            what: "unknown",
            phases: &[("a", &["z"])],
            order: Err("a comes after z, which is no phase"),
        },
        Case {
            what: "twice",
            phases: &[("a", &[]), ("a", &[])],
            order: Err("two phases are called a"),
        },
    ];
    for Case {
        what,
        phases,
        order,
    } in cases
    {
        let phases = phases.iter().map(|(name, after)| {
            let phase = Phase::new(name);
            after.iter().fold(phase, |phase, name| phase.after(name))
        });
        let found = Phases::new(phases);
        let found = found
            .as_ref()
            .map(|phases| phases.names().collect::<Vec<_>>());
        let found = found.map_err(PhasesError::to_string);
        let order = order.map(<[_]>::to_vec).map_err(String::from);
        assert_eq!(found, order, "{what}");
    }
    assert_eq!(
        Phases::default().names().collect::<Vec<_>>(),
        ["unbind", "drain", "stop", "flush", "terminate"]
    );
}

// === what runs ===

/// What a task does, besides logging its name.
#[derive(Clone, Copy)]
enum Do {
    Nothing,
    Fail,
    Panic,
    /// Panics before there is a future.
    PanicAtOnce,
    Hang,
    /// Is done after so many seconds.
    Take(u64),
    /// Adds a task to a phase, and logs if it cannot.
    Add(&'static str, &'static str),
    /// Cancels the task of this place in the table, and logs whether it could.
    Cancel(usize),
    /// Runs the shutdown again, for another reason.
    RunAgain,
    /// Ends the system by other means.
    ShutDown,
    Force,
}

struct Case {
    what: &'static str,
    phases: &'static [(&'static str, u64, bool)],
    tasks: &'static [(&'static str, &'static str, Do)],
    from: &'static str,
    log: &'static str,
    /// The failures, or the error.
    end: Result<&'static str, &'static str>,
    state: SystemState,
}

const PHASES: &[(&str, u64, bool)] = &[("a", 5, true), ("b", 5, true), ("c", 5, true)];

const CASE: Case = Case {
    what: "",
    phases: PHASES,
    tasks: &[],
    from: "a",
    log: "",
    end: Ok(""),
    state: SystemState::Stopped,
};

fn cases() -> Vec<Case> {
    use Do::{
        Add, Cancel, Fail, Force, Hang, Nothing, Panic, PanicAtOnce, RunAgain, ShutDown, Take,
    };
    vec![
        Case {
            what: "nothing to do",
            ..CASE
        },
        Case {
            what: "phase by phase, terminate last",
            tasks: &[
                ("terminate", "t", Nothing),
                ("c", "3", Nothing),
                ("a", "1", Take(1)),
                ("b", "2", Take(1)),
            ],
            log: "1 2 3 t",
            ..CASE
        },
        Case {
            what: "from a phase",
            tasks: &[
                ("a", "1", Nothing),
                ("b", "2", Nothing),
                ("c", "3", Nothing),
            ],
            from: "b",
            log: "2 3",
            ..CASE
        },
        Case {
            what: "from the last phase",
            tasks: &[("a", "1", Nothing), ("c", "3", Nothing)],
            from: "terminate",
            ..CASE
        },
        Case {
            what: "tasks of one phase at the same time",
            tasks: &[
                ("a", "1", Take(4)),
                ("a", "2", Take(4)),
                ("b", "3", Nothing),
            ],
            log: "1 2 3",
            ..CASE
        },
        Case {
            what: "a failure that is recovered from",
            tasks: &[("a", "1", Fail), ("a", "2", Nothing), ("b", "3", Nothing)],
            log: "1 2 3",
            end: Ok("1 in a: as asked"),
            ..CASE
        },
        Case {
            what: "panics that are recovered from",
            tasks: &[
                ("a", "1", Panic),
                ("a", "2", PanicAtOnce),
                ("b", "3", Nothing),
            ],
            log: "1 2 3",
            end: Ok("2 in a: panicked: as asked, 1 in a: panicked: as asked"),
            ..CASE
        },
        Case {
            what: "too slow, recovered from",
            tasks: &[("a", "1", Hang), ("a", "2", Take(4)), ("b", "3", Nothing)],
            log: "1 2 3",
            end: Ok("1 in a: not done after 5s"),
            ..CASE
        },
        Case {
            what: "each phase has its own time",
            phases: &[("a", 1, true), ("b", 9, true)],
            tasks: &[("a", "1", Take(2)), ("b", "2", Take(8))],
            log: "1 2",
            end: Ok("1 in a: not done after 1s"),
            ..CASE
        },
        Case {
            what: "a failure that is not recovered from; the phase is done to its end",
            phases: &[("a", 5, true), ("b", 5, false), ("c", 5, true)],
            tasks: &[
                ("a", "1", Fail),
                ("b", "2", Fail),
                ("b", "3", Take(1)),
                ("c", "4", Nothing),
            ],
            log: "1 2 3",
            end: Err("the shutdown failed: 2 in b: as asked"),
            state: SystemState::Running,
            ..CASE
        },
        Case {
            what: "too slow, not recovered from",
            phases: &[("a", 5, false), ("b", 5, true)],
            tasks: &[("a", "1", Hang), ("b", "2", Nothing)],
            log: "1",
            end: Err("the shutdown failed: 1 in a: not done after 5s"),
            state: SystemState::Running,
            ..CASE
        },
        Case {
            what: "a task adds one to a later phase, to its own, and to none that is over",
            tasks: &[
                ("b", "1", Add("c", "later")),
                ("b", "2", Add("b", "own")),
                ("b", "3", Add("a", "over")),
                ("b", "4", Add("z", "unknown")),
            ],
            log: "1 2 3 4 over:the_phase_is_over unknown:there_is_no_such_phase own later",
            ..CASE
        },
        Case {
            what: "a task cancels one of a later phase, one that has begun, and itself",
            tasks: &[
                ("a", "1", Take(1)),
                ("b", "2", Cancel(5)),
                ("b", "3", Cancel(5)),
                ("b", "4", Cancel(0)),
                ("b", "5", Cancel(4)),
                ("c", "6", Nothing),
            ],
            log: "1 2 3 4 5 5:true 5:false 0:false 4:false",
            ..CASE
        },
        Case {
            what: "once only",
            tasks: &[("a", "1", RunAgain), ("b", "2", RunAgain)],
            log: "1 2",
            ..CASE
        },
        Case {
            what: "the system is told to end meanwhile",
            tasks: &[
                ("a", "1", ShutDown),
                ("b", "2", Take(1)),
                ("c", "3", Nothing),
            ],
            log: "1 2 3",
            ..CASE
        },
        Case {
            what: "the system is forced meanwhile",
            tasks: &[("a", "1", Force), ("b", "2", Nothing)],
            log: "1",
            end: Err("the system was stopped by force"),
            ..CASE
        },
    ]
}

fn phases(phases: &[(&str, u64, bool)]) -> Phases {
    let mut before = None;
    let phases = phases.iter().map(|&(name, seconds, recover)| {
        let phase = Phase::new(name)
            .timeout(Duration::from_secs(seconds))
            .recover(recover);
        match before.replace(name) {
            Some(before) => phase.after(before),
            None => phase,
        }
    });
    Phases::new(phases.collect::<Vec<_>>()).unwrap()
}

/// Adds the task of a table.
fn add(
    shutdown: &CoordinatedShutdown,
    system: &System,
    log: &Log,
    keys: &Arc<Mutex<Vec<TaskKey>>>,
    &(phase, name, what): &(&'static str, &'static str, Do),
) {
    let (again, system, log, known) = (
        shutdown.clone(),
        system.clone(),
        log.clone(),
        Arc::clone(keys),
    );
    let key = shutdown.add_task(phase, name, move || {
        log.push(name);
        assert!(!matches!(what, Do::PanicAtOnce), "as asked");
        async move {
            match what {
                Do::Nothing | Do::PanicAtOnce => {}
                Do::Fail => return Err(Failure::msg("as asked")),
                Do::Panic => panic!("as asked"),
                Do::Hang => pending().await,
                Do::Take(seconds) => system.sleep(Duration::from_secs(seconds)).await?,
                Do::Add(phase, name) => {
                    let to = log.clone();
                    let added = again.add_task(phase, name, move || async move {
                        to.push(name);
                        Ok(())
                    });
                    if let Err(error) = added {
                        log.push(format!("{name}:{error}").replace(' ', "_"));
                    }
                }
                Do::Cancel(place) => {
                    let key = known.lock().unwrap()[place];
                    log.push(format!("{place}:{}", again.cancel_task(key)));
                }
                Do::RunAgain => drop(again.run(ShutdownReason::Other("again"))),
                Do::ShutDown => drop(system.graceful_shutdown()),
                Do::Force => {
                    system.force_stop();
                    pending().await
                }
            }
            Ok(())
        }
    });
    keys.lock().unwrap().push(key.unwrap());
}

fn texts(end: &Result<Vec<TaskFailure>, ShutdownError>) -> Result<String, String> {
    match end {
        Ok(failures) => {
            let texts: Vec<_> = failures.iter().map(ToString::to_string).collect();
            Ok(texts.join(", "))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn row86_what_runs() {
    for case in cases() {
        check_seeds(10, |sim| {
            let what = case.what;
            let (log, keys) = (Log::default(), Arc::default());
            let shutdown = CoordinatedShutdown::new(sim, phases(case.phases)).unwrap();
            for task in case.tasks {
                add(&shutdown, sim.system(), &log, &keys, task);
            }
            sim.run_for(Duration::from_secs(100));
            assert_eq!(log.line(), "", "{what}: nothing runs by itself");
            assert_eq!(shutdown.reason(), None, "{what}");

            let run = shutdown.run_from(ShutdownReason::Requested, case.from);
            let late = shutdown.run(ShutdownReason::Other("late"));
            let (run, late) = (sim.spawn_task(run.unwrap()), sim.spawn_task(late));
            sim.run_for(Duration::from_secs(100));
            assert_eq!(log.line(), case.log, "{what}");
            for end in [sim.block_on(run), sim.block_on(late)] {
                let expected = case.end.map(String::from).map_err(String::from);
                assert_eq!(texts(&end), expected, "{what}");
            }
            assert_eq!(sim.state(), case.state, "{what}");
            assert_eq!(shutdown.reason(), Some(ShutdownReason::Requested), "{what}");
            let late = shutdown.add_task("a", "late", || async { Ok(()) });
            assert_eq!(late, Err(AddTaskError::PhaseOver), "{what}");
        });
    }
}

#[test]
fn row86_an_unknown_phase_runs_nothing() {
    let sim = Sim::new(1);
    let shutdown = CoordinatedShutdown::new(&sim, Phases::default()).unwrap();
    let error = shutdown
        .run_from(ShutdownReason::Requested, "z")
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no phase z");
    assert_eq!(shutdown.reason(), None);
}

#[test]
fn there_is_one_for_each_system() {
    let sim = Sim::new(1);
    let _first = CoordinatedShutdown::new(&sim, Phases::default()).unwrap();
    let second = CoordinatedShutdown::new(&sim, Phases::default());
    assert_eq!(second.err(), Some(SpawnError::NameTaken));
}

#[test]
fn row86_it_is_compatible_with_the_end_of_the_system() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let shutdown = CoordinatedShutdown::new(sim, phases(PHASES)).unwrap();
        for task in [("a", "1", Do::Take(1)), ("b", "2", Do::Nothing)] {
            add(&shutdown, sim.system(), &log, &Arc::default(), &task);
        }
        let ended = sim.graceful_shutdown();
        let ended = sim.spawn_task(ended);
        sim.run_for(Duration::from_secs(10));
        sim.block_on(ended);
        assert_eq!(log.line(), "1 2");
        assert_eq!(shutdown.reason(), Some(ShutdownReason::SystemTerminated));
        // Both again, when all is over.
        let run = shutdown.run(ShutdownReason::Requested);
        assert_eq!(texts(&sim.block_on(run)), Ok(String::new()));
        let ended = sim.graceful_shutdown();
        sim.block_on(ended);
        assert_eq!(log.line(), "1 2");
    });
}

// === actors ===

/// Logs its end, after a while.
struct Service {
    name: &'static str,
    log: Log,
    takes: Duration,
}

impl Actor for Service {
    type Msg = u32;

    async fn handle(&mut self, n: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.log.push(format!("{}{n}", self.name));
        Ok(())
    }

    async fn stopped(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx.sleep(self.takes).await;
        self.log.push(format!("-{}", self.name));
    }
}

fn service(system: &System, name: &'static str, log: &Log, seconds: u64) -> ActorRef<u32> {
    let log = log.clone();
    let factory = move || Service {
        name,
        log: log.clone(),
        takes: Duration::from_secs(seconds),
    };
    system.spawn(factory).unwrap()
}

#[test]
fn row86_a_task_awaits_the_end_of_an_actor() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let shutdown = CoordinatedShutdown::new(sim, Phases::default()).unwrap();
        let services = ["x", "y", "z"].map(|name| service(sim, name, &log, 1));
        let [x, y, z] = &services;
        // `x` twice, in one phase and in the next; `z` has ended already; `y` last, with the system.
        for (phase, name, actor) in [
            (Phases::STOP, "x", x),
            (Phases::STOP, "x again", x),
            (Phases::FLUSH, "x once more", x),
            (Phases::STOP, "z", z),
        ] {
            shutdown.add_actor_termination(phase, name, actor).unwrap();
        }
        let flush = log.clone();
        shutdown
            .add_task(Phases::FLUSH, "flush", move || async move {
                flush.push("flush");
                Ok(())
            })
            .unwrap();
        z.stop_gracefully();
        sim.run_for(Duration::from_secs(2));
        x.tell(1).unwrap();
        y.tell(2).unwrap();
        let run = sim.spawn_task(shutdown.run(ShutdownReason::Requested));
        sim.run_for(Duration::from_secs(10));
        assert_eq!(texts(&sim.block_on(run)), Ok(String::new()));
        let line = log.line().replace("y2 ", "");
        assert_eq!(line, "-z x1 -x flush -y");
    });
}

#[test]
fn row86_actors_that_do_not_end_in_time() {
    for recover in [true, false] {
        check_seeds(10, |sim| {
            let log = Log::default();
            let terminate = Phase::new(Phases::TERMINATE)
                .timeout(Duration::from_secs(3))
                .recover(recover);
            let phases = Phases::new([terminate]).unwrap();
            let shutdown = CoordinatedShutdown::new(sim, phases).unwrap();
            service(sim, "slow", &log, 60);
            service(sim, "quick", &log, 1);
            let run = sim.spawn_task(shutdown.run(ShutdownReason::Requested));
            sim.run_for(Duration::from_secs(4));
            assert_eq!(log.line(), "-quick");
            let late = "terminate in terminate: not done after 3s";
            if recover {
                // The rest is ended by force.
                assert_eq!(sim.state(), SystemState::Stopped);
                assert_eq!(texts(&sim.block_on(run)), Ok(late.into()));
            } else {
                assert_eq!(sim.state(), SystemState::Draining);
                sim.run_for(Duration::from_secs(60));
                assert_eq!(log.line(), "-quick -slow");
                let text = format!("the shutdown failed: {late}");
                assert_eq!(texts(&sim.block_on(run)), Err(text));
            }
        });
    }
}

#[test]
fn row86_tasks_that_never_run_are_dropped_with_the_system() {
    check_seeds(10, |sim| {
        let shutdown = CoordinatedShutdown::new(sim, Phases::default()).unwrap();
        let held = Arc::new(());
        let (kept, again) = (Arc::clone(&held), shutdown.clone());
        let begin = move || async move {
            let _ = (kept, again);
            Ok(())
        };
        shutdown.add_task(Phases::STOP, "never", begin).unwrap();
        sim.run_until_idle();
        sim.force_stop();
        sim.run_until_idle();
        assert_eq!(Arc::strong_count(&held), 1);
        let run = shutdown.run(ShutdownReason::Requested);
        assert!(matches!(sim.block_on(run), Err(ShutdownError::Forced)));
    });
}

// === real executors ===

/// Adds a task that counts, and an actor.
fn furnish(shutdown: &CoordinatedShutdown, system: &System, count: &Arc<AtomicUsize>) {
    let actor = service(system, "s", &Log::default(), 0);
    shutdown
        .add_actor_termination(Phases::STOP, "service", &actor)
        .unwrap();
    for phase in [Phases::UNBIND, Phases::FLUSH, Phases::TERMINATE] {
        let (count, waits) = (Arc::clone(count), system.clone());
        let begin = move || async move {
            waits.sleep(Duration::from_millis(1)).await?;
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        shutdown.add_task(phase, "count", begin).unwrap();
    }
}

#[test]
fn row86_on_own_threads() {
    let count = Arc::default();
    let system = ActorSystem::new("test").unwrap();
    let shutdown = CoordinatedShutdown::new(&system, Phases::default()).unwrap();
    furnish(&shutdown, &system, &count);
    // Nobody awaits it.
    drop(shutdown.run(ShutdownReason::Requested));
    system.join();
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[test]
fn row86_on_the_current_thread() {
    let count = Arc::default();
    let system = CurrentThread::new("test");
    let shutdown = CoordinatedShutdown::new(&system, Phases::default()).unwrap();
    furnish(&shutdown, &system, &count);
    let end = system.block_on(shutdown.run(ShutdownReason::Requested));
    assert_eq!(texts(&end), Ok(String::new()));
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert_eq!(system.state(), SystemState::Stopped);
}

#[cfg(feature = "tokio")]
#[test]
fn row86_inside_a_tokio_runtime() {
    let runtimes = [
        ::tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        ::tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    ];
    for runtime in runtimes {
        let count = Arc::default();
        let end = runtime.unwrap().block_on(async {
            let system = ActorSystem::new("test").unwrap();
            let shutdown = CoordinatedShutdown::new(&system, Phases::default()).unwrap();
            furnish(&shutdown, &system, &count);
            shutdown
                .add_task(Phases::DRAIN, "of Tokio", || async {
                    ::tokio::time::sleep(Duration::from_millis(1)).await;
                    Ok(())
                })
                .unwrap();
            shutdown.run(ShutdownReason::Requested).await
        });
        assert_eq!(texts(&end), Ok(String::new()));
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn row86_a_system_that_is_dropped_runs_nothing() {
    let count = Arc::default();
    let system = ActorSystem::new("test").unwrap();
    let shutdown = CoordinatedShutdown::new(&system, Phases::default()).unwrap();
    furnish(&shutdown, &system, &count);
    drop(system);
    let end = block_on(shutdown.run(ShutdownReason::Requested));
    assert!(matches!(end, Err(ShutdownError::Forced)));
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

/// One test for all of it: a process has one handler.
#[cfg(all(unix, feature = "ctrlc"))]
#[test]
fn ctrl_c_runs_the_shutdown_and_the_next_one_forces_it() {
    fn interrupt() {
        let me = std::process::id().to_string();
        let status = std::process::Command::new("kill")
            .args(["-INT", &me])
            .status();
        assert!(status.unwrap().success());
    }
    let system = ActorSystem::new("test").unwrap();
    let shutdown = CoordinatedShutdown::new(&system, Phases::default()).unwrap();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let hang = move || async move {
        begun.send(()).unwrap();
        pending().await
    };
    shutdown.add_task(Phases::UNBIND, "hang", hang).unwrap();
    shutdown.on_ctrl_c().unwrap();
    let twice = shutdown.on_ctrl_c().unwrap_err();
    assert_eq!(twice.kind(), std::io::ErrorKind::AlreadyExists);
    interrupt();
    has_begun.recv().unwrap();
    assert_eq!(shutdown.reason(), Some(ShutdownReason::Signal));
    interrupt();
    system.join();
    assert_eq!(system.state(), SystemState::Stopped);
}
