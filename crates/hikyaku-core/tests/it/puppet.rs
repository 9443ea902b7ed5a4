//! An actor that does what its messages say and logs it, and what tests of it need.

use hikyaku_core::{
    Actor, ActorRef, Context, Failure, NotInfluenceReceiveTimeout, Reply, RestartPolicy,
    SpawnOptions,
};
use hikyaku_testkit::Sim;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};

/// For an actor that ends when it fails.
pub(crate) fn mortal() -> SpawnOptions {
    SpawnOptions::new().restart(RestartPolicy::Temporary)
}

/// What `call` gives in the hands of `actor`; none if it does not come to that.
pub(crate) fn within<T: Send + 'static>(
    sim: &mut Sim,
    actor: &ActorRef<Do>,
    call: impl FnOnce(&mut Context<'_, Puppet>) -> T + Send + 'static,
) -> Option<T> {
    let slot = Arc::new(Mutex::new(None));
    let out = Arc::clone(&slot);
    let _ = actor.tell(Do::call(move |cx| *out.lock().unwrap() = Some(call(cx))));
    sim.run_until_idle();
    slot.lock().unwrap().take()
}

/// Spawns a child of `parent`.
pub(crate) fn child_of(
    sim: &mut Sim,
    parent: &ActorRef<Do>,
    options: SpawnOptions,
    factory: impl FnMut() -> Puppet + Send + 'static,
) -> ActorRef<Do> {
    within(sim, parent, move |cx| {
        cx.spawn_with(options, factory).unwrap()
    })
    .unwrap()
}

/// What happened, in order. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// Empties it.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Empties it, as one line.
    pub(crate) fn line(&self) -> String {
        self.take().join(" ")
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// A waker that logs `name` each time it is woken.
    pub(crate) fn waker(&self, name: impl Into<String>) -> Waker {
        struct Logging(Log, String);
        impl Wake for Logging {
            fn wake(self: Arc<Self>) {
                self.0.push(self.1.clone());
            }
        }
        Waker::from(Arc::new(Logging(self.clone(), name.into())))
    }
}

/// Something to await that the test opens. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub(crate) fn open(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    pub(crate) async fn pass(&self) {
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicIsize>);

