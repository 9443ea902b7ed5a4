//! The circuit breaker: stops calling what does not answer, and tries again after a while.
//!
//! ```text
//!               max_failures in a row, or trip
//!   Closed ─────────────────────────────────────► Open ◄──┐
//!     ▲                                            │      │ the probe fails, is late, or its permit is dropped
//!     │                         check, when it is  │      │
//!     └────────── the probe succeeds ── HalfOpen ◄─┘──────┘
//! ```
//!
//! Each arrow begins a new phase. What comes of a call that was begun in an earlier phase is not counted.

use crate::supervision::{Backoff, mix};
use crate::sync::{Arc, AtomicUsize, Ordering};
use core::fmt;
use core::time::Duration;

/// Decides whether a call is worth making, by what became of those before.
///
/// A plain value that one actor owns. It reads no clock: each method is told the time, by
/// [`Context::now`](crate::Context::now). Ask it before each call, and tell it the outcome with the
/// [`Permit`] that it gave.
///
/// - *Closed*: all calls are let through. So many failures in a row open it; a success starts the count anew.
/// - *Open*: no call is let through, for a pause that grows with each time that it opens without a
///   success in between.
/// - *Half open*: one call is let through, as a probe. Its success closes the breaker, its failure opens it.
///
/// ```
/// use hikyaku_core::{Backoff, BreakerChange, CircuitBreaker};
/// use std::time::Duration;
///
/// let s = Duration::from_secs;
/// let mut breaker = CircuitBreaker::new(2, Backoff::new(s(1), s(30)));
/// # let now = s(0);
/// // In a handler, `now` is `cx.now()`.
/// let (first, second) = (breaker.check(now)?, breaker.check(now)?);
/// assert_eq!(breaker.fail(first, now), BreakerChange::Stays);
/// assert_eq!(breaker.fail(second, now), BreakerChange::Opened { retry_after: s(1) });
/// assert!(breaker.check(now).is_err());
///
/// let probe = breaker.check(s(1))?;
/// assert!(probe.is_probe() && breaker.check(s(1)).is_err());
/// assert_eq!(breaker.succeed(probe, s(1)), BreakerChange::Closed);
/// # Ok::<(), hikyaku_core::Rejected>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct CircuitBreaker {
    max_failures: u32,
    pause: Backoff,
    call_timeout: Option<Duration>,
    seed: u64,
    state: State,
    /// How often it has opened since the last success.
    openings: u32,
    drawn: u64,
    phase: Phase,
}

/// How many calls of a phase were lost: their permits were dropped. One for each phase, so it also
/// tells phases apart.
type Phase = Arc<AtomicUsize>;

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// The probe is under way since then.
    HalfOpen {
        since: Duration,
    },
}

/// What a breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It is let through.
    Closed,
    /// It is rejected.
    Open {
        /// When the next one will be let through.
        retry_after: Duration,
    },
    /// A probe is under way, or the next call will be it.
    HalfOpen,
}

/// What an outcome has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "tells when the breaker opens and closes; `let _ =` if nobody wants to know"]
pub enum BreakerChange {
    /// Nothing.
    Stays,
    /// The breaker is open now.
    Opened {
        /// For how long.
        retry_after: Duration,
    },
    /// The breaker is closed now.
    Closed,
}

/// Why a call is not to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// When it is worth asking again. While a probe is under way: when its time is up, or, if it has all
    /// the time it wants, after the shortest pause.
    pub retry_after: Duration,
    /// `Opened` if the breaker has opened only now, because of a probe that is late or permits that were
    /// dropped.
    pub change: BreakerChange,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the circuit breaker is open, to be asked again in {:?}",
            self.retry_after
        )
    }
}

impl core::error::Error for Rejected {}

/// The right to make one call. To be given back with its outcome.
///
/// Dropping it counts as a failure, at the next look of the breaker: what drops a permit is an error
/// passed on by `?`, a panic, or a future that was given up, and none of them is a success. To take a
/// call back that was not made, [`CircuitBreaker::withdraw`].
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a failure"]
pub struct Permit {
    phase: Option<Phase>,
    since: Duration,
    probe: bool,
}

