//! Hikyaku beside its peers, measured in the same run.

#![allow(clippy::print_stdout, reason = "the results are this program's output")]

use std::process::ExitCode;

use crate::harness::{Case, Row};
use crate::systems::System;
use crate::workload::{Runtime, Workload};

mod harness;
mod systems;
mod timers;
mod workload;

const USAGE: &str = "\
Usage: hikyaku-bench [--json] [--quick] [--rounds N] [--workload W] [--system S] [--runtime mt|st]

Every system runs every workload that it has the means for, interleaved, each sample in a process of its own.
Numbers are median and minimum over the rounds. The ratio is to `tokio` in the same round
(a task per actor and tokio's channels), which therefore always runs.

  --json        one JSON object per line
  --quick       tiny counts, one round: checks that everything runs
  --rounds N    rounds per workload (5)
  --workload W  only this one; may be repeated, or a comma list
  --system S    only this one; may be repeated, or a comma list. hikyaku-EXECUTOR, which runs only if named,
                is Hikyaku on another executor: tell, pingpong, ask and spawn, mt
  --runtime R   only st (one thread) or mt (two workers)
";

#[derive(Default)]
struct Options {
    json: bool,
    quick: bool,
    rounds: usize,
    workloads: Vec<Workload>,
    systems: Vec<&'static System>,
    runtimes: Vec<Runtime>,
    child: bool,
}

impl Options {
    /// What isn't named is everything.
    fn fill(&mut self) {
        if self.workloads.is_empty() {
            self.workloads = Workload::ALL.into();
        }
        if self.systems.is_empty() {
            self.systems = systems::ALL.into();
        }
        if self.runtimes.is_empty() {
            self.runtimes = Runtime::ALL.into();
        }
        if self.rounds == 0 {
            self.rounds = if self.quick { 1 } else { 5 };
        }
    }
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            println!("{problem}\n\n{USAGE}{}", names());
            return ExitCode::from(2);
        }
    };
    if options.child {
        let (workload, system, runtime) = (
            options.workloads[0],
            options.systems[0],
            options.runtimes[0],
        );
        Case {
            workload,
            system,
            runtime,
            quick: options.quick,
        }
        .run_here();
        return ExitCode::SUCCESS;
    }
    if !options.json {
        println!(
            "median / min over {} rounds (median ratio to tokio in the same round)",
            options.rounds
        );
    }
    for &workload in &options.workloads {
        for &runtime in options
            .runtimes
            .iter()
            .filter(|&&runtime| workload.runs_on(runtime))
        {
            let rows = harness::compare(
                workload,
                runtime,
                &options.systems,
                options.rounds,
                options.quick,
            );
            if options.json {
                print_json(&rows)
            } else {
                print_table(workload, runtime, &rows)
            }
        }
    }
    ExitCode::SUCCESS
}

fn print_json(rows: &[Row]) {
    for row in rows {
        let Row {
            workload,
            system,
            runtime,
            metric,
            unit,
            median,
            min,
            ratio,
        } = row;
        let ratio = if ratio.is_finite() {
            format!("{ratio:.3}")
        } else {
            "null".to_owned()
        };
        println!(
            "{{\"workload\":\"{workload}\",\"system\":\"{system}\",\"runtime\":\"{runtime}\",\"metric\":\"{metric}\",\
             \"unit\":\"{unit}\",\"median\":{median:.2},\"min\":{min:.2},\"ratio_to_tokio\":{ratio}}}"
        );
    }
}

fn print_table(workload: Workload, runtime: Runtime, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "\n{} {} ({})",
        workload.name(),
        runtime.name(),
        workload.unit()
    );
    for row in rows {
        let Row {
            system,
            metric,
            median,
            min,
            ratio,
            ..
        } = row;
        println!("  {system:<16} {metric:<20} {median:>10.1} / {min:<10.1} ({ratio:.2}x)");
    }
}

fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--json" => options.json = true,
            "--quick" => options.quick = true,
            "--rounds" => {
                options.rounds = value()?
                    .parse()
                    .ok()
                    .filter(|&n| n > 0)
                    .ok_or("--rounds needs a number above 0")?;
            }
            "--workload" => add(
                &mut options.workloads,
                &value()?,
                Workload::ALL,
                Workload::name,
            )?,
            "--system" => add(
                &mut options.systems,
                &value()?,
                systems::named(),
                |system| system.name,
            )?,
            "--runtime" => add(
                &mut options.runtimes,
                &value()?,
                Runtime::ALL,
                Runtime::name,
            )?,
            // How this program starts itself for one sample. Useful by hand too, under a profiler.
            "--child" => {
                options.child = true;
                add(
                    &mut options.workloads,
                    &value()?,
                    Workload::ALL,
                    Workload::name,
                )?;
                add(
                    &mut options.systems,
                    &value()?,
                    systems::named(),
                    |system| system.name,
                )?;
                add(
                    &mut options.runtimes,
                    &value()?,
                    Runtime::ALL,
                    Runtime::name,
                )?;
            }
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    options.fill();
    Ok(options)
}

/// Adds what a comma list names.
fn add<T: Copy>(
    to: &mut Vec<T>,
    list: &str,
    all: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'static str,
) -> Result<(), String> {
    let all: Vec<T> = all.into_iter().collect();
    for wanted in list.split(',') {
        let found = all.iter().find(|&&item| name(item) == wanted);
        to.push(*found.ok_or(format!("there is no {wanted}"))?);
    }
    Ok(())
}

fn names() -> String {
    let workloads: Vec<_> = Workload::ALL
        .iter()
        .map(|workload| workload.name())
        .collect();
    let systems: Vec<_> = systems::named().map(|system| system.name).collect();
    format!(
        "\nWorkloads: {}\nSystems: {}",
        workloads.join(", "),
        systems.join(", ")
    )
}
