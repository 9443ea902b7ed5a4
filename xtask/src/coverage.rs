//! Which lines of the core's hard parts the tests reach, by the compiler's own instrumentation.
//!
//! Lines that only the loser of a race reaches are reached by the models for loom. Runs of real threads differ, so what
//! only they reach counts in one run and not in the next.
//!
//! Needs the LLVM tools of the toolchain: `rustup component add llvm-tools`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Outcome, cargo};
use crate::source::Source;

/// The parts that must be covered: files and folders below the core's sources whose names begin so.
const PARTS: [&str; 3] = ["state", "mailbox", "ready"];
/// The tests that are run.
const TESTS: &str =
    "test -p hikyaku-core -p hikyaku-testkit -p hikyaku --features hikyaku-core/std --tests";
/// Those of the build in which messages go by a table.
const SMALL: &str = "test -p hikyaku-core --no-default-features --tests";
/// The build of the models for loom. Flags behind it are of our crate only: loom itself would be slow with them.
const MODELS: &str =
    "rustc -p hikyaku-core --lib --profile test --message-format=json --target-dir";
const INSTRUMENTED: &str = "-C instrument-coverage";

/// How often each line of a file was run.
type Lines = BTreeMap<usize, u64>;

/// Measures what the tests reach, prints a table, and fails if less than the given percentage of lines was reached.
pub(crate) fn measure(least: f64) -> Outcome {
    report(&parse(&tests("coverage", TESTS)?), Some(least))
}

/// Measures what the tests of both builds and the models for loom reach, and prints a table.
pub(crate) fn measure_all() -> Outcome {
    let reached = tests("coverage", TESTS)? + &tests("coverage-small", SMALL)? + &models()?;
    report(&parse(&reached), None)
}

fn tests(folder: &str, tests: &str) -> Result<String, String> {
    let folder = shell::target_dir(folder);
    let profiles = emptied(&folder)?;
    let tests = |more: &str| {
        let mut command = cargo(tests);
        shell::rustflags(&mut command, INSTRUMENTED);
        command
            .arg("--target-dir")
            .arg(&folder)
            .args(more.split_whitespace());
        command.env("LLVM_PROFILE_FILE", profiles.join(PROFILE));
        // Enough to reach what there is to reach.
        command.env("HIKYAKU_STRESS", "100000");
        command
    };
    shell::run_tests(&mut tests(""))?;
    let programs = executables(&shell::quiet(&mut tests("--no-run --message-format=json"))?);
    export(&folder, &profiles, &programs)
}

fn models() -> Result<String, String> {
    let folder = shell::target_dir("coverage-loom");
    let profiles = emptied(&folder)?;
    let mut build = cargo(MODELS);
    shell::rustflags(&mut build, "--cfg loom");
    build.env("CARGO_PROFILE_TEST_OPT_LEVEL", "3");
    build.arg(&folder).arg("--").args(INSTRUMENTED.split(' '));
    let programs = executables(&shell::quiet(&mut build)?);
    for program in &programs {
        let mut models = shell::program(&program.to_string_lossy(), "loom");
        models.env("LLVM_PROFILE_FILE", profiles.join(PROFILE));
        shell::run_tests(models.env("LOOM_MAX_PREEMPTIONS", "2"))?;
    }
    export(&folder, &profiles, &programs)
}

/// What the profiles are called: of a process, and of a program.
const PROFILE: &str = "%p-%m.profraw";

/// An empty folder for profiles.
fn emptied(folder: &Path) -> Result<PathBuf, String> {
    let profiles = folder.join("profiles");
    if profiles.exists() {
        fs::remove_dir_all(&profiles)
            .map_err(|e| format!("cannot empty {}: {e}", profiles.display()))?;
    }
    Ok(profiles)
}

/// Paths of the test programs in cargo's messages.
fn executables(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next())
        .map(PathBuf::from)
        .collect()
}

/// Joins the profiles of all programs into one report in lcov's format.
fn export(folder: &Path, profiles: &Path, programs: &[PathBuf]) -> Result<String, String> {
    let tools = tools()?;
    let merged = folder.join("all.profdata");
    let raw = fs::read_dir(profiles).map_err(|e| format!("no profile was written: {e}"))?;
    let raw = raw.filter_map(|entry| Some(entry.ok()?.path()));
    let mut merge = shell::program(
        &tools.join("llvm-profdata").to_string_lossy(),
        "merge -sparse -o",
    );
    shell::quiet(merge.arg(&merged).args(raw))?;

    let mut export = shell::program(
        &tools.join("llvm-cov").to_string_lossy(),
        "export -format=lcov",
    );
    export.arg(format!("-instr-profile={}", merged.display()));
    for (at, program) in programs.iter().enumerate() {
        if at > 0 {
            export.arg("-object");
        }
        export.arg(program);
    }
    shell::quiet(&mut export)
}

