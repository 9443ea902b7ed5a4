//! Futures beside the actor.

use super::signals::Signals;
use super::{Agenda, Desk, Duty, Entry, Mail, Place, Source, and_wait, once};
use crate::failure::Failure;
use crate::invoker::fail_with;
use crate::mailbox::Marks;
use crate::registry::MailboxIndex;
use crate::sync::{self, Arc, Mutex, Wakes, Waking};
use crate::timer::TimerKey;
use alloc::boxed::Box;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A future that makes messages.
pub(crate) trait Task<M> {
    /// The next message, if there is one, and whether there may be more.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Option<M>, More)>;
}

/// What a task does after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    /// It is polled again when the message has been handled.
    Later,
    Over,
}

/// A task on an agenda, with the message that has not had its turn.
pub(crate) struct Given<T, M> {
    task: Option<T>,
    ready: Option<M>,
    waker: Option<TaskWaker>,
}

impl<T, M> Given<T, M> {
    pub(crate) fn new(task: T) -> Self {
        Self {
            task: Some(task),
            ready: None,
            waker: None,
        }
    }

    fn task(self: Pin<&mut Self>) -> Pin<&mut Option<T>> {
        // SAFETY: the task is pinned as the whole is: it is moved neither here nor by `make`.
        unsafe { self.map_unchecked_mut(|this| &mut this.task) }
    }
}

/// A task as the agenda knows it.
pub(crate) trait Job {
    /// Is there a message now, and may there be more?
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(bool, More)>;

    /// Drops the future.
    fn end(self: Pin<&mut Self>);

    fn waker(self: Pin<&mut Self>) -> &mut Option<TaskWaker>;
}

impl<M, T: Task<M>> Job for Given<T, M> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(bool, More)> {
        let Some(task) = self.as_mut().task().as_pin_mut() else {
            return Poll::Pending;
        };
        task.poll(cx).map(|(message, more)| {
            let handed = message.is_some();
            // SAFETY: the message is not pinned.
            unsafe { self.get_unchecked_mut() }.ready = message;
            (handed, more)
        })
    }

    fn end(self: Pin<&mut Self>) {
        self.task().set(None);
    }

    fn waker(self: Pin<&mut Self>) -> &mut Option<TaskWaker> {
        // SAFETY: the waker is not pinned.
        unsafe { &mut self.get_unchecked_mut().waker }
    }
}

impl<M: 'static, T: Task<M> + 'static> Source for Given<T, M> {
    unsafe fn make(self: Pin<&mut Self>, out: *mut ()) -> bool {
        // SAFETY: the message is not pinned.
        let ready = unsafe { self.get_unchecked_mut() }.ready.take();
        ready.is_some_and(|message| {
            // SAFETY: as the caller promises; a context makes it for its actor's messages.
            unsafe { out.cast::<M>().write(message) };
            true
        })
    }

    fn job(self: Pin<&mut Self>) -> Option<Pin<&mut dyn Job>> {
        Some(self)
    }
}

/// The waker of a task.
pub(crate) type TaskWaker = Arc<Waking<Bell>>;

pub(crate) struct Bell {
    mail: Arc<Mail>,
    place: Place,
    /// Is an item on its way?
    woken: Mutex<bool>,
}

impl Wakes for Bell {
    fn wake(&self) {
        let before = self.woken.with(|woken| core::mem::replace(woken, true));
        if !before {
            self.mail.deliver(self.place);
        }
    }
}

const TASK: &Duty = &Duty {
    arrive: poll,
    turn: and_wait,
    handled: go_on,
    ends: false,
};

/// There will be no other message.
const LAST: &Duty = &Duty {
    turn: once,
    ..*TASK
};

/// A future panicked. The actor fails when the rest of the mail is in, so that nothing of it is lost.
#[cold]
fn breaks(desk: &Desk, panic: sync::Panic) {
    let cell = desk.mail.cell;
    if cell.mailbox().marks.has(Marks::FAULT) {
        return sync::discard(panic);
    }
    // SAFETY: an agenda is its runner's, who holds the ticket.
    unsafe { fail_with(cell, Failure::panic(panic)) };
}

fn poll(entry: &mut Entry, desk: &mut Desk, place: Place) -> bool {
    desk.polls += 1;
    let Some(mut job) = entry.source.as_mut().job() else {
        return false;
    };
    let Some(bell) = job.as_mut().waker() else {
        return false;
    };
    // Before the poll: a wake that comes during it counts.
    bell.0.woken.with(|woken| *woken = false);
    if entry.waits {
        return true;
    }
    let waker = Waking::waker(bell);
    let polled = sync::catch(|| job.as_mut().poll(&mut Context::from_waker(&waker)));
    let (handed, more) = match polled {
        Ok(Poll::Pending) => return true,
        Ok(Poll::Ready(step)) => step,
        Err(panic) => {
            breaks(desk, panic);
            (false, More::Over)
        }
    };
    if more == More::Over {
        entry.duty = LAST;
        if let Err(panic) = sync::catch(|| job.end()) {
            breaks(desk, panic);
        }
    }
    entry.waits = handed;
    if !handed {
        return more == More::Later;
    }
    match &mut desk.signals {
        // Only those that tell of an end have a name.
        Some(line) if entry.name.is_some() => line.join(place),
        _ => desk.due.push(place),
    }
    true
}

fn go_on(entry: &mut Entry, _: &mut Desk, _: Place) {
    entry.waits = false;
    if let Some(job) = entry.source.as_mut().job()
        && let Some(bell) = job.waker()
    {
        bell.0.wake();
    }
}

impl Agenda {
    /// Takes a future that makes messages. It is polled first when the handler in hand is over.
    pub(crate) fn give(&mut self, task: Pin<Box<dyn Source>>) {
        self.run_task(None, task);
    }

    /// Takes a task that tells of the end of another actor. One that is there already is replaced.
    pub(crate) fn watch(&mut self, of: MailboxIndex, task: Pin<Box<dyn Source>>) {
        self.unwatch(of);
        self.desk
            .signals
            .get_or_insert_with(|| Box::new(Signals::default()));
        let name = TimerKey::watch(of);
        let place = self.run_task(Some(name), task);
        self.names.insert(name, place);
    }

    /// Takes a watch back, also if the end is known already and was not handed over.
    pub(crate) fn unwatch(&mut self, of: MailboxIndex) -> bool {
        self.cancel(TimerKey::watch(of))
    }

    fn run_task(&mut self, name: Option<TimerKey>, mut source: Pin<Box<dyn Source>>) -> Place {
        let bell = Arc::new(Waking(Bell {
            mail: Arc::clone(&self.desk.mail),
            place: self.entries.next(),
            woken: Mutex::new(false),
        }));
        if let Some(job) = source.as_mut().job() {
            *job.waker() = Some(Arc::clone(&bell));
        }
        let place = self.entries.put(Entry {
            name,
            duty: TASK,
            source,
            late: None,
            period: 0,
            at: 0,
            set: None,
            until: 0,
            waits: false,
        });
        self.make_room();
        bell.0.wake();
        place
    }
}
