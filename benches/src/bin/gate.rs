//! Counts the instructions of Hikyaku's core operations and fails when one got dearer.
//!
//! `cargo run --release -p hikyaku-bench --bin gate` needs valgrind. It runs itself under callgrind, with N and with 2N
//! operations: the difference is what N operations cost, without the start. Instructions barely vary between runs and
//! machines, unlike time. `--save` makes the numbers the new baseline, `gate.json`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the results are this program's output"
)]

use std::cell::RefCell;
use std::fmt::Write as _;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::task::{Context as TaskContext, Poll, Waker};

use hikyaku::System;
use hikyaku::executor::Worker;
use hikyaku::prelude::*;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gate.json");
/// Growth that is still accepted.
const TOLERANCE: f64 = 0.05;
const OPERATIONS: u64 = 20_000;
/// A sender yields after this many messages.
const CHUNK: u64 = 1_000;

struct Operation {
    name: &'static str,
    run: fn(&Place, u64),
    /// On a coordinator made for several workers, so that nothing is owned by one.
    shared: bool,
}

const ALL: [Operation; 7] = [
    Operation {
        name: "tell",
        run: tell,
        shared: false,
    },
    Operation {
        name: "hop",
        run: hop,
        shared: false,
    },
    Operation {
        name: "ask",
        run: ask,
        shared: false,
    },
    Operation {
        name: "spawn_stop",
        run: spawn_stop,
        shared: false,
    },
    Operation {
        name: "tell_bounded",
        run: tell_bounded,
        shared: false,
    },
    Operation {
        name: "tell_shared",
        run: tell,
        shared: true,
    },
    Operation {
        name: "hop_shared",
        run: hop,
        shared: true,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        [] => measure().and_then(|counts| compare(&counts)),
        ["--save"] => measure().and_then(|counts| save(&counts)),
        ["--child", name, count] => run_here(name, count),
        _ => Err("Usage: gate [--save]".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Instructions per operation, in the order of [`ALL`].
fn measure() -> Result<Vec<f64>, String> {
    ALL.iter()
        .map(|operation| {
            let once = count_instructions(operation.name, OPERATIONS)?;
            let twice = count_instructions(operation.name, 2 * OPERATIONS)?;
            Ok((twice - once) as f64 / OPERATIONS as f64)
        })
        .collect()
}

fn count_instructions(name: &str, operations: u64) -> Result<i64, String> {
    let this = std::env::current_exe().map_err(|e| format!("this program has no path: {e}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--child", name, &operations.to_string()])
        .output()
        .map_err(|e| format!("cannot run valgrind: {e}. Install it: apt install valgrind"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "{name} failed under valgrind: {}\n{report}",
            output.status
        ));
    }
    report
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or(format!("callgrind printed no count:\n{report}"))
}

fn compare(counts: &[f64]) -> Result<(), String> {
    let baseline = std::fs::read_to_string(BASELINE)
        .map_err(|e| format!("{BASELINE}: {e}. `--save` writes it."))?;
    let mut dearer = Vec::new();
    for (Operation { name, .. }, &now) in ALL.iter().zip(counts) {
        let before = read(&baseline, name).ok_or(format!("{BASELINE} has no {name}"))?;
        let growth = now / before - 1.0;
        println!(
            "{name:<13} {now:>8.1} instructions, baseline {before:>8.1} ({:+.1} %)",
            growth * 100.0
        );
        if growth > TOLERANCE {
            dearer.push(*name);
        }
    }
    if dearer.is_empty() {
        return Ok(());
    }
    let limit = TOLERANCE * 100.0;
    Err(format!(
        "more than {limit} % dearer: {}. If it is meant, run with --save.",
        dearer.join(", ")
    ))
}

fn save(counts: &[f64]) -> Result<(), String> {
    let mut text = String::from("{\n");
    for (i, (Operation { name, .. }, count)) in ALL.iter().zip(counts).enumerate() {
        let comma = if i + 1 < ALL.len() { "," } else { "" };
        writeln!(text, "  \"{name}\": {count:.1}{comma}").expect("a string takes it");
    }
    text.push_str("}\n");
    print!("{text}");
    std::fs::write(BASELINE, text).map_err(|e| format!("{BASELINE}: {e}"))
}

/// The number of one name in a file that [`save`] wrote.
fn read(baseline: &str, name: &str) -> Option<f64> {
    let (_, rest) = baseline.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '\n', '}']).next()?.trim().parse().ok()
}

fn run_here(name: &str, count: &str) -> Result<(), String> {
    let operation = ALL
        .iter()
        .find(|operation| operation.name == name)
        .ok_or(format!("there is no {name}"))?;
    let count = count
        .parse()
        .map_err(|_| format!("{count} is not a number"))?;
    (operation.run)(&Place::new(operation.shared), count);
    Ok(())
}

/// A system with one worker, polled by hand.
struct Place {
    system: System,
    worker: RefCell<Worker>,
}

