//! References to actors.

use crate::ask::{Ask, Reply};
use crate::cell::CellPtr;
use crate::failure::{StartError, StopCause};
use crate::flow::FLOW;
use crate::invoker;
use crate::mailbox::{self, Gate, Marks, Notice, Overflow, Push, Waiter, Waiting};
use crate::registry::MailboxIndex;
use crate::state::Orders;
use crate::sync::{Arc, UnsafeCell};
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::hash::{Hash, Hasher};
use core::marker::{PhantomData, PhantomPinned};
use core::pin::Pin;
use core::task::{self, Poll};
use core::time::Duration;

/// Why a message was not taken. It carries the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<M> {
    /// The mailbox has no room.
    Full(M),
    /// The actor takes no more messages: it was told to end, or has ended.
    Closed(M),
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_inner(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }

    /// The error alone, for `?` in a handler whose messages are not `Sync`, and for logs.
    pub fn without_message(self) -> SendError<()> {
        self.map(drop)
    }

    /// The same error about another message.
    pub(crate) fn map<N>(self, map: impl FnOnce(M) -> N) -> SendError<N> {
        match self {
            Self::Full(message) => SendError::Full(map(message)),
            Self::Closed(message) => SendError::Closed(map(message)),
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the mailbox is full",
            Self::Closed(_) => "the actor takes no more messages",
        })
    }
}

impl<M> core::error::Error for SendError<M> {}

impl<M> Push<M> {
    #[inline(always)]
    fn into_result(self) -> Result<(), SendError<M>> {
        match self {
            Self::Accepted => Ok(()),
            Self::Full(message) => Err(SendError::Full(message)),
            Self::Closed(message) => Err(SendError::Closed(message)),
        }
    }
}

/// A reference to an actor that takes messages of type `M`.
///
/// One word. Two references are equal if they lead to the same actor. It stays valid after the
/// actor has ended; sending then fails with the message in hand. Dropping the last one does not
/// stop the actor, unless it was spawned so.
///
/// # Panics
/// If there are 2^31 references to the actor, or 2^15 in builds without `std`, another one is a panic. So it is for weak
/// references, wakers, watches and links together.
pub struct ActorRef<M> {
    cell: CellPtr,
    _message: PhantomData<fn(M)>,
}

impl<M> ActorRef<M> {
    /// # Safety
    /// The caller gives a strong reference of a cell with messages `M` away.
    #[inline(always)]
    pub(crate) unsafe fn from_cell(cell: CellPtr) -> Self {
        Self {
            cell,
            _message: PhantomData,
        }
    }

    /// The cell it leads to.
    pub(crate) fn cell(&self) -> CellPtr {
        self.cell
    }

    /// The actor's index in its system: unique, now and later.
    pub fn index(&self) -> MailboxIndex {
        self.cell.index()
    }

    /// Does it take messages? False from the moment it was told to stop.
    pub fn is_alive(&self) -> bool {
        !self.cell.mailbox().word.is_closed()
    }

    /// Tells the actor to end after the handler in hand, however long that awaits: see
    /// [`stop_within`](Self::stop_within). Admission ends at once; messages in the mailbox become dead letters. Children
    /// end first.
    pub fn stop(&self) {
        self.cell.order(Orders::STOP, true);
    }

    /// Tells the actor to end when it has handled what is in its mailbox. Admission ends at once.
    pub fn stop_gracefully(&self) {
        self.cell.order(Orders::DRAIN, true);
    }

    /// Tells the actor to end now: a handler that awaits is dropped, the `stopped` hook does not
    /// run, its children are killed. A handler that blocks its thread is not interrupted.
    pub fn kill(&self) {
        self.cell.order(Orders::KILL, true);
    }

    /// As [`stop`](Self::stop); an actor that has not ended after so long is killed. In a system without
    /// timers it has all the time it wants.
    ///
    /// # Cancel safety
    /// The stop is ordered by the call, and goes on if the future is dropped.
    pub fn stop_within(&self, patience: Duration) -> Stopped {
        self.stop();
        self.kill_after(patience)
    }

