//! Errors, and what becomes of who returns one. A panic is a fault of the firmware.

use crate::bench::{Bench, end, room, small};
use core::time::Duration;
use hikyaku_core::{
    Actor, ActorRef, AskError, Context, Failure, Reply, Supervision, SupervisionDirective,
    SystemState,
};

/// Counts, until it is told to fail.
struct Fragile {
    count: u32,
    kept: Option<Reply<()>>,
}

enum Do {
    Count(Reply<(u32, u16)>),
    /// A question that is not answered.
    Keep(Reply<()>),
    Fail,
}

impl Actor for Fragile {
    type Msg = Do;

    async fn handle(&mut self, what: Do, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match what {
            Do::Count(reply) => {
                self.count += 1;
                let _ = reply.send((self.count, cx.incarnation()));
                Ok(())
            }
            Do::Keep(reply) => {
                self.kept = Some(reply);
                Ok(())
            }
            Do::Fail => Err(Failure::msg("told to")),
        }
    }
}

fn fragile() -> Fragile {
    Fragile {
        count: 0,
        kept: None,
    }
}

pub(crate) async fn an_actor_that_fails_is_restarted_in_place(bench: &Bench) {
    let system = bench.start(small(1));
    let actor = system.spawn_with(room(4), fragile).unwrap();
    let index = actor.index();
    assert_eq!(actor.ask(Do::Count).await, Ok((1, 1)));
    actor.tell(Do::Fail).ok().unwrap();
    // Queued while it is down, and for the actor that comes after.
    assert_eq!(actor.ask(Do::Count).await, Ok((1, 2)));
    assert_eq!(actor.index(), index);
    let counted = system.metrics();
    assert_eq!((counted.failures, counted.restarts), (1, 1));
    end(system).await;
}

/// Has a child, supervised as it was told.
struct Parent(Option<ActorRef<Do>>);

impl Actor for Parent {
    type Msg = Reply<ActorRef<Do>>;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.0 = Some(cx.spawn_with(room(4), fragile)?);
        Ok(())
    }

    async fn handle(
        &mut self,
        reply: Reply<ActorRef<Do>>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        if let Some(child) = &self.0 {
            let _ = reply.send(child.clone());
        }
        Ok(())
    }
}

pub(crate) async fn a_child_is_restarted_or_stopped_as_its_parent_says(bench: &Bench) {
    let system = bench.start(small(2));
    for (directive, answer) in [
        (SupervisionDirective::Resume, Ok((2, 1))),
        (SupervisionDirective::Restart, Ok((1, 2))),
        (SupervisionDirective::Stop, Err(AskError::Closed)),
    ] {
        let supervision = Supervision::one_for_one().decider(move |_| directive);
        let options = room(1).supervision(supervision);
        let parent = system.spawn_with(options, || Parent(None)).unwrap();
        let child = parent.ask(|reply| reply).await.unwrap();
        assert_eq!(child.ask(Do::Count).await, Ok((1, 1)));
        child.tell(Do::Fail).ok().unwrap();
        if directive == SupervisionDirective::Stop {
            child.stopped().await;
        }
        assert_eq!(child.ask(Do::Count).await, answer, "{directive:?}");
        parent.stop();
        parent.stopped().await;
    }
    end(system).await;
}

pub(crate) async fn what_fails_too_often_stops_the_system(bench: &Bench) {
    let supervision = Supervision::one_for_one().max_restarts(2, Duration::from_secs(60));
    let system = bench.start(small(1).supervision(supervision));
    let actor = system.spawn_with(room(4), fragile).unwrap();
    for _ in 0..3 {
        actor.tell(Do::Fail).ok().unwrap();
    }
    system.terminated().await;
    assert_eq!(system.state(), SystemState::Stopped);
    assert_eq!(system.metrics().restarts, 2);
    assert!(system.failure().is_some());
}

/// The runtime knows which actor runs because it may assume one core.
pub(crate) async fn who_waits_for_an_actor_that_failed_is_told_so(bench: &Bench) {
    let system = bench.start(small(1));
    let actor = system.spawn_with(room(4), fragile).unwrap();
    let answer = actor.ask(Do::Keep);
    actor.tell(Do::Fail).ok().unwrap();
    assert_eq!(answer.await, Err(AskError::Restarted));
    end(system).await;
}
