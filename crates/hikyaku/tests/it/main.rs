//! The runtime on real threads and inside real runtimes.

mod ledger;
mod stress;
