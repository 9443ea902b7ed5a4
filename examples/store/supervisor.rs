//! The supervisor of the shards: it starts them, and starts another in place of one that panicked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hikyaku::RestartPolicy;
use hikyaku::prelude::*;
use tokio::sync::watch;

use crate::listener::MAX_CONNECTIONS;
use crate::report::grouped;
use crate::shard::{Shard, ShardMsg};
use crate::stats::Stats;

/// The shards, in the order of their indexes. This is what connections find them by.
pub(crate) type Routes = Arc<[ActorRef<ShardMsg>]>;

/// Owns the shards. They are its children.
pub(crate) struct Supervisor {
    pub(crate) stats: Arc<Stats>,
    pub(crate) routes: watch::Sender<Routes>,
}

/// A shard has stopped.
pub(crate) struct ShardStopped {
    index: usize,
    cause: StopCause,
}

impl Actor for Supervisor {
    type Msg = ShardStopped;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        let mut shards = Vec::new();
        for index in 0..self.stats.key_counts.len() {
            shards.push(self.start_shard(index, cx)?);
        }
        self.routes.send_replace(shards.into());
        Ok(())
    }

    async fn handle(
        &mut self,
        message: ShardStopped,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let ShardStopped { index, cause } = message;
        let StopCause::Failed(failure) = cause else {
            // The store is being shut down.
            return Ok(());
        };
        let lost = self.stats.key_counts[index].swap(0, Ordering::Relaxed) as u64;
        self.stats.keys_lost.fetch_add(lost, Ordering::Relaxed);
        self.stats.shard_restarts.fetch_add(1, Ordering::Relaxed);

        let shard = self.start_shard(index, cx)?;
        let mut shards = self.routes.borrow().to_vec();
        shards[index] = shard;
        self.routes.send_replace(shards.into());
        println!(
            "shard {index} failed and was replaced, {} keys are lost: {failure}",
            grouped(lost)
        );
        Ok(())
    }
}

impl Supervisor {
    fn start_shard(
        &self,
        index: usize,
        cx: &mut Context<'_, Self>,
    ) -> Result<ActorRef<ShardMsg>, Failure> {
        let stats = self.stats.clone();
        // A connection has at most one message here at a time, so there is room for all of them.
        // Not restarted in place: what is queued for the lost keys is lost with them.
        let options = SpawnOptions::new()
            .mailbox(MailboxOptions::bounded(MAX_CONNECTIONS))
            .restart(RestartPolicy::Temporary);
        let shard = cx.spawn_with(options, move || Shard::new(index, stats.clone()))?;
        cx.pipe_to_self(shard.stopped(), move |cause| ShardStopped { index, cause })?;
        Ok(shard)
    }
}