    /// As [`stop_gracefully`](Self::stop_gracefully); an actor that has not ended after so long is killed.
    /// In a system without timers it has all the time it wants.
    ///
    /// # Cancel safety
    /// As [`stop_within`](Self::stop_within).
    pub fn stop_gracefully_within(&self, patience: Duration) -> Stopped {
        self.stop_gracefully();
        self.kill_after(patience)
    }

    fn kill_after(&self, patience: Duration) -> Stopped {
        let shared = &self.cell.home().shared;
        let at = shared.now().saturating_add(patience);
        let _set = shared.order_at(at, self.cell, Orders::KILL);
        self.stopped()
    }

    /// Resolves when `started` has succeeded.
    ///
    /// # Errors
    /// How it failed or ended instead.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn started(&self) -> Started {
        Started(Watch::new(self.cell, true))
    }

    /// Resolves when the actor has ended: nothing of it runs any more, its children have ended,
    /// and its name is free.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn stopped(&self) -> Stopped {
        Stopped(Watch::new(self.cell, false))
    }

    /// A reference that does not keep an actor alive that stops when unreferenced.
    pub fn downgrade(&self) -> WeakRef<M> {
        self.cell.retain();
        WeakRef {
            cell: self.cell,
            _message: PhantomData,
        }
    }
}

