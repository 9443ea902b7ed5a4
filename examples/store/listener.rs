//! The listener: the actor that is sent new connections, and is their parent.

use std::io;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use futures_core::Stream;
use hikyaku::prelude::*;
use hikyaku::{RestartPolicy, SpawnError};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::{Connection, Front};

/// How many clients there may be, as many as in Redis.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;

/// How long connections still read when the store is closing: what clients have sent before has the
/// time to arrive.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Takes connections until the store is closing. They are its children, so it stops after them.
pub(crate) struct Listener {
    /// Taken at the start.
    pub(crate) incoming: Option<Incoming>,
    pub(crate) front: Front,
}

pub(crate) enum ListenerMsg {
    /// A client has come.
    Accepted(io::Result<TcpStream>),
    /// The store is closing.
    Close,
}

/// The clients that come to a port, one after the other, without end.
pub(crate) struct Incoming(pub(crate) TcpListener);

impl Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self.0.poll_accept(cx);
        accepted.map(|accepted| Some(accepted.map(|(socket, _)| socket)))
    }
}

impl Actor for Listener {
    type Msg = ListenerMsg;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if let Some(incoming) = self.incoming.take() {
            cx.attach_stream(incoming, ListenerMsg::Accepted, || None)?;
        }
        Ok(())
    }

    async fn handle(
        &mut self,
        message: ListenerMsg,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        match message {
            ListenerMsg::Accepted(Ok(socket)) => self.open(socket, cx)?,
            // There are too many open files, or the client has left already.
            ListenerMsg::Accepted(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            ListenerMsg::Close => {
                // In the time of the network, whatever clock keys expire by.
                tokio::time::sleep(LAST_CALL).await;
                cx.stop();
            }
        }
        Ok(())
    }
}

impl Listener {
    fn open(&self, socket: TcpStream, cx: &mut Context<'_, Self>) -> Result<(), SpawnError> {
        if cx.children() < MAX_CONNECTIONS {
            let options = SpawnOptions::new().restart(RestartPolicy::Temporary);
            cx.spawn_with(options, once(Connection::new(socket, self.front.clone())))?;
        } else {
            // The client is told if there is room for it. Then it is left.
            let _ = socket.try_write(b"-ERR max number of clients reached\r\n");
        }
        Ok(())
    }
}
