//! What happens in a system, as records of `defmt`.

use defmt::{Display2Format, Format, Formatter};
use hikyaku_core::{Event, Failure, FailureReport, MailboxIndex, StopCause, Subscription, System};

/// Something of the runtime, to be written by `defmt`: `defmt::info!("{}", Logged(&event))`.
#[derive(Debug, Clone, Copy)]
pub struct Logged<'a, T>(pub &'a T);

/// Logs what happens in a system from now on: failures as errors, restarts and dead letters as warnings, ends as
/// debug records. [`Events::unsubscribe`](hikyaku_core::Events::unsubscribe) ends it.
pub fn log_events(system: &System) -> Subscription {
    system.events().listen(|event| {
        let record = Logged(event);
        match event {
            Event::Failed { .. } => defmt::error!("{}", record),
            Event::Restarted { .. } | Event::DeadLetter { .. } => defmt::warn!("{}", record),
            _ => defmt::debug!("{}", record),
        }
    })
}

impl Format for Logged<'_, MailboxIndex> {
    fn format(&self, f: Formatter<'_>) {
        defmt::write!(f, "{=u32}.{=u32}", self.0.slot, self.0.generation);
    }
}

impl Format for Logged<'_, Failure> {
    fn format(&self, f: Formatter<'_>) {
        defmt::write!(f, "{}", Display2Format(self.0));
    }
}

impl Format for Logged<'_, FailureReport<'_>> {
    fn format(&self, f: Formatter<'_>) {
        let FailureReport {
            actor,
            name,
            failure,
            ..
        } = self.0;
        failed(f, actor, *name, failure);
    }
}

impl Format for Logged<'_, StopCause> {
    fn format(&self, f: Formatter<'_>) {
        match self.0 {
            StopCause::Stopped => defmt::write!(f, "stopped"),
            StopCause::Killed => defmt::write!(f, "killed"),
            StopCause::Shutdown => defmt::write!(f, "the system shut down"),
            StopCause::Failed(failure) => defmt::write!(f, "failed: {}", Logged(failure)),
            other => defmt::write!(f, "{}", Display2Format(other)),
        }
    }
}

impl Format for Logged<'_, Event> {
    fn format(&self, f: Formatter<'_>) {
        match self.0 {
            Event::DeadLetter {
                target,
                message_type,
                ..
            } => {
                defmt::write!(
                    f,
                    "dead letter for {}: {=str}",
                    Logged(target),
                    message_type
                );
            }
            Event::Failed {
                actor,
                name,
                failure,
                ..
            } => failed(f, actor, name.as_deref(), failure),
            Event::Restarted { actor, name, .. } => {
                defmt::write!(
                    f,
                    "actor {} {} is restarted",
                    Logged(actor),
                    name.as_deref()
                );
            }
            Event::Stopped {
                actor, name, cause, ..
            } => {
                let name = name.as_deref();
                defmt::write!(
                    f,
                    "actor {} {} ended: {}",
                    Logged(actor),
                    name,
                    Logged(cause)
                );
            }
            _ => defmt::write!(f, "something else happened"),
        }
    }
}

fn failed(f: Formatter<'_>, actor: &MailboxIndex, name: Option<&str>, failure: &Failure) {
    let (actor, failure) = (Logged(actor), Logged(failure));
    defmt::write!(f, "actor {} {} failed: {}", actor, name, failure);
}
