//! Time that moves when the test says so.

use crate::decisions::lock;
use hikyaku_core::Clock;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A clock that stands still until it is moved. Clones are the same clock.
///
/// ```
/// use hikyaku_core::Clock;
/// use hikyaku_testkit::VirtualClock;
/// use std::time::Duration;
///
/// let clock = VirtualClock::new();
/// let same = clock.clone();
/// clock.advance(Duration::from_millis(5));
/// assert_eq!(same.now(), Duration::from_millis(5));
/// ```
#[derive(Clone, Default)]
pub struct VirtualClock(Arc<Time>);

#[derive(Default)]
struct Time {
    /// Nanoseconds since the start.
    now: AtomicU64,
    /// Who sleeps, by the time to wake and a number.
    sleepers: Mutex<BTreeMap<(Duration, u64), Waker>>,
    /// The last number given out.
    last: AtomicU64,
}

impl VirtualClock {
    /// A clock at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock, and wakes those whose time has come, the earliest first. Any thread, also
    /// inside a handler.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: a number that carries nothing else; sleepers look at it under the lock.
        let _earlier = self
            .0
            .now
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_add(by))
            });
        let due = {
            let mut sleepers = lock(&self.0.sleepers);
            let later = sleepers.split_off(&(self.now(), u64::MAX));
            std::mem::replace(&mut *sleepers, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// Resolves when the clock has moved by so much from now on: for tasks that stand for the
    /// outside, such as a slow peer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep {
            clock: self.clone(),
            due: self.now().saturating_add(time),
            // Relaxed: the numbers only differ.
            number: self.0.last.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        // Relaxed: as in `advance`.
        Duration::from_nanos(self.0.now.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualClock").field(&self.now()).finish()
    }
}

/// The future of [`VirtualClock::sleep`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    clock: VirtualClock,
    due: Duration,
    number: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut sleepers = lock(&self.clock.0.sleepers);
        // Under the lock: who moves the clock takes the sleepers afterwards.
        if self.clock.now() >= self.due {
            return Poll::Ready(());
        }
        let before = sleepers.insert((self.due, self.number), waker);
        drop(sleepers);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = lock(&self.clock.0.sleepers).remove(&(self.due, self.number));
        drop(waker);
    }
}
