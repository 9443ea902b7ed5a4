//! An in-memory store that speaks the Redis protocol, built of actors.
//!
//! ```text
//! ActorSystem
//! ├── Supervisor          the parent of the shards; one that panics is restarted
//! │   ├── Shard 0         keeps a part of the keys
//! │   ├── Shard 1
//! │   └── ...
//! └── Listener            accepts connections
//!     ├── Connection      talks with one client, asks the shards
//!     └── ...
//! ```
//!
//! What a client sends comes to its connection as messages, from its socket as an attached stream. The
//! connection divides the commands among the shards that keep their keys (`batch.rs`). The shards
//! answer, and the connection writes the replies in order. A shard that panics is restarted, without its
//! keys and after a moment; the reference to it stays the same, and what waits in its mailbox is answered
//! then. The other shards go on.
//!
//! A shard has a timer for the next of its keys to expire, so a key goes at its time whether somebody
//! asks for it or not.
//!
//! With a limit (`limit.rs`), a client that sends too much waits, or is refused; the others do not notice.
//!
//! Without arguments the store drives itself for some seconds with clients of its own, and checks
//! what they read (`drive.rs`, `flood.rs`). `--serve` keeps it running for others, such as `redis-cli`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for the terminal"
)]

mod batch;
mod client;
mod command;
mod connection;
mod drive;
mod flood;
mod glob;
mod keyspace;
mod limit;
mod listener;
mod protocol;
mod report;
mod shard;
mod stats;
mod supervisor;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::Metrics;
use hikyaku::prelude::*;
use tokio::net::TcpListener;

use crate::connection::{Front, Rules};
use crate::limit::{Excess, Limit};
use crate::listener::{Incoming, Listener, ListenerMsg};
use crate::stats::Stats;
use crate::supervisor::Supervisor;

/// How many actors keep the keys.
const SHARDS: usize = 4;

/// How long clients may take to read their last replies when the store closes.
const GRACE: Duration = Duration::from_secs(5);

const USAGE: &str = "\
Usage: store [--seconds N]           drive the store for N seconds (5) and check it
       store --check                 the same for one second
       store --serve [--port N] [--limit N [--refuse]]
                                     serve the Redis protocol on a port (6379) until Ctrl-C;
                                     of each client N commands a second, the others wait, or are refused";

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Some(arguments) if arguments.serve => serve(arguments.port, arguments.rules()).await,
        Some(Arguments { seconds, .. }) => drive::run(Duration::from_secs(seconds)).await,
        None => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves other programs until Ctrl-C.
async fn serve(port: u16, rules: Rules) -> Result<(), Box<dyn Error>> {
    let store = Store::start(port, ActorSystem::new("store")?, rules).await?;
    println!("serving on {}, Ctrl-C ends it", store.address);
    tokio::signal::ctrl_c().await?;
    println!("closing");
    store.close().await;
    Ok(())
}

/// A store that is running.
struct Store {
    address: SocketAddr,
    stats: Arc<Stats>,
    system: ActorSystem,
    listener: ActorRef<ListenerMsg>,
}

impl Store {
    /// Starts the shards, then opens the port. Port 0 is any free one. Keys expire by the system's
    /// clock.
    async fn start(port: u16, system: ActorSystem, rules: Rules) -> Result<Self, Box<dyn Error>> {
        let stats = Arc::new(Stats::new(SHARDS));

        let supervisor = Supervisor {
            stats: stats.clone(),
            shards: Vec::new(),
        };
        let supervisor = system.spawn_with(Supervisor::options(), once(supervisor))?;
        supervisor.started().await?;
        let routes = supervisor.ask(|reply| reply).await?;

        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = socket.local_addr()?;
        let front = Front {
            routes,
            stats: stats.clone(),
            rules,
        };
        let listener = system.spawn(once(Listener {
            incoming: Some(Incoming(socket)),
            front,
        }))?;

        Ok(Self {
            address,
            stats,
            system,
            listener,
        })
    }

    /// Closes the store: the port first, then the connections, when their clients have the replies
    /// to what they sent, then the shards, which have nothing left to do.
    ///
    /// Returns what the actor system has counted.
    async fn close(self) -> Metrics {
        // A listener that takes no messages has stopped already.
        let _ = self.listener.tell(ListenerMsg::Close);
        let stopped = tokio::time::timeout(GRACE, self.listener.stopped()).await;
        if stopped.is_err() {
            self.listener.kill();
        }
        self.system.graceful_shutdown().await;
        self.system.metrics()
    }
}

/// What the command line says.
struct Arguments {
    serve: bool,
    port: u16,
    seconds: u64,
    limit: Option<u32>,
    excess: Excess,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut arguments = Self {
            serve: false,
            port: 6379,
            seconds: 5,
            limit: None,
            excess: Excess::Delay,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--serve" => arguments.serve = true,
                "--check" => arguments.seconds = 1,
                "--port" => arguments.port = words.next()?.parse().ok()?,
                "--limit" => {
                    arguments.limit = Some(words.next()?.parse().ok().filter(|&limit| limit > 0)?);
                }
                "--refuse" => arguments.excess = Excess::Refuse,
                "--seconds" => {
                    arguments.seconds = words.next()?.parse().ok().filter(|&seconds| seconds > 0)?
                }
                _ => return None,
            }
        }
        Some(arguments)
    }

    fn rules(&self) -> Rules {
        let limit = self.limit.map(|per_second| Limit {
            per_second,
            excess: self.excess,
        });
        Rules {
            limit,
            debug: false,
        }
    }
}
