//! The runtime on real threads and inside real runtimes.

mod current_thread;
mod ledger;
mod rescue;
mod stress;
mod threads;
#[cfg(feature = "tokio")]
mod tokio;
