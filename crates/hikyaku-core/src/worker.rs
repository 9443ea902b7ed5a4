//! The worker: takes ready cells and runs them, in small steps, for whoever polls it.

use crate::actor::{Local, LocalActor, OnOneThread};
use crate::actor_ref::ActorRef;
use crate::cell::CellPtr;
use crate::dispatcher::Home;
use crate::invoker::{InvokeResult, MessageInvoker, Outcome};
use crate::ready::{Lane, Place};
use crate::registry::MailboxIndex;
use crate::sync::{self, Arc, Here, Panic};
use crate::system::{SpawnError, SpawnOptions, System};
use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use core::task::Waker;

/// Runs the workers of a system.
///
/// An executor is given each worker once and has to
/// - poll it until it returns [`Turn::Stopped`], from one thread at a time;
/// - poll it again soon after [`Turn::Ready`], but may do other things first;
/// - after [`Turn::Idle`], poll it again when the waker it passed is woken, and, if the worker is
///   `on_watch`, also about every millisecond;
/// - pass a waker whose `wake_by_ref` does not block and does not call into the system;
/// - drop a worker only when it returned `Stopped`: dropped before, it stops the whole system by
///   force, or, if no actor lives on its dispatcher and that is not the main one, closes the dispatcher.
pub trait WorkerExecutor {
    /// Why a worker cannot be run.
    type Error;

    /// Takes a worker and sees to it that it is polled.
    ///
    /// # Errors
    /// If the executor has no means to run it; the worker is dropped.
    fn start(&mut self, worker: Worker) -> Result<(), Self::Error>;
}

/// What a poll of a worker ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an idle worker must not be polled in a loop, a ready one must be polled again"]
pub enum Turn {
    /// The budget is spent; there may be more to do.
    Ready,
    /// Nothing to do until the waker is woken.
    Idle {
        /// Look again after about a millisecond all the same: this worker watches over the others,
        /// in case one of them is stuck in a handler with work beside it.
        on_watch: bool,
    },
    /// The system has stopped, or the worker has retired: do not poll again.
    Stopped,
}

/// One of a system's workers. Never blocks and never spins.
pub struct Worker {
    home: Arc<Home>,
    number: usize,
    place: Place,
}

/// What the coordinator has a worker do.
pub(crate) enum Step {
    /// The caller holds the ticket.
    Run(CellPtr),
    /// Another step.
    Look,
    /// Return to the executor.
    Over(Turn),
}

impl Worker {
    pub(crate) fn new(home: Arc<Home>, number: usize, place: Place) -> Self {
        Self {
            home,
            number,
            place,
        }
    }

    /// The worker's number in its dispatcher, from zero.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The system it works for.
    pub fn system(&self) -> System {
        self.home.system()
    }

    /// Keeps a dispatcher's only worker on this thread, so that it can run actors that are not `Send`.
    ///
    /// # Errors
    /// Hands the worker back if the dispatcher has others.
    pub fn on_this_thread(self) -> Result<LocalWorker, Self> {
        self.pinned().map(PinnedWorker::on_this_thread)
    }

    /// Does at most `budget` steps: runs an actor for one activation, or looks for one.
    ///
    /// If it returns [`Turn::Idle`], `waker` will be woken when there is something to do.
    pub fn poll(&mut self, budget: usize, waker: &Waker) -> Turn {
        let home = Arc::as_ptr(&self.home);
        // SAFETY: the worker holds its home, and is not dropped meanwhile.
        let home = unsafe { &*home };
        let lane = home.coordinator.lane(self.number);
        let _here = Entered::new(home, lane);
        let mut left = budget;
        loop {
            // Once for many activations: what runs is known.
            match sync::catch(|| self.turn(&mut left, home, lane, waker)) {
                Ok(turn) => return turn,
                Err(panic) => after_panic(home, lane, panic),
            }
        }
    }

    /// Goes on until the budget is spent or there is nothing to do. Panics as the actors do.
    #[inline]
    fn turn(&mut self, left: &mut usize, home: &Home, lane: &Lane, waker: &Waker) -> Turn {
        while *left > 0 {
            *left -= 1;
            let coordinator = &home.coordinator;
            match coordinator.step(lane, &mut self.place, waker, || home.is_stopped()) {
                Step::Run(cell) => {
                    activate(home, lane, cell);
                }
                Step::Look => {}
                Step::Over(turn) => return turn,
            }
        }
        Turn::Ready
    }

    /// Can there be a use in [`retire`](Self::retire)? Not where the number of workers is fixed.
    pub fn can_retire(&self) -> bool {
        self.home.coordinator.is_adaptive()
    }

