//! A connection: the actor that talks with one client.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use hikyaku::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::io::ReaderStream;

use crate::batch::Batch;
use crate::command::{Command, KeyCommand};
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
    /// Whether clients may make a shard panic.
    pub(crate) debug: bool,
}

/// Is sent commands, has the shards work on them, and writes the replies.
///
/// It does not wait for its client, so it can be stopped while the client is silent. The next part of what
/// the client sends is read when the last one has been answered.
pub(crate) struct Connection {
    /// Taken at the start.
    input: Option<ReaderStream<OwnedReadHalf>>,
    requests: RequestReader,
    output: BytesMut,
    socket: OwnedWriteHalf,
    front: Front,
}

pub(crate) enum FromClient {
    /// A part of what the client sends.
    Input(io::Result<Bytes>),
    /// The client sends no more.
    End,
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
        let flow = match message {
            FromClient::Input(Ok(bytes)) => self.serve(&bytes).await,
            FromClient::Input(Err(error)) => Err(error),
            FromClient::End => Ok(ControlFlow::Break(())),
        };
        // An error says that the client is gone. That is the client's right.
        if !matches!(flow, Ok(ControlFlow::Continue(()))) {
            cx.stop();
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
            output: BytesMut::new(),
            socket,
            front,
        }
    }

    /// Answers the commands that are complete now. Breaks if nothing after them is to be read.
    async fn serve(&mut self, input: &[u8]) -> io::Result<ControlFlow<()>> {
        self.requests.input.extend_from_slice(input);
        let routes = self.front.routes.clone();
        let mut batch = Batch::new(routes.len());
        let flow = self.fill(&mut batch);
        self.answer(batch, &routes).await?;
        Ok(flow)
    }

    /// Adds all commands that were received. Breaks if nothing after them is to be read.
    fn fill(&mut self, batch: &mut Batch) -> ControlFlow<()> {
        loop {
            let request = match self.requests.next() {
                Ok(Some(request)) => request,
                Ok(None) => return ControlFlow::Continue(()),
                Err(malformed) => {
                    batch.push_reply(malformed.to_frame());
                    return ControlFlow::Break(());
                }
            };
            match Command::parse(&request) {
                Command::Reply(reply) => batch.push_reply(reply),
                Command::Info => {
                    batch.push_reply(Frame::BulkString(self.front.stats.info().into()))
                }
                Command::Quit => {
                    batch.push_reply(ok());
                    return ControlFlow::Break(());
                }
                Command::Key(_, KeyCommand::Panic) if !self.front.debug => {
                    batch.push_reply(error("ERR DEBUG command not allowed"));
                }
                Command::Key(key, command) => batch.push_key(key, command),
                Command::Keys(keys, command, join) => batch.push_keys(keys, &command, join),
                Command::All(command, join) => batch.push_all(&command, join),
            }
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
