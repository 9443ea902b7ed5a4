//! No more work than those behind can take.

use super::{Decision, Incoming, Middleware};
use crate::actor_ref::ActorRef;
use crate::registry::MailboxIndex;
use crate::suspension::{ResumeCondition, SuspendReason};

/// Lets an actor pause while the mailbox of another one, of the same system, has no room: its own messages wait,
/// and those who send them feel it when its mailbox is full too.
///
/// ```
/// # use hikyaku_core::{Actor, Context, Failure, MailboxOptions, PauseWhileFull, SpawnOptions, System};
/// # struct Disk;
/// # impl Actor for Disk {
/// #     type Msg = Vec<u8>;
/// #     async fn handle(&mut self, _: Vec<u8>, _: &mut Context<'_, Self>) -> Result<(), Failure> { Ok(()) }
/// # }
/// # let (system, _workers) = System::builder("demo").build()?;
/// let disk = system.spawn_with(
///     SpawnOptions::new().mailbox(MailboxOptions::bounded(64)), || Disk)?;
/// // For the actor that writes to it.
/// let options = SpawnOptions::new().middleware(PauseWhileFull::of(&disk));
/// # let _ = options;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PauseWhileFull(MailboxIndex);

impl PauseWhileFull {
    /// While `actor` has no room.
    pub fn of<M>(actor: &ActorRef<M>) -> Self {
        Self(actor.index())
    }
}

impl Middleware for PauseWhileFull {
    fn before(&self, incoming: &mut Incoming<'_>) -> Decision {
        if incoming.has_room(self.0) {
            return Decision::Pass;
        }
        Decision::Hold {
            reason: SuspendReason::Backpressure,
            until: ResumeCondition::WhenCapacityAvailable(self.0),
        }
    }
}
