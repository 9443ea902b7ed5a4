//! kameo: a type per message, mailboxes chosen at `spawn_with_mailbox`, requests that are awaited.

use std::convert::Infallible;

use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox::{self, MailboxReceiver, MailboxSender};
use kameo::message::{Context, Message};
use tokio::task::yield_now;

use super::System;
use crate::harness::{Clock, Memory, MemoryProbe, Timed, tokio_runtime};
use crate::workload::{
    Asked, BOUND, CHUNK, Counter, DEADLINE, Done, Fan, Idle, IdleRun, Ring, Runtime, Station, Tell,
    time_asks,
};

pub(crate) static SYSTEM: System = System {
    name: "kameo",
    tell,
    tell_bounded: Some(tell_bounded),
    tell_by: None,
    fan,
    ring,
    ask,
    suspend_resume: None,
    ask_deadline: Some(ask_deadline),
    ask_outside,
    spawn,
    memory,
    register_ready: None,
    timers: None,
    idle_cpu: None,
    heavy: true,
};

enum Msg {
    Add(u64),
}

#[derive(kameo::Actor)]
struct CounterActor(Counter);

impl Message<Msg> for CounterActor {
    type Reply = ();

    async fn handle(&mut self, msg: Msg, _: &mut Context<Self, ()>) {
        let Msg::Add(value) = msg;
        self.0.add(value);
    }
}

fn spawn_counter(expected: u64, done: Done) -> ActorRef<CounterActor> {
    CounterActor::spawn_with_mailbox(
        CounterActor(Counter::new(expected, done)),
        mailbox::unbounded(),
    )
}

/// With a bounded mailbox the await waits for room, without it never waits.
async fn send(target: ActorRef<CounterActor>, load: Tell) {
    for _ in 0..load.chunks {
        for i in 0..load.chunk {
            target.tell(Msg::Add(i)).await.expect("it lives");
        }
        yield_now().await;
    }
}

fn tell_through(
    runtime: Runtime,
    load: Tell,
    mailbox: (MailboxSender<CounterActor>, MailboxReceiver<CounterActor>),
) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let target = CounterActor::spawn_with_mailbox(
            CounterActor(Counter::new(load.messages(), done)),
            mailbox,
        );
        let clock = Clock::start();
        for _ in 0..load.senders {
            tokio::spawn(send(target.clone(), load));
        }
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

fn tell(runtime: Runtime, load: Tell) -> Timed {
    tell_through(runtime, load, mailbox::unbounded())
}

fn tell_bounded(runtime: Runtime, load: Tell) -> Timed {
    tell_through(runtime, load, mailbox::bounded(BOUND))
}

fn fan(runtime: Runtime, load: Fan) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(load.actors);
        let targets: Vec<_> = (0..load.actors)
            .map(|_| spawn_counter(load.each, done.clone()))
            .collect();
        let clock = Clock::start();
        tokio::spawn(async move {
            let mut next = targets.iter().cycle();
            for _ in 0..load.chunks() {
                for (i, target) in (0..CHUNK).zip(&mut next) {
                    target.tell(Msg::Add(i)).await.expect("it lives");
                }
                yield_now().await;
            }
        });
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

#[derive(kameo::Actor)]
struct StationActor {
    station: Station,
    next: Option<ActorRef<StationActor>>,
}

struct Next(ActorRef<StationActor>);

impl Message<Next> for StationActor {
    type Reply = ();

    async fn handle(&mut self, Next(actor): Next, _: &mut Context<Self, ()>) {
        self.next = Some(actor);
    }
}

enum RingMsg {
    Token(u64),
}

impl Message<RingMsg> for StationActor {
    type Reply = ();

    async fn handle(&mut self, msg: RingMsg, _: &mut Context<Self, ()>) {
        let RingMsg::Token(hops) = msg;
        if let (Some(hops), Some(next)) = (self.station.visit(hops), &self.next) {
            next.tell(RingMsg::Token(hops)).await.expect("it lives");
        }
    }
}

