//! Messages that nobody will handle.

use crate::cell::CellPtr;
use crate::event_stream::{EventStream, News};
use crate::late::{ByType, Ends, Late};
use crate::registry::MailboxIndex;
use crate::sync::{self, Arc, AtomicUsize, Mutex, Ordering};
use crate::system::System;
use alloc::boxed::Box;
use core::any::{Any, TypeId};
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr;

/// A message that will not be handled and that nobody has got back: one that was accepted, or a question that was
/// refused. Other messages that are refused are in the error that the sender gets.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The actor it was for.
    pub target: MailboxIndex,
    /// The message itself.
    pub message: &'a dyn Any,
    /// The name of its type.
    pub type_name: &'static str,
    /// Why it is not handled.
    pub reason: DeadLetterReason,
    /// The actor that sent it, if that is known: where a message is lost in the call that sends it, by a handler.
    /// A mailbox does not note who sent what is in it.
    pub sender: Option<MailboxIndex>,
}

/// Why a message became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// The actor ended before its turn came.
    Stopped,
    /// It was a question, and the actor took no messages, or had no room. The asker has got an error.
    Bounced,
    /// The handler had no use for it: [`Context::unhandled`](crate::Context::unhandled).
    Unhandled,
    /// A middleware refused it, for this.
    Refused(&'static str),
    /// The mailbox had no room, and its policy is to drop a message
    /// ([`MailboxOverflowPolicy`](crate::MailboxOverflowPolicy)).
    Overflow,
}

