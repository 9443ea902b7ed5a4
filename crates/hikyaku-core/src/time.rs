//! Time: one wheel for each system, and what waits in it. A list without `std`.
//!
//! ```text
//!   cx.timer, sleep, within ──insert──► wheel ◄──turn── TickDriver (a thread, Tokio, an interrupt, a test)
//!                                         │ due
//!               waker woken  ◄────────────┴───────────► actor's mail, then its order (agenda.rs)
//! ```
//!
//! The driver fires; it runs nothing. What a timer means is the business of the one it wakes.
//!
//! A due time is rounded up to the resolution, and the clock down, so nothing fires early.
//!
//! # Concurrency
//!
//! Everything is behind one lock, held for a few instructions. What is woken is woken outside.

mod driver;
#[allow(dead_code, reason = "with `std` it is the wheel")]
mod list;
mod sleep;
#[allow(dead_code, reason = "without `std` it is the list")]
mod wheel;

pub use self::driver::{ManualDriver, NextTick, StopToken, TickDriver, TickHandle};
pub(crate) use self::sleep::Alarm;
pub use self::sleep::{Sleep, SleepError};
pub(crate) use self::timers::TimerId;

use self::timers::{Ticks, Timers};
use self::wheel::Advance;
use crate::agenda::{Mail, Place};
use crate::cell::WeakCell;
use crate::clock::Clock;
use crate::dispatcher::Home;
use crate::invoker::Activation;
use crate::state::Orders;
use crate::sync::{self, Arc, Mutex, Weak};
use crate::system::BuildError;
use alloc::boxed::Box;
use core::fmt;
use core::task::Waker;
use core::time::Duration;

/// What is due when. With `std` there may be a million timers; without, the program is to be small.
#[cfg(any(loom, feature = "std"))]
mod timers {
    pub(crate) use super::wheel::{Ticks, TimerId, Wheel as Timers};
}
#[cfg(not(any(loom, feature = "std")))]
mod timers {
    pub(crate) use super::list::{List as Timers, Ticks, TimerId};
}

/// Clock and timers of one system. Only who is given a tick driver makes one: a program without timers knows this table,
/// and does not link what is behind it.
pub(crate) trait Time: Send + Sync {
    fn now(&self) -> Duration;

    /// What the clock shows, in nanoseconds.
    fn nanos(&self) -> u64;

    /// All that is done with timers. Who does it links it, and may outlive the system with it.
    fn works(&self) -> &Arc<Clockwork>;

    /// The system has stopped: who still waits is woken, and nobody comes in any more.
    fn stop(&self);

    /// Has an activation taken longer than it may?
    fn is_too_long(&self, activation: &mut Activation<'_>) -> bool;
}

/// The one kind of them.
pub(crate) struct Clockwork {
    clock: Box<dyn Clock>,
    ticks: Ticks,
    turning: Mutex<Turning>,
}

struct Turning {
    timers: Timers<Target>,
    /// The driver's.
    waker: Option<Waker>,
    /// The tick at which the driver will be back by itself.
    back_at: u64,
    stopped: bool,
}

/// Whom a timer wakes. The tag is a word, so that it is moved as one.
#[repr(u32)]
pub(crate) enum Target {
    Waker(Waker),
    Actor {
        mail: Arc<Mail>,
        item: Place,
    },
    /// Gives an order.
    Order(WeakCell, Orders),
    /// Ends a system by force.
    Shutdown(Weak<Home>),
}

impl Target {
    fn fire(self) {
        match self {
            Self::Waker(waker) => sync::wake(waker),
            Self::Actor { mail, item } => mail.deliver(item),
            Self::Order(cell, orders) => cell.cell().order(orders, false),
            Self::Shutdown(home) => {
                if let Some(home) = home.upgrade() {
                    home.shared.force_stop(&home);
                }
            }
        }
    }
}

/// Why a timer was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSet {
    /// There is no room for another one.
    Capacity,
    /// The system has stopped.
    Stopped,
}

pub(crate) const SECOND: u64 = 1_000_000_000;

/// In nanoseconds, which 64 bits count for five centuries. Inside the runtime times are reckoned with in these.
pub(crate) const fn nanos(time: Duration) -> u64 {
    if time.as_secs() >= u64::MAX / SECOND {
        return u64::MAX;
    }
    time.as_secs() * SECOND + time.subsec_nanos() as u64
}

fn duration(nanos: u64) -> Duration {
    let (seconds, rest) = divide(nanos, SECOND);
    part_of_second(seconds, rest)
}

/// `rest` is less than a second.
pub(crate) fn part_of_second(seconds: u64, rest: u64) -> Duration {
    // Said to the compiler, too, which would look for seconds in it, by a division.
    Duration::new(seconds, rest.min(SECOND - 1) as u32)
}

/// How often one number is in another, and what is left. `by` is neither zero nor above the half of 64 bits.
pub(crate) fn divide(number: u64, by: u64) -> (u64, u64) {
    if !sync::SMALL {
        return (number / by, number % by);
    }
    divide_bits(number, by)
}

/// As on paper, in base two: what the compiler has for it is a kilobyte where the machine does not divide.
#[inline(never)]
fn divide_bits(number: u64, by: u64) -> (u64, u64) {
    let (mut quotient, mut rest) = (number, 0);
    for _ in 0..u64::BITS {
        rest = (rest << 1) | (quotient >> (u64::BITS - 1));
        quotient <<= 1;
        if rest >= by {
            rest -= by;
            quotient |= 1;
        }
    }
    (quotient, rest)
}

