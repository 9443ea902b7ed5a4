//! Numbers that all parts of the store share.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What has happened since the store was started.
#[derive(Debug)]
pub(crate) struct Stats {
    started: Instant,
    /// The connections that are open.
    pub(crate) connections: AtomicUsize,
    pub(crate) commands: AtomicU64,
    /// The commands that waited because their client was over its limit.
    pub(crate) delayed: AtomicU64,
    /// Those that were answered with an error for it.
    pub(crate) refused: AtomicU64,
    /// The connections that had any of these.
    pub(crate) clients_over_limit: AtomicU64,
    /// How often each shard has been started.
    pub(crate) shard_starts: Vec<AtomicU64>,
    /// The keys that were lost with their shards.
    pub(crate) keys_lost: AtomicU64,
    /// The keys whose time was over.
    pub(crate) expired_keys: AtomicU64,
    /// How many keys each shard has.
    pub(crate) key_counts: Vec<AtomicUsize>,
}

impl Stats {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            started: Instant::now(),
            connections: AtomicUsize::new(0),
            commands: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            clients_over_limit: AtomicU64::new(0),
            shard_starts: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            keys_lost: AtomicU64::new(0),
            expired_keys: AtomicU64::new(0),
            key_counts: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// How often a shard was started again.
    pub(crate) fn shard_restarts(&self) -> u64 {
        let again = |starts: &AtomicU64| starts.load(Ordering::Relaxed).saturating_sub(1);
        self.shard_starts.iter().map(again).sum()
    }

    /// How many shards have never stopped.
    pub(crate) fn steady_shards(&self) -> u64 {
        let once = |starts: &&AtomicU64| starts.load(Ordering::Relaxed) == 1;
        self.shard_starts.iter().filter(once).count() as u64
    }

    /// The reply to `INFO`.
    pub(crate) fn info(&self) -> String {
        let mut text = format!(
            "# Server\r\nserver:hikyaku-store\r\nversion:{}\r\nuptime_in_seconds:{}\r\n\
             \r\n# Clients\r\nconnected_clients:{}\r\n\
             \r\n# Stats\r\ntotal_commands_processed:{}\r\n\
             delayed_commands:{}\r\nrefused_commands:{}\r\nexpired_keys:{}\r\nshard_restarts:{}\r\n\
             keys_lost:{}\r\n\
             \r\n# Keyspace\r\n",
            env!("CARGO_PKG_VERSION"),
            self.started.elapsed().as_secs(),
            self.connections.load(Ordering::Relaxed),
            self.commands.load(Ordering::Relaxed),
            self.delayed.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
            self.expired_keys.load(Ordering::Relaxed),
            self.shard_restarts(),
            self.keys_lost.load(Ordering::Relaxed),
        );
        for (shard, keys) in self.key_counts.iter().enumerate() {
            write!(
                text,
                "shard{shard}:keys={}\r\n",
                keys.load(Ordering::Relaxed)
            )
            .expect("a string takes everything");
        }
        text
    }
}
