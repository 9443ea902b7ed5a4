//! actix: synchronous handlers on its own arbiters. On `mt` there are two; senders run on the first, single targets on
//! the second, and many actors take turns.

use std::future::Future;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::System as Peer;
use crate::harness::{Clock, Memory, MemoryProbe, Timed};
use crate::workload::{
    self, Asked, BOUND, CHUNK, Counter, DEADLINE, Done, Fan, Idle, IdleRun, Ring, Runtime, Station,
    Tell, WORKERS, time_asks,
};

pub(crate) static SYSTEM: Peer = Peer {
    name: "actix",
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
    heavy: false,
};

/// Every hop between idle arbiters wakes a sleeping thread, a thousand times dearer than a hop within one.
const MT_SLOWDOWN: u64 = 20;

/// The system on this thread, and where actors go.
struct Place {
    system: SystemRunner,
    arbiters: Vec<Arbiter>,
}

impl Place {
    fn new(runtime: Runtime) -> Place {
        let system = System::new();
        let arbiters = match runtime {
            Runtime::St => Vec::new(),
            Runtime::Mt => {
                system.block_on(async { (0..WORKERS).map(|_| Arbiter::new()).collect() })
            }
        };
        Place { system, arbiters }
    }

    /// Worker `i`, counted round. On `st` it is this thread.
    fn worker(&self, i: usize) -> ArbiterHandle {
        match self.arbiters.len() {
            0 => self.system.block_on(async { Arbiter::current() }),
            workers => self.arbiters[i % workers].handle(),
        }
    }

    fn start<A: Actor<Context = actix::Context<A>> + Send>(&self, i: usize, actor: A) -> Addr<A> {
        match self.arbiters.len() {
            0 => self.system.block_on(async { actor.start() }),
            _ => A::start_in_arbiter(&self.worker(i), |_| actor),
        }
    }

    /// Runs a task on the first worker to its end.
    fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = oneshot::channel();
        self.worker(0).spawn(async {
            assert!(tell.send(task.await).is_ok());
        });
        self.system.block_on(told).expect("the task ends well")
    }

    fn stop(self) {
        for arbiter in self.arbiters {
            arbiter.stop();
            arbiter.join().expect("no actor panicked");
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Msg {
    Add(u64),
}

struct CounterActor(Counter);

impl Actor for CounterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // `do_send` passes this limit, so it only holds for `tell_bounded`.
        ctx.set_mailbox_capacity(BOUND);
    }
}

impl Handler<Msg> for CounterActor {
    type Result = ();

    fn handle(&mut self, msg: Msg, _: &mut Context<Self>) {
        let Msg::Add(value) = msg;
        self.0.add(value);
    }
}

fn tell(runtime: Runtime, load: Tell) -> Timed {
    let place = Place::new(runtime);
    let (done, finished) = Done::new(1);
    let target = place.start(1, CounterActor(Counter::new(load.messages(), done)));
    let clock = Clock::start();
    for sender in 0..load.senders {
        let target = target.clone();
        place.worker(sender as usize).spawn(async move {
            for _ in 0..load.chunks {
                for i in 0..load.chunk {
                    target.do_send(Msg::Add(i));
                }
                yield_now().await;
            }
        });
    }
    assert_eq!(place.system.block_on(finished), Ok(load.sum()));
    let timed = clock.stop(load.messages());
    place.stop();
    timed
}

fn tell_bounded(runtime: Runtime, load: Tell) -> Timed {
    let place = Place::new(runtime);
    let (done, finished) = Done::new(1);
    let target = place.start(1, CounterActor(Counter::new(load.messages(), done)));
    let clock = Clock::start();
    place.worker(0).spawn(async move {
        for i in 0..load.messages() {
            // There is no way to wait for room alone. A full mailbox makes the sender wait for the answer.
            if let Err(SendError::Full(msg)) = target.try_send(Msg::Add(i)) {
                target.send(msg).await.expect("it lives");
            }
        }
    });
    assert_eq!(place.system.block_on(finished), Ok(load.sum()));
    let timed = clock.stop(load.messages());
    place.stop();
    timed
}

fn fan(runtime: Runtime, load: Fan) -> Timed {
    let place = Place::new(runtime);
    let (done, finished) = Done::new(load.actors);
    let targets: Vec<_> = (0..load.actors)
        .map(|i| place.start(i, CounterActor(Counter::new(load.each, done.clone()))))
        .collect();
    let clock = Clock::start();
    place.worker(0).spawn(async move {
        let mut next = targets.iter().cycle();
        for _ in 0..load.chunks() {
            for (i, target) in (0..CHUNK).zip(&mut next) {
                target.do_send(Msg::Add(i));
            }
            yield_now().await;
        }
    });
    assert_eq!(place.system.block_on(finished), Ok(load.sum()));
    let timed = clock.stop(load.messages());
    place.stop();
    timed
}

struct StationActor {
    station: Station,
    next: Option<Addr<StationActor>>,
}

impl Actor for StationActor {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Next(Addr<StationActor>);

impl Handler<Next> for StationActor {
    type Result = ();

