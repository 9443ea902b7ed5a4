//! The systems side by side. Each one's module has the same functions, listed in one table.

use std::time::Duration;

use crate::harness::{Memory, Timed};
use crate::timers::Timers;
use crate::workload::{Asked, Fan, Registered, Ring, Rule, Runtime, Tell};

mod actix;
mod hikyaku;
mod kameo;
mod ractor;
mod tokio;
mod xtra;

pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) tell: fn(Runtime, Tell) -> Timed,
    /// `None` if actors have no bounded mailboxes.
    pub(crate) tell_bounded: Option<fn(Runtime, Tell) -> Timed>,
    /// Only Hikyaku, and what it's compared with.
    pub(crate) tell_by: Option<fn(Runtime, Tell, Rule) -> Timed>,
    pub(crate) fan: fn(Runtime, Fan) -> Timed,
    pub(crate) ring: fn(Runtime, Ring) -> Timed,
    pub(crate) ask: fn(Runtime, u64) -> Timed,
    /// Only Hikyaku, and what it's compared with.
    pub(crate) suspend_resume: Option<fn(Runtime, u64) -> Timed>,
    /// `None` if asks have no deadline of the system's own.
    pub(crate) ask_deadline: Option<fn(Runtime, u64) -> Timed>,
    pub(crate) ask_outside: fn(u64) -> Asked,
    pub(crate) spawn: fn(Runtime, usize) -> Timed,
    pub(crate) memory: fn(Runtime, usize) -> Memory,
    /// Only Hikyaku, and what it's compared with.
    pub(crate) register_ready: Option<fn(Runtime, u64) -> Registered>,
    /// `None` if the system has no timers but Tokio's.
    pub(crate) timers: Option<fn(Runtime, Timers) -> Timed>,
    /// What so many idle actors use of the processors in a second. Only Hikyaku, and what it's compared with.
    pub(crate) idle_cpu: Option<fn(Runtime, usize) -> Duration>,
    /// An idle actor needs more than 4 kB.
    pub(crate) heavy: bool,
}

pub(crate) static ALL: [&System; 6] = [
    &tokio::SYSTEM,
    &ractor::SYSTEM,
    &kameo::SYSTEM,
    &actix::SYSTEM,
    &xtra::SYSTEM,
    &hikyaku::SYSTEM,
];

/// Hikyaku with its actors elsewhere than on two threads: run if named, on the core workloads.
pub(crate) static EXECUTORS: [&System; 5] = [
    &hikyaku::TOKIO,
    &hikyaku::ADAPTIVE,
    &hikyaku::ONE,
    &hikyaku::PINNED,
    &hikyaku::BLOCKING,
];

/// All that can be named.
pub(crate) fn named() -> impl Iterator<Item = &'static System> {
    ALL.into_iter().chain(EXECUTORS)
}

impl System {
    /// Has it the core workloads only, on two workers?
    pub(crate) fn is_executor(&self) -> bool {
        EXECUTORS.iter().any(|system| system.name == self.name)
    }
}

/// What every other system is compared with.
pub(crate) fn yardstick() -> &'static System {
    &tokio::SYSTEM
}
