//! xtra: a type per message, `detach` for tells, the handler's return value for asks.

use tokio::task::yield_now;
use xtra::{Actor, Address, Context, Handler, Mailbox};

use super::System;
use crate::harness::{Clock, Memory, MemoryProbe, Timed, tokio_runtime};
use crate::workload::{
    Asked, BOUND, CHUNK, Counter, Done, Fan, Idle, IdleRun, Ring, Runtime, Station, Tell, time_asks,
};

pub(crate) static SYSTEM: System = System {
    name: "xtra",
    tell,
    tell_bounded: Some(tell_bounded),
    tell_by: None,
    fan,
    ring,
    ask,
    suspend_resume: None,
    ask_deadline: None,
    ask_outside,
    spawn,
    memory,
    register_ready: None,
    timers: None,
    idle_cpu: None,
    heavy: false,
};

enum Msg {
    Add(u64),
}

struct CounterActor(Counter);

impl Actor for CounterActor {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Msg> for CounterActor {
    type Return = ();

    async fn handle(&mut self, msg: Msg, _: &mut Context<Self>) {
        let Msg::Add(value) = msg;
        self.0.add(value);
    }
}

fn spawn_counter(expected: u64, done: Done) -> Address<CounterActor> {
    xtra::spawn_tokio(
        CounterActor(Counter::new(expected, done)),
        Mailbox::unbounded(),
    )
}

/// With a bounded mailbox the await waits for room, without it never waits.
async fn send(target: Address<CounterActor>, load: Tell) {
    for _ in 0..load.chunks {
        for i in 0..load.chunk {
            let _answer = target.send(Msg::Add(i)).detach().await.expect("it lives");
        }
        yield_now().await;
    }
}

fn tell_through(
    runtime: Runtime,
    load: Tell,
    mailbox: (Address<CounterActor>, Mailbox<CounterActor>),
) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let target = xtra::spawn_tokio(CounterActor(Counter::new(load.messages(), done)), mailbox);
        let clock = Clock::start();
        for _ in 0..load.senders {
            tokio::spawn(send(target.clone(), load));
        }
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

fn tell(runtime: Runtime, load: Tell) -> Timed {
    tell_through(runtime, load, Mailbox::unbounded())
}

fn tell_bounded(runtime: Runtime, load: Tell) -> Timed {
    tell_through(runtime, load, Mailbox::bounded(BOUND))
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
                    let _answer = target.send(Msg::Add(i)).detach().await.expect("it lives");
                }
                yield_now().await;
            }
        });
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

struct StationActor {
    station: Station,
    next: Option<Address<StationActor>>,
}

impl Actor for StationActor {
    type Stop = ();

    async fn stopped(self) {}
}

struct Next(Address<StationActor>);

impl Handler<Next> for StationActor {
    type Return = ();

    async fn handle(&mut self, Next(actor): Next, _: &mut Context<Self>) {
        self.next = Some(actor);
    }
}

enum RingMsg {
    Token(u64),
}

impl Handler<RingMsg> for StationActor {
    type Return = ();

    async fn handle(&mut self, msg: RingMsg, _: &mut Context<Self>) {
        let RingMsg::Token(hops) = msg;
        if let (Some(hops), Some(next)) = (self.station.visit(hops), &self.next) {
            let _answer = next
                .send(RingMsg::Token(hops))
                .detach()
                .await
                .expect("it lives");
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
                xtra::spawn_tokio(actor, Mailbox::unbounded())
            })
            .collect();
        for (station, next) in stations.iter().zip(stations.iter().cycle().skip(1)) {
            station.send(Next(next.clone())).await.expect("it lives");
        }
        let clock = Clock::start();
        let _answer = stations[0]
            .send(RingMsg::Token(load.hops))
            .detach()
            .await
            .expect("it lives");
        assert_eq!(finished.await, Ok(load.visits()));
        clock.stop(load.hops)
    })
}

struct Answerer {
    asked: u64,
}

impl Actor for Answerer {
    type Stop = ();

    async fn stopped(self) {}
}

struct Ask;

impl Handler<Ask> for Answerer {
    type Return = u64;

    async fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> u64 {
        self.asked += 1;
        self.asked
    }
}

fn ask(runtime: Runtime, asks: u64) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let target = xtra::spawn_tokio(Answerer { asked: 0 }, Mailbox::unbounded());
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                assert_eq!(target.send(Ask).await.expect("every ask is answered"), i);
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_outside(asks: u64) -> Asked {
    let rt = tokio_runtime(Runtime::Mt);
    let target =
        rt.block_on(async { xtra::spawn_tokio(Answerer { asked: 0 }, Mailbox::unbounded()) });
    time_asks(asks, || {
        rt.block_on(target.send(Ask))
            .expect("every ask is answered")
    })
}

struct IdleActor(Idle);

impl Actor for IdleActor {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.0.started();
        Ok(())
    }

    async fn stopped(self) {}
}

impl Handler<Msg> for IdleActor {
    type Return = ();

    async fn handle(&mut self, msg: Msg, _: &mut Context<Self>) {
        let Msg::Add(value) = msg;
        self.0.handle(value);
    }
}

fn spawn_idle(run: &IdleRun, actors: &mut Vec<Address<IdleActor>>) {
    for _ in 0..run.actors {
        actors.push(xtra::spawn_tokio(
            IdleActor(run.nursery.actor()),
            Mailbox::unbounded(),
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
                let _answer = actor
                    .send(Msg::Add(Idle::MESSAGE))
                    .detach()
                    .await
                    .expect("it lives");
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