impl<M: Send + 'static> ActorRef<M> {
    /// Sends a message. Never waits. If there is no room, the mailbox's
    /// [policy](crate::MailboxOverflowPolicy) says what becomes of it.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, Context, Failure, SendError, System};
    /// # struct Log;
    /// # impl Actor for Log {
    /// #     type Msg = String;
    /// #     async fn handle(&mut self, _: String, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// # let (system, _workers) = System::builder("demo").build()?;
    /// let log = system.spawn(|| Log)?;
    /// assert!(log.tell("first".into()).is_ok());
    /// log.stop();
    /// let Err(SendError::Closed(line)) = log.tell("second".into()) else { panic!() };
    /// assert_eq!(line, "second");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError`] with the message, if the mailbox has no room or the actor takes no more.
    #[inline(always)]
    pub fn tell(&self, message: M) -> Result<(), SendError<M>> {
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        unsafe { mailbox::push(self.cell, message, Overflow::Apply) }.into_result()
    }

    /// Sends a message if there is room, whatever the overflow policy. Never waits.
    ///
    /// # Errors
    /// [`SendError`] with the message.
    #[inline(always)]
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        unsafe { mailbox::push(self.cell, message, Overflow::Refuse) }.into_result()
    }

    /// Sends a message; waits for room if the mailbox is full. Waiting senders are served in order. A mailbox that
    /// drops the oldest message always has room.
    ///
    /// # Errors
    /// [`SendError::Closed`] with the message if the actor ends first. [`SendError::Full`] if an
    /// actor sends to its own full mailbox, where it would wait for itself, and for a control message if the places
    /// for these are taken.
    ///
    /// # Cancel safety
    /// Dropping the future drops the message with it, unless the mailbox already has it. Nothing is
    /// sent twice or half.
    pub fn send(&self, message: M) -> Sending<'_, M> {
        Sending {
            actor: self,
            message: Some(message),
            waiter: None,
            listed: core::ptr::null_mut(),
            _pinned: PhantomPinned,
        }
    }

    /// Sends several messages in order, at the cost of about one.
    ///
    /// # Errors
    /// [`SendError`] with those that were not taken, in order.
    ///
    /// # Panics
    /// If the iterator does. Messages it had yielded may be dropped.
    pub fn tell_all(&self, messages: impl IntoIterator<Item = M>) -> Result<(), SendError<Vec<M>>> {
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        unsafe { mailbox::push_all(self.cell, messages.into_iter()) }.into_result()
    }

    /// Sends a message made with a [`Reply`], and waits for the answer. The message is sent now,
    /// not when the future is first polled.
    ///
    /// Actors whose handlers await each other's answers in a circle wait until one of them is killed: give the
    /// question a time ([`Ask::within`]), or have the answer as a message ([`Context::ask`](crate::Context::ask)).
    ///
    /// # Errors
    /// [`AskError`](crate::AskError), see there. A question that is refused is a [`DeadLetter`](crate::DeadLetter).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer; the message is handled all the same.
    #[inline]
    pub fn ask<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> M) -> Ask<'_, T> {
        Ask::send(self.cell, make, |message| self.tell(message))
    }

    /// How many messages the mailbox takes; `None` if it is unbounded. With
    /// [`Grow`](crate::MailboxOverflowPolicy::Grow) that is the `max`.
    pub fn capacity(&self) -> Option<usize> {
        if !self.cell.has_tail() {
            return None;
        }
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        let tail = unsafe { self.cell.tail() };
        match tail.lanes() {
            Some(annex) => annex.capacity(),
            None => Some(tail.limit()),
        }
    }

    /// Changes the [`capacity`](Self::capacity). The actor's worker does it, before the next message, and also while a
    /// handler awaits.
    ///
    /// If more is queued than the new capacity, it stays; new messages find no room until it is less. If the capacity
    /// grows, senders that wait are served, in order.
    ///
    /// ```
    /// # use hikyaku_core::{Actor, CapacityError, Context, Failure, MailboxOptions, SpawnOptions, System};
    /// # struct Log;
    /// # impl Actor for Log {
    /// #     type Msg = String;
    /// #     async fn handle(&mut self, _: String, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// # let (system, _workers) = System::builder("demo").build()?;
    /// let options = MailboxOptions::bounded(64).up_to(1024);
    /// let log = system.spawn_with(SpawnOptions::new().mailbox(options), || Log)?;
    /// log.set_capacity(500)?;
    /// assert_eq!(log.set_capacity(2000), Err(CapacityError::TooMuch { most: 1024 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CapacityError`], see there.
    pub fn set_capacity(&self, capacity: usize) -> Result<(), CapacityError> {
        if !self.cell.has_tail() {
            return Err(CapacityError::Unbounded);
        }
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        let tail = unsafe { self.cell.tail() };
        let most = match tail.lanes() {
            Some(annex) => annex.most().ok_or(CapacityError::Unbounded)?,
            None if !FLOW => return Err(CapacityError::Fixed),
            None => tail.slots(),
        };
        if capacity == 0 {
            return Err(CapacityError::Zero);
        }
        if capacity > most {
            return Err(CapacityError::TooMuch { most });
        }
        // SAFETY: the reference keeps the cell, which has a tail and messages `M`; a letter is opened by the runner.
        let queued =
            unsafe { invoker::call(self.cell, move |cell| mailbox::resize(cell, capacity)) };
        if queued {
            Ok(())
        } else {
            Err(CapacityError::Ended)
        }
    }

    /// How many messages are queued, if the mailbox tells of
    /// [pressure](crate::MailboxOptions::pressure); `None` if not.
    pub fn depth(&self) -> Option<usize> {
        if !self.cell.has_tail() {
            return None;
        }
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        unsafe { self.cell.tail() }.lanes()?.depth()
    }

    /// The same actor as one that takes `N`, wrapped into its messages.
    pub fn recipient<N: 'static>(&self) -> Recipient<N>
    where
        M: Wrap<N>,
    {
        self.cell.retain_strong();
        Recipient {
            cell: self.cell,
            vtable: &Wrapped::<M, N>::VTABLE,
        }
    }
}

impl<M> Clone for ActorRef<M> {
    #[inline]
    fn clone(&self) -> Self {
        self.cell.retain_strong();
        Self {
            cell: self.cell,
            _message: PhantomData,
        }
    }
}

