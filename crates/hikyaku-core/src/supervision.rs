//! Supervision: what becomes of an actor that failed.
//!
//! ```text
//!   fail ──► Faulted, children held ──letter──► parent (or guardian): judge ──order──► resume, restart, stop
//!                                                   └── escalate: the parent fails in its turn
//! ```
//!
//! Strategy and decider are values that the supervisor was spawned with. They are asked on its
//! worker, also while one of its handlers awaits, and never touch its state, so nobody waits for
//! anybody.

use crate::cell::CellPtr;
use crate::failure::Failure;
use crate::invoker::restart_after_wait;
use crate::sync::{self, Arc};
use crate::time::{SECOND, nanos};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

/// Is it built in? If not, an actor that fails is stopped, and that is all.
pub(crate) const SUPERVISION: bool = cfg!(feature = "supervision");

/// What to do with an actor that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisionDirective {
    /// It goes on with the next message, with the state it has. The failed message is lost.
    Resume,
    /// It is made anew by its factory. Reference, mailbox, name and those who watch it stay; state,
    /// children, timers and watches of its own go. The failed message is lost.
    Restart,
    /// It ends.
    Stop,
    /// Its supervisor fails with the same failure. If that is resumed, so is the one that failed; otherwise
    /// it is stopped.
    Escalate,
}

/// Who is affected when one of several children fails.
///
/// Those that are restarted together start again one after the other, in the order in which they were
/// spawned: each when the one before has started, or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SupervisionStrategy {
    /// The one that failed.
    #[default]
    OneForOne,
    /// All of them.
    AllForOne,
    /// The one that failed and those that were spawned after it.
    RestForOne,
}

/// When a supervisor stops because of the end of [`significant`](crate::SpawnOptions::significant) children.
///
/// A restart is no end. Neither does the end of a child count that its supervisor told to stop, by
/// [`stop_child`](crate::Context::stop_child) or because of a sibling's failure.
///
/// ```
/// use hikyaku_core::{AutoShutdown, SpawnOptions, Supervision};
///
/// // A session that is over when its connection is.
/// let session = SpawnOptions::new().supervision(Supervision::one_for_one().auto_shutdown(AutoShutdown::Any));
/// let connection = SpawnOptions::new().significant();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// It goes on.
    #[default]
    Never,
    /// When the first of them ends.
    Any,
    /// When the last of them ends.
    All,
}

/// When a child is to be restarted at all. Chosen for each child.
///
/// | | stops itself (`cx.stop()`) | is told to stop | fails |
/// |---|---|---|---|
/// | `Permanent` | restarted | ends | restarted |
/// | `Transient` | ends | ends | restarted |
/// | `Temporary` | ends | ends | ends |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Also when it stops itself.
    Permanent,
    /// When it fails.
    #[default]
    Transient,
    /// Never.
    Temporary,
}

/// Waiting longer and longer before a restart.
///
/// The delays are `first`, twice that, four times, and so on up to `cap`; each is lengthened by a random
/// part of up to `jitter` percent, so that many actors that failed together do not come back together.
///
/// ```
/// use hikyaku_core::{Backoff, Supervision};
/// use std::time::Duration;
///
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10)).jitter(20);
/// let supervision = Supervision::one_for_one().backoff(backoff);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    jitter: u8,
    reset_after: Duration,
}

impl Backoff {
    /// Delays from `first` to `cap`, without jitter. They start anew when the actor has not failed
    /// for as long as the cap.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            jitter: 0,
            reset_after: cap,
        }
    }

    /// Lengthens each delay by a random part of up to so many percent.
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }

    /// After so long without a failure the delays start anew.
    #[must_use]
    pub const fn reset_after(mut self, quiet: Duration) -> Self {
        self.reset_after = quiet;
        self
    }

    /// How long to wait before the restart that comes now.
    pub(crate) fn wait(&self, tally: &mut Tally, now: u64, salt: u64) -> Duration {
        if now.saturating_sub(tally.last) >= nanos(self.reset_after) {
            tally.delayed = 0;
        }
        tally.drawn = tally.drawn.wrapping_add(1);
        let delay = self.delay(tally.delayed, mix(salt ^ tally.drawn));
        tally.delayed = tally.delayed.saturating_add(1);
        // Quiet time is counted from the restart.
        tally.last = now.saturating_add(nanos(delay));
        delay
    }

    /// The delay before the restart that follows `before` others.
    pub(crate) fn delay(&self, before: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        let delay = self.first.saturating_mul(factor).min(self.cap);
        // In parts of 2^32, without a wide division, which is kilobytes of code on small machines.
        let share = u64::from(self.jitter) * (random >> 32) / 100;
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(nanos) * u128::from(share)) >> 32;
        delay.saturating_add(Duration::from_nanos(
            u64::try_from(part).unwrap_or(u64::MAX),
        ))
    }
}

