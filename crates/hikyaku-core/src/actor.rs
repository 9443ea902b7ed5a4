//! What a user writes: an actor, and what it finds in its hands while it runs.

use crate::actor_ref::ActorRef;
use crate::agenda::{Agenda, Given, Idle};
use crate::ask::{AskError, Reply};
use crate::blocking::Blocking;
use crate::cell::CellPtr;
use crate::dead_letter::DeadLetterReason;
use crate::failure::Failure;
use crate::invoker;
use crate::mailbox::rare;
use crate::pipe::{Attached, Ended, Pipe, Watching};
use crate::registry::MailboxIndex;
use crate::supervision::RestartPolicy;
use crate::system::{SpawnError, SpawnOptions, System};
use crate::time::Sleep;
use crate::timer::{Timer, TimerError, TimerKey};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{self, Poll};
use core::time::Duration;
use futures_core::Stream;

/// An actor: a value that handles one message at a time.
///
/// Handlers are async. One that never awaits costs no more than a plain call. While one awaits,
/// the actor handles no other message, and its worker runs other actors.
///
/// After an error or a panic out of `started` or `handle` its supervisor decides what becomes of it: see
/// [`Supervision`](crate::Supervision). By default an actor that had started is made anew by its factory, and
/// goes on with the next message; one that had not ends with
/// [`StopCause::Failed`](crate::StopCause::Failed). No worker is affected.
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
    /// By default a failure ends the actor before it handles anything; its sender is told by
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
    /// A failure is the supervisor's to decide about. The message is lost.
    ///
    /// # Cancel safety
    /// The future is dropped half way by [`ActorRef::kill`] and a forced stop of the system; when a child's
    /// failure is escalated to this actor, or a link breaks; and when it takes longer than the supervisor's
    /// [`handler_timeout`](crate::Supervision::handler_timeout), while a restart waits for it.
    fn handle(
        &mut self,
        msg: Self::Msg,
        cx: &mut Context<'_, Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs before a restart, on the actor that failed, or that is to begin anew because a sibling failed.
    /// Its children are still there, and those of one that failed handle nothing: do not await their
    /// answers. They are stopped afterwards, and the new actor is made by the factory. Not when `started`
    /// has failed. [`Context::failure`] tells why.
    ///
    /// A panic in it changes nothing but that `on_failure` is told.
    fn restarting(&mut self, cx: &mut Context<'_, Self>) -> impl Future<Output = ()> + Send {
        let _ = cx;
        core::future::ready(())
    }

    /// Until when a message is worth handling; asked for each, before it is handled. Default: always.
    ///
    /// Give the deadline of the [`Reply`](crate::Reply) that the message carries. The runtime then
    /// drops the message unhandled once the asker has stopped waiting, counts it
    /// ([`Metrics::expired`](crate::Metrics::expired)), and questions that this actor asks while it
    /// handles one [`within`](crate::Ask::within) a time end no later than the question in hand.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Deadline, Failure, Reply};
    /// # struct Store;
    /// enum StoreMsg { Get(String, Reply<Option<String>>), Clear }
    /// # impl Actor for Store {
    /// # type Msg = StoreMsg;
    /// fn deadline(msg: &StoreMsg) -> Option<Deadline> {
    ///     match msg {
    ///         StoreMsg::Get(_, reply) => reply.deadline(),
    ///         StoreMsg::Clear => None,
    ///     }
    /// }
    /// # async fn handle(&mut self, _: StoreMsg, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// ```
    #[inline]
    fn deadline(msg: &Self::Msg) -> Option<Deadline> {
        let _ = msg;
        None
    }

    /// Runs once at the end, after the last message and after all children have ended, also when
    /// the actor failed. Not after a kill.
    fn stopped(&mut self, cx: &mut Context<'_, Self>) -> impl Future<Output = ()> + Send {
        let _ = cx;
        core::future::ready(())
    }
}

/// A point in time on the clock of a system, until which an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub(crate) Duration);

impl Deadline {
    /// The time since the start of the system's clock.
    pub fn since_start(self) -> Duration {
        self.0
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
/// let (system, _workers) = System::builder("demo").build()?;
/// let log = system.spawn(once(Log(vec!["begin".into()])))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
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

/// One of an actor's children: see [`Context::child_list`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Child {
    /// Its index, which [`System::resolve`](crate::System::resolve) makes a reference of.
    pub index: MailboxIndex,
    /// The name of the type of its messages.
    pub message_type: &'static str,
    /// When it is restarted.
    pub restart: RestartPolicy,
}

/// What a handler may do with the runtime: spawn children, stop, yield, tell who it is.
///
/// It cannot leave the handler. [`Context::me`] gives a reference that can.
#[repr(transparent)]
pub struct Context<'a, A: Actor> {
    pub(crate) cell: CellPtr,
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