impl<M> Drop for ActorRef<M> {
    #[inline]
    fn drop(&mut self) {
        self.cell.release_strong();
    }
}

impl<M> PartialEq for ActorRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.cell == other.cell
    }
}

impl<M> Eq for ActorRef<M> {}

impl<M> Hash for ActorRef<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.hash(state);
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({})", self.cell.index())
    }
}

/// A reference that does not count for actors that stop when unreferenced.
pub struct WeakRef<M> {
    cell: CellPtr,
    _message: PhantomData<fn(M)>,
}

impl<M> WeakRef<M> {
    /// As [`ActorRef::index`].
    pub fn index(&self) -> MailboxIndex {
        self.cell.index()
    }

    /// A full reference, if the actor still takes messages.
    pub fn upgrade(&self) -> Option<ActorRef<M>> {
        if self.cell.mailbox().word.is_closed() {
            return None;
        }
        self.cell.revive();
        // SAFETY: revived just now, and of the same type.
        Some(unsafe { ActorRef::from_cell(self.cell) })
    }

    /// A full reference, also if the actor takes no more messages.
    pub(crate) fn revive(&self) -> ActorRef<M> {
        self.cell.revive();
        // SAFETY: revived just now, and of the same type.
        unsafe { ActorRef::from_cell(self.cell) }
    }
}

impl<M> Clone for WeakRef<M> {
    fn clone(&self) -> Self {
        self.cell.retain();
        Self {
            cell: self.cell,
            _message: PhantomData,
        }
    }
}

impl<M> Drop for WeakRef<M> {
    fn drop(&mut self) {
        self.cell.release();
    }
}

impl<M> PartialEq for WeakRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.cell == other.cell
    }
}

impl<M> Eq for WeakRef<M> {}

impl<M> Hash for WeakRef<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.hash(state);
    }
}

impl<M> fmt::Debug for WeakRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeakRef({})", self.cell.index())
    }
}

// === recipients ===

/// A message type that can carry an `N`.
///
/// `unwrap` is the inverse of `wrap`; it is called with nothing else, to hand a refused message
/// back as it was.
///
/// ```
/// use hikyaku_core::Wrap;
///
/// enum ShopMsg { Order(u32), Close }
///
/// impl Wrap<u32> for ShopMsg {
///     fn wrap(n: u32) -> Self { ShopMsg::Order(n) }
///     fn unwrap(self) -> u32 {
///         match self { ShopMsg::Order(n) => n, ShopMsg::Close => unreachable!("never wrapped") }
///     }
/// }
/// ```
pub trait Wrap<N>: Sized {
    /// Makes a message of `n`.
    fn wrap(n: N) -> Self;

    /// Takes it apart again.
    fn unwrap(self) -> N;
}

impl<M> Wrap<M> for M {
    fn wrap(n: M) -> Self {
        n
    }

    fn unwrap(self) -> M {
        self
    }
}

struct RecipientVTable<N> {
    push: unsafe fn(CellPtr, N, Overflow) -> Result<(), SendError<N>>,
}

struct Wrapped<M, N>(PhantomData<fn(M, N)>);

impl<M: Wrap<N> + 'static, N: 'static> Wrapped<M, N> {
    const VTABLE: RecipientVTable<N> = RecipientVTable { push: Self::push };

    /// # Safety
    /// The cell is live, and its messages are `M`.
    unsafe fn push(cell: CellPtr, n: N, overflow: Overflow) -> Result<(), SendError<N>> {
        // SAFETY: as the caller promises.
        unsafe { mailbox::push(cell, M::wrap(n), overflow) }
            .into_result()
            .map_err(|refused| refused.map(M::unwrap))
    }
}

/// A reference to any actor whose messages can carry an `N`. See [`ActorRef::recipient`].
pub struct Recipient<N: 'static> {
    cell: CellPtr,
    vtable: &'static RecipientVTable<N>,
}

