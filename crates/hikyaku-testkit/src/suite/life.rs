//! From the start of an actor to its end.

use super::Runtime;
use super::subject::{
    Act, Count, End, Gate, Log, Subject, closed, occupy, settle, spawn, spawn_with, text,
};
use hikyaku_core::{ActorRef, AskError, Reply, SpawnError, SpawnOptions, once};

/// One actor of several fails; what it had is gone, the others go on.
fn one_fails(runtime: &impl Runtime, fail: Act, cause: &str) {
    let system = runtime.system();
    let before = system.metrics();
    runtime.block_on(async {
        let (log, other) = (Log::default(), Log::default());
        let others: Vec<_> = (0..4).map(|_| spawn(runtime, "o", &other)).collect();
        let busy = occupy(&others[0]).await;
        let actor = spawn(runtime, "a", &log);
        let gate = occupy(&actor).await;
        actor.tell(fail).unwrap();
        actor.tell_all([Act::Note(1), Act::Note(2)]).unwrap();
        gate.open();
        assert_eq!(text(&actor.stopped().await), cause);
        // Whoever asks later learns the same.
        assert_eq!(text(&actor.stopped().await), cause);
        assert_eq!(log.line(), "a+ a-");
        assert_eq!(closed(actor.tell(Act::Note(3))), Some(3));

        busy.open();
        for actor in &others {
            settle(actor).await;
            assert!(actor.is_alive());
        }
        assert_eq!(other.line(), "o+ o+ o+ o+");
    });
    let after = system.metrics();
    assert_eq!(after.failures - before.failures, 1);
    assert_eq!(after.dead_letters - before.dead_letters, 2);
}

/// The worker and the other actors go on, and whoever waits learns the text.
pub fn row18_a_panic_is_local(runtime: &impl Runtime) {
    // Nothing catches a panic without `std`.
    if cfg!(feature = "std") {
        let panic = Act::call(|_| panic!("as asked"));
        one_fails(runtime, panic, "panicked: as asked");
        let later = Act::run(async { panic!("as asked") });
        one_fails(runtime, later, "panicked: as asked");
    }
}

/// As a panic, but for the cause.
pub fn row18_an_error_ends_its_actor_only(runtime: &impl Runtime) {
    one_fails(runtime, Act::Fail("as asked"), "as asked");
}

/// However long `started` takes.
pub fn row22_nothing_is_handled_before_started(runtime: &impl Runtime) {
    runtime.block_on(async {
        let (log, entered, gate) = (Log::default(), Gate::default(), Gate::default());
        let (inside, wait) = (entered.clone(), gate.clone());
        let start = Act::run(async move {
            inside.open();
            wait.pass().await;
        });
        let subject = Subject::new("a", &log).on_start(start);
        let actor = runtime.spawn(SpawnOptions::new(), once(subject)).unwrap();
        actor.tell_all([Act::Note(0), Act::Note(1)]).unwrap();
        entered.pass().await;
        actor.tell(Act::Note(2)).unwrap();
        // The others run meanwhile.
        settle(&spawn(runtime, "b", &Log::default())).await;
        assert_eq!(log.line(), "a+");
        gate.open();
        assert!(actor.started().await.is_ok());
        settle(&actor).await;
        assert_eq!(log.line(), "a0 a1 a2");
        actor.stop();
        actor.stopped().await;
        assert_eq!(log.line(), "a-");
        // It had started.
        assert!(actor.started().await.is_ok());
    });
}

/// By an error or a panic in `started`, a panic in the factory, and a kill while `started` waits.
pub fn row24_failing_starts_are_reported(runtime: &impl Runtime) {
    let mut cases = vec![(
        Some(Act::Fail("as asked")),
        "the actor failed to start: as asked",
    )];
    // Nothing catches a panic without `std`.
    if cfg!(feature = "std") {
        let expected = "the actor failed to start: panicked: as asked";
        cases.push((Some(Act::call(|_| panic!("as asked"))), expected));
        cases.push((None, expected));
    }
    let system = runtime.system();
    runtime.block_on(async {
        for (start, expected) in cases {
            let before = system.metrics().dead_letters;
            let log = Log::default();
            let mut subject = start.map(|start| Subject::new("a", &log).on_start(start));
            let options = SpawnOptions::new().name("named");
            let actor = runtime
                .spawn(options, move || subject.take().expect("as asked"))
                .unwrap();
            // It may have ended already.
            let accepted = usize::from(actor.tell(Act::Note(1)).is_ok());
            assert_eq!(actor.started().await.unwrap_err().to_string(), expected);
            actor.stopped().await;
            assert!(!log.line().contains("a1"), "{expected}");
            assert_eq!(system.metrics().dead_letters - before, accepted);
            assert!(system.lookup::<Act>("named").is_none());
        }

        let entered = Gate::default();
        let inside = entered.clone();
        let hanging = Act::run(async move {
            inside.open();
            std::future::pending().await
        });
        let subject = Subject::new("a", &Log::default()).on_start(hanging);
        let actor = runtime.spawn(SpawnOptions::new(), once(subject)).unwrap();
        entered.pass().await;
        actor.kill();
        let error = actor.started().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the actor ended before it started: killed"
        );
    });
}

