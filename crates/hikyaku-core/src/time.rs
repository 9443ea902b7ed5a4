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

use self::timers::Timers;
use self::wheel::{Advance, Refused};
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
    pub(crate) use super::wheel::{TimerId, Wheel as Timers};
}
#[cfg(not(any(loom, feature = "std")))]
mod timers {
    pub(crate) use super::list::{List as Timers, TimerId};
}

/// Clock and timers of one system. Only who is given a tick driver makes one: a program without timers knows this table,
/// and does not link what is behind it.
pub(crate) trait Time: Send + Sync {
    /// For who outlives the system.
    fn share(&self) -> Arc<Clockwork>;

    fn now(&self) -> Duration;

    /// What the clock shows, in nanoseconds.
    fn nanos(&self) -> u64;

    /// Wakes `target` when the clock shows `due`, or a little later.
    fn insert(&self, due: Duration, target: Target) -> Result<TimerId, NotSet>;

    /// As [`insert`](Self::insert), in nanoseconds.
    fn insert_at(&self, due: u64, target: Target) -> Result<TimerId, NotSet>;

    /// Is this timer set, and will it wake `waker`? Not if the system has stopped.
    fn will_wake(&self, id: TimerId, waker: &Waker) -> bool;

    /// Takes a timer back. Nothing happens if it has fired.
    fn cancel(&self, id: TimerId);

    /// Fires what is due.
    fn turn(&self, waker: &Waker) -> NextTick;

    fn is_stopped(&self) -> bool;

    /// The system has stopped: who still waits is woken, and nobody comes in any more.
    fn stop(&self);

    /// Has an activation taken longer than it may?
    fn is_too_long(&self, activation: &mut Activation<'_>) -> bool;
}

/// The one kind of them.
pub(crate) struct Clockwork {
    clock: Box<dyn Clock>,
    /// In nanoseconds, not zero.
    resolution: u64,
    /// The last tick whose time fits into 64 bits.
    last: u64,
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
pub(crate) fn nanos(time: Duration) -> u64 {
    if time.as_secs() >= u64::MAX / SECOND {
        return u64::MAX;
    }
    time.as_secs() * SECOND + u64::from(time.subsec_nanos())
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

/// How often one number is in another, and what is left. `by` is not zero.
pub(crate) fn divide(number: u64, by: u64) -> (u64, u64) {
    if !sync::SMALL {
        return (number / by, number % by);
    }
    // As on paper, in base two: what the compiler has for it is a kilobyte where the machine does not divide.
    let (mut quotient, mut rest, mut part, mut places) = (0, number, by, 0);
    while part <= number >> 1 {
        part <<= 1;
        places += 1;
    }
    loop {
        quotient <<= 1;
        if rest >= part {
            rest -= part;
            quotient |= 1;
        }
        if places == 0 {
            return (quotient, rest);
        }
        part >>= 1;
        places -= 1;
    }
}

/// So many are fired between two locks; they lie on the stack meanwhile.
const PORTION: usize = if sync::SMALL { 1 } else { 32 };

impl Clockwork {
    pub(crate) fn new(clock: Box<dyn Clock>, resolution: Duration) -> Arc<Self> {
        let resolution = nanos(resolution).max(1);
        let (last, _) = divide(u64::MAX, resolution);
        Arc::new(Self {
            clock,
            resolution,
            last,
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
        resolution: Duration,
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

    fn time_of(&self, tick: u64) -> Duration {
        duration(tick.min(self.last) * self.resolution)
    }
}

impl Time for Arc<Clockwork> {
    fn share(&self) -> Self {
        Self::clone(self)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn nanos(&self) -> u64 {
        nanos(self.clock.now())
    }

    fn insert(&self, due: Duration, target: Target) -> Result<TimerId, NotSet> {
        self.insert_at(nanos(due), target)
    }

    fn insert_at(&self, due: u64, target: Target) -> Result<TimerId, NotSet> {
        // The first tick that is not before it.
        let (tick, beyond) = divide(due, self.resolution);
        let due = tick + u64::from(beyond > 0);
        let mut target = Some(target);
        let (inserted, waker) = self.turning.with(|turning| {
            if turning.stopped {
                return (Err(NotSet::Stopped), None);
            }
            let Some(new) = target.take() else {
                return (Err(NotSet::Stopped), None);
            };
            match turning.timers.insert(due, new) {
                Ok(id) if due < turning.back_at => {
                    // Once is enough, until it is back.
                    turning.back_at = 0;
                    (Ok(id), turning.waker.take())
                }
                Ok(id) => (Ok(id), None),
                Err(Refused::Full(refused) | Refused::OutOfMemory(refused)) => {
                    // Dropped outside the lock.
                    target = Some(refused);
                    (Err(NotSet::Capacity), None)
                }
            }
        });
        if let Some(waker) = waker {
            sync::wake(waker);
        }
        inserted
    }

    fn will_wake(&self, id: TimerId, waker: &Waker) -> bool {
        self.turning.with(|turning| {
            let target = turning.timers.get(id);
            matches!(target, Some(Target::Waker(set)) if set.will_wake(waker))
        })
    }

    fn cancel(&self, id: TimerId) {
        let target = self.turning.with(|turning| turning.timers.cancel(id));
        drop(target);
    }

    fn turn(&self, waker: &Waker) -> NextTick {
        // The last tick that is not after it.
        let (now, _) = divide(self.nanos(), self.resolution);
        let mut waker = Some(waker.clone());
        let mut due = [const { None }; PORTION];
        loop {
            let next = self.turning.with(|turning| {
                for place in &mut due {
                    match turning.timers.advance(now) {
                        Advance::Fired(target) => *place = Some(target),
                        Advance::Busy => return None,
                        Advance::Done => break,
                    }
                }
                if due[PORTION - 1].is_some() {
                    return None;
                }
                let next = turning.timers.next_due();
                turning.back_at = next.unwrap_or(u64::MAX);
                if !turning.stopped {
                    core::mem::swap(&mut turning.waker, &mut waker);
                }
                Some((next, turning.stopped))
            });
            due.iter_mut()
                .filter_map(Option::take)
                .for_each(Target::fire);
            if let Some((next, stopped)) = next {
                if let Some(waker) = waker.filter(|_| stopped) {
                    // It may have asked whether it should stop before it came here.
                    sync::wake(waker);
                }
                return match next {
                    Some(tick) => NextTick::At(self.time_of(tick)),
                    None => NextTick::Never,
                };
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.turning.with(|turning| turning.stopped)
    }

    fn stop(&self) {
        let waker = self.turning.with(|turning| {
            turning.stopped = true;
            turning.waker.take()
        });
        if let Some(waker) = waker {
            sync::wake(waker);
        }
        loop {
            // One at a time: this happens once.
            match self
                .turning
                .with(|turning| turning.timers.advance(u64::MAX))
            {
                Advance::Fired(target) => target.fire(),
                Advance::Busy => {}
                Advance::Done => return,
            }
        }
    }

    fn is_too_long(&self, activation: &mut Activation<'_>) -> bool {
        activation.is_too_long(self.now())
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
