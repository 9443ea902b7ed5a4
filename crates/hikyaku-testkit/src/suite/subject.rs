//! The actor that the scenarios are played with, and what they need around it.

use super::Runtime;
use hikyaku_core::{
    Actor, ActorRef, Context, Failure, RestartPolicy, SendError, SpawnOptions, StopCause, once,
};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// A way to tell an actor to end, and what is expected then.
pub(super) type End = (&'static str, fn(&ActorRef<Act>));

/// How many of a thing a long scenario has.
pub(super) const MANY: u64 = if cfg!(miri) { 50 } else { 10_000 };

/// What happened, in order. Clones are the same log.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn push(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// Empties it, as one line.
    pub(super) fn line(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }
}

/// Something to await that somebody else opens. Clones are the same gate.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub(super) fn open(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.lock().unwrap().0
    }

    pub(super) async fn pass(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Counts values that are alive. Clones are the same count.
#[derive(Clone, Default)]
pub(super) struct Count(Arc<AtomicIsize>);

impl Count {
    /// A value that counts until it is dropped.
    pub(super) fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// How many are alive. Below zero if one was dropped twice.
    pub(super) fn alive(&self) -> isize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts until it is dropped.
pub(super) struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the subject is told to do.
pub(super) enum Act {
    /// Log a number.
    Note(u64),
    /// Run a closure with the context in hand.
    Call(Call),
    /// Await a future.
    Await(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Yield until the gate is open.
    YieldUntil(Gate),
    /// Return an error.
    Fail(&'static str),
}

type Call = Box<dyn FnOnce(&mut Context<'_, Subject>) + Send>;

impl Act {
    pub(super) fn call(call: impl FnOnce(&mut Context<'_, Subject>) + Send + 'static) -> Self {
        Self::Call(Box::new(call))
    }

    pub(super) fn run(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::Await(Box::pin(future))
    }

    /// The number of a note.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Note(n) => Some(*n),
            _ => None,
        }
    }

    /// The numbers of several notes.
    pub(super) fn numbers(acts: &[Self]) -> Vec<u64> {
        acts.iter().filter_map(Self::number).collect()
    }
}

/// The actor: it logs its hooks and its notes, each after its name.
pub(super) struct Subject {
    name: String,
    log: Log,
    on_start: Option<Act>,
    on_stop: Option<Act>,
}

impl Subject {
    pub(super) fn new(name: impl Into<String>, log: &Log) -> Self {
        Self {
            name: name.into(),
            log: log.clone(),
            on_start: None,
            on_stop: None,
        }
    }

    /// Does so in `started`, after the log.
    pub(super) fn on_start(mut self, act: Act) -> Self {
        self.on_start = Some(act);
        self
    }

    /// Does so in `stopped`, after the log.
    pub(super) fn on_stop(mut self, act: Act) -> Self {
        self.on_stop = Some(act);
        self
    }

    fn note(&self, what: impl fmt::Display) {
        self.log.push(format!("{}{what}", self.name));
    }

    async fn perform(&mut self, act: Act, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match act {
            Act::Note(n) => self.note(n),
            Act::Call(call) => call(cx),
            Act::Await(future) => future.await,
            Act::YieldUntil(gate) => {
                while !gate.is_open() {
                    cx.yield_now().await;
                }
            }
            Act::Fail(text) => return Err(Failure::msg(text)),
        }
        Ok(())
    }
}

impl Actor for Subject {
    type Msg = Act;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.note("+");
        match self.on_start.take() {
            Some(act) => self.perform(act, cx).await,
            None => Ok(()),
        }
    }

    async fn handle(&mut self, act: Act, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.perform(act, cx).await
    }

    async fn stopped(&mut self, cx: &mut Context<'_, Self>) {
        self.note("-");
        if let Some(act) = self.on_stop.take() {
            let _ = self.perform(act, cx).await;
        }
    }
}

/// A subject with default options. It ends when it fails.
pub(super) fn spawn(runtime: &impl Runtime, name: &str, log: &Log) -> ActorRef<Act> {
    spawn_with(runtime, SpawnOptions::new(), name, log)
}

/// A subject.
pub(super) fn spawn_with(
    runtime: &impl Runtime,
    options: SpawnOptions,
    name: &str,
    log: &Log,
) -> ActorRef<Act> {
    let options = options.restart(RestartPolicy::Temporary);
    runtime
        .spawn(options, once(Subject::new(name, log)))
        .unwrap()
}

/// Puts a handler into the subject's hands that awaits, and waits until it does so. It ends when the
/// gate is opened.
pub(super) async fn occupy(actor: &ActorRef<Act>) -> Gate {
    let (inside, gate) = (Gate::default(), Gate::default());
    let (entered, wait) = (inside.clone(), gate.clone());
    actor
        .tell(Act::run(async move {
            entered.open();
            wait.pass().await;
        }))
        .unwrap();
    inside.pass().await;
    gate
}

/// Waits until the subject has handled what it was sent before.
pub(super) async fn settle(actor: &ActorRef<Act>) {
    let settled = actor.ask(|reply| {
        Act::call(move |_| {
            let _ = reply.send(());
        })
    });
    settled.await.unwrap();
}

/// Awaits all of these at once; their results in their order.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|f| Some(Box::pin(f))).collect();
    let mut outputs: Vec<_> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            let poll = future.as_mut().map(|future| future.as_mut().poll(cx));
            if let Some(Poll::Ready(ready)) = poll {
                (*future, *output) = (None, Some(ready));
            }
        }
        match futures.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Polls a future once; true if it is done.
pub(super) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Shorter than the cause itself.
pub(super) fn text(cause: &StopCause) -> String {
    match cause {
        StopCause::Failed(failure) => failure.to_string(),
        _ => cause.to_string(),
    }
}

/// The number of a note that was refused because the actor takes no more.
pub(super) fn closed(refused: Result<(), SendError<Act>>) -> Option<u64> {
    match refused {
        Err(SendError::Closed(act)) => act.number(),
        _ => None,
    }
}
