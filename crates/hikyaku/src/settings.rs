//! Settings that can change while a system runs.

use crate::crew::lock;
use crate::park::SPINS;
use hikyaku_core::System;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Settings of a running system. Read by [`ActorSystem::settings`](crate::ActorSystem::settings), changed by
/// [`ActorSystem::update_settings`](crate::ActorSystem::update_settings).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many messages an actor handles before others have their turn; at least one. Default: 1,024.
    pub throughput: u32,
    /// How long an actor may handle messages before others have their turn. Default: one millisecond.
    pub time_budget: Option<Duration>,
    /// How often a worker that has found nothing looks again before its thread sleeps. Default: 1,000,
    /// about 20 microseconds.
    pub idle_spins: u32,
    /// How long a thread without work stays, if there are more than there have to be: a worker above the
    /// minimum, a thread for blocking functions. Threads that wait already wait as long as they were told.
    /// Default: ten seconds.
    pub idle_time: Duration,
}

/// What the threads read of them, without a lock.
#[derive(Debug)]
pub(crate) struct Live {
    spins: AtomicU32,
    /// In nanoseconds.
    idle: AtomicU64,
    /// Held by the one who changes something.
    changing: Mutex<()>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            spins: AtomicU32::new(SPINS),
            idle: AtomicU64::new(10_000_000_000),
            changing: Mutex::new(()),
        }
    }
}

impl Live {
    pub(crate) fn spins(&self) -> u32 {
        // Relaxed: a setting, which carries nothing but itself.
        self.spins.load(Ordering::Relaxed)
    }

    pub(crate) fn idle_time(&self) -> Duration {
        // Relaxed: as above.
        Duration::from_nanos(self.idle.load(Ordering::Relaxed))
    }

    pub(crate) fn set_idle_time(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: as above.
        self.idle.store(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, system: &System) -> Settings {
        Settings {
            throughput: system.throughput(),
            time_budget: system.time_budget(),
            idle_spins: self.spins(),
            idle_time: self.idle_time(),
        }
    }

    pub(crate) fn change(&self, system: &System, change: impl FnOnce(&mut Settings)) {
        let _only = lock(&self.changing);
        let mut settings = self.read(system);
        change(&mut settings);
        system.set_throughput(settings.throughput);
        system.set_time_budget(settings.time_budget);
        // Relaxed: as above.
        self.spins.store(settings.idle_spins, Ordering::Relaxed);
        self.set_idle_time(settings.idle_time);
    }
}