/// So many are fired between two locks; they lie on the stack meanwhile.
const PORTION: usize = if sync::SMALL { 1 } else { 32 };

impl Clockwork {
    /// `resolution`: in nanoseconds, at most half of what 64 bits count, and not zero.
    pub(crate) fn new(clock: Box<dyn Clock>, resolution: u64) -> Arc<Self> {
        Arc::new(Self {
            clock,
            ticks: Ticks::new(resolution),
            turning: Mutex::new(Turning {
                timers: Timers::new(),
                waker: None,
                back_at: u64::MAX,
                stopped: false,
            }),
        })
    }

    /// For a system; with room for so many timers, if there is to be a limit. Starts the driver.
    pub(crate) fn begin(
        clock: Box<dyn Clock>,
        driver: Box<dyn TickDriver>,
        resolution: u64,
        most: Option<u32>,
    ) -> Result<Box<dyn Time>, BuildError> {
        let time = Self::new(clock, resolution);
        if let Some(most) = most {
            let room = time.turning.with(|turning| turning.timers.limit_to(most));
            room.map_err(|_| BuildError::OutOfMemory)?;
        }
        let handle = TickHandle::new(Arc::clone(&time));
        let stop = handle.stop_token();
        driver.start(handle, stop).map_err(BuildError::TickDriver)?;
        Ok(Box::new(time))
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The one copy of it.
    #[inline(never)]
    fn nanos(&self) -> u64 {
        nanos(self.clock.now())
    }

    /// Wakes `target` when the clock shows `due`, or a little later.
    pub(crate) fn insert(&self, due: Duration, target: Target) -> Result<TimerId, NotSet> {
        self.insert_at(nanos(due), target)
    }

    /// As [`insert`](Self::insert), in nanoseconds.
    pub(crate) fn insert_at(&self, due: u64, target: Target) -> Result<TimerId, NotSet> {
        let due = self.ticks.not_before(due);
        let mut waker = None;
        let inserted = self.turning.with(|turning| {
            if turning.stopped {
                return Err((NotSet::Stopped, target));
            }
            let id = turning.timers.insert(due, target);
            if id.is_ok() && due < turning.back_at {
                // Once is enough, until it is back.
                waker = turning.waker.take();
            }
            id.map_err(|refused| (NotSet::Capacity, refused))
        });
        if let Some(waker) = waker {
            sync::wake(waker);
        }
        // What was refused is dropped outside the lock.
        inserted.map_err(|(why, _)| why)
    }

    /// Is this timer set, and will it wake `waker`? Not if the system has stopped.
    pub(crate) fn will_wake(&self, id: TimerId, waker: &Waker) -> bool {
        self.turning.with(|turning| {
            let target = turning.timers.get(id);
            matches!(target, Some(Target::Waker(set)) if set.will_wake(waker))
        })
    }

    /// Takes a timer back. Nothing happens if it has fired.
    pub(crate) fn cancel(&self, id: TimerId) {
        let target = self.turning.with(|turning| turning.timers.cancel(id));
        drop(target);
    }

    /// Fires what is due.
    pub(crate) fn turn(&self, waker: &Waker) -> NextTick {
        let now = self.ticks.not_after(self.nanos());
        let mut waker = Some(waker.clone());
        let (next, stopped) = loop {
            self.fire(now);
            let over = self.turning.with(|turning| {
                let next = turning.timers.next_due();
                if next.is_some_and(|next| next <= now) {
                    // It has come in since.
                    return None;
                }
                turning.back_at = next.unwrap_or(u64::MAX);
                core::mem::swap(&mut turning.waker, &mut waker);
                Some((next, turning.stopped))
            });
            if let Some(over) = over {
                break over;
            }
        };
        drop(waker);
        if stopped {
            // It may have asked whether it should stop before it came here.
            self.wake_driver();
        }
        match next {
            Some(tick) => NextTick::At(duration(self.ticks.nanos(tick))),
            None => NextTick::Never,
        }
    }

    fn wake_driver(&self) {
        if let Some(waker) = self.turning.with(|turning| turning.waker.take()) {
            sync::wake(waker);
        }
    }

    /// Fires what is due by this tick.
    fn fire(&self, tick: u64) {
        let mut due = [const { None }; PORTION];
        let mut over = false;
        while !over {
            over = self.turning.with(|turning| {
                for place in &mut due {
                    match turning.timers.advance(tick) {
                        Advance::Fired(target) => *place = Some(target),
                        Advance::Busy => return false,
                        Advance::Done => return true,
                    }
                }
                false
            });
            due.iter_mut()
                .filter_map(Option::take)
                .for_each(Target::fire);
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.turning.with(|turning| turning.stopped)
    }
}

impl Time for Arc<Clockwork> {
    fn now(&self) -> Duration {
        (**self).now()
    }

    fn nanos(&self) -> u64 {
        (**self).nanos()
    }

    fn works(&self) -> &Self {
        self
    }

    fn stop(&self) {
        self.turning.with(|turning| turning.stopped = true);
        self.wake_driver();
        self.fire(u64::MAX);
    }

    fn is_too_long(&self, activation: &mut Activation<'_>) -> bool {
        activation.is_too_long(self.nanos())
    }
}

impl fmt::Debug for Clockwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time")
            .field("now", &self.clock.now())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
