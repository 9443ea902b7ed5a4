//! The current thread: actors run while somebody waits for a future.

use crate::blocking::BlockingThreads;
use crate::park::{Parker, SPINS};
use hikyaku_core::{
    ActorRef, LocalActor, LocalSpawner, LocalWorker, ManualDriver, NextTick, SpawnError,
    SpawnOptions, System, Turn,
};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A system whose actors run on this thread, inside [`CurrentThread::block_on`] and
/// [`CurrentThread::run_until`].
///
/// Needs no other thread, except for [`Context::blocking`](crate::Context::blocking), and runs actors that are not
/// `Send`. References can be used from any thread. Timers fire while one of the two runs. Dropped, it ends its actors
/// by force, on this thread.
///
/// ```
/// use hikyaku::{Context, CurrentThread, Failure, Local, LocalActor, Reply, SpawnOptions};
/// use std::rc::Rc;
///
/// struct Greeter { name: Rc<str> }
///
/// impl LocalActor for Greeter {
///     type Msg = Reply<String>;
///     async fn handle(&mut self, reply: Reply<String>, _: &mut Context<'_, Local<Self>>) -> Result<(), Failure> {
///         let _ = reply.send(format!("hello, {}", self.name));
///         Ok(())
///     }
/// }
///
/// let system = CurrentThread::new("demo");
/// let name: Rc<str> = "world".into();
/// let greeter = system.spawn_local(SpawnOptions::new(), move || Greeter { name: name.clone() })?;
/// let answer = system.block_on(async { greeter.ask(|reply| reply).await })?;
/// assert_eq!(answer, "hello, world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CurrentThread {
    system: System,
    spawner: LocalSpawner,
    worker: RefCell<LocalWorker>,
    /// Unless the user has brought a driver.
    ticks: Option<ManualDriver>,
    /// Whose bell rings when a timer comes in: one `block_on` may be inside another.
    listens: Cell<*const Bell>,
    pool: BlockingThreads,
}

/// So many steps before a look at the future: it may have become ready on the way.
const BUDGET: usize = 64;

impl CurrentThread {
    /// A system with default settings. For others, see
    /// [`Builder::build_current_thread`](crate::Builder::build_current_thread).
    pub fn new(name: &str) -> Self {
        crate::Builder::new(name).build_current_thread()
    }

    pub(crate) fn of(
        worker: LocalWorker,
        ticks: Option<ManualDriver>,
        pool: BlockingThreads,
    ) -> Self {
        Self {
            system: worker.system(),
            spawner: worker.spawner(),
            worker: RefCell::new(worker),
            ticks,
            listens: Cell::new(ptr::null()),
            pool,
        }
    }

    /// Spawns an actor that need not be `Send`.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.spawner.spawn_local(options, factory)
    }

    /// Runs the actors and the future, until the future is done. Actors may have messages left
    /// then; they run on in the next `block_on`. The thread sleeps while there is nothing to do, until the
    /// next timer.
    ///
    /// # Panics
    /// If it is called by an actor of this very system: it would wait for itself.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let parker = Parker::new();
        let waker = Waker::from(Arc::clone(&parker));
        let bell = Arc::new(Bell {
            // So that it is told of the first one.
            rung: AtomicBool::new(true),
            parker: Arc::clone(&parker),
        });
        let ticks = Waker::from(Arc::clone(&bell));
        let mut due = None;
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            // Without a timer there is nothing to look at until one comes in.
            if due.is_some() || bell.has_rung() || self.listens.get() != Arc::as_ptr(&bell) {
                due = self.tick(&ticks);
                self.listens.set(Arc::as_ptr(&bell));
            }
            if self.step(&waker) == Turn::Ready {
                continue;
            }
            let wait = due.map(|due| due.saturating_sub(self.now()));
            if wait.is_none_or(|wait| !wait.is_zero()) {
                parker.park(SPINS, wait);
            }
        }
    }

    /// As [`block_on`](Self::block_on), without blocking: for executors that have a thread of their own, such as a
    /// `LocalSet` of Tokio, or the event loop of a browser.
    ///
    /// Inside a Tokio runtime its timers tell when the system's are due. Elsewhere nobody comes back for a timer
    /// alone: give the builder a [`tick_driver`](crate::Builder::tick_driver) there.
    ///
    /// # Cancel safety
    /// Dropped, it drops the future. The actors go on in the next call.
    ///
    /// # Panics
    /// As `block_on`; also if a timer is set inside a Tokio runtime that has none (`enable_time`).
    pub async fn run_until<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut alarm = Alarm::default();
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let due = self.tick(cx.waker());
            self.listens.set(ptr::null());
            let ready = self.step(cx.waker()) == Turn::Ready;
            if ready || due.is_some_and(|due| alarm.is_due(due, self.now(), cx)) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    fn step(&self, waker: &Waker) -> Turn {
        self.worker
            .try_borrow_mut()
            .expect("run from an actor of the same system, which would wait for itself")
            .poll(BUDGET, waker)
    }

    /// Fires what is due, and says when to be back. The waker is woken if a timer comes in that is earlier.
    fn tick(&self, waker: &Waker) -> Option<Duration> {
        match self.ticks.as_ref()?.tick_waking(waker)? {
            NextTick::At(due) => Some(due),
            NextTick::Never => None,
        }
    }

    fn now(&self) -> Duration {
        self.ticks
            .as_ref()
            .and_then(ManualDriver::now)
            .unwrap_or_default()
    }
}

/// Rings when a timer comes in, and wakes the thread.
struct Bell {
    rung: AtomicBool,
    parker: Arc<Parker>,
}

impl Bell {
    /// Has it rung since the last look?
    fn has_rung(&self) -> bool {
        // Relaxed first: a load for each look. Acquire: pairs with the Release in `wake_by_ref`.
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `has_rung`. Before the thread is woken, which looks.
        self.rung.store(true, Ordering::Release);
        self.parker.wake_by_ref();
    }
}

impl Drop for CurrentThread {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl Deref for CurrentThread {
    type Target = System;

    fn deref(&self) -> &System {
        &self.system
    }
}

impl fmt::Debug for CurrentThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CurrentThread").field(&self.system).finish()
    }
}

/// Wakes the task when a timer is due, where there is somebody who can.
#[derive(Default)]
struct Alarm {
    #[cfg(feature = "tokio")]
    sleep: Option<std::pin::Pin<Box<::tokio::time::Sleep>>>,
}

impl Alarm {
    /// Is it due now? If not, the task will be woken.
    #[cfg(feature = "tokio")]
    fn is_due(&mut self, due: Duration, now: Duration, cx: &mut Context<'_>) -> bool {
        if ::tokio::runtime::Handle::try_current().is_err() {
            return due <= now;
        }
        let Some(due) = crate::tokio::instant_of(due, now) else {
            return false;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(::tokio::time::sleep_until(due)));
        sleep.as_mut().reset(due);
        sleep.as_mut().poll(cx).is_ready()
    }

    #[cfg(not(feature = "tokio"))]
    #[expect(clippy::unused_self, reason = "nobody can be asked to wake the task")]
    fn is_due(&mut self, due: Duration, now: Duration, _: &mut Context<'_>) -> bool {
        due <= now
    }
}
