//! Why an actor failed, and how it ended.

use crate::registry::MailboxIndex;
use crate::sync::{self, Arc, Panic};
use crate::timer::TimerError;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::any::Any;
use core::error::Error;
use core::fmt;
use core::task::Poll;

/// Why a handler or a hook failed: an error, or a panic.
///
/// Every error converts into it, so `?` works in handlers. `Failure` is not an error itself, for
/// the same reason; [`Failure::error`] gives the error inside.
///
/// ```
/// use hikyaku_core::Failure;
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     Ok(text.parse()?)
/// }
/// assert!(parse("7").is_ok());
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Clone)]
pub struct Failure {
    reason: Arc<Reason>,
    when: When,
}

// What a handler returns comes in two registers.
const _: () = assert!(size_of::<Poll<Result<(), Failure>>>() == 2 * size_of::<usize>());

/// In which part of its life the actor was, and whether anybody may deal with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Running,
    Starting,
    /// It stopped itself, and is to be there always.
    Exit,
    Fatal,
    FatalAtStart,
}

enum Reason {
    Error(Quiet),
    /// What a handler with timers passes on by `?`. As it is, it brings no table of an error along.
    Timer(TimerError),
    /// The runtime's own.
    Text(&'static str),
    Message(String),
    Panic(String),
}

/// An error value whose destructor may panic without harm: failures are dropped in places where a
/// panic would take a worker along.
struct Quiet {
    error: Option<Box<dyn Error + Send + Sync>>,
    /// As it is shown. A program whose actors fail with texts only does not link it.
    text: fn(&Self) -> String,
}

impl Quiet {
    fn text(&self) -> String {
        sync::catch(|| self.error().to_string()).unwrap_or_else(|panic| {
            sync::discard(panic);
            String::from("an error that cannot be shown")
        })
    }

    fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.error.as_deref().expect("taken by the destructor only")
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let error = self.error.take();
        sync::quietly(|| drop(error));
    }
}

impl Failure {
    /// A failure that is only a text.
    pub fn msg(text: impl fmt::Display) -> Self {
        Self::new(Reason::Message(text.to_string()))
    }

