//! What happened in a run, step by step.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// So many of the last events are kept to be shown.
const KEPT: usize = 32;

/// One step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A worker did a step and handled so many messages in it.
    Worker {
        worker: usize,
        handled: usize,
        idle: bool,
    },
    /// A task was polled.
    Task { task: usize, done: bool },
    /// The future of `block_on` was polled.
    Main { done: bool },
    /// The clock was moved.
    Advance(Duration),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |over, word: &'static str| if over { word } else { "" };
        match *self {
            Self::Worker {
                worker,
                handled,
                idle,
            } => {
                let idle = end(idle, ", idle");
                match handled {
                    0 => write!(f, "worker {worker}{idle}"),
                    _ => write!(f, "worker {worker}: {handled} handled{idle}"),
                }
            }
            Self::Task { task, done } => write!(f, "task {task}{}", end(done, ", done")),
            Self::Main { done } => write!(f, "main{}", end(done, ", done")),
            Self::Advance(by) => write!(f, "clock: {by:?} later"),
        }
    }
}

/// What happened in a run: the number of steps, a hash of all of them, and the last ones.
///
/// `Display` writes the last ones, a line for each.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    steps: u64,
    hash: Fnv,
    last: VecDeque<Event>,
}

impl Trace {
    pub(crate) fn push(&mut self, event: Event) {
        self.steps += 1;
        event.hash(&mut self.hash);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    /// How many steps there were.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A hash of all steps. Two runs that did the same have the same.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.steps - self.last.len() as u64;
        for (number, event) in (first..).zip(&self.last) {
            writeln!(f, "{number:>8}  {event}")?;
        }
        Ok(())
    }
}

/// Fowler, Noll and Vo's hash: the same in every process and version, unlike the one of `std`.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
