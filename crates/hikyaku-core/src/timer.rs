//! Timers of an actor, as a user writes them.

use crate::agenda::{DELAY, Duty, Late, ONCE, RATE, Source, coalesce, skip};
use crate::registry::MailboxIndex;
use crate::time::nanos;
use alloc::boxed::Box;
use core::fmt;
use core::pin::Pin;
use core::time::Duration;

/// Names a timer within its actor. A new timer of the same key takes the place of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey(Key);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Name(&'static str),
    Number(u64),
    Timeout,
    Watch(MailboxIndex),
}

impl TimerKey {
    /// The receive timeout.
    pub(crate) const TIMEOUT: Self = Self(Key::Timeout);

    /// What tells of the end of another actor.
    pub(crate) const fn watch(of: MailboxIndex) -> Self {
        Self(Key::Watch(of))
    }
}

impl From<&'static str> for TimerKey {
    fn from(name: &'static str) -> Self {
        Self(Key::Name(name))
    }
}

impl From<u64> for TimerKey {
    fn from(number: u64) -> Self {
        Self(Key::Number(number))
    }
}

/// What a repeated timer does with ticks that pile up while its actor is busy, or its driver late.
///
/// The first of them always waits for the actor. This is about those that come after it until it is
/// handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PileUp {
    /// All are handed over as soon as the actor has time, behind whatever else is due by then.
    #[default]
    Burst,
    /// One more is handed over for all of them; then the timer goes on in its old rhythm.
    Coalesce,
    /// They are lost; the timer goes on in its old rhythm.
    Skip,
}

/// A timer that sends its actor a message. Started with [`Context::start_timer`](crate::Context::start_timer).
///
/// Its messages are handled before those that wait in the mailbox, take no room there, and never
/// while a handler is pending. It belongs to the actor as it is now: it ends with it, and with its
/// restart. From the order to end on, also to end gracefully, no tick is handled any more. A timer keeps no
/// actor alive.
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, PileUp, Timer};
/// use std::time::Duration;
///
/// struct Poller;
///
/// #[derive(Clone)]
/// enum PollerMsg { Poll, GiveUp }
///
/// impl Actor for Poller {
///     type Msg = PollerMsg;
///
///     async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
///         let poll = Timer::fixed_rate(Duration::from_millis(100), PollerMsg::Poll);
///         cx.start_timer("poll", poll.pile_up(PileUp::Coalesce))?;
///         cx.start_timer("give up", Timer::once(Duration::from_secs(5), PollerMsg::GiveUp))?;
///         Ok(())
///     }
///
///     async fn handle(&mut self, msg: PollerMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
///         match msg {
///             PollerMsg::Poll => {}
///             PollerMsg::GiveUp => { cx.cancel_timer("poll"); }
///         }
///         Ok(())
///     }
/// }
/// ```
#[must_use = "a timer runs when an actor starts it"]
pub struct Timer<M> {
    pub(crate) plan: Plan,
    pub(crate) make: Make<M>,
}

/// When the messages come.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    first: Duration,
    /// None if there is one message.
    period: Option<Duration>,
    /// The rhythm.
    pub(crate) duty: &'static Duty,
    pub(crate) late: Option<Late>,
}

/// Where the messages come from.
pub(crate) enum Make<M> {
    Once(Option<M>),
    Copies(M, fn(&M) -> M),
    New(Box<dyn FnMut() -> M + Send>),
}

// Nothing in it is pinned.
impl<M> Unpin for Make<M> {}

impl<M> Source for Make<M> {
    unsafe fn make(self: Pin<&mut Self>, out: *mut ()) -> bool {
        let message = match self.get_mut() {
            Self::Once(message) => match message.take() {
                Some(message) => message,
                None => return false,
            },
            Self::Copies(message, copy) => copy(message),
            Self::New(make) => make(),
        };
        // SAFETY: as the caller promises; a context takes timers of its actor's messages only.
        unsafe { out.cast::<M>().write(message) };
        true
    }
}

