//! A log of dead letters that does not flood.

use crate::clock::StdClock;
use hikyaku_core::{Clock, Event, Subscription, System};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

type Write = Box<dyn Fn(&str) + Send + Sync>;

/// Writes a line for each dead letter, and not too many.
///
/// After so many in a window of time no more are written until it is over; the next one afterwards is
/// preceded by a line that tells how many were left out, and all begins anew. What was left out in the last
/// window is told when the system has stopped.
///
/// ```
/// use hikyaku::{ActorSystem, DeadLetterLog};
/// use std::time::Duration;
///
/// let system = ActorSystem::new("demo")?;
/// DeadLetterLog::new(|line| eprintln!("{line}"))
///     .at_most(20, Duration::from_secs(60))
///     .attach(&system);
/// # system.force_stop();
/// # system.join();
/// # Ok::<(), hikyaku::BuildError>(())
/// ```
#[must_use = "attach it to a system"]
pub struct DeadLetterLog {
    write: Write,
    clock: Box<dyn Clock>,
    most: usize,
    window: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the window began.
    since: Option<Duration>,
    written: usize,
    left_out: usize,
}

impl DeadLetterLog {
    /// A log that writes its lines with `write`: at most 10 in five minutes. They have no line end.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            write: Box::new(write),
            clock: Box::new(StdClock::new()),
            most: 10,
            window: Duration::from_secs(5 * 60),
            state: Mutex::default(),
        }
    }

    /// At most so many in each window, which begins with the first dead letter after the last one.
    pub fn at_most(mut self, most: usize, window: Duration) -> Self {
        self.most = most;
        self.window = window;
        self
    }

    /// The clock of the windows. Default: [`StdClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Begins to log, until the subscription ends or the system has stopped.
    pub fn attach(self, system: &System) -> Subscription {
        system.events().listen(move |event| {
            if matches!(event, Event::DeadLetter { .. }) {
                self.log(event);
            }
        })
    }

    fn log(&self, event: &Event) {
        let now = self.clock.now();
        let mut lines = Vec::new();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let since = *state.since.get_or_insert(now);
            if now.saturating_sub(since) >= self.window {
                lines.extend(state.summary());
                *state = State {
                    since: Some(now),
                    ..State::default()
                };
            }
            if state.written < self.most {
                state.written += 1;
                lines.push(line(event));
                if state.written == self.most {
                    let rest = self
                        .window
                        .saturating_sub(now.saturating_sub(state.since.unwrap_or(now)));
                    lines.push(format!("no more dead letters are logged for {rest:?}"));
                }
            } else {
                state.left_out += 1;
            }
        }
        // Not under the lock: it is the user's.
        for line in lines {
            (self.write)(&line);
        }
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::DeadLetter {
            target,
            message_type,
            reason,
            sender,
            ..
        } => {
            let from = sender.map(|sender| format!(" from actor {sender}"));
            let from = from.unwrap_or_default();
            format!("dead letter for actor {target}{from}: {message_type}, {reason:?}")
        }
        other => format!("{other:?}"),
    }
}

impl State {
    fn summary(&self) -> Option<String> {
        match self.left_out {
            0 => None,
            n => Some(format!("{n} more dead letters were not logged")),
        }
    }
}

impl Drop for DeadLetterLog {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(summary) = state.summary() {
            (self.write)(&summary);
        }
    }
}

impl fmt::Debug for DeadLetterLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterLog")
            .field("most", &self.most)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
