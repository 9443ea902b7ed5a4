//! A shard: the actor that keeps a part of the keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku::prelude::*;

use crate::Clock;
use crate::batch::Request;
use crate::command::{AllCommand, KeyCommand, NOT_AN_INTEGER};
use crate::keyspace::{AddError, Keyspace};
use crate::protocol::{Frame, MAX_REQUEST, error, ok};

/// Keeps its keys to itself: nobody else can reach them, so there is nothing to lock.
pub(crate) struct Shard {
    keyspace: Keyspace,
    clock: Clock,
    /// How many keys there are, for those who may not ask. The number outlives the shard.
    key_count: Arc<AtomicUsize>,
}

/// What one connection asks of one shard at once. The reply has one answer for each request.
pub(crate) struct Requests {
    pub(crate) requests: Vec<Request>,
    pub(crate) reply: Reply<Vec<Frame>>,
}

impl Shard {
    pub(crate) fn new(clock: Clock, key_count: Arc<AtomicUsize>) -> Self {
        Self {
            keyspace: Keyspace::default(),
            clock,
            key_count,
        }
    }
}

impl Actor for Shard {
    type Msg = Requests;

    async fn handle(
        &mut self,
        message: Requests,
        _cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let now = (self.clock)();
        self.keyspace.expire(now);
        let mut answers = Vec::with_capacity(message.requests.len());
        for request in message.requests {
            answers.push(match request {
                Request::Key(key, command) => self.answer(&key, command, now),
                Request::All(command) => self.answer_all(command),
            });
            self.key_count.store(self.keyspace.len(), Ordering::Relaxed);
        }
        // A connection that has closed in the meantime does not miss its answers.
        let _ = message.reply.send(answers);
        Ok(())
    }
}

impl Shard {
    fn answer(&mut self, key: &Bytes, command: KeyCommand, now: Instant) -> Frame {
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