    /// As [`msg`](Self::msg), for what the runtime says.
    pub(crate) fn text(text: &'static str) -> Self {
        Self::new(Reason::Text(text))
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "takes the panic out of the world"
    )]
    pub(crate) fn panic(payload: Panic) -> Self {
        let text = if let Some(text) = payload.downcast_ref::<&'static str>() {
            (*text).to_string()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            String::from("a panic without a text")
        };
        // The payload is a value of the user: its destructor may panic too.
        sync::discard(payload);
        Self::new(Reason::Panic(text))
    }

    fn new(reason: Reason) -> Self {
        Self::when(When::Running, reason)
    }

    fn when(when: When, reason: Reason) -> Self {
        Self {
            reason: Arc::new(reason),
            when,
        }
    }

    /// Marks it as one that no supervisor may deal with, for what leaves the program without a ground to go on: no
    /// decider is asked, nobody is resumed or restarted. The actor stops, its supervisor fails in its turn, and so on
    /// to the top, where it stops the system or the top-level actor: see [`Escalation`](crate::Escalation).
    ///
    /// ```
    /// use hikyaku_core::Failure;
    ///
    /// fn check(sum: u64, expected: u64) -> Result<(), Failure> {
    ///     if sum != expected {
    ///         return Err(Failure::msg("the ledger is corrupt").fatal());
    ///     }
    ///     Ok(())
    /// }
    /// assert!(check(1, 2).is_err_and(|failure| failure.is_fatal()));
    /// ```
    #[must_use]
    pub fn fatal(self) -> Self {
        let start = self.is_start();
        self.with(start, true)
    }

    fn with(mut self, start: bool, fatal: bool) -> Self {
        self.when = match (start, fatal) {
            (false, false) => When::Running,
            (true, false) => When::Starting,
            (false, true) => When::Fatal,
            (true, true) => When::FatalAtStart,
        };
        self
    }

    /// Was it marked by [`fatal`](Self::fatal)?
    pub fn is_fatal(&self) -> bool {
        matches!(self.when, When::Fatal | When::FatalAtStart)
    }

    /// The same failure, of an actor that had not started.
    pub(crate) fn at_start(self) -> Self {
        let fatal = self.is_fatal();
        self.with(true, fatal)
    }

    /// The same failure, of an actor that takes it over.
    pub(crate) fn taken_over(self) -> Self {
        let fatal = self.is_fatal();
        self.with(false, fatal)
    }

    /// An actor that is to be there always has stopped itself.
    pub(crate) fn exit() -> Self {
        Self::when(When::Exit, Reason::Text("a permanent actor stopped itself"))
    }

    pub(crate) fn is_exit(&self) -> bool {
        self.when == When::Exit
    }

    /// Did the factory or `started` fail?
    pub fn is_start(&self) -> bool {
        matches!(self.when, When::Starting | When::FatalAtStart)
    }

    /// The same failure without an error value of the user's: what a stopped cell keeps, so that no destructor
    /// of theirs runs when the last reference goes.
    pub(crate) fn text_only(&self) -> Self {
        let Reason::Error(error) = &*self.reason else {
            return self.clone();
        };
        Self::when(self.when, Reason::Message((error.text)(error)))
    }

    /// The panic's text, if it was a panic.
    pub fn panic_message(&self) -> Option<&str> {
        match &*self.reason {
            Reason::Panic(text) => Some(text),
            _ => None,
        }
    }

    /// Was it a panic?
    pub fn is_panic(&self) -> bool {
        self.panic_message().is_some()
    }

    /// The error value, with its source chain. None for a panic, a text, and, unless it is a [`TimerError`], for the
    /// failure of an actor that had ended before it was asked for.
    pub fn error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match &*self.reason {
            Reason::Error(error) => Some(error.error()),
            Reason::Timer(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        Self::new(match any.downcast_ref() {
            Some(error) => Reason::Timer(*error),
            None => Reason::Error(Quiet {
                error: Some(Box::new(error)),
                text: Quiet::text,
            }),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.reason {
            Reason::Error(error) => fmt::Display::fmt(error.error(), f),
            Reason::Timer(error) => fmt::Display::fmt(error, f),
            Reason::Text(text) => f.write_str(text),
            Reason::Message(text) => f.write_str(text),
            Reason::Panic(text) => write!(f, "panicked: {text}"),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.reason {
            Reason::Error(error) => f.debug_tuple("Failure").field(&error.error()).finish(),
            Reason::Timer(error) => f.debug_tuple("Failure").field(error).finish(),
            Reason::Text(text) => f.debug_tuple("Failure").field(text).finish(),
            Reason::Message(text) => f.debug_tuple("Failure").field(text).finish(),
            Reason::Panic(text) => f.debug_tuple("Panic").field(text).finish(),
        }
    }
}

/// An actor has failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailureReport<'a> {
    /// Which one.
    pub actor: MailboxIndex,
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Why.
    pub failure: &'a Failure,
}

/// How an actor ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StopCause {
    /// It was told to stop, by itself or by another.
    Stopped,
    /// It was killed: the handler in flight was dropped.
    Killed,
    /// A handler or a hook failed.
    Failed(Failure),
    /// The system shut down.
    Shutdown,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Killed => f.write_str("killed"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Shutdown => f.write_str("the system shut down"),
        }
    }
}

/// Why an actor did not start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The factory panicked, or `started` failed.
    Failed(Failure),
    /// It was stopped before it had started.
    Stopped(StopCause),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "the actor failed to start: {failure}"),
            Self::Stopped(cause) => write!(f, "the actor ended before it started: {cause}"),
        }
    }
}

impl Error for StartError {}
