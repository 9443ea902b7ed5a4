//! What comes between an actor and its messages: suspension, the stash, middleware.

use super::Runtime;
use super::subject::{Act, End, Gate, Log, Subject, all, occupy, settle, spawn, spawn_with, text};
use hikyaku_core::{
    ActorRef, Context, Decision, Done, Incoming, MessageOutcome, Middleware, RestartPolicy,
    ResumeCondition, SpawnOptions, SuspendReason, once,
};

/// Suspends until it is resumed; from outside.
fn suspend(actor: &ActorRef<Act>) {
    let (reason, until) = (SuspendReason::UserDefined, ResumeCondition::Explicit);
    actor.suspend(reason, until).unwrap();
}

/// How many suspensions are in force, when what was asked before has taken effect.
async fn nesting(actor: &ActorRef<Act>) -> usize {
    actor.suspension().await.unwrap().nesting
}

/// It handles nothing until each suspension has ended, then all of it in order. Its worker does other things meanwhile.
pub fn row15_a_suspended_actor_handles_nothing_until_it_is_resumed(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn(runtime, "a", &log);
        settle(&actor).await;
        suspend(&actor);
        actor.tell_all([Act::Note(1), Act::Note(2)]).unwrap();
        suspend(&actor);
        assert_eq!(nesting(&actor).await, 2);
        actor.resume();
        actor.tell(Act::Note(3)).unwrap();
        assert_eq!(nesting(&actor).await, 1);
        let others = ["b", "c", "d"].map(|name| spawn(runtime, name, &Log::default()));
        all(others.iter().map(settle)).await;
        assert_eq!(log.line(), "a+");
        actor.resume();
        settle(&actor).await;
        assert_eq!(log.line(), "a1 a2 a3");

        // A handler in flight goes on to its end.
        let gate = occupy(&actor).await;
        suspend(&actor);
        actor.tell(Act::Note(4)).unwrap();
        assert_eq!(nesting(&actor).await, 1);
        gate.open();
        assert_eq!(nesting(&actor).await, 1);
        assert_eq!(log.line(), "");
        actor.resume_all();
        settle(&actor).await;
        assert_eq!(log.line(), "a4");
    });
}

/// One that comes first is remembered, once.
pub fn row15_a_signal_resumes_whoever_waits_for_it(runtime: &impl Runtime) {
    let wait = |actor: &ActorRef<Act>| {
        let until = ResumeCondition::ExternalSignal("go".into());
        actor.suspend(SuspendReason::AwaitExternal, until).unwrap();
    };
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn(runtime, "a", &log);
        actor.signal("go");
        actor.signal("go");
        wait(&actor);
        settle(&actor).await;
        wait(&actor);
        actor.tell(Act::Note(1)).unwrap();
        actor.signal("stay");
        assert_eq!(nesting(&actor).await, 1);
        assert_eq!(log.line(), "a+");
        actor.signal("go");
        settle(&actor).await;
        assert_eq!(log.line(), "a1");
    });
}

/// As if it were not suspended. What it has not handled is lost, and counted.
pub fn row15_a_suspended_actor_can_be_ended(runtime: &impl Runtime) {
    let system = runtime.system();
    runtime.block_on(async {
        let ends: [End; 2] = [("stopped", ActorRef::stop), ("killed", ActorRef::kill)];
        for ((cause, end), expected) in ends.into_iter().zip(["a+ a-", "a+"]) {
            let log = Log::default();
            let actor = spawn(runtime, "a", &log);
            settle(&actor).await;
            let before = system.metrics().dead_letters;
            suspend(&actor);
            actor.tell_all([Act::Note(1), Act::Note(2)]).unwrap();
            end(&actor);
            assert_eq!(text(&actor.stopped().await), cause);
            assert_eq!(log.line(), expected);
            assert_eq!(system.metrics().dead_letters - before, 2);
        }
    });
}

/// Stashes a note.
fn stash(n: u64) -> Act {
    Act::call(move |cx| assert!(cx.stash(Act::Note(n)).is_ok()))
}

fn unstash(most: usize) -> Act {
    Act::call(move |cx| {
        cx.unstash(most);
    })
}

/// A subject that is made anew when it fails.
fn spawn_lasting(runtime: &impl Runtime, options: SpawnOptions, log: &Log) -> ActorRef<Act> {
    let log = log.clone();
    let options = options.restart(RestartPolicy::Transient);
    runtime
        .spawn(options, move || Subject::new("a", &log))
        .unwrap()
}

