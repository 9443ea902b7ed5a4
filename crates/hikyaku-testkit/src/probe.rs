//! An actor in the test's hands.

use crate::decisions::lock;
use crate::driver::Sim;
use hikyaku_core::{Actor, ActorRef, Context, Failure};
use std::any::type_name;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So many of the last messages are shown when an expectation fails.
const SHOWN: usize = 32;

/// An actor that keeps what it is sent until the test asks for it.
///
/// Each expectation runs the simulation until it is met, or until everything is idle; with
/// [`within`](Self::within), the clock moves then, to the next timer, and it goes on. One that is not met panics and
/// lists what the probe has received.
///
/// ```
/// use hikyaku_testkit::Sim;
///
/// let mut sim = Sim::new(1);
/// let mut probe = sim.probe::<u32>();
/// probe.actor().tell_all([1, 2, 3]).unwrap();
/// assert_eq!(probe.expect(&mut sim), 1);
/// assert_eq!(probe.fish(&mut sim, |n| *n == 3), 3);
/// probe.expect_none(&mut sim);
/// ```
pub struct Probe<M> {
    actor: ActorRef<M>,
    inbox: Arc<Mutex<Inbox<M>>>,
    within: Duration,
}

type Answer<M> = Box<dyn FnMut(M) -> Option<M> + Send>;

pub(crate) struct Inbox<M> {
    unread: VecDeque<M>,
    /// The last messages, as texts, read or not.
    last: VecDeque<String>,
    answer: Option<Answer<M>>,
}

/// The actor of a probe.
struct Ear<M>(Arc<Mutex<Inbox<M>>>);

impl<M: fmt::Debug + Send + 'static> Actor for Ear<M> {
    type Msg = M;

    async fn handle(&mut self, message: M, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        let text = format!("{message:?}");
        let answer = {
            let mut inbox = lock(&self.0);
            if inbox.last.len() == SHOWN {
                inbox.last.pop_front();
            }
            inbox.last.push_back(text);
            inbox.answer.take()
        };
        // Not under the lock: it is the test's code.
        let (message, answer) = match answer {
            Some(mut answer) => (answer(message), Some(answer)),
            None => (Some(message), None),
        };
        let mut inbox = lock(&self.0);
        inbox.answer = answer;
        inbox.unread.extend(message);
        Ok(())
    }
}

/// What a simulation knows of its probes.
pub(crate) trait Unread {
    /// What was not read, if anything.
    fn unread(&self) -> Option<String>;
}

impl<M: fmt::Debug> Unread for Mutex<Inbox<M>> {
    fn unread(&self) -> Option<String> {
        let inbox = lock(self);
        let first = inbox.unread.front()?;
        let (count, of) = (inbox.unread.len(), type_name::<M>());
        Some(format!(
            "{count} unread in a probe of {of}; the first: {first:?}"
        ))
    }
}