/// It handles what it has, and refuses what comes later.
pub fn row25_a_graceful_stop_handles_what_is_queued(runtime: &impl Runtime) {
    let before = runtime.system().metrics().dead_letters;
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn(runtime, "a", &log);
        let gate = occupy(&actor).await;
        let answer = |reply: Reply<u64>| {
            Act::call(move |_| {
                let _ = reply.send(7);
            })
        };
        actor.tell_all([Act::Note(1), Act::Note(2)]).unwrap();
        let queued = actor.ask(answer);
        assert!(actor.is_alive());
        actor.stop_gracefully();
        assert!(!actor.is_alive());
        assert_eq!(closed(actor.tell(Act::Note(3))), Some(3));
        assert_eq!(closed(actor.try_send(Act::Note(4))), Some(4));
        assert_eq!(closed(actor.send(Act::Note(5)).await), Some(5));
        assert_eq!(actor.ask(answer).await, Err(AskError::Closed));
        gate.open();
        assert_eq!(queued.await, Ok(7));
        assert_eq!(text(&actor.stopped().await), "stopped");
        assert_eq!(log.line(), "a+ a1 a2 a-");
    });
    // The question that nobody got back.
    assert_eq!(runtime.system().metrics().dead_letters, before + 1);
}

/// But for what is queued behind it.
pub fn row26_a_stop_lets_the_handler_in_hand_finish(runtime: &impl Runtime) {
    runtime.block_on(async {
        let (log, entered, gate) = (Log::default(), Gate::default(), Gate::default());
        let actor = spawn(runtime, "a", &log);
        let (notes, inside, wait) = (log.clone(), entered.clone(), gate.clone());
        let handler = async move {
            inside.open();
            wait.pass().await;
            notes.push("finished");
        };
        actor.tell(Act::run(handler)).unwrap();
        actor.tell(Act::Note(1)).unwrap();
        entered.pass().await;
        actor.stop();
        settle(&spawn(runtime, "b", &Log::default())).await;
        assert_eq!(log.line(), "a+");
        gate.open();
        assert_eq!(text(&actor.stopped().await), "stopped");
        assert_eq!(log.line(), "finished a-");
    });
}

/// Where it awaits; no hook runs, and what the handler held is dropped.
pub fn row26_a_kill_drops_the_handler_in_flight(runtime: &impl Runtime) {
    runtime.block_on(async {
        let (log, count, entered) = (Log::default(), Count::default(), Gate::default());
        let actor = spawn(runtime, "a", &log);
        let (one, inside) = (count.one(), entered.clone());
        let hanging = async move {
            let _one = one;
            inside.open();
            std::future::pending().await
        };
        actor.tell(Act::run(hanging)).unwrap();
        actor.tell(Act::Note(1)).unwrap();
        entered.pass().await;
        assert_eq!(count.alive(), 1);
        actor.kill();
        assert_eq!(text(&actor.stopped().await), "killed");
        assert_eq!((log.line().as_str(), count.alive()), ("a+", 0));
    });
}

/// Spawns a child of the subject, and waits until it is there.
async fn child(parent: &ActorRef<Act>, subject: Subject) -> ActorRef<Act> {
    let spawned = parent.ask(|reply| {
        Act::call(move |cx| {
            let _ = reply.send(cx.spawn(once(subject)).unwrap());
        })
    });
    let child = spawned.await.unwrap();
    child.started().await.unwrap();
    child
}