impl<N: Send + 'static> Recipient<N> {
    /// As [`ActorRef::tell`].
    ///
    /// # Errors
    /// [`SendError`] with the original.
    pub fn tell(&self, n: N) -> Result<(), SendError<N>> {
        // SAFETY: the reference keeps the cell, and the table was made for its messages.
        unsafe { (self.vtable.push)(self.cell, n, Overflow::Apply) }
    }

    /// As [`ActorRef::try_send`].
    ///
    /// # Errors
    /// [`SendError`] with the original.
    pub fn try_send(&self, n: N) -> Result<(), SendError<N>> {
        // SAFETY: as in `tell`.
        unsafe { (self.vtable.push)(self.cell, n, Overflow::Refuse) }
    }
}

impl<N> Recipient<N> {
    /// As [`ActorRef::index`].
    pub fn index(&self) -> MailboxIndex {
        self.cell.index()
    }

    /// As [`ActorRef::is_alive`].
    pub fn is_alive(&self) -> bool {
        !self.cell.mailbox().word.is_closed()
    }

    /// As [`ActorRef::downgrade`].
    pub fn downgrade(&self) -> WeakRecipient<N> {
        self.cell.retain();
        WeakRecipient {
            cell: self.cell,
            vtable: self.vtable,
        }
    }

    /// The cell it leads to.
    pub(crate) fn cell(&self) -> CellPtr {
        self.cell
    }
}

impl<N> Clone for Recipient<N> {
    fn clone(&self) -> Self {
        self.cell.retain_strong();
        Self {
            cell: self.cell,
            vtable: self.vtable,
        }
    }
}

impl<N> Drop for Recipient<N> {
    fn drop(&mut self) {
        self.cell.release_strong();
    }
}

impl<N> PartialEq for Recipient<N> {
    /// Do both lead to the same actor?
    fn eq(&self, other: &Self) -> bool {
        self.cell == other.cell
    }
}

impl<N> Eq for Recipient<N> {}

impl<N> Hash for Recipient<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.hash(state);
    }
}

impl<N> fmt::Debug for Recipient<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.cell.index())
    }
}

/// A [`Recipient`] that does not count for actors that stop when unreferenced.
pub struct WeakRecipient<N: 'static> {
    cell: CellPtr,
    vtable: &'static RecipientVTable<N>,
}

impl<N> WeakRecipient<N> {
    /// As [`ActorRef::index`].
    pub fn index(&self) -> MailboxIndex {
        self.cell.index()
    }

    /// A full reference, if the actor still takes messages.
    pub fn upgrade(&self) -> Option<Recipient<N>> {
        if self.cell.mailbox().word.is_closed() {
            return None;
        }
        self.cell.revive();
        Some(Recipient {
            cell: self.cell,
            vtable: self.vtable,
        })
    }
}

impl<N> Clone for WeakRecipient<N> {
    fn clone(&self) -> Self {
        self.cell.retain();
        Self {
            cell: self.cell,
            vtable: self.vtable,
        }
    }
}

impl<N> Drop for WeakRecipient<N> {
    fn drop(&mut self) {
        self.cell.release();
    }
}

impl<N> fmt::Debug for WeakRecipient<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeakRecipient({})", self.cell.index())
    }
}

// === waiting for room ===

/// The future of [`ActorRef::send`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sending<'a, M: Send + 'static> {
    actor: &'a ActorRef<M>,
    /// The message, until it is tried.
    message: Option<M>,
    /// The place in the list of those who wait, with the message; once there was no room.
    waiter: Option<UnsafeCell<Waiter<M>>>,
    /// The pointer that the list has. No other is made while it is in the list: it would deny this.
    listed: *mut Waiter<M>,
    _pinned: PhantomPinned,
}

// SAFETY: the waiter is touched under the lock of the mailbox's list while it is in it, and else by
// the future's holder alone; it carries an `M`, which is `Send`.
unsafe impl<M: Send + 'static> Send for Sending<'_, M> {}

