//! Who turns the wheel.

use super::Clockwork;
use crate::failure::Failure;
use crate::sync::Arc;
use alloc::boxed::Box;
use core::fmt;
use core::task::Waker;
use core::time::Duration;

/// Drives the timers of one system.
///
/// A driver is given to a system when it is built, started once, and told to stop when the system
/// has stopped or was dropped. From its start until [`StopToken::is_stopped`] it has to call
/// [`TickHandle::tick`]
/// - once at the start;
/// - again when the time that the last call named has come;
/// - again soon after the waker it passed was woken: an earlier timer came in, or the end.
///
/// Called more often, `tick` does no harm. Called late, timers fire late, in order, never early. A
/// driver that sleeps until one of these happens costs nothing while no timer is due.
pub trait TickDriver: Send + 'static {
    /// Begins to drive.
    ///
    /// # Errors
    /// If it cannot, for instance because there is no thread to be had. The system is then not built. An error becomes a
    /// [`Failure`] by `?`, a text by [`Failure::msg`].
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure>;
}

impl TickDriver for Box<dyn TickDriver> {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        (*self).start(handle, stop)
    }
}

/// When a driver has to tick again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the driver has to be back in time"]
pub enum NextTick {
    /// When the system's clock shows this, or when the waker is woken.
    At(Duration),
    /// When the waker is woken: no timer is set.
    Never,
}

/// The driver's end of a system's timers. Clones are the same. Does not keep the system alive.
#[derive(Clone)]
pub struct TickHandle(Arc<Clockwork>);

/// Tells a driver that its work is over.
#[derive(Clone)]
pub struct StopToken(Arc<Clockwork>);

impl TickHandle {
    pub(crate) fn new(time: Arc<Clockwork>) -> Self {
        Self(time)
    }

    /// Fires what is due. Does not block: actors are made ready and wakers woken, nothing runs here.
    /// The waker is woken when the driver should tick before the time this returns. Only the waker of
    /// the last call counts.
    pub fn tick(&self, waker: &Waker) -> NextTick {
        self.0.turn(waker)
    }

    /// What the system's clock shows.
    pub fn now(&self) -> Duration {
        self.0.now()
    }

    /// The token that belongs to it.
    pub fn stop_token(&self) -> StopToken {
        StopToken(Arc::clone(&self.0))
    }
}

impl StopToken {
    /// Has the system stopped? The waker of the last tick is woken when it does, and that of a later tick
    /// at once.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }
}

impl fmt::Debug for TickHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TickHandle").field(&self.0).finish()
    }
}

impl fmt::Debug for StopToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopToken")
            .field(&self.is_stopped())
            .finish()
    }
}

/// A driver that ticks when it is told to: for tests, for loops of one's own, and for interrupts.
///
/// Clones are the same driver; it belongs to one system.
///
/// ```
/// use hikyaku_core::{ManualDriver, System};
/// # use hikyaku_core::Clock;
/// # use std::time::Duration;
/// # struct MyClock;
/// # impl Clock for MyClock { fn now(&self) -> Duration { Duration::ZERO } }
///
/// let driver = ManualDriver::new();
/// let (system, workers) = System::builder("demo")
///     .clock(MyClock)
///     .tick_driver(driver.clone())
///     .build()?;
/// // As often as it should be, for instance in a timer interrupt:
/// driver.tick();
/// # Ok::<(), hikyaku_core::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualDriver(Arc<crate::sync::Mutex<Option<TickHandle>>>);

impl ManualDriver {
    /// A driver that belongs to no system yet.
    pub fn new() -> Self {
        Self(Arc::new(crate::sync::Mutex::new(None)))
    }

    /// The system's timers; `None` before the system is built.
    pub fn handle(&self) -> Option<TickHandle> {
        self.0.with(|handle| handle.clone())
    }

    /// Fires what is due. Says when the next timer is; `None` before the system is built.
    pub fn tick(&self) -> Option<NextTick> {
        self.tick_waking(Waker::noop())
    }

    /// What the system's clock shows; `None` before the system is built.
    pub fn now(&self) -> Option<Duration> {
        self.handle().map(|handle| handle.now())
    }

    /// Has the system stopped, or was it never built? Nothing will be due then.
    pub fn is_stopped(&self) -> bool {
        self.handle().is_none_or(|handle| handle.0.is_stopped())
    }

    /// As [`tick`](Self::tick); `waker` is woken when an earlier timer comes in.
    pub fn tick_waking(&self, waker: &Waker) -> Option<NextTick> {
        self.handle().map(|handle| handle.tick(waker))
    }
}

impl Default for ManualDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl TickDriver for ManualDriver {
    fn start(self: Box<Self>, handle: TickHandle, _stop: StopToken) -> Result<(), Failure> {
        let taken = self.0.with(|slot| match slot {
            Some(_) => true,
            None => {
                *slot = Some(handle);
                false
            }
        });
        if taken {
            return Err(Failure::text(
                "this manual driver belongs to another system",
            ));
        }
        Ok(())
    }
}