impl Permit {
    /// Is it the one call that is let through while the breaker is half open?
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(phase) = self.phase.take() {
            // Relaxed: a count; it is looked at when the breaker is asked next.
            phase.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl CircuitBreaker {
    /// A closed breaker that opens after so many failures in a row, one at least, with pauses as
    /// `pause` says. Only a success starts the pauses anew: [`Backoff::reset_after`] does not count here.
    pub fn new(max_failures: u32, pause: Backoff) -> Self {
        Self {
            max_failures: max_failures.max(1),
            pause,
            call_timeout: None,
            seed: 0,
            state: State::Closed { failures: 0 },
            openings: 0,
            drawn: 0,
            phase: Phase::default(),
        }
    }

    /// A call that takes longer counts as a failure, also if it succeeds. A probe counts when its time is
    /// up, any other call when its outcome is there: give the call itself the same limit, as
    /// [`Ask::within`](crate::Ask::within) does.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = Some(limit);
        self
    }

    /// For the jitter of the pauses. Give each breaker another one, such as the index of its actor.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// [`Rejected`], if it is not to be made now.
    pub fn check(&mut self, now: Duration) -> Result<Permit, Rejected> {
        let change = self.settle(now);
        let retry_after = match self.state {
            State::Closed { .. } => return Ok(self.permit(now, false)),
            State::Open { until } if until <= now => {
                self.enter(State::HalfOpen { since: now });
                return Ok(self.permit(now, true));
            }
            State::Open { until } => until.saturating_sub(now),
            State::HalfOpen { since } => match self.call_timeout {
                Some(limit) => since.saturating_add(limit).saturating_sub(now),
                None => self.pause.delay(0, 0),
            },
        };
        Err(Rejected {
            retry_after,
            change,
        })
    }

    fn permit(&self, now: Duration, probe: bool) -> Permit {
        Permit {
            phase: Some(Phase::clone(&self.phase)),
            since: now,
            probe,
        }
    }

    /// The call has succeeded.
    pub fn succeed(&mut self, permit: Permit, now: Duration) -> BreakerChange {
        let late = self
            .call_timeout
            .is_some_and(|limit| now.saturating_sub(permit.since) > limit);
        if late {
            return self.fail(permit, now);
        }
        let change = self.settle(now);
        if !self.redeem(permit) {
            return change;
        }
        match self.state {
            State::HalfOpen { .. } => self.close(),
            State::Closed { .. } => {
                self.state = State::Closed { failures: 0 };
                change
            }
            State::Open { .. } => change,
        }
    }

    /// The call has failed, or there was no answer in time.
    pub fn fail(&mut self, permit: Permit, now: Duration) -> BreakerChange {
        let change = self.settle(now);
        if self.redeem(permit) {
            return self.count(1, now);
        }
        change
    }

    /// The call was not made, or says nothing about the other side. If it was the probe, the next call
    /// will be.
    pub fn withdraw(&mut self, permit: Permit) {
        if self.redeem(permit)
            && let State::HalfOpen { since } = self.state
        {
            self.enter(State::Open { until: since });
        }
    }

    /// Opens it by hand, as failures would, for the next pause.
    pub fn trip(&mut self, now: Duration) -> BreakerChange {
        self.open(now)
    }

    /// Closes it by hand, and forgets all failures.
    pub fn reset(&mut self) -> BreakerChange {
        let was_closed = matches!(self.state, State::Closed { .. });
        let change = self.close();
        if was_closed {
            BreakerChange::Stays
        } else {
            change
        }
    }

    /// What it would do with a call. Permits that were dropped are not looked at here.
    pub fn state(&self, now: Duration) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if until > now => BreakerState::Open {
                retry_after: until.saturating_sub(now),
            },
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Is it a permit of this phase? It is used up in any case.
    fn redeem(&self, mut permit: Permit) -> bool {
        permit
            .phase
            .take()
            .is_some_and(|phase| Arc::ptr_eq(&phase, &self.phase))
    }

    /// Counts what nobody has told: permits that were dropped, a probe that is late.
    fn settle(&mut self, now: Duration) -> BreakerChange {
        // Relaxed: see `Permit::drop`.
        let lost = self.phase.swap(0, Ordering::Relaxed);
        if lost > 0 {
            return self.count(u32::try_from(lost).unwrap_or(u32::MAX), now);
        }
        if let State::HalfOpen { since } = self.state
            && let Some(limit) = self.call_timeout
            && now.saturating_sub(since) > limit
        {
            return self.open(now);
        }
        BreakerChange::Stays
    }

    fn count(&mut self, more: u32, now: Duration) -> BreakerChange {
        match &mut self.state {
            State::Closed { failures } => {
                *failures = failures.saturating_add(more);
                if *failures < self.max_failures {
                    return BreakerChange::Stays;
                }
                self.open(now)
            }
            State::HalfOpen { .. } => self.open(now),
            State::Open { .. } => BreakerChange::Stays,
        }
    }

    fn open(&mut self, now: Duration) -> BreakerChange {
        self.drawn = self.drawn.wrapping_add(1);
        let retry_after = self.pause.delay(self.openings, mix(self.seed ^ self.drawn));
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open {
            until: now.saturating_add(retry_after),
        });
        BreakerChange::Opened { retry_after }
    }

    fn close(&mut self) -> BreakerChange {
        self.openings = 0;
        self.enter(State::Closed { failures: 0 });
        BreakerChange::Closed
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.phase = Phase::default();
    }
}
