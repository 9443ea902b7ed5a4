//! Faults that the driver decides on: failing, being slow, being late.

use crate::decisions::Decisions;
use hikyaku_core::{Actor, ActorRef, Context, Failure};
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

/// The longest pause at a fault point, in turns.
const PAUSE: u32 = 4;

/// Fault points for the actors of a test: places where the driver may make a handler fail or wait.
///
/// Made by [`Sim::faults`](crate::Sim::faults), without any fault; the methods add kinds. Clones
/// decide from the same source, which is that of the simulation: faults are part of its recording,
/// and a shortened run has no fault that it does not need.
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, RestartPolicy, SpawnOptions, StopCause};
/// use hikyaku_testkit::{Faults, Sim};
///
/// /// Stands for the actor that talks to a disk.
/// struct Disk(Faults);
///
/// impl Actor for Disk {
///     type Msg = u32;
///     async fn handle(&mut self, _: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
///         self.0.point().await
///     }
/// }
///
/// let mut sim = Sim::new(1);
/// let faults = sim.faults().pausing(2).failing(1);
/// let mortal = SpawnOptions::new().restart(RestartPolicy::Temporary);
/// let disk = sim.spawn_with(mortal, move || Disk(faults.clone())).unwrap();
/// disk.tell(1).unwrap();
/// assert!(matches!(sim.block_on(disk.stopped()), StopCause::Failed(_)));
/// ```
#[derive(Debug, Clone)]
pub struct Faults {
    decisions: Decisions,
    failing: u32,
    panicking: u32,
    pausing: u32,
}

/// What happens at a fault point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Fail,
    Panic,
    Pause(u32),
}

impl Faults {
    pub(crate) fn none(decisions: Decisions) -> Self {
        Self {
            decisions,
            failing: 0,
            panicking: 0,
            pausing: 0,
        }
    }

    /// One in so many points fails. Never if zero.
    #[must_use]
    pub fn failing(self, one_in: u32) -> Self {
        Self {
            failing: one_in,
            ..self
        }
    }

    /// One in so many points panics. Never if zero.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn panicking(self, one_in: u32) -> Self {
        Self {
            panicking: one_in,
            ..self
        }
    }

    /// One in so many points lets others run for one turn to four. Never if zero.
    #[must_use]
    pub fn pausing(self, one_in: u32) -> Self {
        Self {
            pausing: one_in,
            ..self
        }
    }

    /// A place where something may go wrong. Also for tasks.
    ///
    /// # Errors
    /// An injected failure.
    ///
    /// # Panics
    /// An injected panic.
    ///
    /// # Cancel safety
    /// What happens is decided at the first poll. Dropping the future changes nothing.
    pub async fn point(&self) -> Result<(), Failure> {
        match self.decide() {
            Fault::None => Ok(()),
            Fault::Fail => Err(Failure::msg("injected failure")),
            Fault::Panic => panic!("injected panic"),
            Fault::Pause(turns) => {
                Pause(turns).await;
                Ok(())
            }
        }
    }

    fn decide(&self) -> Fault {
        // The number of a fault depends on the kinds that were added, and on nothing else.
        let mut faults = vec![Fault::None];
        faults.extend(
            (self.pausing != 0)
                .then_some((1..=PAUSE).map(Fault::Pause))
                .into_iter()
                .flatten(),
        );
        faults.extend((self.failing != 0).then_some(Fault::Fail));
        faults.extend((self.panicking != 0).then_some(Fault::Panic));
        let place = |fault| faults.iter().position(|it| *it == fault).unwrap_or(0);
        let limit = faults.len() as u32;
        let chosen = self.decisions.decide(limit, |random| {
            let mut happens = |one_in| one_in != 0 && random.one_in(one_in);
            let fault = if happens(self.failing) {
                Fault::Fail
            } else if happens(self.panicking) {
                Fault::Panic
            } else if happens(self.pausing) {
                Fault::Pause(1 + random.below(PAUSE))
            } else {
                Fault::None
            };
            place(fault) as u32
        });
        faults[chosen as usize]
    }
}

/// Lets others run so often, then goes on.
struct Pause(u32);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Passes messages on, late: see [`Sim::delayed`](crate::Sim::delayed).
pub(crate) struct Link<M> {
    pub(crate) to: ActorRef<M>,
    /// The longest delay, in turns.
    pub(crate) most: u32,
    pub(crate) decisions: Decisions,
}

impl<M: Send + 'static> Actor for Link<M> {
    type Msg = M;

    async fn handle(&mut self, message: M, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        Pause(self.decisions.below(self.most.saturating_add(1))).await;
        if self.to.send(message).await.is_err() {
            cx.stop();
        }
        Ok(())
    }
}
