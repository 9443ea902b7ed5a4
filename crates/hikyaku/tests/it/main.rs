//! The runtime on real threads and inside real runtimes.

mod current_thread;
mod dead_letter_log;
mod ledger;
mod rescue;
mod shutdown;
mod stress;
mod threads;
#[cfg(feature = "tokio")]
mod tokio;
