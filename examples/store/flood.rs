//! A client that floods the store, beside some that do not.
//!
//! The limit has to hold for the one, and the others must not notice: none of their commands is delayed or refused.
//! How long they wait for their replies is in the report.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hikyaku::prelude::*;
use tokio::task::JoinSet;

use crate::Store;
use crate::client::Client;
use crate::connection::Rules;
use crate::limit::{Excess, Limit, TOO_MANY};
use crate::protocol::Frame;
use crate::report::Histogram;

/// What each client may send in a second.
const LIMIT: u32 = 1000;
/// What the one that floods sends at once, again and again.
const AT_ONCE: u64 = 500;
/// The others send one command after the other, with a pause, so they stay far below the limit.
const OTHERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(5);
const COMMANDS: u64 = 60;

/// What was seen of one kind of limit.
#[derive(Debug)]
pub(crate) struct Flood {
    kind: Excess,
    /// The commands of the one that floods.
    pub(crate) sent: u64,
    /// Those of them that were delayed or refused.
    pub(crate) excess: u64,
    pub(crate) clients: usize,
    pub(crate) over_limit: u64,
    /// How long the others waited for their replies.
    pub(crate) steady: Histogram,
}

impl Flood {
    /// What became of commands over the limit.
    pub(crate) fn what(&self) -> &'static str {
        match self.kind {
            Excess::Delay => "delayed",
            Excess::Refuse => "refused",
        }
    }
}

/// Starts a store with a limit, and floods it as long as the other clients need.
pub(crate) async fn run(
    excess: Excess,
    complaints: &mut Vec<String>,
) -> Result<Flood, Box<dyn Error>> {
    let limit = Limit {
        per_second: LIMIT,
        excess,
    };
    let rules = Rules {
        debug: false,
        limit: Some(limit),
    };
    let store = Store::start(0, ActorSystem::new("flooded")?, rules).await?;
    let start = Instant::now();
    let mut others = JoinSet::new();
    for number in 0..OTHERS {
        others.spawn(be_steady(number, store.address));
    }
    let flooding = tokio::spawn(flood(store.address));
    let mut steady = Histogram::new();
    while let Some(latencies) = others.join_next().await {
        match latencies? {
            Ok(latencies) => steady.add(&latencies),
            Err(error) => complaints.push(format!("beside a flood: {error}")),
        }
    }
    // What it has sent by now it still gets the replies to.
    let (sent, accepted) = flooding.await??;
    let elapsed = start.elapsed();

    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (delayed, refused) = (count(&store.stats.delayed), count(&store.stats.refused));
    let over_limit = count(&store.stats.clients_over_limit);
    store.close().await;

    let most = u64::from(limit.burst()) + (f64::from(LIMIT) * elapsed.as_secs_f64()) as u64 + 1;
    let (counted, other) = match excess {
        Excess::Delay => (delayed, refused),
        Excess::Refuse => (refused, delayed),
    };
    for (is_wrong, what) in [
        (accepted > most, "more commands passed than the limit says"),
        (
            over_limit != 1,
            "another client than the one that floods was over the limit",
        ),
        (
            counted == 0 || other != 0,
            "the wrong commands were counted",
        ),
        (
            sent - accepted != refused,
            "what was refused is not what was counted",
        ),
    ] {
        if is_wrong {
            complaints.push(format!(
                "{excess:?}: {what}: {sent} sent, {accepted} passed in {elapsed:?}, {delayed} delayed, {refused} \
                 refused, {over_limit} clients over the limit"
            ));
        }
    }
    Ok(Flood {
        kind: excess,
        sent,
        excess: counted,
        clients: OTHERS + 1,
        over_limit,
        steady,
    })
}

/// Sends far too much, about as long as the others need; how much, and how many of these commands passed.
async fn flood(address: SocketAddr) -> io::Result<(u64, u64)> {
    let mut client = Client::connect(address).await?;
    let end = Instant::now() + PAUSE * COMMANDS as u32;
    let (mut sent, mut passed) = (0, 0);
    while Instant::now() < end {
        for _ in 0..AT_ONCE {
            client.queue(&["INCR", "flood"]);
        }
        client.send().await?;
        sent += AT_ONCE;
        for _ in 0..AT_ONCE {
            match client.reply().await? {
                // In order, and each of them once.
                Frame::Integer(number) if number == passed + 1 => passed = number,
                Frame::Error(text) if text == TOO_MANY => {}
                other => return Err(io::Error::other(format!("{other:?} after {passed}"))),
            }
        }
    }
    Ok((sent, passed as u64))
}

/// Sends a command now and then, and takes the time of each reply.
async fn be_steady(number: usize, address: SocketAddr) -> io::Result<Histogram> {
    let mut client = Client::connect(address).await?;
    let mut latencies = Histogram::new();
    let key = format!("steady{number}");
    for n in 1..=COMMANDS {
        let start = Instant::now();
        let reply = client.ask(&["INCR", &key]).await?;
        latencies.record(start.elapsed());
        if reply != Frame::Integer(n as i64) {
            return Err(io::Error::other(format!("{reply:?} instead of {n}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(latencies)
}
