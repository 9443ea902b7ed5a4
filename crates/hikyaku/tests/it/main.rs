//! The runtime on real threads and inside real runtimes.

#![allow(clippy::too_many_lines, reason = "a table of cases is long")]

mod current_thread;
mod dead_letter_log;
mod ledger;
mod rescue;
mod shutdown;
mod stress;
mod threads;
#[cfg(feature = "tokio")]
mod tokio;