    /// Retires an idle worker that the others can do without: to be tried when it has been
    /// [`Turn::Idle`] for long. If it succeeds, `poll` returns [`Turn::Stopped`] and the worker can be dropped;
    /// if not, it goes on as before: it has just been woken, is on watch, or there are no more workers than
    /// there have to be.
    pub fn retire(&mut self) -> bool {
        let coordinator = &self.home.coordinator;
        let lane = coordinator.lane(self.number);
        if self.place.is_parked() {
            // Before: another worker may have the lane as soon as it is free.
            self.home.clear_stock(lane);
            coordinator.resign(lane, &mut self.place);
        }
        self.place.is_retired()
    }

    /// Binds a dispatcher's only worker to the thread that it will be given to.
    ///
    /// # Errors
    /// Hands the worker back if the dispatcher has others.
    pub fn pinned(self) -> Result<PinnedWorker, Self> {
        if self.home.coordinator.is_single() {
            Ok(PinnedWorker(self))
        } else {
            Err(self)
        }
    }

    /// As [`LocalWorker::run_one`]. *The only worker of its dispatcher:* nobody else runs the actor afterwards.
    fn run_one(&mut self) -> Option<(MailboxIndex, InvokeResult)> {
        let home = Arc::clone(&self.home);
        let coordinator = &home.coordinator;
        let lane = coordinator.lane(self.number);
        let _here = Entered::new(&home, lane);
        let waker = Waker::noop();
        let cell = loop {
            match coordinator.step(lane, &mut self.place, waker, || home.is_stopped()) {
                Step::Run(cell) => break cell,
                Step::Look => {}
                Step::Over(_) => return None,
            }
        };
        // It may end, and is looked at after that.
        cell.hold();
        let before = coordinator.handled();
        let outcome = sync::catch(|| activate(&home, lane, cell)).unwrap_or_else(|panic| {
            after_panic(&home, lane, panic);
            Outcome::Failed
        });
        // The count wraps, on machines of 32 bits after some hours.
        let result = outcome.of(cell, coordinator.handled().wrapping_sub(before));
        let index = cell.index();
        cell.release();
        Some((index, result))
    }

    /// Ends what is left, on this thread.
    fn finish(&mut self) {
        let coordinator = &self.home.coordinator;
        coordinator.rejoin(coordinator.lane(self.number), &mut self.place);
        while !self.home.is_empty() && self.poll(usize::MAX, Waker::noop()) != Turn::Stopped {
            // Only a sender between its exchange and its registration can keep us here.
            sync::spin_loop();
        }
    }
}

/// Runs one activation and sees to what comes after.
#[inline]
fn activate(home: &Home, lane: &Lane, cell: CellPtr) -> Outcome {
    sync::set_running(cell.as_ptr().cast_const().cast());
    lane.entering();
    let outcome = {
        let mut activation = home.activation(cell, lane);
        // SAFETY: who takes a cell from the coordinator holds its ticket.
        unsafe { MessageInvoker::invoke_batch(cell, &mut activation) }
    };
    // What runs is asked for by wakers too, and may run elsewhere from here on.
    sync::set_running(ptr::null());
    match outcome {
        Outcome::Yielded | Outcome::Failed => home.coordinator.requeue(lane, cell),
        Outcome::Completed | Outcome::Suspended => lane.left(),
        Outcome::Stopped => {}
    }
    home.coordinator.after_activation(lane);
    outcome
}

/// An actor panicked in its activation.
#[cold]
fn after_panic(home: &Home, lane: &Lane, panic: Panic) {
    let running = sync::running();
    if running.is_null() {
        // Not an actor: the runtime itself is at fault, and its worker ends.
        sync::panic_on(panic);
    }
    // SAFETY: what runs on this thread is a live cell, whose ticket this worker holds.
    unsafe {
        let cell = CellPtr::from_ptr(running.cast_mut().cast());
        MessageInvoker::after_panic(cell, panic);
        sync::set_running(ptr::null());
        home.coordinator.requeue(lane, cell);
    }
    home.coordinator.after_activation(lane);
}

