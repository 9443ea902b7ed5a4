//! A shard: the actor that keeps a part of the keys.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hikyaku::prelude::*;
use hikyaku::{Timer, TimerError};

use crate::batch::Request;
use crate::command::{AllCommand, KeyCommand, NOT_AN_INTEGER};
use crate::keyspace::{AddError, Keyspace};
use crate::protocol::{Frame, MAX_REQUEST, error, ok};
use crate::report::grouped;
use crate::stats::Stats;

/// Keeps its keys to itself: nobody else can reach them, so there is nothing to lock.
pub(crate) struct Shard {
    keyspace: Keyspace,
    index: usize,
    /// Has the number of keys, for those who do not ask. It outlives the shard.
    stats: Arc<Stats>,
    /// What the timer is set to.
    next_deadline: Option<Duration>,
}

pub(crate) enum ShardMsg {
    /// What one connection asks at once. The reply has one answer for each request.
    Answer(Vec<Request>, Reply<Vec<Frame>>),
    /// The timer: the time of a key is over.
    Expire,
}

/// The key of the timer.
const EXPIRE: &str = "expire";

impl Shard {
    pub(crate) fn new(index: usize, stats: Arc<Stats>) -> Self {
        Self {
            keyspace: Keyspace::default(),
            index,
            stats,
            next_deadline: None,
        }
    }
}

impl Actor for Shard {
    type Msg = ShardMsg;

    async fn started(&mut self, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.stats.shard_starts[self.index].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Its keys go with it.
    async fn restarting(&mut self, cx: &mut Context<'_, Self>) {
        let lost = self.stats.key_counts[self.index].swap(0, Ordering::Relaxed) as u64;
        self.stats.keys_lost.fetch_add(lost, Ordering::Relaxed);
        let why = cx.failure().map(ToString::to_string).unwrap_or_default();
        println!(
            "shard {} is restarted, {} keys are lost: {why}",
            self.index,
            grouped(lost)
        );
    }

    async fn handle(
        &mut self,
        message: ShardMsg,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let now = cx.now();
        // Before the requests too: the timer may be a millisecond late, and they must not notice.
        self.expire(now);
        if let ShardMsg::Answer(requests, reply) = message {
            let answers = requests
                .into_iter()
                .map(|request| self.answer(request, now))
                .collect();
            // A connection that has closed in the meantime does not miss its answers.
            let _ = reply.send(answers);
        }
        self.set_timer(now, cx)?;
        Ok(())
    }
}

impl Shard {
    fn expire(&mut self, now: Duration) {
        let expired = self.keyspace.expire(now);
        if expired > 0 {
            self.stats
                .expired_keys
                .fetch_add(expired, Ordering::Relaxed);
            self.count();
        }
    }

    /// Sets the timer to the next deadline, if that is another one than before.
    fn set_timer(&mut self, now: Duration, cx: &mut Context<'_, Self>) -> Result<(), TimerError> {
        let next = self.keyspace.next_deadline();
        if next == self.next_deadline {
            return Ok(());
        }
        self.next_deadline = next;
        match next {
            Some(deadline) => {
                cx.start_timer(EXPIRE, Timer::once(deadline - now, ShardMsg::Expire))?
            }
            None => {
                cx.cancel_timer(EXPIRE);
            }
        }
        Ok(())
    }

    fn count(&self) {
        self.stats.key_counts[self.index].store(self.keyspace.len(), Ordering::Relaxed);
    }

    fn answer(&mut self, request: Request, now: Duration) -> Frame {
        let answer = match request {
            Request::Key(key, command) => self.answer_about(&key, command, now),
            Request::All(command) => self.answer_all(command),
        };
        self.count();
        answer
    }

    fn answer_about(&mut self, key: &Bytes, command: KeyCommand, now: Duration) -> Frame {
        match command {
            KeyCommand::Get => match self.keyspace.get(key) {
                Some(value) => Frame::BulkString(value),
                None => Frame::Null,
            },
            KeyCommand::Set {
                value,
                expiry,
                condition,
            } => {
                let deadline = expiry.map(|expiry| now + expiry);
                if self.keyspace.set(key, &value, deadline, condition) {
                    ok()
                } else {
                    Frame::Null
                }
            }
            KeyCommand::Add(amount) => match self.keyspace.add(key, amount) {
                Ok(sum) => Frame::Integer(sum),
                Err(AddError::NotAnInteger) => error(NOT_AN_INTEGER),
                Err(AddError::Overflow) => error("ERR increment or decrement would overflow"),
            },
            KeyCommand::Append(tail) => match self.keyspace.append(key, &tail, MAX_REQUEST) {
                Some(length) => Frame::Integer(length as i64),
                None => error("ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
            },
            KeyCommand::Expire(None) | KeyCommand::Delete => {
                Frame::Integer(self.keyspace.remove(key).into())
            }
            KeyCommand::Expire(Some(expiry)) => {
                Frame::Integer(self.keyspace.set_deadline(key, Some(now + expiry)).into())
            }
            KeyCommand::Exists => Frame::Integer(self.keyspace.contains(key).into()),
            KeyCommand::Ttl => Frame::Integer(match self.keyspace.deadline(key) {
                None => -2,
                Some(None) => -1,
                Some(Some(deadline)) => rounded_seconds(deadline - now),
            }),
            KeyCommand::Panic => panic!("a client told this shard to panic"),
        }
    }

    fn answer_all(&mut self, command: AllCommand) -> Frame {
        match command {
            AllCommand::Keys(pattern) => Frame::Array(
                self.keyspace
                    .keys(&pattern)
                    .map(Frame::BulkString)
                    .collect(),
            ),
            AllCommand::Count => Frame::Integer(self.keyspace.len() as i64),
            AllCommand::Clear => {
                self.keyspace.clear();
                ok()
            }
        }
    }
}

/// Redis rounds the time to live to the nearest second.
fn rounded_seconds(time: Duration) -> i64 {
    ((time.as_millis() + 500) / 1000) as i64
}