type Decider = Arc<dyn Fn(&Failure) -> SupervisionDirective + Send + Sync>;

/// How an actor supervises its children. A value given at spawn:
/// [`SpawnOptions::supervision`](crate::SpawnOptions::supervision). For actors that nobody's handler
/// spawned, it is the system's: [`SystemBuilder::supervision`](crate::SystemBuilder::supervision).
///
/// Without a decider a failed handler or a panic means [`Restart`](SupervisionDirective::Restart), and a failure
/// before the actor had started means [`Stop`](SupervisionDirective::Stop). After more than
/// ten restarts within a minute the child is stopped and its failure escalated. So is a
/// [`fatal`](Failure::fatal) one, whatever the decider would say.
///
/// ```
/// use hikyaku_core::{Supervision, SupervisionDirective};
/// use std::time::Duration;
///
/// let supervision = Supervision::all_for_one()
///     .decider(|failure| {
///         if failure.is_panic() { SupervisionDirective::Escalate } else { SupervisionDirective::Restart }
///     })
///     .max_restarts(3, Duration::from_secs(10));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Supervision {
    pub(crate) strategy: SupervisionStrategy,
    decider: Option<Decider>,
    max_restarts: Option<u32>,
    /// In nanoseconds, as all that is remembered of restarts.
    window: u64,
    pub(crate) backoff: Option<Waiting>,
    pub(crate) patience: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
}

/// Waiting before restarts. What does it comes with the backoff, so a program without does not link it.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) backoff: Backoff,
    wait: fn(&Backoff, &mut Tally, u64, u64) -> Duration,
    /// Has an actor without a parent made anew.
    ///
    /// # Safety
    /// The ticket is held.
    pub(crate) later: unsafe fn(&Backoff, CellPtr, u64),
}

/// What a supervisor has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Resume,
    Restart,
    Stop,
    /// The child is left as it is, for the supervisor's own fate to decide.
    Escalate,
    /// Stop, and escalate.
    GiveUp,
}

/// What a supervisor remembers of one child.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// So long the latest restarts count, in no order. As many as there have been within one window: another one takes
    /// the place of one that is over.
    recent: Vec<u64>,
    /// Restarts with growing delays so far.
    delayed: u32,
    last: u64,
    drawn: u64,
    /// Counts what the child was told for its own failures and for those of others. A failure from before
    /// the last of them is dealt with.
    pub(crate) told: u32,
    /// Its end may be the supervisor's: see [`AutoShutdown`].
    pub(crate) significant: bool,
    /// It is restarted with others, and has not started yet.
    pub(crate) in_procession: bool,
    /// It waits for the fate of its supervisor, which has taken its failure over.
    pub(crate) escalated: bool,
}

impl Tally {
    /// One restart more. False if there were as many as there may be.
    fn count(&mut self, most: u32, window: u64, now: u64) -> bool {
        let until = now.saturating_add(window);
        if let Some(over) = self.recent.iter_mut().find(|until| **until < now) {
            *over = until;
        } else if self.recent.len() < most as usize {
            self.recent.push(until);
        } else {
            return false;
        }
        true
    }
}

impl Supervision {
    const fn new(strategy: SupervisionStrategy) -> Self {
        Self {
            strategy,
            decider: None,
            max_restarts: Some(10),
            window: 60 * SECOND,
            backoff: None,
            patience: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
        }
    }

    /// Each child for itself.
    pub const fn one_for_one() -> Self {
        Self::new(SupervisionStrategy::OneForOne)
    }

    /// If one is restarted or stopped, all are. A [`Temporary`](RestartPolicy::Temporary) child is
    /// stopped where others are restarted, and affects nobody by its own failure.
    pub const fn all_for_one() -> Self {
        Self::new(SupervisionStrategy::AllForOne)
    }

    /// If one is restarted or stopped, those spawned after it are, too. Temporary children as in
    /// [`all_for_one`](Self::all_for_one).
    pub const fn rest_for_one() -> Self {
        Self::new(SupervisionStrategy::RestForOne)
    }

    /// Decides for each failure. If it panics, the child's failure is escalated.
    pub fn decider(
        mut self,
        decide: impl Fn(&Failure) -> SupervisionDirective + Send + Sync + 'static,
    ) -> Self {
        // By way of a box: the `Arc` of targets without compare-and-swap is no language item.
        let decide: Box<dyn Fn(&Failure) -> SupervisionDirective + Send + Sync> = Box::new(decide);
        self.decider = Some(Arc::from(decide));
        self
    }

    /// So many restarts of a child within the window; at the next one it is stopped and its failure
    /// escalated. Zero means none at all. In a system without a clock the window never ends.
    pub fn max_restarts(mut self, restarts: u32, window: Duration) -> Self {
        self.max_restarts = Some(restarts);
        self.window = nanos(window);
        self
    }

