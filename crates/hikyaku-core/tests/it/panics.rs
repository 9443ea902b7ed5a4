//! A panic, wherever it comes from, ends one actor and nothing else.

use crate::puppet::{Count, Counted, Do, Gate, Hook, Log, Puppet, mortal};
use hikyaku_core::{Actor, ActorRef, Context, Failure, Reply, SpawnOptions, StartError, StopCause};
use hikyaku_testkit::{Sim, check_seeds};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// An actor with a mine somewhere.
struct Carrier {
    _count: Counted,
    _mine: Option<Mine>,
}

enum Load {
    /// Dropped by the handler.
    Message(#[allow(dead_code, reason = "for its drop")] Mine),
    /// Kept by the handler while it waits.
    Held(Mine, Gate),
    /// The handler's future holds one, and waits.
    Future(Gate),
    Wait(Gate),
    Fine,
}

impl Actor for Carrier {
    type Msg = Load;

    async fn handle(&mut self, load: Load, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match load {
            Load::Message(mine) => drop(mine),
            Load::Held(mine, gate) => {
                gate.pass().await;
                drop(mine);
            }
            Load::Future(gate) => {
                let _mine = Mine;
                gate.pass().await;
            }
            Load::Wait(gate) => gate.pass().await,
            Load::Fine => {}
        }
        Ok(())
    }
}

/// On the same workers, and alive before and after.
fn witness(sim: &mut Sim) -> impl Fn(&mut Sim) + use<> {
    struct Witness(u64);
    impl Actor for Witness {
        type Msg = Reply<u64>;
        async fn handle(
            &mut self,
            reply: Reply<u64>,
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            cx.yield_now().await;
            self.0 += 1;
            let _ = reply.send(self.0);
            Ok(())
        }
    }
    let witness = sim.spawn(|| Witness(0)).unwrap();
    assert_eq!(sim.block_on(witness.ask(|reply| reply)), Ok(1));
    move |sim| {
        assert_eq!(sim.block_on(witness.ask(|reply| reply)), Ok(2));
        witness.kill();
        sim.run_until_idle();
        assert_eq!(sim.metrics().live_actors, 0);
        assert_eq!(sim.metrics().workers_asleep, sim.metrics().workers);
    }
}

fn text(cause: &StopCause) -> String {
    match cause {
        StopCause::Failed(failure) => match failure.panic_message() {
            Some(text) => format!("panic: {text}"),
            None => format!("error: {failure}"),
        },
        cause => cause.to_string(),
    }
}

#[test]
fn row18_a_panic_in_a_hook_or_handler_is_local() {
    type Deed = fn(&ActorRef<Do>, &Gate);
    let cases: [(&str, Hook, Hook, Deed, &str); 7] = [
        (
            "started",
            Hook::Panic,
            Hook::Fine,
            |_, _| {},
            "panic: as asked",
        ),
        (
            "started, after an await",
            Hook::PanicAfter(Gate::default()),
            Hook::Fine,
            |_, _| {},
            "panic: as asked",
        ),
        (
            "handle",
            Hook::Fine,
            Hook::Fine,
            |a, _| assert!(a.tell(Do::Panic("x")).is_ok()),
            "panic: x",
        ),
        (
            "handle, after an await",
            Hook::Fine,
            Hook::Fine,
            |a, gate| {
                let panic = Do::After(gate.clone(), Box::new(Do::Panic("y")));
                assert!(a.tell(panic).is_ok());
            },
            "panic: y",
        ),
        (
            "stopped",
            Hook::Fine,
            Hook::Panic,
            |a, _| a.stop_gracefully(),
            "panic: as asked",
        ),
        (
            "stopped, after an await",
            Hook::Fine,
            Hook::PanicAfter(Gate::default()),
            |a, _| a.stop_gracefully(),
            "panic: as asked",
        ),
        // The first failure is the cause.
        (
            "handle, then stopped",
            Hook::Fine,
            Hook::Panic,
            |a, _| assert!(a.tell(Do::Fail("z")).is_ok()),
            "error: z",
        ),
    ];
    check_seeds(100, |sim| {
        for (what, started, stopped, deed, cause) in &cases {
            let mut sim = Sim::new(sim.seed());
            let check = witness(&mut sim);
            let (log, count, gate) = (Log::default(), Count::default(), Gate::default());
            // Each run needs gates of its own.
            let fresh = |hook: &Hook| match hook {
                Hook::PanicAfter(_) => Hook::PanicAfter(gate.clone()),
                hook => hook.clone(),
            };
            let (started, stopped) = (fresh(started), fresh(stopped));
            let actor = {
                let (log, count) = (log.clone(), count.clone());
                sim.spawn_with(mortal(), move || {
                    Puppet::new("", &log)
                        .started(&started)
                        .stopped(&stopped)
                        .counted(count.one())
                })
                .unwrap()
            };
            deed(&actor, &gate);
            let late = actor.tell(Do::Carry(9, count.one()));
            drop(late);
            sim.run_until_idle();
            gate.open();
            let end = sim.block_on(actor.stopped());
            assert_eq!(text(&end), *cause, "{what}");
            assert_eq!(count.alive(), 0, "{what}");
            check(&mut sim);
        }
    });
}

#[test]
fn row18_a_panic_in_the_factory_is_told_to_whoever_waits_for_the_start() {
    check_seeds(100, |sim| {
        let check = witness(sim);
        let count = Count::default();
        let carried = count.one();
        let mut carried = Some(carried);
        let named = SpawnOptions::new().name("n");
        let actor = sim
            .spawn_with(named, move || -> Carrier {
                let _carried = carried.take();
                panic!("no actor");
            })
            .unwrap();
        let started = actor.started();
        let early = sim.spawn_task(started);
        sim.run_until_idle();
        match early.take() {
            Some(Err(StartError::Failed(failure))) => {
                assert_eq!(failure.panic_message(), Some("no actor"))
            }
            other => panic!("{other:?}"),
        }
        let end = sim.block_on(actor.stopped());
        assert_eq!(text(&end), "panic: no actor");
        assert!(actor.tell(Load::Fine).is_err());
        assert!(sim.lookup::<Load>("n").is_none());
        assert_eq!(count.alive(), 0);
        check(sim);
    });
}

/// Destructors panic: of messages, of the actor, of the future.
#[test]
fn row18_a_panic_in_a_destructor_is_local() {
    struct Case {
        what: &'static str,
        in_actor: bool,
        load: fn(&Gate) -> Load,
        end: fn(&ActorRef<Load>, &Gate),
        cause: &'static str,
        dead: usize,
    }
    let cases = [
        Case {
            what: "message, by the handler",
            in_actor: false,
            load: |_| Load::Message(Mine),
            end: |_, _| {},
            cause: "panic: dropped",
            dead: 1,
        },
        Case {
            what: "message, after an await",
            in_actor: false,
            load: |gate| Load::Held(Mine, gate.clone()),
            end: |_, gate| gate.open(),
            cause: "panic: dropped",
            dead: 1,
        },
        Case {
            what: "message in a future that is killed",
            in_actor: false,
            load: |gate| Load::Held(Mine, gate.clone()),
            end: |a, _| a.kill(),
            cause: "killed",
            dead: 1,
        },
        Case {
            what: "future, as it ends",
            in_actor: false,
            load: |gate| Load::Future(gate.clone()),
            end: |_, gate| gate.open(),
            cause: "panic: dropped",
            dead: 1,
        },
        Case {
            what: "future that is killed",
            in_actor: false,
            load: |gate| Load::Future(gate.clone()),
            end: |a, _| a.kill(),
            cause: "killed",
            dead: 1,
        },
        Case {
            what: "actor that stops",
            in_actor: true,
            load: |_| Load::Fine,
            end: |a, _| a.stop(),
            cause: "stopped",
            dead: 0,
        },
        Case {
            what: "actor that is killed",
            in_actor: true,
            load: |gate| Load::Wait(gate.clone()),
            end: |a, _| a.kill(),
            cause: "killed",
            dead: 1,
        },
        Case {
            what: "queued messages",
            in_actor: false,
            load: |gate| Load::Wait(gate.clone()),
            end: |a, _| {
                for _ in 0..3 {
                    assert!(a.tell(Load::Message(Mine)).is_ok());
                }
                a.kill();
            },
            cause: "killed",
            dead: 4,
        },
        Case {
            what: "everything",
            in_actor: true,
            load: |gate| Load::Future(gate.clone()),
            end: |a, _| {
                assert!(a.tell(Load::Message(Mine)).is_ok());
                a.kill();
            },
            cause: "killed",
            dead: 2,
        },
    ];
    check_seeds(100, |sim| {
        for case in &cases {
            let mut sim = Sim::new(sim.seed());
            let check = witness(&mut sim);
            let (count, gate) = (Count::default(), Gate::default());
            let actor = {
                let (count, mine) = (count.clone(), case.in_actor);
                sim.spawn_with(mortal(), move || Carrier {
                    _count: count.one(),
                    _mine: mine.then(|| Mine),
                })
                .unwrap()
            };
            assert!(actor.tell((case.load)(&gate)).is_ok());
            assert!(actor.tell(Load::Fine).is_ok());
            sim.run_until_idle();
            (case.end)(&actor, &gate);
            let end = sim.block_on(actor.stopped());
            assert_eq!(text(&end), case.cause, "{}", case.what);
            assert_eq!(count.alive(), 0, "{}", case.what);
            assert_eq!(sim.metrics().dead_letters, case.dead, "{}", case.what);
            check(&mut sim);
        }
    });
}

#[test]
fn row18_a_panic_of_the_dead_letter_listener_is_local() {
    check_seeds(100, |sim| {
        let seen = Arc::new(AtomicUsize::new(0));
        let mut sim = {
            let seen = seen.clone();
            Sim::builder(sim.seed())
                .on_dead_letter(move |_| {
                    seen.fetch_add(1, Ordering::Relaxed);
                    panic!("in the listener");
                })
                .build()
        };
        let check = witness(&mut sim);
        let (log, count) = (Log::default(), Count::default());
        let actor = sim.spawn(Puppet::factory("", &log)).unwrap();
        assert!(actor.tell(Do::Pass(0, Gate::default())).is_ok());
        sim.run_until_idle();
        assert!(
            actor
                .tell_all((0..4).map(|n| Do::Carry(n, count.one())))
                .is_ok()
        );
        actor.stop();
        actor.kill();
        let end = sim.block_on(actor.stopped());
        assert_eq!(text(&end), "killed");
        assert_eq!((seen.load(Ordering::Relaxed), count.alive()), (4, 0));
        check(&mut sim);
    });
}

/// What a failed actor leaves to those who ask late is text: its error is gone with it.
#[test]
fn an_error_value_does_not_outlive_its_actor() {
    #[derive(Debug)]
    struct Costly(#[allow(dead_code, reason = "for its drop")] Counted);
    impl std::fmt::Display for Costly {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("costly")
        }
    }
    impl std::error::Error for Costly {}
    struct Failing;
    impl Actor for Failing {
        type Msg = Counted;
        async fn handle(
            &mut self,
            counted: Counted,
            _: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            Err(Costly(counted).into())
        }
    }
    check_seeds(50, |sim| {
        let count = Count::default();
        let actor = sim.spawn_with(mortal(), || Failing).unwrap();
        let stopped = actor.stopped();
        let early = sim.spawn_task(stopped);
        sim.run_until_idle();
        assert!(actor.tell(count.one()).is_ok());
        sim.run_until_idle();
        let Some(StopCause::Failed(failure)) = early.take() else {
            panic!()
        };
        assert_eq!(failure.to_string(), "costly");
        drop(failure);
        assert_eq!(count.alive(), 0);
        let StopCause::Failed(failure) = sim.block_on(actor.stopped()) else {
            panic!()
        };
        assert_eq!(failure.to_string(), "costly");
        assert!(failure.error().is_none());
    });
}

/// What cannot be caught ends the process, instead of an actor that nobody sees is gone.
#[cfg(not(miri))]
#[test]
fn row42_what_cannot_be_caught_ends_the_process() {
    const CHILD: &str = "HIKYAKU_TEST_FATAL";
    fn deeper(n: u64) -> u64 {
        if n == u64::MAX {
            return 0;
        }
        let room = std::hint::black_box([n; 1024]);
        deeper(room[n as usize % 1024] + 1) + room[0]
    }
    let ends: [(&str, fn()); 3] = [
        ("a panic while another one unwinds", || {
            let _mine = Mine;
            panic!("the first");
        }),
        ("the end of the stack", || {
            std::hint::black_box(deeper(0));
        }),
        ("the end of the memory", || {
            let layout = std::alloc::Layout::new::<u8>();
            std::alloc::handle_alloc_error(layout);
        }),
    ];
    if let Ok(which) = std::env::var(CHILD) {
        let end = ends[which.parse::<usize>().unwrap()].1;
        let mut sim = Sim::new(1);
        let actor = sim.spawn(Puppet::factory("a", &Log::default())).unwrap();
        assert!(actor.tell(Do::call(move |_| end())).is_ok());
        sim.run_until_idle();
        std::process::exit(0);
    }
    for (which, (what, _)) in ends.iter().enumerate() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("panics::row42_what_cannot_be_caught_ends_the_process")
            .env(CHILD, which.to_string())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        // Neither one that went on nor a test that failed: it was cut off.
        assert!(!matches!(status.code(), Some(0 | 101)), "{what}: {status}");
    }
}
