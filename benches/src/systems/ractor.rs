//! ractor: state beside the actor, one message enum, `cast` and `call`. It has no bounded mailboxes.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call, call_t};
use tokio::task::yield_now;

use super::System;
use crate::harness::{Clock, Memory, MemoryProbe, Timed, tokio_runtime};
use crate::workload::{
    Asked, CHUNK, Counter, DEADLINE, Done, Fan, Idle, IdleRun, Ring, Runtime, Station, Tell,
    time_asks,
};

pub(crate) static SYSTEM: System = System {
    name: "ractor",
    tell,
    tell_bounded: None,
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

struct CounterActor;

impl Actor for CounterActor {
    type Msg = Msg;
    type State = Counter;
    type Arguments = Counter;

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        state: Counter,
    ) -> Result<Counter, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        msg: Msg,
        state: &mut Counter,
    ) -> Result<(), ActorProcessingErr> {
        let Msg::Add(value) = msg;
        state.add(value);
        Ok(())
    }
}

async fn spawn_counter(expected: u64, done: Done) -> ActorRef<Msg> {
    Actor::spawn(None, CounterActor, Counter::new(expected, done))
        .await
        .expect("it starts")
        .0
}

fn tell(runtime: Runtime, load: Tell) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let target = spawn_counter(load.messages(), done).await;
        let clock = Clock::start();
        for _ in 0..load.senders {
            let target = target.clone();
            tokio::spawn(async move {
                for _ in 0..load.chunks {
                    for i in 0..load.chunk {
                        target.cast(Msg::Add(i)).expect("it lives");
                    }
                    yield_now().await;
                }
            });
        }
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

fn fan(runtime: Runtime, load: Fan) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(load.actors);
        let mut targets = Vec::with_capacity(load.actors);
        for _ in 0..load.actors {
            targets.push(spawn_counter(load.each, done.clone()).await);
        }
        let clock = Clock::start();
        tokio::spawn(async move {
            let mut next = targets.iter().cycle();
            for _ in 0..load.chunks() {
                for (i, target) in (0..CHUNK).zip(&mut next) {
                    target.cast(Msg::Add(i)).expect("it lives");
                }
                yield_now().await;
            }
        });
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

enum RingMsg {
    Next(ActorRef<RingMsg>),
    Token(u64),
}

const _: () = assert!(size_of::<Msg>() <= 16 && size_of::<RingMsg>() == 16);

struct StationActor;

impl Actor for StationActor {
    type Msg = RingMsg;
    type State = (Station, Option<ActorRef<RingMsg>>);
    type Arguments = Station;

    async fn pre_start(
        &self,
        _: ActorRef<RingMsg>,
        station: Station,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok((station, None))
    }

    async fn handle(
        &self,
        _: ActorRef<RingMsg>,
        msg: RingMsg,
        (station, next): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            RingMsg::Next(actor) => *next = Some(actor),
            RingMsg::Token(hops) => {
                if let (Some(hops), Some(next)) = (station.visit(hops), next) {
                    next.cast(RingMsg::Token(hops))?;
                }
            }
        }
        Ok(())
    }
}

fn ring(runtime: Runtime, load: Ring) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let mut stations = Vec::with_capacity(load.actors);
        for _ in 0..load.actors {
            let station = Actor::spawn(None, StationActor, Station::new(done.clone()))
                .await
                .expect("it starts");
            stations.push(station.0);
        }
        for (station, next) in stations.iter().zip(stations.iter().cycle().skip(1)) {
            station.cast(RingMsg::Next(next.clone())).expect("it lives");
        }
        let clock = Clock::start();
        stations[0]
            .cast(RingMsg::Token(load.hops))
            .expect("it lives");
        assert_eq!(finished.await, Ok(load.visits()));
        clock.stop(load.hops)
    })
}

enum AskMsg {
    Ask(RpcReplyPort<u64>),
}

struct Answerer;

impl Actor for Answerer {
    type Msg = AskMsg;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<AskMsg>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<AskMsg>,
        msg: AskMsg,
        asked: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        let AskMsg::Ask(reply) = msg;
        *asked += 1;
        reply.send(*asked)?;
        Ok(())
    }
}

fn ask(runtime: Runtime, asks: u64) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (target, _) = Actor::spawn(None, Answerer, ()).await.expect("it starts");
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                assert_eq!(
                    call!(target, AskMsg::Ask).expect("every ask is answered"),
                    i
                );
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_deadline(runtime: Runtime, asks: u64) -> Timed {
    let limit = DEADLINE.as_millis() as u64;
    tokio_runtime(runtime).block_on(async {
        let (target, _) = Actor::spawn(None, Answerer, ()).await.expect("it starts");
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                let answer = call_t!(target, AskMsg::Ask, limit);
                assert_eq!(answer.expect("every ask is answered"), i);
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_outside(asks: u64) -> Asked {
    let rt = tokio_runtime(Runtime::Mt);
    let (target, _) = rt
        .block_on(Actor::spawn(None, Answerer, ()))
        .expect("it starts");
    time_asks(asks, || {
        rt.block_on(async { call!(target, AskMsg::Ask) })
            .expect("every ask is answered")
    })
}

struct IdleActor;

impl Actor for IdleActor {
    type Msg = Msg;
    type State = Idle;
    type Arguments = Idle;

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        mut state: Idle,
    ) -> Result<Idle, ActorProcessingErr> {
        state.started();
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        msg: Msg,
        state: &mut Idle,
    ) -> Result<(), ActorProcessingErr> {
        let Msg::Add(value) = msg;
        state.handle(value);
        Ok(())
    }
}

async fn spawn_idle(run: &IdleRun, actors: &mut Vec<ActorRef<Msg>>) {
    for _ in 0..run.actors {
        actors.push(
            Actor::spawn(None, IdleActor, run.nursery.actor())
                .await
                .expect("it starts")
                .0,
        );
    }
}

/// The process ends after `spawn` and `memory`, so nothing takes their actors down.
fn spawn(runtime: Runtime, count: usize) -> Timed {
    let rt = tokio_runtime(runtime);
    let spawner = rt.spawn(async move {
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        let clock = Clock::start();
        spawn_idle(&run, &mut actors).await;
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
        spawn_idle(&run, &mut actors).await;
        run.all_started().await;
        probe.idle();
        for chunk in actors.chunks(CHUNK as usize) {
            for actor in chunk {
                actor.cast(Msg::Add(Idle::MESSAGE)).expect("it lives");
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