    /// Any number of restarts.
    pub fn unlimited_restarts(mut self) -> Self {
        self.max_restarts = None;
        self
    }

    /// Waits before each restart. The child takes messages meanwhile and handles none. In a system
    /// without timers there is no waiting.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(Waiting {
            backoff,
            wait: Backoff::wait,
            later: restart_after_wait,
        });
        self
    }

    /// How long a child has for the handler in hand when it is restarted because of another one, or
    /// stopped because this actor is restarted; then the handler is dropped. Default: five seconds. In
    /// a system without timers it is dropped at once.
    pub fn handler_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Stops the supervisor, as [`Context::stop`](crate::Context::stop) does, when children have ended that were
    /// spawned as [`significant`](crate::SpawnOptions::significant). Default: never.
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        self.auto_shutdown = when;
        self
    }

    fn directive(&self, failure: &Failure) -> SupervisionDirective {
        match &self.decider {
            Some(decide) => sync::catch(|| decide(failure)).unwrap_or_else(|panic| {
                sync::discard(panic);
                SupervisionDirective::Escalate
            }),
            None if failure.is_start() => SupervisionDirective::Stop,
            None => SupervisionDirective::Restart,
        }
    }

    /// Decides about a child that failed. `one_more` is asked when the user's code has come to its end.
    pub(crate) fn judge(
        &self,
        policy: RestartPolicy,
        failure: &Failure,
        one_more: impl FnOnce() -> bool,
    ) -> Verdict {
        if failure.is_fatal() {
            return Verdict::GiveUp;
        }
        let directive = if failure.is_exit() {
            SupervisionDirective::Restart
        } else {
            self.directive(failure)
        };
        match directive {
            SupervisionDirective::Resume if failure.is_start() => Verdict::Stop,
            SupervisionDirective::Resume => Verdict::Resume,
            SupervisionDirective::Stop => Verdict::Stop,
            SupervisionDirective::Escalate => Verdict::Escalate,
            SupervisionDirective::Restart if policy == RestartPolicy::Temporary => Verdict::Stop,
            SupervisionDirective::Restart if one_more() => Verdict::Restart,
            SupervisionDirective::Restart => Verdict::GiveUp,
        }
    }

    /// Counts a restart. False if there were as many as there may be.
    pub(crate) fn one_more(&self, tally: &mut Tally, now: u64) -> bool {
        self.max_restarts
            .is_none_or(|most| tally.count(most, self.window, now))
    }

    /// How long to wait before a restart that was decided on.
    pub(crate) fn wait(&self, tally: &mut Tally, now: u64, salt: u64) -> Duration {
        let wait = |by: &Waiting| (by.wait)(&by.backoff, tally, now, salt);
        self.backoff.as_ref().map_or(Duration::ZERO, wait)
    }
}

/// Spreads a number over all bits.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A supervision that was asked for. Where none is built in, that is all that is kept of it.
#[derive(Debug, Clone)]
pub(crate) struct Asked(#[cfg(feature = "supervision")] Box<Supervision>);

impl Asked {
    // So that it is made in its box, not moved there.
    #[inline(always)]
    pub(crate) fn new(supervision: Supervision) -> Self {
        #[cfg(not(feature = "supervision"))]
        drop(supervision);
        Self(
            #[cfg(feature = "supervision")]
            Box::new(supervision),
        )
    }
}

impl Default for Asked {
    fn default() -> Self {
        Self::new(Supervision::default())
    }
}

impl Deref for Asked {
    type Target = Supervision;

    fn deref(&self) -> &Supervision {
        #[cfg(feature = "supervision")]
        return &self.0;
        #[cfg(not(feature = "supervision"))]
        unreachable!("who asks for it is refused");
    }
}

impl Default for Supervision {
    fn default() -> Self {
        Self::one_for_one()
    }
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision")
            .field("strategy", &self.strategy)
            .field("max_restarts", &self.max_restarts)
            .field("window", &Duration::from_nanos(self.window))
            .field("backoff", &self.backoff.map(|by| by.backoff))
            .field("auto_shutdown", &self.auto_shutdown)
            .finish_non_exhaustive()
    }
}

