//! The listener: the actor that accepts connections, and is their parent.

use std::time::Duration;

use hikyaku::prelude::*;
use hikyaku::{RestartPolicy, SpawnError};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, Front};

/// How many clients there may be, as many as in Redis.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;

/// How long connections still read when the store is closing.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Accepts connections until the store is closing. They are its children, so it stops after them.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// Cancelled when the store is to close.
    pub(crate) closing: CancellationToken,
    pub(crate) front: Front,
}

/// Accept the next connection.
pub(crate) struct Accept;

impl Actor for Listener {
    type Msg = Accept;

    async fn started(&mut self, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        cx.me().tell(Accept)?;
        Ok(())
    }

    async fn handle(&mut self, _: Accept, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        tokio::select! {
            accepted = self.socket.accept() => {
                match accepted {
                    Ok((socket, _)) => self.open(socket, cx)?,
                    // There are too many open files, or the client has left already.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
                cx.me().tell(Accept)?;
            }
            () = self.closing.cancelled() => {
                // What clients have sent before has the time to arrive.
                tokio::time::sleep(LAST_CALL).await;
                self.front.last_call.cancel();
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