impl<M: fmt::Debug + Send + 'static> Probe<M> {
    pub(crate) fn new(sim: &Sim) -> (Self, Arc<Mutex<Inbox<M>>>) {
        let inbox = Arc::new(Mutex::new(Inbox {
            unread: VecDeque::new(),
            last: VecDeque::new(),
            answer: None,
        }));
        let heard = Arc::clone(&inbox);
        let actor = sim
            .spawn(move || Ear(Arc::clone(&heard)))
            .expect("a probe can be spawned until the system stops");
        let probe = Self {
            actor,
            inbox: Arc::clone(&inbox),
            within: Duration::ZERO,
        };
        (probe, inbox)
    }

    /// The reference to give to others.
    pub fn actor(&self) -> ActorRef<M> {
        self.actor.clone()
    }

    /// Handles each message from now on as it arrives, in the probe's actor: to answer an ask, or
    /// to pass something on. What it returns is kept for the test as usual.
    pub fn reply_with(&self, answer: impl FnMut(M) -> Option<M> + Send + 'static) {
        let before = lock(&self.inbox).answer.replace(Box::new(answer));
        drop(before);
    }

    /// Gives the next expectation so much virtual time. Whenever it is not met and everything is
    /// idle, the clock of the simulation moves to the next timer.
    pub fn within(&mut self, limit: Duration) -> &mut Self {
        self.within = limit;
        self
    }

    /// The next message.
    ///
    /// # Panics
    /// If none arrives.
    #[track_caller]
    pub fn expect(&mut self, sim: &mut Sim) -> M {
        let mut left = mem::take(&mut self.within);
        match self.next(sim, &mut left) {
            Some(message) => message,
            None => self.fail(sim, "a message was expected and none arrived"),
        }
    }

    /// The next message, which has to be one for which `is_it` holds.
    ///
    /// # Panics
    /// If none arrives, or another one.
    #[track_caller]
    pub fn expect_where(&mut self, sim: &mut Sim, is_it: impl FnOnce(&M) -> bool) -> M {
        let message = self.expect(sim);
        if !is_it(&message) {
            self.fail(sim, &format!("{message:?} is not the message expected"));
        }
        message
    }

    /// The next message for which `is_it` holds. Those before it are thrown away.
    ///
    /// # Panics
    /// If none arrives.
    #[track_caller]
    pub fn fish(&mut self, sim: &mut Sim, mut is_it: impl FnMut(&M) -> bool) -> M {
        let mut left = mem::take(&mut self.within);
        while let Some(message) = self.next(sim, &mut left) {
            if is_it(&message) {
                return message;
            }
        }
        self.fail(sim, "the message fished for did not arrive");
    }

    /// The next so many messages.
    ///
    /// # Panics
    /// If fewer arrive.
    #[track_caller]
    pub fn expect_n(&mut self, sim: &mut Sim, n: usize) -> Vec<M> {
        let mut left = mem::take(&mut self.within);
        let mut messages = Vec::with_capacity(n);
        while messages.len() < n {
            match self.next(sim, &mut left) {
                Some(message) => messages.push(message),
                None => {
                    let arrived = messages.len();
                    self.fail(
                        sim,
                        &format!("{n} messages were expected and {arrived} arrived"),
                    );
                }
            }
        }
        messages
    }

    /// Takes as many messages as are expected, which have to be these, in any order.
    ///
    /// # Panics
    /// If fewer arrive, or others.
    #[track_caller]
    pub fn expect_all(&mut self, sim: &mut Sim, expected: impl IntoIterator<Item = M>)
    where
        M: PartialEq,
    {
        let mut missing: Vec<M> = expected.into_iter().collect();
        for message in self.expect_n(sim, missing.len()) {
            match missing.iter().position(|it| *it == message) {
                Some(place) => drop(missing.remove(place)),
                None => self.fail(
                    sim,
                    &format!("{message:?} is not among the messages expected, {missing:?}"),
                ),
            }
        }
    }

    /// Nothing is left unread and nothing arrives.
    ///
    /// # Panics
    /// If something does.
    #[track_caller]
    pub fn expect_none(&mut self, sim: &mut Sim) {
        let mut left = mem::take(&mut self.within);
        if let Some(message) = self.next(sim, &mut left) {
            self.fail(sim, &format!("nothing was expected, and {message:?} came"));
        }
    }

    #[track_caller]
    fn next(&self, sim: &mut Sim, left: &mut Duration) -> Option<M> {
        loop {
            let inbox = &*self.inbox;
            let arrived =
                sim.run_towards("a probe has a message", || !lock(inbox).unread.is_empty());
            if arrived || !sim.advance_to_timer(left) {
                return lock(inbox).unread.pop_front();
            }
        }
    }

    #[track_caller]
    fn fail(&self, sim: &Sim, what: &str) -> ! {
        let inbox = lock(&self.inbox);
        let mut text = format!("{what}; this probe of {} has received", type_name::<M>());
        let read = inbox.last.len().saturating_sub(inbox.unread.len());
        for (place, message) in inbox.last.iter().enumerate() {
            let mark = if place < read { "taken" } else { "unread" };
            text.push_str(&format!("\n    {mark:<7} {message}"));
        }
        if inbox.last.is_empty() {
            text.push_str(" nothing");
        }
        drop(inbox);
        sim.fail(&text);
    }
}

impl<M> fmt::Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("actor", &self.actor)
            .field("unread", &lock(&self.inbox).unread.len())
            .finish_non_exhaustive()
    }
}