/// What a failure that nobody has dealt with does to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Escalation {
    /// It stops; [`System::failure`](crate::System::failure) says why.
    #[default]
    StopSystem,
    /// The top-level actor that failed, or whose descendant did, stops; the system goes on.
    StopActor,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn restarts_outside_the_window_are_not_kept() {
        let supervision = Supervision::one_for_one().max_restarts(10_000, ms(10));
        let mut tally = Tally::default();
        for n in 0..1000 {
            let no = Failure::msg("no");
            // Three at a time.
            let now = nanos(ms(n / 3 * 100));
            let one_more = || supervision.one_more(&mut tally, now);
            let verdict = supervision.judge(RestartPolicy::Transient, &no, one_more);
            assert_eq!(verdict, Verdict::Restart);
        }
        assert_eq!(tally.recent.len(), 3);
    }

    #[test]
    fn delays_double_up_to_the_cap_and_start_anew_after_quiet() {
        let backoff = Backoff::new(ms(10), ms(100)).reset_after(ms(500));
        let supervision = Supervision::one_for_one()
            .backoff(backoff)
            .unlimited_restarts();
        let mut tally = Tally::default();
        let mut now = ms(1000);
        let mut delays = Vec::new();
        for quiet in [0, 0, 0, 0, 0, 0, 499, 501, 0] {
            now += ms(quiet);
            let failure = Failure::msg("no");
            let one_more = || supervision.one_more(&mut tally, nanos(now));
            let verdict = supervision.judge(RestartPolicy::Transient, &failure, one_more);
            assert_eq!(verdict, Verdict::Restart);
            let delay = supervision.wait(&mut tally, nanos(now), 7);
            delays.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(delays, [10, 20, 40, 80, 100, 100, 100, 10, 20]);
    }

    #[test]
    fn jitter_lengthens_by_at_most_its_part() {
        let backoff = Backoff::new(ms(100), ms(1000)).jitter(30);
        let delays: Vec<_> = (0..1000).map(|n| backoff.delay(0, mix(n))).collect();
        assert!(
            delays
                .iter()
                .all(|delay| (ms(100)..=ms(130)).contains(delay))
        );
        assert!(delays.iter().any(|delay| *delay < ms(105)));
        assert!(delays.iter().any(|delay| *delay > ms(125)));
        assert_eq!(
            Backoff::new(Duration::MAX, Duration::MAX)
                .jitter(100)
                .delay(u32::MAX, u64::MAX),
            Duration::MAX
        );
    }

    #[test]
    fn restarts_are_counted_within_the_window() {
        struct Case {
            most: Option<u32>,
            window: u64,
            at: &'static [u64],
            gives_up: Option<usize>,
        }
        for case in [
            Case {
                most: Some(0),
                window: 10,
                at: &[5],
                gives_up: Some(0),
            },
            Case {
                most: Some(2),
                window: 10,
                at: &[1, 2, 3],
                gives_up: Some(2),
            },
            Case {
                most: Some(2),
                window: 10,
                at: &[1, 2, 13, 14, 15],
                gives_up: Some(4),
            },
            Case {
                most: Some(2),
                window: 10,
                at: &[1, 2, 12, 24, 36, 48],
                gives_up: None,
            },
            Case {
                most: None,
                window: 10,
                at: &[1; 50],
                gives_up: None,
            },
            Case {
                most: Some(3),
                window: u64::MAX / 2,
                at: &[0, 1 << 40, 1 << 41, 1 << 42],
                gives_up: Some(3),
            },
        ] {
            let mut supervision = Supervision::one_for_one();
            supervision.max_restarts = case.most;
            supervision.window = nanos(ms(case.window));
            let mut tally = Tally::default();
            let verdicts = case.at.iter().map(|at| {
                let policy = RestartPolicy::Transient;
                let one_more = || supervision.one_more(&mut tally, nanos(ms(*at)));
                supervision.judge(policy, &Failure::msg("no"), one_more)
            });
            let given_up = verdicts.collect::<Vec<_>>();
            let first = given_up
                .iter()
                .position(|verdict| *verdict == Verdict::GiveUp);
            assert_eq!(first, case.gives_up, "{:?}", case.at);
        }
    }

    #[test]
    fn a_verdict_for_each_directive() {
        use SupervisionDirective::{Escalate, Restart, Resume, Stop};
        let temporary = RestartPolicy::Temporary;
        let transient = RestartPolicy::Transient;
        let now = Verdict::Restart;
        for (directive, policy, start, verdict) in [
            (Some(Resume), transient, false, Verdict::Resume),
            (Some(Resume), temporary, false, Verdict::Resume),
            (Some(Resume), transient, true, Verdict::Stop),
            (Some(Restart), transient, false, now),
            (Some(Restart), transient, true, now),
            (Some(Restart), temporary, false, Verdict::Stop),
            (Some(Stop), transient, false, Verdict::Stop),
            (Some(Escalate), transient, false, Verdict::Escalate),
            (None, transient, false, now),
            (None, transient, true, Verdict::Stop),
            (None, temporary, false, Verdict::Stop),
        ] {
            let mut supervision = Supervision::one_for_one();
            if let Some(directive) = directive {
                supervision = supervision.decider(move |_| directive);
            }
            let failure = Failure::msg("no");
            let failure = if start { failure.at_start() } else { failure };
            assert_eq!(
                supervision.judge(policy, &failure, || true),
                verdict,
                "{directive:?} {policy:?} {start}"
            );
        }
    }
}
