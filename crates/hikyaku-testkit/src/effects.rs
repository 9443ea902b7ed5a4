//! What a run did to its surroundings, kept until the test takes it.

use crate::decisions::lock;
use hikyaku_core::{DeadLetter, DeadLetterReason, FailureReport, MailboxIndex};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

/// Something that happened to an actor and that a test may have to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// A message was accepted and will not be handled.
    DeadLetter {
        /// The actor it was for.
        target: MailboxIndex,
        /// The name of its type.
        type_name: &'static str,
        /// Why.
        reason: DeadLetterReason,
    },
    /// An actor failed.
    Failed {
        /// Which one.
        actor: MailboxIndex,
        /// Its name, if it has one.
        name: Option<String>,
        /// The text of the failure.
        failure: String,
    },
    /// The driver killed an actor: see [`Sim::kill_within`](crate::Sim::kill_within).
    Killed {
        /// Which one.
        actor: MailboxIndex,
    },
}

impl Effect {
    /// Is it one that the test has to take? What it has ordered itself is not.
    pub(crate) fn is_trouble(&self) -> bool {
        !matches!(self, Self::Killed { .. })
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadLetter {
                target,
                type_name,
                reason,
            } => write!(
                f,
                "a dead letter for actor {target}: {type_name}, {reason:?}"
            ),
            Self::Failed {
                actor,
                name,
                failure,
            } => {
                write!(f, "actor {actor}")?;
                if let Some(name) = name {
                    write!(f, " ({name})")?;
                }
                write!(f, " failed: {failure}")
            }
            Self::Killed { actor } => write!(f, "actor {actor} was killed"),
        }
    }
}

/// The effects so far. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effects(Arc<Mutex<Vec<Effect>>>);

impl Effects {
    pub(crate) fn push(&self, effect: Effect) {
        lock(&self.0).push(effect);
    }

    pub(crate) fn dead_letter(&self, letter: &DeadLetter<'_>) {
        self.push(Effect::DeadLetter {
            target: letter.target,
            type_name: letter.type_name,
            reason: letter.reason,
        });
    }

    pub(crate) fn failed(&self, report: &FailureReport<'_>) {
        // The error is the user's, and so is its panic.
        let failure = panic::catch_unwind(AssertUnwindSafe(|| report.failure.to_string()));
        self.push(Effect::Failed {
            actor: report.actor,
            name: report.name.map(str::to_owned),
            failure: failure.unwrap_or_else(|_| "an error that cannot be shown".into()),
        });
    }

    pub(crate) fn take(&self) -> Vec<Effect> {
        std::mem::take(&mut *lock(&self.0))
    }
}