/// The youngest first, each with its own children, before the next one is told.
pub fn row27_children_stop_first_in_reverse_order(runtime: &impl Runtime) {
    let ends: [End; 3] = [
        ("stopped", ActorRef::stop),
        ("stopped", ActorRef::stop_gracefully),
        ("x", |parent| parent.tell(Act::Fail("x")).unwrap()),
    ];
    runtime.block_on(async {
        for (cause, end) in ends {
            let (log, entered, gate) = (Log::default(), Gate::default(), Gate::default());
            let (inside, wait) = (entered.clone(), gate.clone());
            let slow = Act::run(async move {
                inside.open();
                wait.pass().await;
            });
            let parent = spawn(runtime, "p", &log);
            let oldest = child(&parent, Subject::new("o", &log)).await;
            let middle = child(&parent, Subject::new("m", &log)).await;
            child(&middle, Subject::new("g", &log)).await;
            child(&parent, Subject::new("y", &log).on_stop(slow)).await;
            assert_eq!(log.line(), "p+ o+ m+ g+ y+");

            end(&parent);
            entered.pass().await;
            settle(&spawn(runtime, "b", &Log::default())).await;
            assert_eq!(log.line(), "y-");
            assert!(oldest.is_alive() && middle.is_alive());
            gate.open();
            assert_eq!(text(&parent.stopped().await), cause);
            assert_eq!(log.line(), "g- m- o- p-");
        }
    });
}

/// All of them, without hooks.
pub fn row27_a_kill_takes_the_children_along(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let parent = spawn(runtime, "p", &log);
        let busy = child(&parent, Subject::new("c", &log)).await;
        let idle = child(&parent, Subject::new("c", &log)).await;
        let grandchild = child(&busy, Subject::new("g", &log)).await;
        let _gates = (occupy(&parent).await, occupy(&busy).await);
        parent.kill();
        for actor in [&parent, &busy, &idle, &grandchild] {
            assert_eq!(text(&actor.stopped().await), "killed");
        }
        assert_eq!(log.line(), "p+ c+ c+ g+");
    });
}

/// If it was spawned so; otherwise it lives on.
pub fn row28_an_unreferenced_actor_ends_after_what_is_queued(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let options = SpawnOptions::new().stop_when_unreferenced();
        let actor = spawn_with(runtime, options, "a", &log);
        let other = spawn(runtime, "b", &Log::default());
        let index = other.index();
        let (stopped, clone) = (actor.stopped(), actor.recipient::<Act>());
        actor.tell_all((0..3).map(Act::Note)).unwrap();
        drop(actor);
        clone.tell(Act::Note(3)).unwrap();
        drop((clone, other));
        assert_eq!(text(&stopped.await), "stopped");
        assert_eq!(log.line(), "a+ a0 a1 a2 a3 a-");

        let other = runtime.system().resolve::<Act>(index).unwrap();
        settle(&other).await;
    });
}

/// They lead to the actor as long as it takes messages, also when they are all that is left.
pub fn row28_weak_references_keep_nobody(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn(runtime, "a", &log);
        let weak = actor.downgrade();
        drop(actor);
        let again = weak.upgrade().unwrap();
        settle(&again).await;
        let gate = occupy(&again).await;
        again.stop_gracefully();
        assert!(weak.upgrade().is_none());
        gate.open();
        again.stopped().await;
        assert!(weak.upgrade().is_none());

        let options = SpawnOptions::new().stop_when_unreferenced();
        let actor = spawn_with(runtime, options, "b", &log);
        let (weak, stopped) = (actor.downgrade(), actor.stopped());
        drop(actor);
        stopped.await;
        assert!(weak.upgrade().is_none());
        assert_eq!(log.line(), "a+ a- b+ b-");
    });
}

/// Free when its holder has ended; who had it last is never mistaken for who has it now.
pub fn row29_a_name_is_unique_and_free_again(runtime: &impl Runtime) {
    let system = runtime.system();
    let named = || SpawnOptions::new().name("one");
    runtime.block_on(async {
        let log = Log::default();
        let first = spawn_with(runtime, named(), "a", &log);
        let taken = || runtime.spawn(named(), once(Subject::new("b", &log)));
        assert_eq!(taken().unwrap_err(), SpawnError::NameTaken);
        assert_eq!(system.lookup("one").as_ref(), Some(&first));
        assert!(system.lookup::<u64>("one").is_none(), "of another type");
        let gate = occupy(&first).await;
        first.stop();
        assert_eq!(taken().unwrap_err(), SpawnError::NameTaken);
        gate.open();
        first.stopped().await;
        assert!(system.lookup::<Act>("one").is_none());

        let second = spawn_with(runtime, named(), "c", &log);
        assert!(first != second && first.index() != second.index());
        assert!(system.resolve::<Act>(first.index()).is_none());
        assert_eq!(closed(first.tell(Act::Note(1))), Some(1));
        settle(&second).await;
        assert_eq!(log.line(), "a+ a- c+");
    });
}
