//! The runtime on real threads and inside real runtimes.

#![allow(clippy::too_many_lines, reason = "a table of cases is long")]

mod adaptive;
mod current_thread;
mod dead_letter_log;
mod executors;
mod ledger;
#[cfg(feature = "tokio")]
mod ownership;
mod rescue;
mod shutdown;
mod stress;
mod threads;
mod ticks;
#[cfg(feature = "tokio")]
mod tokio;

use std::thread;
use std::time::{Duration, Instant};

/// Ends a test that would hang otherwise. Nothing depends on how long it is.
const LONG: Duration = Duration::from_secs(20);

/// Waits for what other threads do.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "not within {LONG:?}: {what}");
        thread::yield_now();
    }
}