/// The folder of the toolchain that holds its LLVM tools.
fn tools() -> Result<PathBuf, String> {
    let library = shell::quiet(&mut shell::program("rustc", "--print target-libdir"))?;
    let folder = Path::new(library.trim()).with_file_name("bin");
    if folder.join("llvm-cov").exists() {
        Ok(folder)
    } else {
        Err("coverage needs `rustup component add llvm-tools`".to_owned())
    }
}

/// Reads lcov's format: the counts of each of our parts, tests left out.
fn parse(lcov: &str) -> BTreeMap<String, Lines> {
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    let mut file = None;
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = part(path).map(str::to_owned);
        } else if let (Some(name), Some(rest)) = (&file, line.strip_prefix("DA:")) {
            let numbers = rest.split_once(',').and_then(|(line, count)| {
                Some((line.parse::<usize>().ok()?, count.parse::<u64>().ok()?))
            });
            if let Some((line, count)) = numbers {
                *files
                    .entry(name.clone())
                    .or_default()
                    .entry(line)
                    .or_default() += count;
            }
        }
    }
    files
}

/// The path below the core's sources, if it is one of the parts to be covered.
fn part(path: &str) -> Option<&str> {
    let path = path.split_once("crates/hikyaku-core/src/")?.1;
    let named = PARTS.iter().any(|part| path.starts_with(part));
    (named
        && !path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs")))
    .then_some(path)
}

fn report(files: &BTreeMap<String, Lines>, least: Option<f64>) -> Outcome {
    let (mut all, mut reached) = (0, 0);
    for (name, lines) in files {
        let path = shell::root().join("crates/hikyaku-core/src").join(name);
        let source = Source::parse(&fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?);
        let ours = lines.iter().filter(|(line, _)| {
            **line <= source.lines() && !source.in_test(source.span(**line).start)
        });
        let missed: Vec<usize> = ours
            .clone()
            .filter(|(_, n)| **n == 0)
            .map(|(line, _)| *line)
            .collect();
        let count = ours.count();
        println!(
            "{:6.2} %  {:4} lines  {name}",
            percent(count - missed.len(), count),
            count
        );
        if !missed.is_empty() {
            println!("            not reached: {}", ranges(&missed));
        }
        all += count;
        reached += count - missed.len();
    }
    if all == 0 {
        return Err(format!("no line of {PARTS:?} is in the report"));
    }
    let total = percent(reached, all);
    println!("lines reached: {total:.2} % ({reached} of {all})");
    match least {
        Some(least) if total < least => Err(format!("less than {least} %")),
        _ => Ok(()),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "files are shorter than 2^52 lines"
)]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        100.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

/// `1-3, 7` for 1, 2, 3, 7.
fn ranges(lines: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for line in lines {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => runs.push((*line, *line)),
        }
    }
    let show = |(first, last): &(usize, usize)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    runs.iter().map(show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lcov_is_read_for_our_parts_only() {
        let text = "SF:/x/crates/hikyaku-core/src/mailbox.rs\nDA:1,0\nDA:2,3\nend_of_record\n\
                    SF:/x/crates/hikyaku-core/src/mailbox.rs\nDA:2,1\nend_of_record\n\
                    SF:/x/crates/hikyaku-core/src/ready/tests.rs\nDA:1,1\nSF:/x/crates/hikyaku-core/src/ask.rs\nDA:1,1\n";
        let files = parse(text);
        assert_eq!(files.len(), 1);
        assert_eq!(files["mailbox.rs"], Lines::from([(1, 0), (2, 4)]));
    }

    #[test]
    fn programs_are_found_in_messages() {
        let text = "{\"x\":1,\"executable\":\"/a/b\",\"fresh\":true}\n{\"executable\":null}\n";
        assert_eq!(executables(text), [PathBuf::from("/a/b")]);
    }

    #[test]
    fn missed_lines_are_shown_as_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
    }
}