/// What is stashed, and what was unstashed and had no turn yet, comes after a restart, in order, before what was queued
/// behind it.
pub fn row40_row74_stashed_messages_survive_a_restart(runtime: &impl Runtime) {
    let before = runtime.system().metrics();
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn_lasting(runtime, SpawnOptions::new(), &log);
        let gate = occupy(&actor).await;
        actor.tell_all((1..=4).map(stash)).unwrap();
        // Two of them are on their way when the actor fails in the same turn.
        actor
            .tell(Act::call(|cx| {
                assert!(cx.stash(Act::Fail("as asked")).is_ok());
                assert_eq!((cx.unstash(2), cx.stashed()), (2, 3));
            }))
            .unwrap();
        actor.tell(Act::Fail("as asked")).unwrap();
        actor.tell_all([Act::Note(5), unstash(2)]).unwrap();
        actor.tell(Act::Note(6)).unwrap();
        gate.open();
        settle(&actor).await;
        assert_eq!(log.line(), "a+ a1 a2 a+ a5 a3 a4 a6");
        // The one that fails is left.
        actor.tell(unstash(9)).unwrap();
        settle(&actor).await;
        assert_eq!(log.line(), "a+");
        actor.stop();
        actor.stopped().await;
    });
    let after = runtime.system().metrics();
    assert_eq!(after.failures - before.failures, 2);
    assert_eq!(after.dead_letters, before.dead_letters);
}

/// A failure in the middle: the rest of what was unstashed is handled by the next incarnation.
pub fn row40_a_failure_between_unstashed_messages_loses_one(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn_lasting(runtime, SpawnOptions::new(), &log);
        let gate = occupy(&actor).await;
        actor.tell(stash(1)).unwrap();
        let fail = |cx: &mut Context<'_, Subject>| {
            assert!(cx.stash(Act::Fail("as asked")).is_ok());
        };
        actor.tell(Act::call(fail)).unwrap();
        actor
            .tell_all([stash(2), unstash(9), Act::Note(3)])
            .unwrap();
        gate.open();
        settle(&actor).await;
        assert_eq!(log.line(), "a+ a1 a+ a2 a3");
    });
}

/// Logs its name before and after a message.
struct Layer(&'static str, Log);

impl Middleware for Layer {
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        self.1.push(format!("{}(", self.0));
        match incoming.message.downcast_ref::<Act>() {
            Some(Act::Note(13)) if self.0 == "y" => Decision::Refuse("unlucky"),
            _ => Decision::Pass,
        }
    }

    fn after(&self, done: &Done<'_>) {
        let outcome = match &done.outcome {
            MessageOutcome::Ok => "ok",
            MessageOutcome::Err(_) => "err",
            MessageOutcome::Cancelled => "cancelled",
            MessageOutcome::Refused(_) => "refused",
            _ => "other",
        };
        self.1.push(format!("){}:{outcome}", self.0));
    }
}

/// In order, and back, whatever becomes of the message: handled, refused, failed, or dropped with its handler.
pub fn row79_middleware_sees_each_message_in_order_and_back(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let layered = || {
            SpawnOptions::new()
                .middleware(Layer("x", log.clone()))
                .middleware(Layer("y", log.clone()))
        };
        let actor = spawn_with(runtime, layered(), "a", &log);
        actor.tell_all([Act::Note(1), Act::Note(13)]).unwrap();
        actor.tell(Act::Fail("as asked")).unwrap();
        actor.stopped().await;
        assert_eq!(
            log.line(),
            "a+ x( y( a1 )y:ok )x:ok x( y( )x:refused x( y( )y:err )x:err a-"
        );

        let actor = spawn_with(runtime, layered(), "a", &log);
        let _gate = occupy(&actor).await;
        actor.kill();
        actor.stopped().await;
        assert_eq!(log.line(), "a+ x( y( )y:cancelled )x:cancelled");
    });
}

/// Its child's message is cancelled by the end of the parent, too.
pub fn row79_the_end_of_the_parent_cancels_the_message_in_hand(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let parent = spawn(runtime, "p", &Log::default());
        let (seen, gate) = (log.clone(), Gate::default());
        let (inside, entered) = (gate.clone(), gate);
        let spawned = parent.ask(|reply| {
            Act::call(move |cx| {
                let options = SpawnOptions::new().middleware(Layer("x", seen.clone()));
                let child = cx
                    .spawn_with(options, once(Subject::new("c", &seen)))
                    .unwrap();
                let hanging = async move {
                    inside.open();
                    std::future::pending().await
                };
                child.tell(Act::run(hanging)).unwrap();
                let _ = reply.send(child);
            })
        });
        let child = spawned.await.unwrap();
        entered.pass().await;
        parent.kill();
        child.stopped().await;
        assert_eq!(log.line(), "c+ x( )x:cancelled");
    });
}