    /// The children that are alive, the oldest first. One that has just ended is among them until this actor has
    /// heard of it.
    pub fn child_list(&self) -> Vec<Child> {
        let mut list = Vec::with_capacity(self.children());
        list.extend(self.cell.children().map(|child| Child {
            index: child.index(),
            message_type: child.message_name(),
            restart: child.policy(),
        }));
        list.reverse();
        list
    }

    /// Tells a child to stop, as [`ActorRef::stop`] does. False if there is no living child of this index. What is
    /// stopped is gone: to have it again, spawn it again.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context};
    /// fn stop_the_oldest<A: Actor>(cx: &mut Context<'_, A>) -> bool {
    ///     let oldest = cx.child_list().first().map(|child| child.index);
    ///     oldest.is_some_and(|oldest| cx.stop_child(oldest))
    /// }
    /// ```
    pub fn stop_child(&mut self, child: MailboxIndex) -> bool {
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell.
        unsafe { invoker::stop_child(self.cell, child) }
    }

    /// Has a child made anew, as after a failure: it finishes the handler in hand, or loses it after
    /// [`handler_timeout`](crate::Supervision::handler_timeout). Neither its
    /// [`RestartPolicy`] nor the limit of restarts is asked. False if there is no living child of this index.
    pub fn restart_child(&mut self, child: MailboxIndex) -> bool {
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell.
        unsafe { invoker::restart_child(self.cell, child) }
    }

    /// Stops this actor after the handler in hand. Admission ends at once; messages in the
    /// mailbox become dead letters. To handle them first, [`ActorRef::stop_gracefully`].
    ///
    /// An actor spawned as [`Permanent`](crate::RestartPolicy::Permanent) is restarted instead: its mailbox
    /// stays open.
    pub fn stop(&mut self) {
        invoker::stop_itself(self.cell);
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
        unsafe {
            invoker::found_family(self.cell)?;
            self.cell.home().spawn(Some(self.cell), options, factory)
        }
    }

    /// Why the actor is being restarted, or was just now: in `restarting`, and in `started` afterwards.
    pub fn failure(&self) -> Option<&Failure> {
        self.cell.cold_if_any()?.failure.as_ref()
    }

    /// How often the actor has been made, the first time included. Wraps after 65,535.
    pub fn incarnation(&self) -> u16 {
        self.cell.mailbox().incarnation.get()
    }

    /// The system.
    pub fn system(&self) -> System {
        self.cell.home().system()
    }

    // === time ===

    fn agenda(&mut self) -> Result<&mut Agenda, TimerError> {
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell.
        unsafe { Agenda::of(self.cell) }
    }

    fn agenda_if_any(&mut self) -> Option<&mut Agenda> {
        // SAFETY: as in `agenda`.
        unsafe { Agenda::if_any(self.cell) }
    }

    /// Starts a timer. One of the same key is cancelled, with the ticks that it has waiting.
    ///
    /// # Errors
    /// [`TimerError`], see there. The old timer is gone all the same, unless the new one is refused
    /// for its durations.
    pub fn start_timer(
        &mut self,
        key: impl Into<TimerKey>,
        timer: Timer<A::Msg>,
    ) -> Result<(), TimerError> {
        let Timer { plan, make } = timer;
        self.agenda()?.start(key.into(), &plan, Box::pin(make))
    }

    /// Cancels a timer; none of its ticks is handled any more. False if there is none.
    pub fn cancel_timer(&mut self, key: impl Into<TimerKey>) -> bool {
        let key = key.into();
        self.agenda_if_any()
            .is_some_and(|agenda| agenda.cancel(key))
    }

    /// Is there a timer of this key? A timer that fires once is gone when its message is handled.
    pub fn has_timer(&mut self, key: impl Into<TimerKey>) -> bool {
        let key = key.into();
        self.agenda_if_any()
            .is_some_and(|agenda| agenda.is_running(key))
    }

    /// Sends the actor a message whenever it has not handled one for so long. It goes on until it is
    /// turned off, and takes the place of an earlier one.
    ///
    /// What comes from timers, and what [`pipe_to_self`](Self::pipe_to_self) and
    /// [`attach_stream`](Self::attach_stream) bring, does not count as a message. To leave out others, see
    /// [`set_receive_timeout_unless`](Self::set_receive_timeout_unless).
    ///
    /// # Errors
    /// [`TimerError`], see there.
    pub fn set_receive_timeout(
        &mut self,
        after: Duration,
        make: impl FnMut() -> A::Msg + Send + 'static,
    ) -> Result<(), TimerError> {
        self.agenda()?
            .set_receive_timeout(after, Box::pin(Idle::new(make, |_| false)))
    }

