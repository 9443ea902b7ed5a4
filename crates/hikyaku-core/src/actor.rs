//! What a user writes: an actor, and what it finds in its hands while it runs.

use crate::actor_ref::ActorRef;
use crate::cell::CellPtr;
use crate::failure::Failure;
use crate::registry::MailboxIndex;
use crate::state::Orders;
use crate::system::{SpawnError, SpawnOptions};
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{self, Poll};

/// An actor: a value that handles one message at a time.
///
/// Handlers are async. One that never awaits costs no more than a plain call. While one awaits,
/// the actor handles no other message, and its worker runs other actors.
///
/// An error or a panic out of `started` or `handle` ends the actor with
/// [`StopCause::Failed`](crate::StopCause::Failed); no other actor and no worker is affected.
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, Reply};
///
/// struct Counter { total: u64 }
///
/// enum CounterMsg { Add(u64), Total(Reply<u64>) }
///
/// impl Actor for Counter {
///     type Msg = CounterMsg;
///
///     async fn handle(&mut self, msg: CounterMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> {
///         match msg {
///             CounterMsg::Add(n) => self.total += n,
///             CounterMsg::Total(reply) => { let _ = reply.send(self.total); }
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an actor",
    note = "implement `Actor` with `type Msg` and `async fn handle`; an actor that is not `Send` implements `LocalActor`"
)]
pub trait Actor: Send + Sized + 'static {
    /// What it is sent.
    type Msg: Send + 'static;

    /// Runs once, before the first message. Messages that arrive meanwhile wait.
    ///
    /// # Errors
    /// A failure ends the actor before it handles anything; its sender is told by
    /// [`ActorRef::started`].
    fn started(
        &mut self,
        cx: &mut Context<'_, Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = cx;
        core::future::ready(Ok(()))
    }

    /// Handles one message.
    ///
    /// # Errors
    /// A failure ends the actor.
    ///
    /// # Cancel safety
    /// The future is dropped half way only by [`ActorRef::kill`] and a forced stop of the system.
    fn handle(
        &mut self,
        msg: Self::Msg,
        cx: &mut Context<'_, Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs once at the end, after the last message and after all children have ended, also when
    /// the actor failed. Not after a kill.
    fn stopped(&mut self, cx: &mut Context<'_, Self>) -> impl Future<Output = ()> + Send {
        let _ = cx;
        core::future::ready(())
    }
}

/// A factory that gives `actor`, once: for an actor that owns what cannot be made again, such as a
/// socket or a receiver.
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, System, once};
///
/// struct Log(Vec<String>);
///
/// impl Actor for Log {
///     type Msg = String;
///     async fn handle(&mut self, line: String, _: &mut Context<'_, Self>) -> Result<(), Failure> {
///         self.0.push(line);
///         Ok(())
///     }
/// }
///
/// let (system, _workers) = System::builder("demo").build();
/// let log = system.spawn(once(Log(vec!["begin".into()])))?;
/// # Ok::<(), hikyaku_core::SpawnError>(())
/// ```
///
/// # Panics
/// The factory, when it is called again. The runtime calls it once per incarnation, so that is the
/// failed start of an actor that was to be restarted.
pub fn once<A>(actor: A) -> impl FnMut() -> A {
    let mut actor = Some(actor);
    move || {
        actor
            .take()
            .expect("an actor spawned with `once` cannot be made again")
    }
}

/// What a handler may do with the runtime: spawn children, stop, yield, tell who it is.
///
/// It cannot leave the handler. [`Context::me`] gives a reference that can.
#[repr(transparent)]
pub struct Context<'a, A: Actor> {
    cell: CellPtr,
    _handler: PhantomData<&'a mut ()>,
    _actor: PhantomData<fn(A)>,
}