impl Place {
    /// Without a clock: valgrind is slow, and a budget of time would end turns that it doesn't end otherwise.
    fn new(shared: bool) -> Self {
        let builder = System::builder("gate");
        let builder = if shared {
            builder.work_stealing()
        } else {
            builder
        };
        let (system, mut workers) = builder.build().expect("it has no clock");
        Self {
            system,
            worker: RefCell::new(workers.pop().expect("there is one")),
        }
    }

    fn spawn<A: Actor>(
        &self,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.system.spawn(factory)
    }

    fn spawn_with<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.system.spawn_with(options, factory)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut cx = TaskContext::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            let _turn = self.worker.borrow_mut().poll(64, Waker::noop());
        }
    }
}

enum Msg {
    Add,
    /// Answered when this many messages came.
    Report(u64, Reply<()>),
}

#[derive(Default)]
struct Counter {
    count: u64,
    report: Option<(u64, Reply<()>)>,
}

impl Actor for Counter {
    type Msg = Msg;

    async fn handle(&mut self, msg: Msg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match msg {
            Msg::Add => self.count += 1,
            Msg::Report(at, reply) => self.report = Some((at, reply)),
        }
        if let Some((_, reply)) = self.report.take_if(|(at, _)| *at == self.count) {
            assert!(reply.send(()).is_ok());
        }
        Ok(())
    }
}

struct Teller {
    target: ActorRef<Msg>,
    waits: bool,
}

struct Tell(u64);

impl Actor for Teller {
    type Msg = Tell;

    async fn handle(
        &mut self,
        Tell(count): Tell,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        for _ in 0..count / CHUNK {
            for _ in 0..CHUNK {
                if self.waits {
                    assert!(self.target.send(Msg::Add).await.is_ok());
                } else {
                    assert!(self.target.tell(Msg::Add).is_ok());
                }
            }
            cx.yield_now().await;
        }
        Ok(())
    }
}

fn tell_through(system: &Place, count: u64, mailbox: MailboxOptions, waits: bool) {
    let options = SpawnOptions::new().mailbox(mailbox);
    let target = system
        .spawn_with(options, Counter::default)
        .expect("there is room");
    let told = target.clone();
    let teller = system
        .spawn(move || Teller {
            target: told.clone(),
            waits,
        })
        .expect("there is room");
    let finished = target.ask(|reply| Msg::Report(count, reply));
    assert!(teller.tell(Tell(count)).is_ok());
    system.block_on(finished).expect("every message is counted");
}

fn tell(system: &Place, count: u64) {
    tell_through(system, count, MailboxOptions::unbounded(), false);
}

fn tell_bounded(system: &Place, count: u64) {
    tell_through(
        system,
        count,
        MailboxOptions::bounded(CHUNK as usize / 4),
        true,
    );
}

enum Ball {
    Partner(ActorRef<Ball>),
    Token(u64, Reply<()>),
}

#[derive(Default)]
struct Player {
    partner: Option<ActorRef<Ball>>,
}

impl Actor for Player {
    type Msg = Ball;

    async fn handle(&mut self, msg: Ball, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        match (msg, &self.partner) {
            (Ball::Partner(partner), _) => self.partner = Some(partner),
            (Ball::Token(0, reply), _) => assert!(reply.send(()).is_ok()),
            (Ball::Token(left, reply), Some(partner)) => {
                assert!(partner.tell(Ball::Token(left - 1, reply)).is_ok());
            }
            (Ball::Token(..), None) => unreachable!("both have a partner"),
        }
        Ok(())
    }
}

fn hop(system: &Place, count: u64) {
    let players = [(); 2].map(|()| system.spawn(Player::default).expect("there is room"));
    for (player, partner) in players.iter().zip(players.iter().rev()) {
        assert!(player.tell(Ball::Partner(partner.clone())).is_ok());
    }
    let finished = players[0].ask(|reply| Ball::Token(count, reply));
    system
        .block_on(finished)
        .expect("the token comes to its end");
}

struct Asked(Reply<u64>);

#[derive(Default)]
struct Answerer {
    asked: u64,
}

impl Actor for Answerer {
    type Msg = Asked;

    async fn handle(
        &mut self,
        Asked(reply): Asked,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        self.asked += 1;
        assert!(reply.send(self.asked).is_ok());
        Ok(())
    }
}

struct Asker {
    target: ActorRef<Asked>,
}

struct Start(u64, Reply<u64>);

impl Actor for Asker {
    type Msg = Start;

    async fn handle(
        &mut self,
        Start(count, reply): Start,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let mut last = 0;
        for _ in 0..count {
            last = self.target.ask(Asked).await?;
        }
        assert!(reply.send(last).is_ok());
        Ok(())
    }
}

fn ask(system: &Place, count: u64) {
    let target = system.spawn(Answerer::default).expect("there is room");
    let asker = system
        .spawn(move || Asker {
            target: target.clone(),
        })
        .expect("there is room");
    let answer = system.block_on(asker.ask(|reply| Start(count, reply)));
    assert_eq!(answer.ok(), Some(count));
}

fn spawn_stop(system: &Place, count: u64) {
    system.block_on(async {
        for _ in 0..count {
            let actor = system.spawn(Answerer::default).expect("there is room");
            actor.stop();
            assert!(matches!(actor.stopped().await, StopCause::Stopped));
        }
    });
}