impl<M: Send + 'static> Future for Sending<'_, M> {
    type Output = Result<(), SendError<M>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the waiter is not moved; the message is not pinned.
        let this = unsafe { self.get_unchecked_mut() };
        match this.message.take() {
            Some(message) => {
                // SAFETY: the reference keeps the cell, whose messages are `M`.
                match unsafe { mailbox::push(this.actor.cell, message, Overflow::Wait) } {
                    Push::Full(message) => this.wait(message, cx),
                    pushed => Poll::Ready(pushed.into_result()),
                }
            }
            None => this.poll_waiting(cx),
        }
    }
}

impl<M: Send + 'static> Sending<'_, M> {
    /// There was no room.
    #[cold]
    fn wait(&mut self, mut message: M, cx: &task::Context<'_>) -> Poll<Result<(), SendError<M>>> {
        let cell = self.actor.cell;
        if mailbox::is_self_send(cell, cx.waker()) {
            return Poll::Ready(Err(SendError::Full(message)));
        }
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        let Some(gate) = (unsafe { self.gate(&message) }) else {
            return self.full(message, cx);
        };
        loop {
            // In its place before the list knows of it. A waiter that was there is not in the list.
            let waiter = self
                .waiter
                .insert(UnsafeCell::new(Waiter::new(message)))
                .with_mut(|waiter| waiter);
            self.listed = waiter;
            // SAFETY: the future is pinned, and the waiter leaves the list before it is dropped.
            let state = unsafe { gate.wait(waiter, cx.waker()) };
            if state == Waiting::Queued && !cell.mailbox().word.is_closed() {
                return Poll::Pending;
            }
            if state == Waiting::Queued {
                // The mailbox may have refused the waiting senders just before this one came.
                return self.end_waiting();
            }
            // There is room again.
            // SAFETY: not in the list, so the waiter is ours alone, with its message.
            let Some(again) = (unsafe { (*waiter).take() }) else {
                return Poll::Ready(Ok(()));
            };
            // SAFETY: the reference keeps the cell, whose messages are `M`.
            match unsafe { mailbox::push(cell, again, Overflow::Wait) } {
                Push::Full(again) => message = again,
                pushed => return Poll::Ready(pushed.into_result()),
            }
        }
    }

    /// Where to wait for room for `message`; `None` if that would not help.
    ///
    /// # Safety
    /// The reference keeps the cell, whose messages are `M`.
    unsafe fn gate<'g>(&self, message: &M) -> Option<&'g Gate> {
        let cell = self.actor.cell;
        // SAFETY: as the caller promises; only a mailbox with a tail is ever full.
        let annex = unsafe { cell.tail().annex::<M>() };
        if annex.is_some_and(|annex| annex.is_control(message)) {
            return None;
        }
        // SAFETY: as the caller promises.
        unsafe { cell.gate() }
    }

    /// There is nothing to wait for but another thread, for a moment.
    fn full(&mut self, message: M, cx: &task::Context<'_>) -> Poll<Result<(), SendError<M>>> {
        // SAFETY: the reference keeps the cell, whose messages are `M`.
        let annex = unsafe { self.actor.cell.tail().annex::<M>() };
        if annex.is_some_and(|annex| annex.is_full_for_a_moment(&message)) {
            self.message = Some(message);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(SendError::Full(message)))
    }

    fn poll_waiting(&mut self, cx: &task::Context<'_>) -> Poll<Result<(), SendError<M>>> {
        assert!(
            !self.listed.is_null(),
            "a send was polled after it was done"
        );
        // SAFETY: whoever is listed is so at the gate; the rest as in `wait`.
        let state = unsafe {
            let gate = self.actor.cell.gate();
            gate.map_or(Waiting::Outside, |gate| gate.wait(self.listed, cx.waker()))
        };
        match state {
            Waiting::Queued => Poll::Pending,
            Waiting::Outside | Waiting::Admitted | Waiting::Refused => self.end_waiting(),
        }
    }

