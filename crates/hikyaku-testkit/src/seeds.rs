//! One test, many seeds.

use crate::driver::Sim;
use std::panic::{self, AssertUnwindSafe};

/// Chooses the one seed to run.
const SEED: &str = "HIKYAKU_SEED";
/// Runs so many seeds in each test, instead of what the test asks for.
const SEEDS: &str = "HIKYAKU_SEEDS";

/// Runs `test` with a new [`Sim`] for each of so many seeds. How many workers there are, and of
/// which kind, is drawn from the seed too.
///
/// When one fails, its seed and the command to run it again are printed. `HIKYAKU_SEED=7` runs
/// only that seed, `HIKYAKU_SEEDS=100000` so many of each test.
///
/// # Panics
/// If the test does.
pub fn check_seeds(seeds: u64, test: impl Fn(&mut Sim)) {
    explore(seeds, |seed| test(&mut Sim::new(seed)));
}

/// As [`check_seeds`], for tests that make their own [`Sim`]. Not to be called within itself.
///
/// # Panics
/// If the test does.
pub fn explore(seeds: u64, test: impl Fn(u64)) {
    // Without `std` the core takes a process for one thread, as on a microcontroller.
    #[cfg(not(feature = "std"))]
    let _alone = {
        static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    for seed in chosen(seeds) {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| test(seed))) {
            report(seed);
            panic::resume_unwind(panic);
        }
    }
}

fn chosen(seeds: u64) -> std::ops::Range<u64> {
    if let Some(seed) = number(SEED) {
        return seed..seed.saturating_add(1);
    }
    match number(SEEDS) {
        Some(seeds) => 0..seeds,
        // A thousand times slower there. The first draws two workers, the second the single core.
        None if cfg!(miri) => 3..3 + seeds.min(2),
        None => 0..seeds,
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{variable}={text}: {error}"),
    }
}

#[allow(
    clippy::print_stderr,
    reason = "shown with the output of a failed test"
)]
fn report(seed: u64) {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "<crate>".into());
    // The test harness calls the thread after the test.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("<test>");
    eprintln!("\nseed {seed} fails; to run it again:");
    eprintln!("    {SEED}={seed} cargo test -p {package} -- --exact {test}\n");
}
