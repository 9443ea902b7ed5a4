//! Messages that are not worth handling any more.

use super::{Decision, Incoming, Middleware};
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

/// Refuses messages of type `M` that have waited too long.
///
/// When a message was made, it says itself: take [`Context::now`](crate::Context::now), which is the same clock. For
/// questions, [`Actor::deadline`](crate::Actor::deadline) does this without a middleware.
///
/// ```
/// use hikyaku_core::{SpawnOptions, TimeToLive};
/// use std::time::Duration;
///
/// struct Sample { taken: Duration, value: f32 }
///
/// let fresh = TimeToLive::new(Duration::from_secs(1), |sample: &Sample| Some(sample.taken));
/// let options = SpawnOptions::new().middleware(fresh);
/// # let _ = (options, Sample { taken: Duration::ZERO, value: 0.0 }.value);
/// ```
pub struct TimeToLive<M, F> {
    limit: Duration,
    made: F,
    _message: PhantomData<fn(M)>,
}

impl<M: 'static, F: Fn(&M) -> Option<Duration> + Send + Sync + 'static> TimeToLive<M, F> {
    /// `made` tells when a message was made, or that it lives for ever.
    pub fn new(limit: Duration, made: F) -> Self {
        Self {
            limit,
            made,
            _message: PhantomData,
        }
    }
}

impl<M: 'static, F: Fn(&M) -> Option<Duration> + Send + Sync + 'static> Middleware
    for TimeToLive<M, F>
{
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        let made = incoming.message.downcast_ref().and_then(&self.made);
        match made {
            Some(made) if incoming.now().saturating_sub(made) > self.limit => {
                Decision::Refuse("its time to live is over")
            }
            _ => Decision::Pass,
        }
    }
}

impl<M, F> fmt::Debug for TimeToLive<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeToLive")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
