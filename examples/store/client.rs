//! A small client of the store, for the load and for the tests.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::encode::extend_encode_borrowed;
use redis_protocol::resp2::types::BorrowedFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::protocol::Frame;

/// A connection to the store. Commands are queued, sent together, and their replies read one by
/// one.
#[derive(Debug)]
pub(crate) struct Client {
    socket: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            input: BytesMut::new(),
            output: BytesMut::new(),
        })
    }

    /// Queues a command.
    pub(crate) fn queue(&mut self, words: &[&str]) {
        let words: Vec<_> = words
            .iter()
            .map(|word| BorrowedFrame::BulkString(word.as_bytes()))
            .collect();
        extend_encode_borrowed(&mut self.output, &BorrowedFrame::Array(&words), false)
            .expect("the buffer grows to the frame's length");
    }

    /// Queues bytes as they are, be they a command or not.
    #[cfg(test)]
    pub(crate) fn queue_raw(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends what is queued.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// The next reply. The end of the connection is an error.
    pub(crate) async fn reply(&mut self) -> io::Result<Frame> {
        loop {
            if let Some((frame, _, _)) =
                decode_bytes_mut(&mut self.input).map_err(io::Error::other)?
            {
                return Ok(frame);
            }
            self.input.reserve(16 * 1024);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends one command and waits for its reply.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> io::Result<Frame> {
        self.queue(words);
        self.send().await?;
        self.reply().await
    }
}