    /// Leaves the list, and tells what became of the message.
    fn end_waiting(&mut self) -> Poll<Result<(), SendError<M>>> {
        let message = self.leave();
        Poll::Ready(match message {
            Some(message) => Err(SendError::Closed(message)),
            None => Ok(()),
        })
    }

    /// Leaves the list; the message, if the mailbox has not taken it.
    fn leave(&mut self) -> Option<M> {
        let waiter = core::mem::replace(&mut self.listed, core::ptr::null_mut());
        if waiter.is_null() {
            return None;
        }
        // SAFETY: it was listed at this gate; afterwards the waiter is ours alone.
        let message = unsafe {
            if let Some(gate) = self.actor.cell.gate() {
                gate.stop_waiting(waiter);
            }
            (*waiter).take()
        };
        self.waiter = None;
        message
    }
}

impl<M: Send + 'static> Drop for Sending<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if !self.listed.is_null() {
            drop(self.leave());
        }
    }
}

impl<M: Send + 'static> fmt::Debug for Sending<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("to", self.actor)
            .finish_non_exhaustive()
    }
}

/// Why a capacity was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapacityError {
    /// The mailbox has no bound.
    Unbounded,
    /// A mailbox needs room for one message.
    Zero,
    /// There is no memory for so much: see [`MailboxOptions::up_to`](crate::MailboxOptions::up_to).
    TooMuch {
        /// As much as there can be.
        most: usize,
    },
    /// The actor has ended.
    Ended,
    /// What changes a capacity is not built in: the feature `flow`.
    Fixed,
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbounded => f.write_str("the mailbox has no bound"),
            Self::Zero => f.write_str("a bounded mailbox needs room for one message"),
            Self::TooMuch { most } => {
                write!(f, "the mailbox was made for {most} messages at most")
            }
            Self::Ended => f.write_str("the actor has ended"),
            Self::Fixed => f.write_str("changing a capacity needs the feature `flow`"),
        }
    }
}

impl core::error::Error for CapacityError {}

// === waiting for start and end ===

/// Waits for the start or the end of an actor.
struct Watch {
    cell: CellPtr,
    notice: Option<Arc<Notice>>,
    start: bool,
}

impl Watch {
    fn new(cell: CellPtr, start: bool) -> Self {
        cell.retain();
        Self {
            cell,
            notice: None,
            start,
        }
    }

    /// Started: `None`. Ended: how.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<StopCause>> {
        if self.notice.is_none() {
            let notice = Notice::new(self.start);
            // SAFETY: the watch keeps the cell.
            if !unsafe { invoker::watch(self.cell, Arc::clone(&notice)) } {
                let started = self.start && self.cell.mailbox().marks.has(Marks::STARTED);
                return Poll::Ready((!started).then(|| self.cell.cause()));
            }
            self.notice = Some(notice);
        }
        match self
            .notice
            .as_ref()
            .and_then(|notice| notice.poll(cx.waker()))
        {
            Some(told) => Poll::Ready(told),
            None => Poll::Pending,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(notice) = &self.notice {
            notice.leave();
        }
        self.cell.release();
    }
}

/// The future of [`ActorRef::started`].
#[must_use = "futures do nothing unless awaited"]
pub struct Started(Watch);

impl Future for Started {
    type Output = Result<(), StartError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|ended| match ended {
            None => Ok(()),
            Some(StopCause::Failed(failure)) => Err(StartError::Failed(failure)),
            Some(cause) => Err(StartError::Stopped(cause)),
        })
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Started({})", self.0.cell.index())
    }
}

/// The future of [`ActorRef::stopped`].
#[must_use = "futures do nothing unless awaited"]
pub struct Stopped(Watch);

impl Future for Stopped {
    type Output = StopCause;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<StopCause> {
        self.0
            .poll(cx)
            .map(|ended| ended.unwrap_or(StopCause::Stopped))
    }
}

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stopped({})", self.0.cell.index())
    }
}
