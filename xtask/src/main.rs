//! The project's own commands. `cargo xtask` alone lists them.
//!
//! Every check that guards the project is here, as a plain command a person can run: the continuous
//! integration runs nothing else. One file holds one mechanism, and nothing is needed but the standard library.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks by printing"
)]

mod ci;
mod conformance;
mod coverage;
mod firmware;
mod records;
mod shell;
mod size;
mod source;
mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  ci [JOB ...]     run every job, or the named ones; `ci --list` prints their names
  loom             explore the interleavings of the core's races
  miri             run all of the core's tests under miri, with stacked and with tree borrows
  qemu             run the firmware on emulated boards
  size             measure flash and memory of firmware, against embedded/size.toml
  tidy             check the rules that neither rustc nor clippy knows
  conformance      print which tests show which rows of docs/conformance.md, and which executors pass the suite
  coverage         measure which lines of the core's hard parts the tests and the models for loom reach";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["ci", "--list"] => {
            ci::list();
            Ok(())
        }
        ["ci", jobs @ ..] => ci::run(jobs),
        ["coverage"] => coverage::measure_all(),
        ["miri"] => ci::miri_all(),
        [job @ ("loom" | "qemu" | "size" | "tidy" | "conformance")] => ci::alone(job),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
