//! What happened in a run, step by step.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// So many of the last events are kept to be shown.
const KEPT: usize = 32;

/// One step of a run.
#[derive(Debug, Clone, Copy)]
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
    /// The driver killed an actor.
    Kill,
}

impl Event {
    /// The event in numbers that are the same on every machine.
    fn numbers(self) -> [u64; 4] {
        match self {
            Self::Worker {
                worker,
                handled,
                idle,
            } => [0, worker as u64, handled as u64, idle.into()],
            Self::Task { task, done } => [1, task as u64, done.into(), 0],
            Self::Main { done } => [2, done.into(), 0, 0],
            Self::Advance(by) => [3, by.as_secs(), by.subsec_nanos().into(), 0],
            Self::Kill => [4, 0, 0, 0],
        }
    }
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
            Self::Kill => f.write_str("an actor is killed"),
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
        self.hash.add(event.numbers());
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
        self.hash.0
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

/// Fowler, Noll and Vo's hash, of words in place of bytes: the same in every process, version and
/// machine, unlike the one of `std`.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, numbers: [u64; 4]) {
        for number in numbers {
            let mixed = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3);
            // A product carries to the left only.
            self.0 = mixed ^ (mixed >> 29);
        }
    }
}
