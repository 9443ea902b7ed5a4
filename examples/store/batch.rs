//! The commands that a connection has read at once, from requests to replies.
//!
//! A batch is first divided into one list of requests for each shard. The shards work on their
//! lists at the same time. Then their answers are put together, so that replies come in the order
//! of the commands.

use bytes::Bytes;

use crate::command::{AllCommand, Join, KeyCommand};
use crate::protocol::{Frame, error, ok};

/// What a client is told when a shard was lost with the client's command.
pub(crate) const SHARD_RESTARTING: &str = "ERR shard restarting, its keys are lost";

/// The index of the shard that keeps a key. Redis Cluster chooses by the same function.
pub(crate) fn shard_of(key: &[u8], shards: usize) -> usize {
    usize::from(redis_protocol::redis_keyslot(key)) % shards
}

/// What a shard is to do, and gives one answer to.
#[derive(Debug)]
pub(crate) enum Request {
    Key(Bytes, KeyCommand),
    All(AllCommand),
}

/// Commands, divided among the shards.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What each shard is to do, in order.
    requests: Vec<Vec<Request>>,
    /// Where the replies come from, in order.
    replies: Vec<Pending>,
}

/// A reply that waits for the next answers of these shards.
#[derive(Debug)]
enum Pending {
    Ready(Frame),
    One(usize),
    Joined(Vec<usize>, Join),
}

impl Batch {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            requests: (0..shards).map(|_| Vec::new()).collect(),
            replies: Vec::new(),
        }
    }

    /// Adds a command that needs no shard.
    pub(crate) fn push_reply(&mut self, reply: Frame) {
        self.replies.push(Pending::Ready(reply));
    }

    /// Adds a command about one key.
    pub(crate) fn push_key(&mut self, key: Bytes, command: KeyCommand) {
        let shard = self.request(key, command);
        self.replies.push(Pending::One(shard));
    }

    /// Adds a command about several keys.
    pub(crate) fn push_keys(&mut self, keys: Vec<Bytes>, command: &KeyCommand, join: Join) {
        let shards = keys
            .into_iter()
            .map(|key| self.request(key, command.clone()))
            .collect();
        self.replies.push(Pending::Joined(shards, join));
    }

    /// Adds a command about all keys.
    pub(crate) fn push_all(&mut self, command: &AllCommand, join: Join) {
        for requests in &mut self.requests {
            requests.push(Request::All(command.clone()));
        }
        let shards = (0..self.requests.len()).collect();
        self.replies.push(Pending::Joined(shards, join));
    }

    fn request(&mut self, key: Bytes, command: KeyCommand) -> usize {
        let shard = shard_of(&key, self.requests.len());
        self.requests[shard].push(Request::Key(key, command));
        shard
    }

    /// Takes what each shard is to do.
    pub(crate) fn take_requests(&mut self) -> Vec<Vec<Request>> {
        std::mem::take(&mut self.requests)
    }

    /// Puts the replies together, of what each shard has answered.
    ///
    /// A shard that was lost has no answers. What it was asked for becomes an error.
    pub(crate) fn into_replies(self, answers: Vec<Vec<Frame>>) -> impl Iterator<Item = Frame> {
        let mut answers: Vec<_> = answers.into_iter().map(Vec::into_iter).collect();
        let mut next = move |shard: usize| {
            answers[shard]
                .next()
                .unwrap_or_else(|| error(SHARD_RESTARTING))
        };
        self.replies.into_iter().map(move |pending| match pending {
            Pending::Ready(reply) => reply,
            Pending::One(shard) => next(shard),
            Pending::Joined(shards, how) => join(how, shards.into_iter().map(&mut next).collect()),
        })
    }
}

/// Makes one reply of several answers. If one of them is an error, so is the reply.
fn join(how: Join, answers: Vec<Frame>) -> Frame {
    if let Some(error) = answers
        .iter()
        .find(|answer| matches!(answer, Frame::Error(_)))
    {
        return error.clone();
    }
    match how {
        Join::Ok => ok(),
        Join::List => Frame::Array(answers),
        Join::Concat => Frame::Array(answers.into_iter().flat_map(elements).collect()),
        Join::Sum => Frame::Integer(answers.iter().map(number).sum()),
    }
}

fn elements(answer: Frame) -> Vec<Frame> {
    match answer {
        Frame::Array(elements) => elements,
        other => unreachable!("a shard answered {other:?} instead of an array"),
    }
}

fn number(answer: &Frame) -> i64 {
    match answer {
        Frame::Integer(number) => *number,
        other => unreachable!("a shard answered {other:?} instead of a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: usize = 2;

    /// Two keys for each shard.
    const KEYS: [[&str; 2]; SHARDS] = [["b", "d"], ["a", "c"]];

    fn key(shard: usize, index: usize) -> Bytes {
        let key = KEYS[shard][index];
        assert_eq!(shard_of(key.as_bytes(), SHARDS), shard, "{key}");
        Bytes::from_static(key.as_bytes())
    }

    #[test]
    fn replies_come_in_the_order_of_commands() {
        let mut batch = Batch::new(SHARDS);
        batch.push_key(key(1, 0), KeyCommand::Get);
        batch.push_reply(ok());
        batch.push_keys(
            vec![key(1, 1), key(0, 0), key(1, 0)],
            &KeyCommand::Get,
            Join::List,
        );
        batch.push_all(&AllCommand::Count, Join::Sum);
        batch.push_key(key(0, 1), KeyCommand::Get);

        let lengths: Vec<_> = batch.take_requests().iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, 4]);
        let answers = [[1, 2, 3].as_slice(), &[10, 20, 30, 40]];
        let answers =
            answers.map(|shard| shard.iter().map(|&number| Frame::Integer(number)).collect());
        let replies: Vec<_> = batch.into_replies(answers.into()).collect();
        let list = [20, 1, 30].map(Frame::Integer);
        assert_eq!(
            replies,
            [
                Frame::Integer(10),
                ok(),
                Frame::Array(list.into()),
                Frame::Integer(42),
                Frame::Integer(3)
            ]
        );
    }

    #[test]
    fn a_lost_shard_answers_with_errors() {
        let mut batch = Batch::new(SHARDS);
        batch.push_key(key(0, 0), KeyCommand::Get);
        batch.push_key(key(1, 0), KeyCommand::Get);
        batch.push_all(&AllCommand::Count, Join::Sum);
        batch.push_keys(vec![key(0, 0), key(0, 1)], &KeyCommand::Exists, Join::Sum);

        let lost = Vec::new();
        let answers = vec![[1, 2, 3, 4].map(Frame::Integer).into(), lost];
        let replies: Vec<_> = batch.into_replies(answers).collect();
        let told = error(SHARD_RESTARTING);
        assert_eq!(
            replies,
            [Frame::Integer(1), told.clone(), told, Frame::Integer(7)]
        );
    }
}
