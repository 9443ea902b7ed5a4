//! What becomes of three workers when the second of them fails, under each strategy; then a worker
//! that fails again and again, with a backoff, until its supervisor gives up.
//!
//! `cargo run --release --example supervision`

#![allow(clippy::print_stdout, reason = "the output is what it is for")]

use hikyaku::prelude::*;
use hikyaku::{Backoff, Supervision, System};
use std::time::{Duration, Instant};

type Anything = Box<dyn std::error::Error>;

/// Counts. What it has counted is lost when it is restarted.
struct Worker {
    count: u32,
}

enum WorkerMsg {
    Count,
    Fail,
    /// The count, and how often the worker has been made.
    Report(Reply<(u32, u16)>),
}

impl Actor for Worker {
    type Msg = WorkerMsg;

    async fn handle(&mut self, msg: WorkerMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            WorkerMsg::Count => self.count += 1,
            WorkerMsg::Fail => return Err(Failure::msg("no more paper")),
            WorkerMsg::Report(reply) => {
                let _ = reply.send((self.count, cx.incarnation()));
            }
        }
        Ok(())
    }
}

/// Has three workers.
struct Team {
    workers: Vec<ActorRef<WorkerMsg>>,
}

impl Actor for Team {
    type Msg = Reply<Vec<ActorRef<WorkerMsg>>>;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        for _ in 0..3 {
            self.workers.push(cx.spawn(|| Worker { count: 0 })?);
        }
        Ok(())
    }

    async fn handle(&mut self, reply: Self::Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let _ = reply.send(self.workers.clone());
        Ok(())
    }
}

async fn team(
    system: &System,
    supervision: Supervision,
) -> Result<Vec<ActorRef<WorkerMsg>>, Anything> {
    let options = SpawnOptions::new().supervision(supervision);
    let team = system.spawn_with(options, || Team {
        workers: Vec::new(),
    })?;
    Ok(team.ask(|reply| reply).await?)
}

/// Waits until there have been so many restarts.
async fn restarts(system: &System, count: usize) -> Result<(), Anything> {
    while system.metrics().restarts < count {
        system.sleep(Duration::from_millis(1)).await?;
    }
    Ok(())
}

async fn run(system: &System) -> Result<(), Anything> {
    println!("Each of three workers counts to 3, then the second one fails:\n");
    let strategies = [
        ("one for one", Supervision::one_for_one(), 1),
        ("rest for one", Supervision::rest_for_one(), 2),
        ("all for one", Supervision::all_for_one(), 3),
    ];
    for (name, supervision, affected) in strategies {
        let workers = team(system, supervision).await?;
        let before = system.metrics().restarts;
        for worker in &workers {
            let counts = (0..3).map(|_| WorkerMsg::Count);
            worker.tell_all(counts)?;
            assert_eq!(worker.ask(WorkerMsg::Report).await?, (3, 1));
        }
        workers[1].tell(WorkerMsg::Fail)?;
        restarts(system, before + affected).await?;
        print!("{name:>14}:");
        for worker in &workers {
            // The reference is the same, whoever is behind it.
            let (count, made) = worker.ask(WorkerMsg::Report).await?;
            let fate = if made == 1 { "went on" } else { "restarted" };
            print!("  {fate:>9}, count {count}");
        }
        println!();
    }

    println!("\nA worker fails six times; five restarts are allowed, with a growing delay:\n");
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
    let supervision = Supervision::one_for_one()
        .max_restarts(5, Duration::from_secs(10))
        .backoff(backoff);
    let worker = team(system, supervision).await?.remove(0);
    for restart in 1..=5 {
        let (before, start) = (system.metrics().restarts, Instant::now());
        worker.tell(WorkerMsg::Fail)?;
        restarts(system, before + 1).await?;
        println!(
            "{:>14}: {:>3} ms later",
            format!("restart {restart}"),
            start.elapsed().as_millis()
        );
    }
    worker.tell(WorkerMsg::Fail)?;
    println!("{:>14}: {}", "in the end", worker.stopped().await);
    Ok(())
}

fn main() -> Result<(), Anything> {
    let system = ActorSystem::new("supervision")?;
    hikyaku::block_on(run(&system))?;
    hikyaku::block_on(system.graceful_shutdown());
    system.join();
    Ok(())
}