impl Drop for Worker {
    fn drop(&mut self) {
        let home = Arc::as_ptr(&self.home);
        // SAFETY: the worker holds its home, and lets go of it after this.
        let home = unsafe { &*home };
        let lane = home.coordinator.lane(self.number);
        if !self.place.is_retired() && !home.is_stopped() && !home.close_if_empty() {
            home.shared.force_stop(home);
            home.coordinator.leave(lane, &mut self.place);
        }
        if home.one_worker_less() {
            if !home.is_stopped() {
                self.finish();
            }
            home.coordinator.close();
        }
        if !self.place.is_retired() {
            home.clear_stock(lane);
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// While it lives, this thread is the worker's. Then it is again what it was before.
struct Entered {
    before: Here,
    running: *const (),
}

impl Entered {
    fn new(home: &Home, lane: &Lane) -> Self {
        let address = ptr::from_ref(home).cast::<()>();
        let before = sync::here();
        let now = Here {
            home: address,
            alone: if home.coordinator.is_single() {
                address
            } else {
                ptr::null()
            },
            lane: ptr::from_ref(lane).cast(),
        };
        sync::set_here(now);
        Self {
            before,
            running: sync::running(),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        sync::set_here(self.before);
        sync::set_running(self.running);
    }
}

/// A dispatcher's only worker on the way to its thread. Made by [`Worker::pinned`].
///
/// It cannot be polled, so no actor has been made yet that would have to stay where it was made.
#[derive(Debug)]
pub struct PinnedWorker(Worker);

impl PinnedWorker {
    /// Spawns an actor that will be made on the worker's thread, and stay there. The factory travels to
    /// it; the actor need not be `Send`.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        mut factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        // SAFETY: no parent is claimed. The factory is `Send`. What it makes stays with the only worker: this
        // one is polled as a `LocalWorker`, which does not leave its thread, or it is dropped, and ends
        // its actors there and then.
        unsafe {
            self.0
                .home
                .spawn_bound(None, options, move || Local(factory()))
        }
    }

    /// It has arrived.
    pub fn on_this_thread(self) -> LocalWorker {
        LocalWorker {
            worker: self.0,
            _not_send: PhantomData,
        }
    }
}

/// A dispatcher's only worker, bound to the thread it was made on.
///
/// It can spawn a [`LocalActor`], which is made, polled and dropped on this thread.
#[derive(Debug)]
pub struct LocalWorker {
    worker: Worker,
    _not_send: PhantomData<*const ()>,
}

impl LocalWorker {
    /// As [`Worker::poll`].
    pub fn poll(&mut self, budget: usize, waker: &Waker) -> Turn {
        self.worker.poll(budget, waker)
    }

    /// Runs the next actor for one activation, if one is ready. Tells which one, and what the activation ended with.
    ///
    /// For programs that go through what happens step by step. `None`: nobody is ready, or the system has stopped;
    /// [`poll`](Self::poll) tells which. Nobody is woken when there is more to do: before it sleeps, a program has to
    /// poll. Of an actor that fails again while it ends or is made anew, the first failure is told.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure, InvokeResult, System};
    /// # struct Printer;
    /// # impl Actor for Printer {
    /// #     type Msg = &'static str;
    /// #     async fn handle(&mut self, _: &'static str, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// let (system, mut workers) = System::builder("demo").build()?;
    /// let mut worker = workers.remove(0).on_this_thread().expect("there is one worker");
    /// let printer = system.spawn(|| Printer)?;
    /// printer.tell("one")?;
    /// printer.tell("two")?;
    /// let (actor, result) = worker.run_one().expect("it has messages");
    /// assert_eq!(actor, printer.index());
    /// assert!(matches!(result, InvokeResult::Completed { ready_hint: 2 }));
    /// assert!(worker.run_one().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_one(&mut self) -> Option<(MailboxIndex, InvokeResult)> {
        self.worker.run_one()
    }

    /// The system it works for.
    pub fn system(&self) -> System {
        self.worker.system()
    }

    /// What spawns actors on this thread, also while the worker is polled.
    pub fn spawner(&self) -> LocalSpawner {
        LocalSpawner {
            home: Arc::clone(&self.worker.home),
            _not_send: PhantomData,
        }
    }

    /// As [`LocalSpawner::spawn_local`].
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        factory: impl FnMut() -> A + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        self.spawner().spawn_local(options, factory)
    }
}

/// Spawns actors on the thread of a [`LocalWorker`].
#[derive(Clone)]
pub struct LocalSpawner {
    home: Arc<Home>,
    _not_send: PhantomData<*const ()>,
}

impl LocalSpawner {
    /// Spawns an actor that stays on this thread. Neither it nor its factory need be `Send`.
    ///
    /// # Errors
    /// As [`System::spawn_with`].
    pub fn spawn_local<A: LocalActor>(
        &self,
        options: SpawnOptions,
        mut factory: impl FnMut() -> A + 'static,
    ) -> Result<ActorRef<A::Msg>, SpawnError> {
        let mut factory = OnOneThread(move || Local(factory()));
        // SAFETY: no parent is claimed. The factory runs and is dropped by the only worker, which
        // does not leave this thread, or here if it is refused.
        unsafe { self.home.spawn_bound(None, options, move || factory.call()) }
    }
}

impl fmt::Debug for LocalSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSpawner").finish_non_exhaustive()
    }
}

impl<A, F: FnMut() -> A> OnOneThread<F> {
    fn call(&mut self) -> A {
        (self.0)()
    }
}
