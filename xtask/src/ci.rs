//! The jobs that guard the project. Each is a command line or two that a person can run by hand.

use std::time::Instant;

use crate::shell::{self, Outcome, cargo, program, run_tests};
use crate::{conformance, coverage, firmware, records, size, tidy};

type Job = fn() -> Outcome;

/// Every job by name.
const JOBS: [(&str, Job); 17] = [
    ("test", test),
    ("fmt", fmt),
    ("clippy", clippy),
    ("docs", docs),
    ("tidy", tidy::check),
    ("conformance", conformance::report),
    ("no_std", no_std),
    ("features", features),
    ("loom", loom),
    ("miri", miri),
    ("stress", stress),
    ("coverage", || coverage::measure(COVERED)),
    ("qemu", firmware::qemu),
    ("size", size::check),
    ("example", || {
        shell::run(&mut cargo("run --release --example store -- --check"))
    }),
    ("bench", bench),
    ("gate", gate),
];

/// Lines of the core's hard parts that the tests reach at least, of 100. Those that only some runs on real
/// threads reach are left room for.
const COVERED: f64 = 95.0;

/// How many messages the job `stress` sends.
const STRESS: &str = "20000000";

/// Targets of the core without an operating system, the one without compare-and-swap first.
const TARGETS: [&str; 5] = [
    "thumbv6m-none-eabi",
    "thumbv8m.main-none-eabi",
    "thumbv7em-none-eabihf",
    "riscv32imac-unknown-none-elf",
    "wasm32-unknown-unknown",
];

pub(crate) fn list() {
    for (name, _) in JOBS {
        println!("{name}");
    }
}

/// Runs one job, with nothing around what it prints.
pub(crate) fn alone(name: &str) -> Outcome {
    let (_, job) = JOBS
        .into_iter()
        .find(|job| job.0 == name)
        .ok_or_else(|| format!("there is no job `{name}`"))?;
    job()
}

