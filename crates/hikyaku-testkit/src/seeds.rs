//! One test, many seeds; and a short run that fails, made of a long one.

use crate::decisions::{Tape, lock, with_tape};
use crate::driver::Sim;
use crate::quiet::{self, Caught};
use crate::recording::Recording;
use crate::shrink::shrink;
use std::any::Any;
use std::fmt;
use std::panic;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

/// Chooses the one seed to run.
const SEED: &str = "HIKYAKU_SEED";
/// Runs so many seeds in each test, instead of what the test asks for.
const SEEDS: &str = "HIKYAKU_SEEDS";
/// Chooses the one recording to run.
const TRACE: &str = "HIKYAKU_TRACE";

/// How often a failing test is run again to shorten its recording. Much slower under miri.
const RUNS: usize = if cfg!(miri) { 10 } else { 1000 };
/// How many steps these runs may take together.
const STEPS: usize = 3_000_000;

/// Runs `test` with a new [`Sim`] for each of so many seeds. How many workers there are, and of
/// which kind, is drawn from the seed too.
///
/// When one fails, its seed and the command to run it again are printed. Then its decisions are
/// made fewer as long as it fails at the same line, and the shortest recording is printed too, with
/// its command. The panic is that of the shortened run.
///
/// `HIKYAKU_SEED=7` runs only that seed, `HIKYAKU_SEEDS=100000` so many of each test,
/// `HIKYAKU_TRACE=7:z4,1` only that [`Recording`].
///
/// # Panics
/// If the test does.
pub fn check_seeds(seeds: u64, test: impl Fn(&mut Sim)) {
    explore(seeds, |seed| test(&mut Sim::new(seed)));
}

/// As [`check_seeds`], for tests that make their own [`Sim`]. Not to be called within itself.
///
/// Recorded is what the simulations decide that the test makes on its own thread.
///
/// # Panics
/// If the test does.
pub fn explore(seeds: u64, test: impl Fn(u64)) {
    if let Some(recording) = variable(TRACE) {
        return replay(&recording, test);
    }
    if let Some(found) = search(chosen(seeds), test) {
        report(&found);
        panic::resume_unwind(found.panic);
    }
}

/// Looks for a seed with which `test` fails, and shortens what it finds. As [`explore`], for tests
/// that have to find something; it reads no environment variables. Not to be called within itself.
pub fn search(seeds: impl IntoIterator<Item = u64>, test: impl Fn(u64)) -> Option<Found> {
    seeds.into_iter().find_map(|seed| {
        let first = attempt(seed, &Tape::free(), false, &test);
        shorten(seed, first, &test)
    })
}

/// Runs `test` with the seed and the decisions of a recording. Not to be called within itself.
///
/// # Panics
/// If the test does.
pub fn replay(recording: &Recording, test: impl Fn(u64)) {
    let tape = Tape::replay(recording.values().to_vec(), usize::MAX);
    with_tape(&tape, || test(recording.seed()));
}

/// A failure that [`search`] has found.
pub struct Found {
    recording: Recording,
    shortest: Recording,
    repeats: bool,
    panic: Box<dyn Any + Send>,
}

impl Found {
    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.recording.seed()
    }

    /// The decisions of the run that failed first.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The shortest recording found that fails at the same line.
    pub fn shortest(&self) -> &Recording {
        &self.shortest
    }

    /// Did the run fail again when it was replayed? If not the test does not depend on the seed
    /// alone, and `shortest` is the recording.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// The text of the panic, of the shortest run.
    pub fn message(&self) -> &str {
        let text = self.panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| self.panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text")
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("recording", &self.recording.to_string())
            .field("shortest", &self.shortest.to_string())
            .field("repeats", &self.repeats)
            .field("message", &self.message())
            .finish()
    }
}

/// One run of the test.
struct Run {
    made: Vec<u32>,
    steps: usize,
    /// Unless it passed.
    caught: Option<Caught>,
}

/// Runs the test once, on a tape, and shows its panic or not.
fn attempt(seed: u64, tape: &Arc<Mutex<Tape>>, quiet: bool, test: &impl Fn(u64)) -> Run {
    let outcome = with_tape(tape, || quiet::catch(quiet, || test(seed)));
    let (made, steps) = lock(tape).outcome();
    let caught = outcome.err();
    Run {
        made,
        steps,
        caught,
    }
}

/// Looks for a shorter run that fails where this one did.
fn shorten(seed: u64, first: Run, test: &impl Fn(u64)) -> Option<Found> {
    let caught = first.caught?;
    let mut found = Found {
        recording: Recording::new(seed, first.made.clone()),
        shortest: Recording::new(seed, first.made),
        repeats: true,
        panic: caught.payload,
    };
    // A shortened run may be longer, as what it decides is less lucky. Not much longer.
    let most = 4 * first.steps + 10_000;
    let mut left = STEPS;
    let mut again = |values: &[u32], quiet| {
        if quiet && left == 0 {
            return None;
        }
        let tape = Tape::replay(values.to_vec(), most);
        let run = attempt(seed, &tape, quiet, test);
        left = left.saturating_sub(run.steps);
        let failed = run.caught?;
        (failed.place == caught.place).then_some((run.made, failed.payload))
    };
    found.repeats = again(found.recording.values(), true).is_some();
    if !found.repeats {
        return Some(found);
    }
    let values = found.recording.values().to_vec();
    let shortest = shrink(values, RUNS, |values| Some(again(values, true)?.0));
    // Once more, to be heard.
    if let Some((_, payload)) = again(&shortest, false) {
        found.panic = payload;
        found.shortest = Recording::new(seed, shortest);
    }
    Some(found)
}

fn chosen(seeds: u64) -> std::ops::Range<u64> {
    if let Some(seed) = variable::<u64>(SEED) {
        return seed..seed.saturating_add(1);
    }
    match variable(SEEDS) {
        Some(seeds) => 0..seeds,
        // A thousand times slower there. The first draws the single core, the second two workers.
        None if cfg!(miri) => MIRI..MIRI + seeds.min(2),
        None => 0..seeds,
    }
}

/// The first of the two seeds that miri runs.
const MIRI: u64 = 3;

fn variable<T: FromStr<Err: fmt::Display>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}

#[allow(
    clippy::print_stderr,
    reason = "shown with the output of a failed test"
)]
fn report(found: &Found) {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "<crate>".into());
    // The test harness calls the thread after the test.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("<test>");
    let command = format!("cargo test -p {package} -- --exact {test}");
    let seed = found.seed();
    eprintln!("\nseed {seed} fails; to run it again:");
    eprintln!("    {SEED}={seed} {command}");
    let (before, after) = (found.recording.len(), found.shortest.len());
    if !found.repeats {
        eprintln!("it did not fail when its {before} decisions were made again\n");
    } else if after < before {
        eprintln!("{after} decisions instead of {before} fail at the same line; to run them:");
        eprintln!("    {TRACE}={} {command}\n", found.shortest);
    }
}

#[cfg(test)]
mod tests;
