//! The supervisor of the shards: their parent. It starts them; the runtime restarts one that fails, as the
//! supervisor was told when it was spawned itself.

use std::sync::Arc;
use std::time::Duration;

use hikyaku::prelude::*;
use hikyaku::{Backoff, Supervision};

use crate::listener::MAX_CONNECTIONS;
use crate::shard::{Shard, ShardMsg};
use crate::stats::Stats;

/// The shards, in the order of their indexes. This is what connections find them by. A restart changes
/// nothing in it.
pub(crate) type Routes = Arc<[ActorRef<ShardMsg>]>;

/// Owns the shards. They are its children.
pub(crate) struct Supervisor {
    pub(crate) stats: Arc<Stats>,
    pub(crate) shards: Vec<ActorRef<ShardMsg>>,
}

impl Supervisor {
    /// Each shard for itself, at once, and more slowly if it fails again and again. What clients ask of it
    /// meanwhile waits in its mailbox.
    pub(crate) fn options() -> SpawnOptions {
        let backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1)).jitter(20);
        let supervision = Supervision::one_for_one().backoff(backoff);
        SpawnOptions::new().supervision(supervision)
    }
}

impl Actor for Supervisor {
    /// A question for the shards.
    type Msg = Reply<Routes>;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        for index in 0..self.stats.key_counts.len() {
            let stats = self.stats.clone();
            // A connection has at most one message here at a time, so there is room for all of them.
            let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(MAX_CONNECTIONS));
            let shard = cx.spawn_with(options, move || Shard::new(index, stats.clone()))?;
            self.shards.push(shard);
        }
        Ok(())
    }

    async fn handle(
        &mut self,
        reply: Reply<Routes>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let _ = reply.send(self.shards.clone().into());
        Ok(())
    }
}
