//! States of an actor, for those whose behaviour depends on what came before.
//!
//! Behaviour that is swapped at run time (`become`) would be a boxed closure over the actor's fields, and the
//! compiler could not say which messages which one forgets. In Rust a state is an enum and the behaviour a `match` over
//! state and message, which the compiler checks. What is left to a part are the things around it: time-outs that end
//! with their state, the way back, and those who want to know.

use crate::actor::{Actor, Context};
use crate::timer::{Timer, TimerError, TimerKey};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// A state machine's state, as a field of an actor.
///
/// It lives and restarts with the actor's value: the factory makes it anew. An actor with two of them gives each a
/// [`timer_key`](Self::timer_key).
///
/// ```
/// use hikyaku_core::{Actor, Context, Failure, Fsm};
/// use std::time::Duration;
///
/// #[derive(Debug, PartialEq)]
/// enum Lock { Locked, Open }
///
/// enum Msg { Coin, Push, TooLate }
///
/// struct Turnstile { lock: Fsm<Lock> }
///
/// impl Actor for Turnstile {
///     type Msg = Msg;
///
///     async fn handle(&mut self, msg: Msg, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
///         match (self.lock.state(), msg) {
///             (Lock::Locked, Msg::Coin) => {
///                 self.lock.goto(Lock::Open, cx);
///                 self.lock.timeout(Duration::from_secs(10), Msg::TooLate, cx)?;
///             }
///             (Lock::Open, Msg::Push | Msg::TooLate) => self.lock.goto(Lock::Locked, cx),
///             (_, msg) => cx.unhandled(msg),
///         }
///         Ok(())
///     }
/// }
/// ```
pub struct Fsm<S> {
    /// The states to go back to.
    before: Vec<S>,
    state: S,
    key: TimerKey,
    listeners: Vec<(u32, Listener<S>)>,
    last: u32,
}

type Listener<S> = Box<dyn FnMut(&S, &S) + Send>;

/// Names a listener of an [`Fsm`], to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransitionListener(u32);

impl<S> Fsm<S> {
    /// In `state`.
    pub fn new(state: S) -> Self {
        Self {
            before: Vec::new(),
            state,
            key: TimerKey::from("hikyaku: the state's time-out"),
            listeners: Vec::new(),
            last: 0,
        }
    }

    /// The key of the timer that it uses among those of its actor.
    #[must_use]
    pub fn timer_key(mut self, key: impl Into<TimerKey>) -> Self {
        self.key = key.into();
        self
    }

    /// The state it is in.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The data in the state. To change it is not a transition.
    pub fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Goes over to a state, also if it is in one like it: the time-out of the old one ends, and the listeners hear of
    /// it.
    pub fn goto<A: Actor>(&mut self, state: S, cx: &mut Context<'_, A>) {
        let old = core::mem::replace(&mut self.state, state);
        self.entered(&old, cx);
    }

    /// As [`goto`](Self::goto), and remembers the old state for [`back`](Self::back).
    pub fn enter<A: Actor>(&mut self, state: S, cx: &mut Context<'_, A>) {
        let old = core::mem::replace(&mut self.state, state);
        self.entered(&old, cx);
        self.before.push(old);
    }

    /// Goes back to the state before the latest [`enter`](Self::enter). False if there is none, and nothing happens.
    pub fn back<A: Actor>(&mut self, cx: &mut Context<'_, A>) -> bool {
        let Some(before) = self.before.pop() else {
            return false;
        };
        self.goto(before, cx);
        true
    }

    fn entered<A: Actor>(&mut self, old: &S, cx: &mut Context<'_, A>) {
        cx.cancel_timer(self.key);
        for (_, listener) in &mut self.listeners {
            listener(old, &self.state);
        }
    }

    /// Sends the actor `message` if it is still in this state after so long. A second one takes the place of the
    /// first.
    ///
    /// # Errors
    /// [`TimerError`], see there.
    pub fn timeout<A: Actor>(
        &mut self,
        after: core::time::Duration,
        message: A::Msg,
        cx: &mut Context<'_, A>,
    ) -> Result<(), TimerError> {
        cx.start_timer(self.key, Timer::once(after, message))
    }

    /// Calls `listener` with the old and the new state at each transition.
    pub fn on_transition(
        &mut self,
        listener: impl FnMut(&S, &S) + Send + 'static,
    ) -> TransitionListener {
        self.last = self.last.wrapping_add(1);
        self.listeners.push((self.last, Box::new(listener)));
        TransitionListener(self.last)
    }

    /// Takes a listener back. False if it is not there.
    pub fn forget(&mut self, listener: TransitionListener) -> bool {
        let before = self.listeners.len();
        self.listeners.retain(|(number, _)| *number != listener.0);
        self.listeners.len() != before
    }
}

impl<S: fmt::Debug> fmt::Debug for Fsm<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fsm")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
