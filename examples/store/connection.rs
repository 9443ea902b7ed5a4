//! A connection: the actor that talks with one client.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use hikyaku::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::command::{Command, KeyCommand};
use crate::protocol::{Frame, RequestReader, encode, error, ok};
use crate::shard::Requests;
use crate::stats::Stats;
use crate::supervisor::Routes;

/// The least room there is for what the client sends at once.
const INPUT: usize = 16 * 1024;
/// Replies are written together, unless they are more than this.
const OUTPUT: usize = 256 * 1024;

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) routes: watch::Receiver<Routes>,
    pub(crate) stats: Arc<Stats>,
    /// Cancelled when nothing more is to be read, since the store is closing.
    pub(crate) last_call: CancellationToken,
    /// Whether clients may make a shard panic.
    pub(crate) debug: bool,
}

/// Reads commands, has the shards work on them, and writes the replies.
pub(crate) struct Connection {
    socket: TcpStream,
    requests: RequestReader,
    output: BytesMut,
    front: Front,
}

/// Serve what the client sends next.
pub(crate) struct Serve;

impl Actor for Connection {
    type Msg = Serve;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.socket.set_nodelay(true)?;
        serve_next(cx);
        Ok(())
    }

    async fn handle(&mut self, _: Serve, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match self.serve().await {
            Ok(ControlFlow::Continue(())) => serve_next(cx),
            // An error says that the client is gone. That is the client's right.
            Ok(ControlFlow::Break(())) | Err(_) => cx.stop(),
        }
        Ok(())
    }
}

/// Tells the connection to go on. One that was told to stop refuses, and serves no more.
fn serve_next(cx: &Context<'_, Connection>) {
    let _ = cx.me().tell(Serve);
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, front: Front) -> Self {
        front.stats.connections.fetch_add(1, Ordering::Relaxed);
        Self {
            socket,
            requests: RequestReader::default(),
            output: BytesMut::new(),
            front,
        }
    }

    /// Reads once, and answers the commands that are complete then. Breaks if there is nothing to
    /// come.
    async fn serve(&mut self) -> io::Result<ControlFlow<()>> {
        self.requests.input.reserve(INPUT);
        tokio::select! {
            biased;
            length = self.socket.read_buf(&mut self.requests.input) => if length? == 0 {
                return Ok(ControlFlow::Break(()));
            },
            () = self.front.last_call.cancelled() => return Ok(ControlFlow::Break(())),
        }
        let routes = self.front.routes.borrow().clone();
        let mut batch = Batch::new(routes.len());
        let flow = self.fill(&mut batch);
        self.answer(batch, &routes).await?;
        Ok(if self.front.last_call.is_cancelled() {
            ControlFlow::Break(())
        } else {
            flow
        })
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
                (!requests.is_empty()).then(|| shard.ask(|reply| Requests { requests, reply }))
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
