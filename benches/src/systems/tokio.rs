//! The yardstick: a task per actor, and Tokio's own channels as mailboxes.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{unconstrained, yield_now};
use tokio::time::{sleep, timeout};

use super::System;
use crate::harness::{Clock, Memory, MemoryProbe, Timed, tokio_runtime};
use crate::timers::Timers;
use crate::workload::{
    Asked, BOUND, CHUNK, Counter, DEADLINE, Done, Fan, Handled, Idle, IdleRun, READY, Registered,
    Ring, Runtime, Station, Tell, Waiter, idle_second, time_asks,
};

pub(crate) static SYSTEM: System = System {
    name: "tokio",
    tell,
    tell_bounded: Some(tell_bounded),
    tell_by: Some(|runtime, load, _| tell(runtime, load)),
    fan,
    ring,
    ask,
    suspend_resume: Some(ask),
    ask_deadline: Some(ask_deadline),
    ask_outside,
    spawn,
    memory,
    register_ready: Some(register_ready),
    timers: Some(timers),
    idle_cpu: Some(idle_cpu),
    heavy: false,
};

enum Msg {
    Add(u64),
    Token(u64),
    Next(Box<mpsc::UnboundedSender<Msg>>),
    Ask(oneshot::Sender<u64>),
}

const _: () = assert!(size_of::<Msg>() == 16);

type Address = mpsc::UnboundedSender<Msg>;

async fn counter(mut mailbox: mpsc::UnboundedReceiver<Msg>, mut state: Counter) {
    while let Some(msg) = mailbox.recv().await {
        match msg {
            Msg::Add(value) => state.add(value),
            _ => unreachable!(),
        }
    }
}

async fn bounded_counter(mut mailbox: mpsc::Receiver<Msg>, mut state: Counter) {
    while let Some(msg) = mailbox.recv().await {
        match msg {
            Msg::Add(value) => state.add(value),
            _ => unreachable!(),
        }
    }
}

fn spawn_counter(expected: u64, done: Done) -> Address {
    let (address, mailbox) = mpsc::unbounded_channel();
    tokio::spawn(counter(mailbox, Counter::new(expected, done)));
    address
}

fn tell(runtime: Runtime, load: Tell) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let target = spawn_counter(load.messages(), done);
        let clock = Clock::start();
        for _ in 0..load.senders {
            let target = target.clone();
            tokio::spawn(async move {
                for _ in 0..load.chunks {
                    for i in 0..load.chunk {
                        assert!(target.send(Msg::Add(i)).is_ok());
                    }
                    yield_now().await;
                }
            });
        }
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

fn tell_bounded(runtime: Runtime, load: Tell) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let (target, mailbox) = mpsc::channel(BOUND);
        tokio::spawn(bounded_counter(
            mailbox,
            Counter::new(load.messages(), done),
        ));
        let clock = Clock::start();
        tokio::spawn(async move {
            for i in 0..load.messages() {
                assert!(target.send(Msg::Add(i)).await.is_ok());
            }
        });
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

fn fan(runtime: Runtime, load: Fan) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(load.actors);
        let targets: Vec<Address> = (0..load.actors)
            .map(|_| spawn_counter(load.each, done.clone()))
            .collect();
        let clock = Clock::start();
        tokio::spawn(async move {
            let mut next = targets.iter().cycle();
            for _ in 0..load.chunks() {
                for (i, target) in (0..CHUNK).zip(&mut next) {
                    assert!(target.send(Msg::Add(i)).is_ok());
                }
                yield_now().await;
            }
        });
        assert_eq!(finished.await, Ok(load.sum()));
        clock.stop(load.messages())
    })
}

async fn station(mut mailbox: mpsc::UnboundedReceiver<Msg>, mut state: Station) {
    let Some(Msg::Next(next)) = mailbox.recv().await else {
        unreachable!()
    };
    while let Some(msg) = mailbox.recv().await {
        match msg {
            Msg::Token(hops) => {
                if let Some(hops) = state.visit(hops) {
                    assert!(next.send(Msg::Token(hops)).is_ok());
                }
            }
            _ => unreachable!(),
        }
    }
}

