//! The phases of a coordinated shutdown, and their order.

use std::fmt;
use std::time::Duration;

/// How long a phase may take, unless chosen otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One phase of a [`CoordinatedShutdown`](crate::CoordinatedShutdown).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Phase {
    pub(super) name: Box<str>,
    after: Vec<Box<str>>,
    pub(super) timeout: Duration,
    pub(super) recover: bool,
}

impl Phase {
    /// A phase that depends on no other, may take five seconds, and whose failures are recovered from.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            after: Vec::new(),
            timeout: TIMEOUT,
            recover: true,
        }
    }

    /// It comes after that one, and perhaps after others.
    pub fn after(mut self, phase: &str) -> Self {
        self.after.push(phase.into());
        self
    }

    /// How long it may take. Tasks that are not done then are dropped, and count as failed. In a system
    /// without timers it has all the time it wants.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Whether the shutdown goes on although a task of this phase has failed.
    pub fn recover(mut self, recover: bool) -> Self {
        self.recover = recover;
        self
    }
}

/// Phases in the order in which they run.
///
/// ```
/// use hikyaku::{Phase, Phases};
///
/// let phases = Phases::new([
///     Phase::new("close-files").after("stop-shards"),
///     Phase::new("stop-shards").after("stop-listening"),
///     Phase::new("stop-listening"),
/// ])?;
/// let names: Vec<_> = phases.names().collect();
/// assert_eq!(names, ["stop-listening", "stop-shards", "close-files", Phases::TERMINATE]);
/// # Ok::<(), hikyaku::PhasesError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phases(pub(super) Vec<Phase>);

impl Phases {
    /// Nothing new comes in: listeners close.
    pub const UNBIND: &str = "unbind";
    /// What is under way comes to its end.
    pub const DRAIN: &str = "drain";
    /// Services stop.
    pub const STOP: &str = "stop";
    /// What must not be lost is written.
    pub const FLUSH: &str = "flush";
    /// The actor system ends, after the tasks of this phase.
    pub const TERMINATE: &str = "terminate";

    /// Puts phases in order. Those that do not depend on each other keep the order given here.
    /// [`TERMINATE`](Self::TERMINATE) comes after all the others, whether it is given or not; if it is not, it
    /// may take ten seconds.
    ///
    /// # Errors
    /// [`PhasesError`], see there.
    pub fn new(phases: impl IntoIterator<Item = Phase>) -> Result<Self, PhasesError> {
        let mut left: Vec<Phase> = phases.into_iter().collect();
        if !left.iter().any(|phase| *phase.name == *Self::TERMINATE) {
            left.push(Phase::new(Self::TERMINATE).timeout(2 * TIMEOUT));
        }
        check(&left)?;
        let names: Vec<Box<str>> = left.iter().map(|phase| phase.name.clone()).collect();
        for phase in &mut left {
            if *phase.name == *Self::TERMINATE {
                let others = names.iter().filter(|name| ***name != *Self::TERMINATE);
                phase.after.extend(others.cloned());
            }
        }
        let mut ordered = Vec::with_capacity(left.len());
        while !left.is_empty() {
            match left
                .iter()
                .position(|phase| waits_for(phase, &left).is_none())
            {
                Some(next) => ordered.push(left.remove(next)),
                None => return Err(PhasesError::Cycle(cycle(&left))),
            }
        }
        Ok(Self(ordered))
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|phase| &*phase.name)
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.names().position(|it| it == name)
    }
}

impl Default for Phases {
    /// [`UNBIND`](Self::UNBIND), [`DRAIN`](Self::DRAIN), [`STOP`](Self::STOP), [`FLUSH`](Self::FLUSH),
    /// [`TERMINATE`](Self::TERMINATE), one after the other.
    fn default() -> Self {
        Self::new([
            Phase::new(Self::UNBIND),
            Phase::new(Self::DRAIN).after(Self::UNBIND),
            Phase::new(Self::STOP).after(Self::DRAIN),
            Phase::new(Self::FLUSH).after(Self::STOP),
        ])
        .expect("they are in order")
    }
}

fn check(phases: &[Phase]) -> Result<(), PhasesError> {
    for (place, phase) in phases.iter().enumerate() {
        if phases[..place]
            .iter()
            .any(|before| before.name == phase.name)
        {
            return Err(PhasesError::Twice(phase.name.clone()));
        }
        let unknown = phase
            .after
            .iter()
            .find(|name| !phases.iter().any(|it| it.name == **name));
        if let Some(unknown) = unknown {
            return Err(PhasesError::Unknown {
                phase: phase.name.clone(),
                after: unknown.clone(),
            });
        }
    }
    Ok(())
}

/// One of those left that comes before `phase`.
fn waits_for<'a>(phase: &Phase, left: &'a [Phase]) -> Option<&'a Phase> {
    phase
        .after
        .iter()
        .find_map(|name| left.iter().find(|it| it.name == *name))
}

/// A cycle among phases each of which waits for another.
fn cycle(left: &[Phase]) -> Vec<Box<str>> {
    let mut way: Vec<&Phase> = Vec::new();
    let mut at = left.first();
    while let Some(phase) = at {
        if let Some(first) = way.iter().position(|it| it.name == phase.name) {
            way.drain(..first);
            break;
        }
        way.push(phase);
        at = waits_for(phase, left);
    }
    // In the order in which they would run.
    way.iter().rev().map(|phase| phase.name.clone()).collect()
}

/// Why phases have no order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhasesError {
    /// Each of these comes after the one before, and the first after the last.
    Cycle(Vec<Box<str>>),
    /// Two phases have this name.
    Twice(Box<str>),
    /// A phase comes after one that there is not.
    Unknown {
        /// The phase.
        phase: Box<str>,
        /// The one that is missing.
        after: Box<str>,
    },
}

impl fmt::Display for PhasesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle(names) => write!(f, "phases wait for each other: {}", names.join(", ")),
            Self::Twice(name) => write!(f, "two phases are called {name}"),
            Self::Unknown { phase, after } => {
                write!(f, "{phase} comes after {after}, which is no phase")
            }
        }
    }
}

impl std::error::Error for PhasesError {}