impl<A: Actor> Context<'_, A> {
    /// A reference to this actor.
    pub fn me(&self) -> ActorRef<A::Msg> {
        self.cell.revive();
        // SAFETY: revived just now; the message type is the actor's.
        unsafe { ActorRef::from_cell(self.cell) }
    }

    /// The actor's index: unique in its system, now and later.
    pub fn index(&self) -> MailboxIndex {
        self.cell.index()
    }

    /// How many children are alive.
    pub fn children(&self) -> usize {
        self.cell.cold_if_any().map_or(0, |cold| cold.children)
    }

    /// Stops this actor after the handler in hand. Admission ends at once; messages in the
    /// mailbox become dead letters. To handle them first, [`ActorRef::stop_gracefully`].
    pub fn stop(&mut self) {
        self.cell.order(Orders::STOP, true);
    }

    /// Spawns a child with default options. It is stopped before this actor stops.
    ///
    /// The factory runs on a worker, in the child's first activation.
    ///
    /// # Errors
    /// As [`System::spawn`](crate::System::spawn).
    pub fn spawn<C: Actor>(
        &mut self,
        factory: impl FnMut() -> C + Send + 'static,
    ) -> Result<ActorRef<C::Msg>, SpawnError> {
        self.spawn_with(SpawnOptions::new(), factory)
    }

    /// Spawns a child. It is stopped before this actor stops, younger children before older ones.
    ///
    /// # Errors
    /// As [`System::spawn_with`](crate::System::spawn_with).
    pub fn spawn_with<C: Actor>(
        &mut self,
        options: SpawnOptions,
        factory: impl FnMut() -> C + Send + 'static,
    ) -> Result<ActorRef<C::Msg>, SpawnError> {
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell.
        unsafe { self.cell.home().spawn(Some(self.cell), options, factory) }
    }

    /// Lets other actors run, then goes on. For handlers whose awaits are always ready.
    pub fn yield_now(&self) -> YieldNow {
        YieldNow { yielded: false }
    }
}

impl<A: LocalActor> Context<'_, Local<A>> {
    /// Spawns a child that need not be `Send`, on the same thread.
    ///
    /// # Errors
    /// As [`System::spawn_with`](crate::System::spawn_with).
    pub fn spawn_local<C: LocalActor>(
        &mut self,
        options: SpawnOptions,
        mut factory: impl FnMut() -> C + Send + 'static,
    ) -> Result<ActorRef<C::Msg>, SpawnError> {
        // A local actor lives on a worker that never leaves its thread, so its child does too.
        self.spawn_with(options, move || Local(factory()))
    }
}

impl<A: Actor> fmt::Debug for Context<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}

/// The future of [`Context::yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// An actor that stays on one thread: neither it nor its futures need be `Send`.
///
/// It runs on executors that keep their worker on one thread, wrapped in [`Local`]. Its messages
/// and references are as those of any other actor.
pub trait LocalActor: Sized + 'static {
    /// What it is sent.
    type Msg: Send + 'static;

    /// As [`Actor::started`].
    ///
    /// # Errors
    /// A failure ends the actor.
    fn started(
        &mut self,
        cx: &mut Context<'_, Local<Self>>,
    ) -> impl Future<Output = Result<(), Failure>> {
        let _ = cx;
        core::future::ready(Ok(()))
    }

    /// As [`Actor::handle`].
    ///
    /// # Errors
    /// A failure ends the actor.
    fn handle(
        &mut self,
        msg: Self::Msg,
        cx: &mut Context<'_, Local<Self>>,
    ) -> impl Future<Output = Result<(), Failure>>;

    /// As [`Actor::stopped`].
    fn stopped(&mut self, cx: &mut Context<'_, Local<Self>>) -> impl Future<Output = ()> {
        let _ = cx;
        core::future::ready(())
    }
}

/// A [`LocalActor`] as the runtime sees it. Made by the runtime only, on the thread of its worker.
#[derive(Debug)]
pub struct Local<A>(pub(crate) A);

// SAFETY: a `Local` is made by a factory that runs inside an activation, and only a `LocalWorker`
// or another local actor spawns such a factory. A `LocalWorker` is its system's only worker and is
// not `Send`. Activations poll, and the end of an actor drops, on the worker's thread; nobody else
// does (`cell.rs`). So the value never leaves the thread it was made on.
unsafe impl<A: LocalActor> Send for Local<A> {}

impl<A: LocalActor> Actor for Local<A> {
    type Msg = A::Msg;

    fn started(
        &mut self,
        cx: &mut Context<'_, Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        OnOneThread(self.0.started(cx))
    }

    fn handle(
        &mut self,
        msg: A::Msg,
        cx: &mut Context<'_, Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        OnOneThread(self.0.handle(msg, cx))
    }

    fn stopped(&mut self, cx: &mut Context<'_, Self>) -> impl Future<Output = ()> + Send {
        OnOneThread(self.0.stopped(cx))
    }
}

/// A future, or a factory, that stays on one thread.
pub(crate) struct OnOneThread<T>(pub(crate) T);

// SAFETY: made for the actor of a `Local` only, and lives in its cell: see there.
unsafe impl<T> Send for OnOneThread<T> {}

impl<F: Future> Future for OnOneThread<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        // SAFETY: the inner future is pinned as the outer one is, and never moved out.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(cx)
    }
}