fn ring(runtime: Runtime, load: Ring) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let stations: Vec<_> = (0..load.actors)
            .map(|_| {
                let actor = StationActor {
                    station: Station::new(done.clone()),
                    next: None,
                };
                StationActor::spawn_with_mailbox(actor, mailbox::unbounded())
            })
            .collect();
        for (station, next) in stations.iter().zip(stations.iter().cycle().skip(1)) {
            station.tell(Next(next.clone())).await.expect("it lives");
        }
        let clock = Clock::start();
        stations[0]
            .tell(RingMsg::Token(load.hops))
            .await
            .expect("it lives");
        assert_eq!(finished.await, Ok(load.visits()));
        clock.stop(load.hops)
    })
}

#[derive(kameo::Actor)]
struct Answerer {
    asked: u64,
}

struct Ask;

impl Message<Ask> for Answerer {
    type Reply = u64;

    async fn handle(&mut self, _: Ask, _: &mut Context<Self, u64>) -> u64 {
        self.asked += 1;
        self.asked
    }
}

fn ask(runtime: Runtime, asks: u64) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let target = Answerer::spawn_with_mailbox(Answerer { asked: 0 }, mailbox::unbounded());
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                assert_eq!(target.ask(Ask).await.expect("every ask is answered"), i);
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_deadline(runtime: Runtime, asks: u64) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let target = Answerer::spawn_with_mailbox(Answerer { asked: 0 }, mailbox::unbounded());
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                let answer = target.ask(Ask).reply_timeout(DEADLINE).await;
                assert_eq!(answer.expect("every ask is answered"), i);
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_outside(asks: u64) -> Asked {
    let rt = tokio_runtime(Runtime::Mt);
    let target = rt.block_on(async {
        Answerer::spawn_with_mailbox(Answerer { asked: 0 }, mailbox::unbounded())
    });
    time_asks(asks, || {
        target
            .ask(Ask)
            .blocking_send()
            .expect("every ask is answered")
    })
}

struct IdleActor(Idle);

impl kameo::Actor for IdleActor {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(mut actor: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        actor.0.started();
        Ok(actor)
    }
}

impl Message<Msg> for IdleActor {
    type Reply = ();

    async fn handle(&mut self, msg: Msg, _: &mut Context<Self, ()>) {
        let Msg::Add(value) = msg;
        self.0.handle(value);
    }
}

fn spawn_idle(run: &IdleRun, actors: &mut Vec<ActorRef<IdleActor>>) {
    for _ in 0..run.actors {
        actors.push(IdleActor::spawn_with_mailbox(
            IdleActor(run.nursery.actor()),
            mailbox::unbounded(),
        ));
    }
}

/// The process ends after `spawn` and `memory`, so nothing takes their actors down.
fn spawn(runtime: Runtime, count: usize) -> Timed {
    let rt = tokio_runtime(runtime);
    let spawner = rt.spawn(async move {
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        let clock = Clock::start();
        spawn_idle(&run, &mut actors);
        run.all_started().await;
        let timed = clock.stop(count as u64);
        std::mem::forget(actors);
        timed
    });
    let timed = rt.block_on(spawner).expect("all actors start");
    std::mem::forget(rt);
    timed
}

fn memory(runtime: Runtime, count: usize) -> Memory {
    let rt = tokio_runtime(runtime);
    let driver = rt.spawn(async move {
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        let mut probe = MemoryProbe::start();
        spawn_idle(&run, &mut actors);
        run.all_started().await;
        probe.idle();
        for chunk in actors.chunks(CHUNK as usize) {
            for actor in chunk {
                actor.tell(Msg::Add(Idle::MESSAGE)).await.expect("it lives");
            }
            yield_now().await;
        }
        run.all_handled().await;
        let memory = probe.stop(count);
        std::mem::forget(actors);
        memory
    });
    let memory = rt.block_on(driver).expect("all actors answer");
    std::mem::forget(rt);
    memory
}