/// Runs these jobs, or all of them; a failed one does not keep the others from running.
pub(crate) fn run(names: &[&str]) -> Outcome {
    if let Some(unknown) = names
        .iter()
        .find(|name| JOBS.iter().all(|job| job.0 != **name))
    {
        return Err(format!(
            "there is no job `{unknown}`; see `cargo xtask ci --list`"
        ));
    }
    let mut failed = Vec::new();
    let chosen = |name: &str| names.is_empty() || names.contains(&name);
    for (name, job) in JOBS.into_iter().filter(|job| chosen(job.0)) {
        println!("== {name}");
        let start = Instant::now();
        let outcome = job();
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("== {name}: passed in {took:.1} s\n"),
            Err(why) => {
                println!("{why}\n== {name}: FAILED after {took:.1} s\n");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

fn test() -> Outcome {
    run_tests(&mut cargo("test --workspace"))
}

fn fmt() -> Outcome {
    shell::run(&mut cargo("fmt --all -- --check"))?;
    shell::run(&mut firmware::cargo("fmt --all -- --check"))
}

fn clippy() -> Outcome {
    shell::run(&mut cargo(
        "clippy --workspace --all-targets -- -D warnings",
    ))?;
    firmware::clippy()
}

fn docs() -> Outcome {
    let mut command = cargo("doc --workspace --no-deps");
    shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The core without its `std` feature, with and without flow control, and the crate for Embassy, for targets that have
/// no `std` at all.
fn no_std() -> Outcome {
    for target in TARGETS {
        for features in ["", "--no-default-features"] {
            shell::run(&mut cargo(&format!(
                "build -p hikyaku-core -p hikyaku-embassy --target {target} {features}"
            )))
            .map_err(|why| {
                format!("{why}\n(the target is there after `rustup target add {target}`)")
            })?;
        }
    }
    Ok(())
}

/// The core's tests hold without `std`, and without flow control; the facade stands without its optional dependencies.
fn features() -> Outcome {
    run_tests(&mut cargo("test -p hikyaku-core"))?;
    // Examples in the documentation are of all features.
    let without = "--no-default-features --lib --tests";
    run_tests(&mut cargo(&format!("test -p hikyaku-core {without}")))?;
    shell::run(&mut cargo("build -p hikyaku --no-default-features"))?;
    // Stress is the same with any of them, and has a job.
    for features in ["--no-default-features", "--all-features"] {
        run_tests(&mut cargo(&format!(
            "test -p hikyaku {features} -- --skip stress"
        )))?;
    }
    Ok(())
}

/// Every interleaving of the core's races, within a bound on preemptions. Without flow control those who wait for room are
/// served in a way of its own.
fn loom() -> Outcome {
    for tests in [
        "loom",
        "--no-default-features -- bounded::tests::loom loom::bounded_",
    ] {
        let mut command = cargo("test --release -p hikyaku-core --lib");
        shell::rustflags(&mut command, "--cfg loom");
        if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
            command.env("LOOM_MAX_PREEMPTIONS", "2");
        }
        command
            .arg("--target-dir")
            .arg(shell::target_dir("loom"))
            .args(tests.split(' '));
        run_tests(&mut command)?;
    }
    Ok(())
}

/// The unit tests, which reach the unsafe code, under both models of what a reference may do. The wheel and the
/// list have none, and many tests.
fn miri() -> Outcome {
    miri_on(&[
        "--features std --lib -- --skip time::wheel --skip time::list",
        SMALL,
    ])
}

/// Also the tests of the whole runtime and the documentation's: much longer than the job.
pub(crate) fn miri_all() -> Outcome {
    miri_on(&["--features std", SMALL])
}

/// Without `std` and flow control messages go by a table, and their types are not known: a way of its own.
const SMALL: &str = "--no-default-features --test it -- shapes";

fn miri_on(runs: &[&str]) -> Outcome {
    // A nightly with a date in its name is not what `cargo +nightly` means.
    if shell::quiet(&mut program("rustup", "run nightly rustc --version")).is_err() {
        let install = "rustup toolchain install nightly --component miri,rust-src";
        return Err(format!(
            "miri needs a toolchain that `cargo +nightly` finds: `{install}`"
        ));
    }
    let parts = shell::quiet(&mut program(
        "rustup",
        "+nightly component list --installed",
    ))?;
    for part in ["miri", "rust-src"] {
        if !parts.lines().any(|line| line.starts_with(part)) {
            return Err(format!(
                "miri needs `rustup +nightly component add miri rust-src`: no {part}"
            ));
        }
    }
    // Not by two at once, below.
    let mut setup = cargo("+nightly miri setup");
    shell::quiet(setup.env_remove("RUSTUP_TOOLCHAIN"))?;
    // Each on a core of its own: what miri runs has one thread.
    let models = [
        "-Zmiri-strict-provenance",
        "-Zmiri-strict-provenance -Zmiri-tree-borrows",
    ];
    std::thread::scope(|scope| {
        let models = models.map(|model| {
            scope.spawn(move || runs.iter().try_for_each(|tests| miri_once(model, tests)))
        });
        let outcomes = models.map(|model| model.join().expect("a run does not panic"));
        outcomes.into_iter().collect()
    })
}

fn miri_once(model: &str, tests: &str) -> Outcome {
    // Random tests read no files, so that miri's isolation can stay, and are fewer.
    let fewer =
        "-Zmiri-env-set=PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 -Zmiri-env-set=PROPTEST_CASES=3";
    let mut command = cargo("+nightly miri test -p hikyaku-core");
    command
        .env("MIRIFLAGS", format!("{model} {fewer}"))
        .env_remove("RUSTUP_TOOLCHAIN");
    command.arg("--target-dir").arg(shell::target_dir("miri"));
    command.args(tests.split(' '));
    run_tests(&mut command)
}

/// Everything at once on real threads, for longer than the tests do.
fn stress() -> Outcome {
    let mut command = cargo("test --release -p hikyaku stress");
    run_tests(command.env("HIKYAKU_STRESS", STRESS))
}

/// The benchmark runs, and its output can be read by programs.
fn bench() -> Outcome {
    let mut command = cargo("run --release -p hikyaku-bench -- --json --quick");
    let count = records::check(&shell::run_and_read(&mut command)?)?;
    println!("{count} records");
    Ok(())
}

/// Counted instructions stay within their budget.
fn gate() -> Outcome {
    shell::quiet(&mut program("valgrind", "--version"))
        .map_err(|why| format!("{why}\n(the gate counts instructions with valgrind)"))?;
    shell::run(&mut cargo("run --release -p hikyaku-bench --bin gate"))
}