impl Count {
    /// A value that counts until it is dropped.
    pub(crate) fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// How many are alive. Below zero if one was dropped twice.
    pub(crate) fn alive(&self) -> isize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a puppet is told.
pub(crate) enum Do {
    /// Log a number.
    Note(u64),
    /// The same, with something to drop.
    Carry(u64, #[allow(dead_code, reason = "for its drop")] Counted),
    /// Log, wait, log.
    Pass(u64, Gate),
    /// Answer with a number.
    Answer(Reply<u64>, u64),
    /// Keep the question.
    Keep(Reply<u64>),
    /// Wait, then go on with another.
    After(Gate, Box<Do>),
    /// Yield so often, then log.
    Yield(usize, u64),
    /// Return an error.
    Fail(&'static str),
    /// Panic.
    #[cfg(feature = "std")]
    Panic(&'static str),
    /// Do it with the context in hand.
    Call(Call),
    /// Begin something that may await, and end with it.
    Run(Run),
    /// Await it.
    Await(Pin<Box<dyn Future<Output = ()> + Send>>),
}

type Call = Box<dyn FnOnce(&mut Context<'_, Puppet>) + Send>;
type Run =
    Box<dyn FnOnce(&mut Context<'_, Puppet>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Do {
    pub(crate) fn call(call: impl FnOnce(&mut Context<'_, Puppet>) + Send + 'static) -> Self {
        Self::Call(Box::new(call))
    }

    pub(crate) fn run<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(&mut Context<'_, Puppet>) -> F + Send + 'static,
    ) -> Self {
        Self::Run(Box::new(|cx| Box::pin(run(cx))))
    }

    /// The number it carries.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Note(n)
            | Self::Carry(n, _)
            | Self::Pass(n, _)
            | Self::Answer(_, n)
            | Self::Yield(_, n) => Some(*n),
            _ => None,
        }
    }
}

/// Notes from here on do not influence a receive timeout.
pub(crate) const QUIET: u64 = 1000;

impl NotInfluenceReceiveTimeout for Do {
    fn does_not_influence(&self) -> bool {
        self.number().is_some_and(|n| n >= QUIET)
    }
}

/// What a hook does.
#[derive(Clone, Debug, Default)]
pub(crate) enum Hook {
    #[default]
    Fine,
    Wait(Gate),
    Fail,
    #[cfg(feature = "std")]
    Panic,
    #[cfg(feature = "std")]
    PanicAfter(Gate),
    Stop,
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Puppet {
    name: String,
    log: Log,
    started: Hook,
    restarting: Hook,
    stopped: Hook,
    kept: Vec<Reply<u64>>,
    _counted: Option<Counted>,
}

impl Puppet {
    pub(crate) fn new(name: &str, log: &Log) -> Self {
        Self {
            name: name.into(),
            log: log.clone(),
            started: Hook::Fine,
            restarting: Hook::Fine,
            stopped: Hook::Fine,
            kept: Vec::new(),
            _counted: None,
        }
    }

    /// A factory for the name and log.
    pub(crate) fn factory(name: &str, log: &Log) -> impl FnMut() -> Self + Send + 'static {
        let (name, log) = (name.to_string(), log.clone());
        move || Self::new(&name, &log)
    }

    pub(crate) fn counted(mut self, counted: Counted) -> Self {
        self._counted = Some(counted);
        self
    }

    pub(crate) fn started(mut self, hook: &Hook) -> Self {
        self.started = hook.clone();
        self
    }

    pub(crate) fn restarting(mut self, hook: &Hook) -> Self {
        self.restarting = hook.clone();
        self
    }

    pub(crate) fn stopped(mut self, hook: &Hook) -> Self {
        self.stopped = hook.clone();
        self
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.log.push(format!("{}{what}", self.name));
    }
}

impl Hook {
    async fn run(&self, cx: &mut Context<'_, Puppet>) -> Result<(), Failure> {
        match self {
            Self::Fine => {}
            Self::Wait(gate) => gate.pass().await,
            Self::Fail => return Err(Failure::msg("as asked")),
            #[cfg(feature = "std")]
            Self::Panic => panic!("as asked"),
            #[cfg(feature = "std")]
            Self::PanicAfter(gate) => {
                gate.pass().await;
                panic!("as asked");
            }
            Self::Stop => cx.stop(),
        }
        Ok(())
    }
}

impl Actor for Puppet {
    type Msg = Do;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.note("+");
        self.started.run(cx).await
    }

    async fn handle(&mut self, msg: Do, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let mut msg = msg;
        while let Do::After(gate, next) = msg {
            gate.pass().await;
            msg = *next;
        }
        match msg {
            Do::Note(n) | Do::Carry(n, _) => self.note(n),
            Do::Pass(n, gate) => {
                self.note(format_args!("<{n}"));
                gate.pass().await;
                self.note(format_args!("{n}>"));
            }
            Do::Answer(reply, n) => {
                let _ = reply.send(n);
            }
            Do::Keep(reply) => self.kept.push(reply),
            Do::Yield(times, n) => {
                for _ in 0..times {
                    cx.yield_now().await;
                }
                self.note(n);
            }
            Do::Fail(text) => return Err(Failure::msg(text)),
            #[cfg(feature = "std")]
            Do::Panic(text) => panic!("{text}"),
            Do::Call(call) => call(cx),
            Do::Run(run) => run(cx).await,
            Do::Await(future) => future.await,
            Do::After(..) => unreachable!("taken apart above"),
        }
        Ok(())
    }

    async fn restarting(&mut self, cx: &mut Context<'_, Self>) {
        self.note("~");
        let _ = self.restarting.run(cx).await;
    }

    async fn stopped(&mut self, cx: &mut Context<'_, Self>) {
        self.note("-");
        let _ = self.stopped.run(cx).await;
    }
}