type Listener = Box<dyn Fn(&DeadLetter<'_>) + Send + Sync>;

/// Is this message, of a certain type, not worth a report?
type IsTrivial = Box<dyn Fn(&dyn Any) -> bool + Send + Sync>;

/// Counts dead letters and shows them to those who listen.
pub(crate) struct DeadLetters {
    count: AtomicUsize,
    listener: Option<Listener>,
    pub(crate) events: EventStream,
    trivial: Late<dyn Trivial>,
}

/// What is not worth a report.
trait Trivial: Ends<ByType<Arc<IsTrivial>>> {
    fn includes(&self, message: &dyn Any) -> bool;
}

/// By the type of the message; `None` once the system has stopped.
type Known = Mutex<Option<ByType<Arc<IsTrivial>>>>;

impl Trivial for Known {
    /// A panic of the user's code means: no.
    fn includes(&self, message: &dyn Any) -> bool {
        let id = message.type_id();
        let is_trivial = self.with(|known| known.as_ref()?.0.get(&id).cloned());
        let mut answer = false;
        if let Some(is_trivial) = is_trivial {
            sync::quietly(|| {
                answer = is_trivial(message);
                drop(is_trivial);
            });
        }
        answer
    }
}

/// A message that becomes a dead letter, where it is.
pub(crate) struct Lost {
    pub(crate) message: *mut dyn Any,
    pub(crate) type_name: &'static str,
}

impl Lost {
    fn new<M: 'static>(message: &mut ManuallyDrop<M>) -> Self {
        Self {
            message: &raw mut **message,
            type_name: core::any::type_name::<M>(),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(listener: Option<Listener>) -> Self {
        Self {
            count: AtomicUsize::new(0),
            listener,
            events: EventStream::new(),
            trivial: Late::new(),
        }
    }

    /// Takes a message out of the world. Panics of the listener and of the message's destructor
    /// end here.
    pub(crate) fn receive<M: 'static>(
        &self,
        target: MailboxIndex,
        message: M,
        reason: DeadLetterReason,
    ) {
        let mut message = ManuallyDrop::new(message);
        let lost = Lost::new(&mut message);
        // SAFETY: not used any more.
        unsafe { self.take(target, lost, reason) };
    }

    /// A message is lost while it is sent, by the actor that runs on this thread, if one does. As
    /// [`receive`](Self::receive).
    pub(crate) fn receive_from_here<M: 'static>(
        &self,
        target: CellPtr,
        message: M,
        reason: DeadLetterReason,
    ) {
        let mut message = ManuallyDrop::new(message);
        let lost = Lost::new(&mut message);
        // SAFETY: not used any more.
        unsafe { self.take_from_here(target, lost, reason) };
    }

    /// As [`receive_from_here`](Self::receive_from_here), by those who do not know the type.
    ///
    /// # Safety
    /// The message is there, and used no more.
    pub(crate) unsafe fn take_from_here(
        &self,
        target: CellPtr,
        lost: Lost,
        reason: DeadLetterReason,
    ) {
        let shared = &target.home().shared;
        // Without threads it may be an interrupt that sends.
        let sender = CellPtr::running().filter(|cell| sync::KNOWS_HERE && shared.is_of(*cell));
        let sender = sender.map(CellPtr::index);
        // SAFETY: as the caller promises.
        unsafe { self.take_from(sender, target.index(), lost, reason) };
    }

    /// As [`receive`](Self::receive), by those who do not know the type.
    ///
    /// # Safety
    /// The message is there, and used no more.
    pub(crate) unsafe fn take(&self, target: MailboxIndex, lost: Lost, reason: DeadLetterReason) {
        // SAFETY: as the caller promises.
        unsafe { self.take_from(None, target, lost, reason) };
    }

    /// # Safety
    /// As [`take`](Self::take).
    unsafe fn take_from(
        &self,
        sender: Option<MailboxIndex>,
        target: MailboxIndex,
        lost: Lost,
        reason: DeadLetterReason,
    ) {
        // Relaxed: a statistic.
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.listener.is_some() || self.events.is_listening() {
            // SAFETY: it is there until it is dropped below.
            let message = unsafe { &*lost.message };
            let trivial = self.trivial.get();
            if !trivial.is_some_and(|it| it.includes(message)) {
                self.report(&DeadLetter {
                    target,
                    message,
                    type_name: lost.type_name,
                    reason,
                    sender,
                });
            }
        }
        // SAFETY: as the caller promises.
        sync::quietly(|| unsafe { ptr::drop_in_place(lost.message) });
    }

    fn report(&self, letter: &DeadLetter<'_>) {
        if let Some(listener) = &self.listener {
            sync::quietly(|| listener(letter));
        }
        self.events.publish(&News::DeadLetter(letter));
    }

    pub(crate) fn count(&self) -> usize {
        // Relaxed: a statistic.
        self.count.load(Ordering::Relaxed)
    }

    /// The system has stopped. The user's code may hold the system, so it must go.
    pub(crate) fn end(&self) {
        if let Some(trivial) = self.trivial.close() {
            trivial.end();
        }
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl System {
    /// Marks messages of type `M` whose loss is not worth a report: those for which `is_trivial` holds.
    /// As dead letters they are counted, and shown neither to
    /// [`on_dead_letter`](crate::SystemBuilder::on_dead_letter) nor on the [event stream](Self::events).
    ///
    /// For messages that are expected to be lost, such as the ticks of a timer. An actor may mark its own
    /// in `started`. The last call for a type counts.
    ///
    /// ```
    /// # use hikyaku_core::System;
    /// enum PumpMsg { Tick, Order(u32) }
    ///
    /// let (system, _workers) = System::builder("demo").build()?;
    /// system.ignore_dead_letters(|msg: &PumpMsg| matches!(msg, PumpMsg::Tick));
    /// # let _ = PumpMsg::Order(1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ignore_dead_letters<M: 'static>(
        &self,
        is_trivial: impl Fn(&M) -> bool + Send + Sync + 'static,
    ) {
        let erased: IsTrivial =
            Box::new(move |message| message.downcast_ref().is_some_and(&is_trivial));
        let erased = Arc::new(erased);
        let letters = &self.home().shared.dead_letters;
        let new = || -> Box<dyn Trivial> { Box::new(Known::new(Some(ByType::default()))) };
        let Some(trivial) = letters.trivial.or_make(new) else {
            return;
        };
        let before = trivial.value().with(|known| {
            let id = TypeId::of::<M>();
            known.as_mut()?.0.insert(id, Arc::clone(&erased))
        });
        // Outside the lock, as `erased` is: they are the user's.
        drop(before);
    }
}