    fn handle(&mut self, Next(actor): Next, _: &mut Context<Self>) {
        self.next = Some(actor);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum RingMsg {
    Token(u64),
}

impl Handler<RingMsg> for StationActor {
    type Result = ();

    fn handle(&mut self, msg: RingMsg, _: &mut Context<Self>) {
        let RingMsg::Token(hops) = msg;
        if let (Some(hops), Some(next)) = (self.station.visit(hops), &self.next) {
            next.do_send(RingMsg::Token(hops));
        }
    }
}

fn ring(runtime: Runtime, mut load: Ring) -> Timed {
    if runtime == Runtime::Mt {
        load.hops /= MT_SLOWDOWN;
    }
    let place = Place::new(runtime);
    let (done, finished) = Done::new(1);
    let stations: Vec<_> = (0..load.actors)
        .map(|i| {
            place.start(
                i,
                StationActor {
                    station: Station::new(done.clone()),
                    next: None,
                },
            )
        })
        .collect();
    for (station, next) in stations.iter().zip(stations.iter().cycle().skip(1)) {
        place
            .system
            .block_on(station.send(Next(next.clone())))
            .expect("it lives");
    }
    let clock = Clock::start();
    stations[0].do_send(RingMsg::Token(load.hops));
    assert_eq!(place.system.block_on(finished), Ok(load.visits()));
    let timed = clock.stop(load.hops);
    place.stop();
    timed
}

struct Answerer {
    asked: u64,
}

impl Actor for Answerer {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Ask;

impl Handler<Ask> for Answerer {
    type Result = u64;

    fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> u64 {
        self.asked += 1;
        self.asked
    }
}

fn ask(runtime: Runtime, mut asks: u64) -> Timed {
    if runtime == Runtime::Mt {
        asks /= MT_SLOWDOWN;
    }
    let place = Place::new(runtime);
    let target = place.start(1, Answerer { asked: 0 });
    let timed = place.run(async move {
        let clock = Clock::start();
        for i in 1..=asks {
            assert_eq!(target.send(Ask).await, Ok(i));
        }
        clock.stop(asks)
    });
    place.stop();
    timed
}

fn ask_deadline(runtime: Runtime, mut asks: u64) -> Timed {
    if runtime == Runtime::Mt {
        asks /= MT_SLOWDOWN;
    }
    let place = Place::new(runtime);
    let target = place.start(1, Answerer { asked: 0 });
    let timed = place.run(async move {
        let clock = Clock::start();
        for i in 1..=asks {
            assert_eq!(target.send(Ask).timeout(DEADLINE).await, Ok(i));
        }
        clock.stop(asks)
    });
    place.stop();
    timed
}

fn ask_outside(asks: u64) -> Asked {
    let place = Place::new(Runtime::Mt);
    let target = place.start(1, Answerer { asked: 0 });
    let asked = time_asks(asks, || {
        place
            .system
            .block_on(target.send(Ask))
            .expect("every ask is answered")
    });
    place.stop();
    asked
}

struct IdleActor(Idle);

impl Actor for IdleActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.0.started();
    }
}

impl Handler<Msg> for IdleActor {
    type Result = ();

    fn handle(&mut self, msg: Msg, _: &mut Context<Self>) {
        let Msg::Add(value) = msg;
        self.0.handle(value);
    }
}

/// Runs on the first worker. Half of the actors go to the other one, if there is one.
fn spawn_idle(run: &IdleRun, actors: &mut Vec<Addr<IdleActor>>, other: Option<&ArbiterHandle>) {
    for i in 0..run.actors {
        let idle = IdleActor(run.nursery.actor());
        actors.push(match other.filter(|_| i % 2 == 1) {
            Some(other) => IdleActor::start_in_arbiter(other, |_| idle),
            None => idle.start(),
        });
    }
}

fn second_worker(place: &Place) -> Option<ArbiterHandle> {
    place.arbiters.get(1).map(Arbiter::handle)
}

/// The process ends after `spawn` and `memory`, so nothing takes their actors down.
fn spawn(runtime: Runtime, count: usize) -> Timed {
    let place = Place::new(runtime);
    let other = second_worker(&place);
    let timed = place.run(async move {
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        let clock = Clock::start();
        spawn_idle(&run, &mut actors, other.as_ref());
        run.all_started().await;
        let timed = clock.stop(count as u64);
        std::mem::forget(actors);
        timed
    });
    std::mem::forget(place);
    timed
}

fn memory(runtime: Runtime, count: usize) -> Memory {
    let place = Place::new(runtime);
    let other = second_worker(&place);
    let memory = place.run(async move {
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        let mut probe = MemoryProbe::start();
        spawn_idle(&run, &mut actors, other.as_ref());
        run.all_started().await;
        probe.idle();
        for chunk in actors.chunks(workload::CHUNK as usize) {
            for actor in chunk {
                actor.do_send(Msg::Add(Idle::MESSAGE));
            }
            yield_now().await;
        }
        run.all_handled().await;
        let memory = probe.stop(count);
        std::mem::forget(actors);
        memory
    });
    std::mem::forget(place);
    memory
}