    /// As [`set_receive_timeout`](Self::set_receive_timeout); messages marked by
    /// [`NotInfluenceReceiveTimeout`] do not count.
    ///
    /// # Errors
    /// [`TimerError`], see there.
    pub fn set_receive_timeout_unless(
        &mut self,
        after: Duration,
        make: impl FnMut() -> A::Msg + Send + 'static,
    ) -> Result<(), TimerError>
    where
        A::Msg: NotInfluenceReceiveTimeout,
    {
        let ignores = A::Msg::does_not_influence;
        self.agenda()?
            .set_receive_timeout(after, Box::pin(Idle::new(make, ignores)))
    }

    /// Turns the receive timeout off, also one that is due already. False if there was none.
    pub fn cancel_receive_timeout(&mut self) -> bool {
        self.agenda_if_any()
            .is_some_and(Agenda::cancel_receive_timeout)
    }

    /// Waits, while other actors run. This actor handles nothing meanwhile: to go on with its
    /// messages, start a timer.
    ///
    /// # Errors
    /// [`SleepError`](crate::SleepError), if it ends early.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.cell.home().shared.time.as_deref(), duration)
    }

    /// What the system's clock shows; zero if it has none.
    pub fn now(&self) -> Duration {
        self.cell.home().shared.now()
    }

    /// The deadline of the message in hand, if [`Actor::deadline`] gave one.
    pub fn deadline(&self) -> Option<Deadline> {
        self.cell.deadline().map(Deadline)
    }

    // === futures beside the handler ===

    /// Runs a future beside the actor, which goes on with its messages, and hands it the result as a
    /// message. The future is polled between two messages, and also while a handler awaits.
    ///
    /// It belongs to the actor as it is now: its end and its restart drop it. A panic in it is a
    /// failure of the actor. It keeps an actor alive that stops when unreferenced.
    ///
    /// # Errors
    /// [`TimerError::Stopping`] if the actor is stopping; the future is dropped.
    pub fn pipe_to_self<F>(
        &mut self,
        future: F,
        map: impl FnOnce(F::Output) -> A::Msg + Send + 'static,
    ) -> Result<(), TimerError>
    where
        F: Future + Send + 'static,
    {
        let keeps = self.me();
        let task = Pipe {
            future,
            map: Some(map),
            _keeps: keeps,
        };
        self.agenda()?.give(Box::pin(Given::new(task)));
        Ok(())
    }

    /// Asks another actor, goes on with its messages meanwhile, and is handed the answer as a message.
    ///
    /// # Errors
    /// As [`pipe_to_self`](Self::pipe_to_self).
    pub fn ask<M: Send + 'static, T: Send + 'static>(
        &mut self,
        target: &ActorRef<M>,
        make: impl FnOnce(Reply<T>) -> M + Send + 'static,
        map: impl FnOnce(Result<T, AskError>) -> A::Msg + Send + 'static,
    ) -> Result<(), TimerError> {
        let target = target.clone();
        self.pipe_to_self(async move { target.ask(make).await }, map)
    }

    /// Attaches a stream: each item becomes a message. The next item is asked for when the message of the
    /// last one has been handled, so a slow actor slows the stream down. After the last item comes
    /// the message of `end`, if that gives one.
    ///
    /// It belongs to the actor as it is now: its end and its restart drop it.
    ///
    /// # Errors
    /// [`TimerError::Stopping`] if the actor is stopping; the stream is dropped.
    pub fn attach_stream<S>(
        &mut self,
        stream: S,
        map: impl FnMut(S::Item) -> A::Msg + Send + 'static,
        end: impl FnOnce() -> Option<A::Msg> + Send + 'static,
    ) -> Result<(), TimerError>
    where
        S: Stream + Send + 'static,
    {
        let keeps = self.me();
        let task = Attached {
            stream,
            map,
            end: Some(end),
            _keeps: keeps,
        };
        self.agenda()?.give(Box::pin(Given::new(task)));
        Ok(())
    }

    // === other actors ===

    /// Tells this actor, by a message, when another one has ended: once, and at once if it already has.
    /// A restart is no end. What the other had sent to this one before its end is handled first.
    ///
    /// A second watch of the same actor takes the place of the first. Watches end with this actor, and
    /// with its restart.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, ActorRef, Context, Ended, Failure};
    /// # struct Pool;
    /// enum PoolMsg { Join(ActorRef<u32>), Gone(Ended) }
    /// # impl Actor for Pool {
    /// # type Msg = PoolMsg;
    /// async fn handle(&mut self, msg: PoolMsg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
    ///     match msg {
    ///         PoolMsg::Join(worker) => cx.watch(&worker, PoolMsg::Gone)?,
    ///         PoolMsg::Gone(ended) => println!("{} is gone: {}", ended.actor, ended.cause),
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TimerError::Stopping`] if this actor is stopping.
    pub fn watch<M: Send + 'static>(
        &mut self,
        target: &ActorRef<M>,
        map: impl FnOnce(Ended) -> A::Msg + Send + 'static,
    ) -> Result<(), TimerError> {
        let of = target.index();
        let task = Watching {
            stopped: target.stopped(),
            of,
            map: Some(map),
        };
        self.agenda()?.watch(of, Box::pin(Given::new(task)));
        // SAFETY: as in `agenda`.
        unsafe { invoker::look_for_signals(self.cell) };
        Ok(())
    }

    /// Takes a watch back. Nothing of it is handled any more, also if the other has ended meanwhile. False
    /// if there was none.
    pub fn unwatch<M: Send + 'static>(&mut self, target: &ActorRef<M>) -> bool {
        let of = target.index();
        self.cell.mailbox().rare.get() & rare::AGENDA != 0
            && self.agenda().is_ok_and(|agenda| agenda.unwatch(of))
    }

    /// Ties the fates of two actors: when one of them ends by a failure or is killed, the other one fails,
    /// and its supervisor decides. A handler that it awaits in is dropped. An end in order breaks nothing, and a
    /// restart is no end: the link stays. Linking twice is linking once.
    ///
    /// # Errors
    /// [`TimerError::Stopping`] if this actor is stopping.
    pub fn link<M: Send + 'static>(&mut self, target: &ActorRef<M>) -> Result<(), TimerError> {
        if self.cell.mailbox().is_winding_down() {
            return Err(TimerError::Stopping);
        }
        if target.cell() != self.cell {
            // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell; the
            // reference keeps the other one.
            unsafe { invoker::link(self.cell, target.cell()) };
        }
        Ok(())
    }

    /// Takes a link back, whichever side made it. False if there was none.
    pub fn unlink<M: Send + 'static>(&mut self, target: &ActorRef<M>) -> bool {
        // SAFETY: as in `link`.
        unsafe { invoker::unlink(self.cell, target.cell()) }
    }

    /// Runs a function that blocks, on the threads that the system has for that, and gives its result.
    /// Await it, or [`pipe_to_self`](Self::pipe_to_self) it.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the result; a function that has begun runs to its end.
    pub fn blocking<R: Send + 'static>(
        &self,
        function: impl FnOnce() -> R + Send + 'static,
    ) -> Blocking<R> {
        Blocking::start(self.cell.home().shared.blocking.as_deref(), function)
    }

    /// The handler has no use for a message: it becomes a dead letter.
    pub fn unhandled(&mut self, message: A::Msg) {
        let letters = &self.cell.home().shared.dead_letters;
        letters.receive(self.cell.index(), message, DeadLetterReason::Unhandled);
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
        mut factory: impl FnMut() -> C + 'static,
    ) -> Result<ActorRef<C::Msg>, SpawnError> {
        let factory = move || Local(factory());
        // SAFETY: a context is used by its actor's handlers only, so by the runner of the cell. A
        // local actor's runner is a worker that never leaves its thread.
        unsafe {
            invoker::found_family(self.cell)?;
            self.cell
                .home()
                .spawn_bound(Some(self.cell), options, factory)
        }
    }
}

impl<A: Actor> fmt::Debug for Context<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}

/// Marks messages that do not influence a receive timeout, for
/// [`Context::set_receive_timeout_unless`].
pub trait NotInfluenceReceiveTimeout {
    /// Is this message one of them?
    fn does_not_influence(&self) -> bool;
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

    /// As [`Actor::restarting`].
    fn restarting(&mut self, cx: &mut Context<'_, Local<Self>>) -> impl Future<Output = ()> {
        let _ = cx;
        core::future::ready(())
    }

    /// As [`Actor::deadline`].
    #[inline]
    fn deadline(msg: &Self::Msg) -> Option<Deadline> {
        let _ = msg;
        None
    }

    /// As [`Actor::stopped`].
    fn stopped(&mut self, cx: &mut Context<'_, Local<Self>>) -> impl Future<Output = ()> {
        let _ = cx;
        core::future::ready(())
    }
}

/// A [`LocalActor`] as the runtime sees it. Made by the runtime only, on the thread of its worker.
#[derive(Debug)]
pub struct Local<A>(pub(crate) A);

// SAFETY: a `Local` is made by a factory that runs inside an activation, and only a `LocalWorker`, a
// `PinnedWorker`, which runs nothing before it is a `LocalWorker` or is dropped, or another local actor
// spawns such a factory. A `LocalWorker` is its dispatcher's only worker and is not `Send`. Activations poll, and the end of an actor drops, on the worker's thread; nobody else
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

    fn restarting(&mut self, cx: &mut Context<'_, Self>) -> impl Future<Output = ()> + Send {
        OnOneThread(self.0.restarting(cx))
    }

    #[inline]
    fn deadline(msg: &A::Msg) -> Option<Deadline> {
        A::deadline(msg)
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
