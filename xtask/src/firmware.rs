//! The firmware in `embedded/`: its scenarios on emulated boards.
//!
//! A firmware prints `scenario NAME ok` for each that passes, `trace SEED HASH` for each seed, and ends the
//! emulation with its exit code. The traces have to be those of the host, and of WebAssembly under node.

use std::path::PathBuf;
use std::process::Command;

use crate::shell::{self, Outcome, program};

/// A board: its name, its target, and how the firmware is built for it.
struct Board {
    name: &'static str,
    target: &'static str,
    build: &'static str,
}

/// The smallest has no room for the assertions that are for tests, which `checked` adds, nor for all scenarios in one
/// firmware.
const BOARDS: [Board; 6] = [
    Board {
        name: "microbit",
        target: "thumbv6m-none-eabi",
        build: "--release",
    },
    Board {
        name: "microbit without a heap",
        target: "thumbv6m-none-eabi",
        build: "--release --no-default-features --features pool,core",
    },
    Board {
        name: "microbit with flow control",
        target: "thumbv6m-none-eabi",
        build: "--release --no-default-features --features embedded-alloc,flow",
    },
    Board {
        name: "mps2-an505",
        target: "thumbv8m.main-none-eabi",
        build: "--profile checked --features flow",
    },
    Board {
        name: "mps2-an386",
        target: "thumbv7em-none-eabihf",
        build: "--profile checked --features flow",
    },
    Board {
        name: "mps2-an386 with defmt",
        target: "thumbv7em-none-eabihf",
        build: "--profile checked --features defmt",
    },
];

/// The seeds whose traces are compared; the firmware plays the same.
const SEEDS: &str = "1 2 3 4 5 6 7 8";
const WASM: &str = "wasm32-unknown-unknown";

/// `cargo` in the workspace of the firmware.
pub(crate) fn cargo(args: &str) -> Command {
    let mut command = program("cargo", args);
    command
        .current_dir(shell::root().join("embedded"))
        .env("CARGO_TARGET_DIR", target_dir());
    command
}

/// Where the firmware is built.
pub(crate) fn target_dir() -> PathBuf {
    shell::target_dir("embedded")
}

/// What is built for boards, as clippy sees it.
pub(crate) fn clippy() -> Outcome {
    let target = BOARDS[0].target;
    for package in [
        "-p board -p firmware --features firmware/flow",
        "-p size --all-features",
    ] {
        shell::run(&mut cargo(&format!(
            "clippy --locked {package} --target {target} -- -D warnings"
        )))?;
    }
    shell::run(&mut cargo("clippy --locked -p twin -- -D warnings"))
}

/// Runs the scenarios on every board.
pub(crate) fn qemu() -> Outcome {
    needs("qemu-system-arm", "`apt-get install qemu-system-arm`")?;
    needs("node", "it plays WebAssembly: https://nodejs.org")?;
    let played = shell::run_and_read(&mut cargo(&format!(
        "run --quiet --locked -p twin --bin host -- {SEEDS}"
    )))?;
    let expected = traces(&played);
    if expected.len() != SEEDS.split(' ').count() {
        return Err("the host has not played every seed".into());
    }
    webassembly(&expected)?;
    let mut failed = Vec::new();
    for board in &BOARDS {
        if let Err(why) = on(board, &expected) {
            println!("{why}");
            failed.push(board.name);
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("failed on: {}", failed.join(", "))),
    }
}

fn needs(name: &str, hint: &str) -> Outcome {
    shell::quiet(&mut program(name, "--version"))
        .map(drop)
        .map_err(|why| format!("{why}\n({name} is needed: {hint})"))
}

/// Plays the seeds under node.
fn webassembly(expected: &[&str]) -> Outcome {
    shell::run(&mut cargo(&format!(
        "build --quiet --locked -p twin --lib --target {WASM}"
    )))?;
    let mut node = program("node", "embedded/twin/run.mjs");
    node.arg(target_dir().join(WASM).join("debug/twin.wasm"))
        .args(SEEDS.split(' '));
    let played = shell::run_and_read(&mut node)?;
    compare("node", expected, &traces(&played))
}

/// Runs the scenarios on one board, and prints a line for each.
fn on(board: &Board, expected: &[&str]) -> Outcome {
    let Board {
        name,
        target,
        build,
    } = board;
    let options = format!("{build} --quiet --locked -p firmware --target {target}");
    shell::run(&mut cargo(&format!("build {options}")))?;
    let said = shell::keep(&mut cargo(&format!("run {options}")))?;
    let passed = passed(&said.stdout);
    for scenario in &passed {
        println!("{name}: {scenario} ok");
    }
    if !said.status.success() || passed.is_empty() {
        return Err(format!(
            "{name}: {}\n{}{}",
            said.status, said.stdout, said.stderr
        ));
    }
    let played = traces(&said.stdout);
    if !played.is_empty() || !build.contains("--no-default-features") {
        compare(name, expected, &played)?;
    }
    println!("{name}: {} scenarios", passed.len());
    Ok(())
}

/// The scenarios that have passed.
fn passed(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("scenario ")?.strip_suffix(" ok"))
        .collect()
}

/// The lines that say what was traced.
fn traces(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.starts_with("trace "))
        .collect()
}

fn compare(place: &str, expected: &[&str], played: &[&str]) -> Outcome {
    if expected == played {
        println!("{place}: {} traces as on the host", played.len());
        return Ok(());
    }
    Err(format!(
        "{place}: {played:?} are not the traces of the host, {expected:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_that_did_not_come_to_its_end_has_not_passed() {
        let text = "scenario one ok\ntrace 1 ab\nscenario two panicked at\nscenario three ";
        assert_eq!(passed(text), ["one"]);
        assert_eq!(traces(text), ["trace 1 ab"]);
    }

    #[test]
    fn traces_that_differ_or_are_missing_are_a_failure() {
        for (played, right) in [
            (&["a", "b"][..], true),
            (&["a"], false),
            (&["a", "c"], false),
        ] {
            assert_eq!(compare("board", &["a", "b"], played).is_ok(), right);
        }
    }
}
