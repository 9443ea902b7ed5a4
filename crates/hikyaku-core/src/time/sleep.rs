//! Waiting for a while.

use super::{Clockwork, NotSet, Target, Time, TimerId};
use crate::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{self, Poll, Waker};
use core::time::Duration;

/// The future of [`Context::sleep`](crate::Context::sleep) and [`System::sleep`](crate::System::sleep).
///
/// # Cancel safety
/// Dropping it takes the timer back.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    time: Option<Arc<Clockwork>>,
    due: Duration,
    over: bool,
    alarm: Alarm,
}

/// Why a sleep ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SleepError {
    /// The system was built without a clock and a tick driver.
    NoTime,
    /// There is no room for another timer.
    Capacity,
    /// The system has stopped.
    Stopped,
}

impl fmt::Display for SleepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTime => "the system was built without a tick driver",
            Self::Capacity => "there is no room for another timer",
            Self::Stopped => "the system has stopped",
        })
    }
}

impl core::error::Error for SleepError {}

impl Sleep {
    pub(crate) fn new(time: Option<&dyn Time>, duration: Duration) -> Self {
        // A due time reads the clock once; the time until the first poll counts.
        let now = time.map_or(Duration::ZERO, |time| time.now());
        Self {
            due: now.saturating_add(duration),
            time: time.map(|time| Arc::clone(time.works())),
            over: duration.is_zero(),
            alarm: Alarm::default(),
        }
    }
}

impl Future for Sleep {
    type Output = Result<(), SleepError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(time) = &this.time else {
            return Poll::Ready(Err(SleepError::NoTime));
        };
        // The first poll saves a look at the clock: what has come due since fires at the driver's next one.
        this.over |= this.alarm.is_set() && time.now() >= this.due;
        if this.over {
            this.alarm.cancel(time);
            return Poll::Ready(Ok(()));
        }
        match this.alarm.set(time, this.due, cx.waker()) {
            Ok(()) => Poll::Pending,
            Err(NotSet::Capacity) => Poll::Ready(Err(SleepError::Capacity)),
            Err(NotSet::Stopped) => Poll::Ready(Err(SleepError::Stopped)),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(time) = &self.time {
            self.alarm.cancel(time);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

/// A timer that wakes a future. Whoever has it cancels it.
#[derive(Default)]
pub(crate) struct Alarm {
    set: Option<TimerId>,
}

impl Alarm {
    /// Sets it, or moves it to another waker.
    pub(crate) fn set(
        &mut self,
        time: &Clockwork,
        due: Duration,
        waker: &Waker,
    ) -> Result<(), NotSet> {
        if self.set.is_some_and(|id| time.will_wake(id, waker)) {
            return Ok(());
        }
        self.cancel(time);
        self.set = Some(time.insert(due, Target::Waker(waker.clone()))?);
        Ok(())
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.is_some()
    }

    pub(crate) fn cancel(&mut self, time: &Clockwork) {
        if let Some(id) = self.set.take() {
            time.cancel(id);
        }
    }
}
