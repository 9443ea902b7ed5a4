//! A connection: the actor that talks with one client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hikyaku::prelude::*;
use hikyaku::{ResumeCondition, SuspendReason};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::io::ReaderStream;

use crate::batch::Batch;
use crate::command::{Command, KeyCommand};
use crate::limit::{Limit, Meter, TOO_MANY, Verdict};
use crate::protocol::{Frame, RequestReader, encode, error, ok};
use crate::shard::ShardMsg;
use crate::stats::Stats;
use crate::supervisor::Routes;

/// The room for what the client sends at once.
const INPUT: usize = 16 * 1024;
/// Replies are written together, unless they are more than this.
const OUTPUT: usize = 256 * 1024;

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) routes: Routes,
    pub(crate) stats: Arc<Stats>,
    pub(crate) rules: Rules,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// Make a shard panic.
    pub(crate) debug: bool,
    /// Send so many commands, each of them.
    pub(crate) limit: Option<Limit>,
}

/// Is sent commands, has the shards work on them, and writes the replies.
///
/// It does not wait for its client, so it can be stopped while the client is silent. The next part of what
/// the client sends is read when the last one has been answered. A client that is over its limit is not read either:
/// its connection is suspended until the next command may go on.
pub(crate) struct Connection {
    /// Taken at the start.
    input: Option<ReaderStream<OwnedReadHalf>>,
    requests: RequestReader,
    /// The limit, if there is one.
    meter: Option<Meter>,
    /// The command that waits for its token.
    delayed: Option<Vec<Bytes>>,
    output: BytesMut,
    socket: OwnedWriteHalf,
    front: Front,
}

pub(crate) enum FromClient {
    /// A part of what the client sends.
    Input(io::Result<Bytes>),
    /// The command that was delayed, and what was received behind it, may go on.
    Rest,
    /// The client sends no more.
    End,
}

/// What a connection does when it has answered what it could.
enum Next {
    Read,
    /// Goes on after so long with what it has.
    Wait(Duration),
    /// Nothing that comes now is to be read.
    Close,
}

impl Actor for Connection {
    type Msg = FromClient;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.socket.as_ref().set_nodelay(true)?;
        if let Some(input) = self.input.take() {
            cx.attach_stream(input, FromClient::Input, || Some(FromClient::End))?;
        }
        Ok(())
    }

    async fn handle(
        &mut self,
        message: FromClient,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let next = match message {
            FromClient::Input(Ok(bytes)) => {
                self.requests.input.extend_from_slice(&bytes);
                self.serve(cx.now()).await
            }
            FromClient::Rest => self.serve(cx.now()).await,
            FromClient::Input(Err(error)) => Err(error),
            FromClient::End => Ok(Next::Close),
        };
        match next {
            Ok(Next::Read) => {}
            Ok(Next::Wait(time)) => {
                // What was stashed comes before what was read meanwhile.
                cx.stash(FromClient::Rest)?;
                cx.unstash_all();
                cx.suspend(SuspendReason::RateLimit, ResumeCondition::After(time))?;
            }
            // An error says that the client is gone. That is the client's right.
            Ok(Next::Close) | Err(_) => cx.stop(),
        }
        Ok(())
    }
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, front: Front) -> Self {
        front.stats.connections.fetch_add(1, Ordering::Relaxed);
        let (input, socket) = socket.into_split();
        Self {
            input: Some(ReaderStream::with_capacity(input, INPUT)),
            requests: RequestReader::default(),
            meter: front.rules.limit.map(Meter::new),
            delayed: None,
            output: BytesMut::new(),
            socket,
            front,
        }
    }

    /// Answers the commands that are complete now, and within the limit.
    async fn serve(&mut self, now: Duration) -> io::Result<Next> {
        let routes = self.front.routes.clone();
        let mut batch = Batch::new(routes.len());
        let next = self.fill(&mut batch, now);
        self.answer(batch, &routes).await?;
        Ok(next)
    }

    /// Adds the commands that were received, as far as the limit lets them pass.
    fn fill(&mut self, batch: &mut Batch, now: Duration) -> Next {
        loop {
            let delayed = self.delayed.take();
            let is_new = delayed.is_none();
            let request = match delayed.map_or_else(|| self.requests.next(), |it| Ok(Some(it))) {
                Ok(Some(request)) => request,
                Ok(None) => return Next::Read,
                Err(malformed) => {
                    batch.push_reply(malformed.to_frame());
                    return Next::Close;
                }
            };
            let verdict = self.meter.as_mut().map(|meter| meter.judge(now));
            match verdict.unwrap_or(Verdict::Pass) {
                Verdict::Pass => {}
                Verdict::Delay(time) => {
                    if is_new {
                        self.count_excess(|stats| &stats.delayed);
                    }
                    self.delayed = Some(request);
                    return Next::Wait(time);
                }
                Verdict::Refuse => {
                    self.count_excess(|stats| &stats.refused);
                    batch.push_reply(error(TOO_MANY));
                    continue;
                }
            }
            match Command::parse(&request) {
                Command::Reply(reply) => batch.push_reply(reply),
                Command::Info => {
                    batch.push_reply(Frame::BulkString(self.front.stats.info().into()))
                }
                Command::Quit => {
                    batch.push_reply(ok());
                    return Next::Close;
                }
                Command::Key(_, KeyCommand::Panic) if !self.front.rules.debug => {
                    batch.push_reply(error("ERR DEBUG command not allowed"));
                }
                Command::Key(key, command) => batch.push_key(key, command),
                Command::Keys(keys, command, join) => batch.push_keys(keys, &command, join),
                Command::All(command, join) => batch.push_all(&command, join),
            }
        }
    }

    fn count_excess(&mut self, which: fn(&Stats) -> &AtomicU64) {
        let stats = &self.front.stats;
        which(stats).fetch_add(1, Ordering::Relaxed);
        if self.meter.as_mut().is_some_and(Meter::is_first_excess) {
            stats.clients_over_limit.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the shards work on the batch, all at the same time, and writes the replies.
    async fn answer(&mut self, mut batch: Batch, routes: &Routes) -> io::Result<()> {
        let asked: Vec<_> = batch
            .take_requests()
            .into_iter()
            .zip(routes.iter())
            .map(|(requests, shard)| {
                (!requests.is_empty()).then(|| shard.ask(|reply| ShardMsg::Answer(requests, reply)))
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for ask in asked {
            answers.push(match ask {
                // Only a shard that was lost does not answer: its mailbox is never full.
                Some(ask) => ask.await.unwrap_or_default(),
                None => Vec::new(),
            });
        }
        for reply in batch.into_replies(answers) {
            self.front.stats.commands.fetch_add(1, Ordering::Relaxed);
            encode(&reply, &mut self.output);
            if self.output.len() > OUTPUT {
                self.write().await?;
            }
        }
        self.write().await
    }

    async fn write(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.front.stats.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