fn ring(runtime: Runtime, load: Ring) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let (done, finished) = Done::new(1);
        let stations: Vec<Address> = (0..load.actors)
            .map(|_| {
                let (address, mailbox) = mpsc::unbounded_channel();
                tokio::spawn(station(mailbox, Station::new(done.clone())));
                address
            })
            .collect();
        for (station, next) in stations.iter().zip(stations.iter().cycle().skip(1)) {
            assert!(station.send(Msg::Next(Box::new(next.clone()))).is_ok());
        }
        let clock = Clock::start();
        assert!(stations[0].send(Msg::Token(load.hops)).is_ok());
        assert_eq!(finished.await, Ok(load.visits()));
        clock.stop(load.hops)
    })
}

fn spawn_answerer() -> Address {
    let (address, mut mailbox) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut asked = 0;
        while let Some(msg) = mailbox.recv().await {
            match msg {
                Msg::Ask(reply) => {
                    asked += 1;
                    assert!(reply.send(asked).is_ok());
                }
                _ => unreachable!(),
            }
        }
    });
    address
}

fn ask(runtime: Runtime, asks: u64) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let target = spawn_answerer();
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                let (reply, answer) = oneshot::channel();
                assert!(target.send(Msg::Ask(reply)).is_ok());
                assert_eq!(answer.await, Ok(i));
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_deadline(runtime: Runtime, asks: u64) -> Timed {
    tokio_runtime(runtime).block_on(async {
        let target = spawn_answerer();
        let asker = tokio::spawn(async move {
            let clock = Clock::start();
            for i in 1..=asks {
                let (reply, answer) = oneshot::channel();
                assert!(target.send(Msg::Ask(reply)).is_ok());
                assert_eq!(timeout(DEADLINE, answer).await, Ok(Ok(i)));
            }
            clock.stop(asks)
        });
        asker.await.expect("every ask is answered")
    })
}

fn ask_outside(asks: u64) -> Asked {
    let rt = tokio_runtime(Runtime::Mt);
    let target = rt.block_on(async { spawn_answerer() });
    time_asks(asks, || {
        let (reply, answer) = oneshot::channel();
        assert!(target.send(Msg::Ask(reply)).is_ok());
        answer.blocking_recv().expect("every ask is answered")
    })
}

async fn idle(mut mailbox: mpsc::UnboundedReceiver<Msg>, mut state: Idle) {
    state.started();
    while let Some(msg) = mailbox.recv().await {
        match msg {
            Msg::Add(value) => state.handle(value),
            _ => unreachable!(),
        }
    }
}

fn spawn_idle(run: &IdleRun, actors: &mut Vec<Address>) {
    for _ in 0..run.actors {
        let (address, mailbox) = mpsc::unbounded_channel();
        tokio::spawn(idle(mailbox, run.nursery.actor()));
        actors.push(address);
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
                assert!(actor.send(Msg::Add(Idle::MESSAGE)).is_ok());
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

async fn waiter(mut mailbox: mpsc::UnboundedReceiver<Msg>, mut state: Waiter) {
    while let Some(msg) = mailbox.recv().await {
        match msg {
            Msg::Add(round) => state.handle(round),
            _ => unreachable!(),
        }
    }
}

fn register_ready(runtime: Runtime, rounds: u64) -> Registered {
    tokio_runtime(runtime).block_on(async {
        let handled = Handled::default();
        let targets: Vec<Address> = (0..READY)
            .map(|_| {
                let (address, mailbox) = mpsc::unbounded_channel();
                tokio::spawn(waiter(mailbox, Waiter::new(handled.clone())));
                address
            })
            .collect();
        let teller = tokio::spawn(async move {
            let mut registered = Registered::default();
            for round in 0..=rounds {
                registered.round(&targets, |target| {
                    assert!(target.send(Msg::Add(round)).is_ok());
                });
                while !handled.all_of(round) {
                    yield_now().await;
                }
            }
            registered
        });
        teller.await.expect("all rounds are over")
    })
}

fn timers(runtime: Runtime, timers: Timers) -> Timed {
    let rt = tokio_runtime(runtime);
    // Else Tokio would have it stop after every hundred or so.
    let driver = rt.spawn(unconstrained(timers.time(sleep)));
    rt.block_on(driver).expect("all timers do as they should")
}

fn idle_cpu(runtime: Runtime, count: usize) -> Duration {
    tokio_runtime(runtime).block_on(async {
        let mut run = IdleRun::new(count);
        let mut actors = Vec::with_capacity(count);
        spawn_idle(&run, &mut actors);
        run.all_started().await;
        idle_second().await
    })
}