impl Plan {
    const fn once(delay: Duration) -> Self {
        Self {
            first: delay,
            period: None,
            duty: ONCE,
            late: None,
        }
    }

    pub(crate) const fn every(period: Duration, duty: &'static Duty) -> Self {
        Self {
            first: period,
            period: Some(period),
            duty,
            late: None,
        }
    }

    /// When the first message comes, and the period, in nanoseconds.
    pub(crate) fn check(&self) -> Result<(u64, u64), TimerError> {
        let first = nanos(self.first);
        let period = self.period.map_or(first, nanos);
        if period == 0 {
            return Err(TimerError::Zero);
        }
        if period.max(first) > TOO_FAR {
            return Err(TimerError::TooFar);
        }
        Ok((first, period))
    }
}

impl<M> Timer<M> {
    /// Sends `message` after `delay`.
    pub fn once(delay: Duration, message: M) -> Self {
        Self {
            plan: Plan::once(delay),
            make: Make::Once(Some(message)),
        }
    }

    /// Sends a clone of `message` every `period`, counted from one due time to the next: late ticks do
    /// not move the later ones.
    pub fn fixed_rate(period: Duration, message: M) -> Self
    where
        M: Clone,
    {
        Self {
            plan: Plan::every(period, RATE),
            make: Make::Copies(message, M::clone),
        }
    }

    /// Sends a clone of `message`, and again when `delay` has passed since the last one was handled.
    pub fn fixed_delay(delay: Duration, message: M) -> Self
    where
        M: Clone,
    {
        Self {
            plan: Plan::every(delay, DELAY),
            make: Make::Copies(message, M::clone),
        }
    }

    /// As [`fixed_rate`](Self::fixed_rate), with a new message each time.
    pub fn fixed_rate_with(period: Duration, make: impl FnMut() -> M + Send + 'static) -> Self {
        Self {
            plan: Plan::every(period, RATE),
            make: Make::New(Box::new(make)),
        }
    }

    /// As [`fixed_delay`](Self::fixed_delay), with a new message each time.
    pub fn fixed_delay_with(delay: Duration, make: impl FnMut() -> M + Send + 'static) -> Self {
        Self {
            plan: Plan::every(delay, DELAY),
            make: Make::New(Box::new(make)),
        }
    }

    /// The first tick comes after `delay`, which may be zero, instead of after the period.
    pub fn after(mut self, delay: Duration) -> Self {
        self.plan.first = delay;
        self
    }

    /// What becomes of ticks that come while the actor is busy. Only for
    /// [`fixed_rate`](Self::fixed_rate): the other kinds have one tick at a time.
    pub fn pile_up(mut self, policy: PileUp) -> Self {
        self.plan.late = match policy {
            PileUp::Burst => None,
            PileUp::Coalesce => Some(coalesce),
            PileUp::Skip => Some(skip),
        };
        self
    }
}

/// A hundred years.
const TOO_FAR: u64 = 100 * 366 * 24 * 3600 * 1_000_000_000;

impl<M> fmt::Debug for Timer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("first", &self.plan.first)
            .field("period", &self.plan.period)
            .finish_non_exhaustive()
    }
}

/// Why a timer was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimerError {
    /// A period, or the delay of a timer that fires once, is zero.
    Zero,
    /// A duration is above a hundred years.
    TooFar,
    /// The system was built without a clock and a tick driver.
    NoTime,
    /// There is no room for another timer.
    Capacity,
    /// The actor is stopping, or the system has stopped.
    Stopping,
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "the duration is zero",
            Self::TooFar => "the duration is above a hundred years",
            Self::NoTime => "the system was built without a tick driver",
            Self::Capacity => "there is no room for another timer",
            Self::Stopping => "the actor is stopping",
        })
    }
}

impl core::error::Error for TimerError {}
