//! What happens in a system, as records of `defmt`.

use defmt::{Display2Format, Format, Formatter};
use hikyaku_core::{
    DeadLetterReason, Event, Failure, FailureReport, MailboxIndex, Pressure, StopCause,
    Subscription, SuspendReason, System,
};

/// Something of the runtime, to be written by `defmt`: `defmt::info!("{}", Logged(&event))`.
#[derive(Debug, Clone, Copy)]
pub struct Logged<'a, T>(pub &'a T);

/// Logs what happens in a system from now on: failures as errors, restarts, dead letters and pressure as warnings, the
/// rest as debug records. [`Events::unsubscribe`](hikyaku_core::Events::unsubscribe) ends it.
pub fn log_events(system: &System) -> Subscription {
    system.events().listen(|event| {
        let record = Logged(event);
        match event {
            Event::Failed { .. } => defmt::error!("{}", record),
            Event::Restarted { .. } | Event::DeadLetter { .. } | Event::Pressure { .. } => {
                defmt::warn!("{}", record);
            }
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
        about(f, self.0.actor, self.0.name);
        defmt::write!(f, "failed: {}", Logged(self.0.failure));
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

impl Format for Logged<'_, DeadLetterReason> {
    fn format(&self, f: Formatter<'_>) {
        match self.0 {
            DeadLetterReason::Stopped => defmt::write!(f, "the actor ended"),
            DeadLetterReason::Bounced => defmt::write!(f, "a question without an answer"),
            DeadLetterReason::Unhandled => defmt::write!(f, "not handled"),
            DeadLetterReason::Refused(why) => defmt::write!(f, "refused: {=str}", *why),
            DeadLetterReason::Overflow => defmt::write!(f, "no room"),
            _ => defmt::write!(f, "not handled, for another reason"),
        }
    }
}

impl Format for Logged<'_, SuspendReason> {
    fn format(&self, f: Formatter<'_>) {
        match self.0 {
            SuspendReason::Backpressure => defmt::write!(f, "backpressure"),
            SuspendReason::AwaitExternal => defmt::write!(f, "waits for something outside"),
            SuspendReason::RateLimit => defmt::write!(f, "rate limit"),
            SuspendReason::UserDefined => defmt::write!(f, "the program says so"),
            _ => defmt::write!(f, "another reason"),
        }
    }
}

impl Format for Logged<'_, Event> {
    fn format(&self, f: Formatter<'_>) {
        about(f, self.0.actor(), self.0.name());
        match self.0 {
            Event::DeadLetter {
                message_type: letter,
                reason,
                ..
            } => defmt::write!(f, "dead letter {=str}: {}", letter, Logged(reason)),
            Event::Started { .. } => defmt::write!(f, "has started"),
            Event::Failed { failure, .. } => defmt::write!(f, "failed: {}", Logged(failure)),
            Event::Restarted { .. } => defmt::write!(f, "is restarted"),
            Event::Suspended { reason, .. } => {
                defmt::write!(f, "is suspended: {}", Logged(reason));
            }
            Event::Resumed { after, .. } => {
                let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                defmt::write!(f, "is resumed after {=u64:ms}", after);
            }
            Event::Pressure {
                pressure, depth, ..
            } => match pressure {
                Pressure::High => defmt::write!(f, "has much to do: {=usize} messages", depth),
                Pressure::Low => defmt::write!(f, "has less to do: {=usize} messages", depth),
            },
            Event::Stopped { cause, .. } => defmt::write!(f, "ended: {}", Logged(cause)),
            _ => defmt::write!(f, "something else happened"),
        }
    }
}

/// What a record begins with: of which actor it is.
fn about(f: Formatter<'_>, actor: MailboxIndex, name: Option<&str>) {
    defmt::write!(f, "actor {} ", Logged(&actor));
    if let Some(name) = name {
        defmt::write!(f, "{=str} ", name);
    }
}
