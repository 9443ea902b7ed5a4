//! So many messages in a time, and no more.

use super::{Decision, Incoming, Middleware};
use crate::suspension::{ResumeCondition, SuspendReason};
use crate::sync::Mutex;
use core::time::Duration;

/// A bucket that fills with tokens at a steady rate. What takes one may go on.
///
/// A plain value that is told the time: [`Context::now`](crate::Context::now).
///
/// ```
/// use hikyaku_core::TokenBucket;
/// use std::time::Duration;
///
/// // Ten a second, and two at once.
/// let mut bucket = TokenBucket::new(Duration::from_millis(100), 2);
/// let now = Duration::from_secs(1);
/// assert_eq!(bucket.take(now), Ok(()));
/// assert_eq!(bucket.take(now), Ok(()));
/// assert_eq!(bucket.take(now), Err(Duration::from_millis(100)));
/// assert_eq!(bucket.take(now + Duration::from_millis(100)), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct TokenBucket {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full.
    full_at: Duration,
}

impl TokenBucket {
    /// A token each `interval`, at least a nanosecond; the bucket holds `burst` of them, at least one, and is full
    /// at first.
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self {
            interval: interval.max(Duration::from_nanos(1)),
            burst: burst.max(1),
            full_at: Duration::ZERO,
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        // With one token in it, so long from being full.
        let with_one = self.interval.saturating_mul(self.burst - 1);
        let missing = (full_at - now).saturating_sub(with_one);
        if missing.is_zero() {
            self.full_at = full_at.saturating_add(self.interval);
            Ok(())
        } else {
            Err(missing)
        }
    }
}

/// Handles no more messages than a [`TokenBucket`] allows: the others wait, or are refused.
///
/// Installed for one actor it is that actor's own rate; one value shared by several actors is their common one. Put it
/// last: a message that a later middleware holds takes another token when its turn comes again.
///
/// ```
/// use hikyaku_core::{RateLimit, SpawnOptions};
/// use std::time::Duration;
///
/// // A thousand a second, a hundred at once. What is too much waits in the mailbox.
/// let options = SpawnOptions::new().middleware(RateLimit::new(Duration::from_millis(1), 100));
/// ```
#[derive(Debug)]
pub struct RateLimit {
    bucket: Mutex<TokenBucket>,
    refuses: bool,
}

impl RateLimit {
    /// A message each `interval`, and `burst` at once after a pause. What is too much is held back: the actor is
    /// suspended for [`SuspendReason::RateLimit`]. That needs timers.
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self {
            bucket: Mutex::new(TokenBucket::new(interval, burst)),
            refuses: false,
        }
    }

    /// What is too much is refused instead, and becomes a dead letter.
    #[must_use]
    pub fn refusing(mut self) -> Self {
        self.refuses = true;
        self
    }
}

impl Middleware for RateLimit {
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        let now = incoming.now();
        match self.bucket.with(|bucket| bucket.take(now)) {
            Ok(()) => Decision::Pass,
            Err(_) if self.refuses => Decision::Refuse("there are too many"),
            Err(missing) => Decision::Hold {
                reason: SuspendReason::RateLimit,
                until: ResumeCondition::After(missing),
            },
        }
    }
}
