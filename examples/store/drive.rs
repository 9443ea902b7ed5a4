//! The store drives itself: with clients that put load on it, and that know what they should read.
//!
//! Each client has keys of its own, so it knows their values. Half way, a shard is made to panic.
//! From then on a value may be missing, but only one that this shard had before; and a client may
//! be told that its command was lost, but only about a key of this shard. Anything else is a
//! complaint.
//!
//! At the end come keys that live for a moment. They have to go though nobody touches them. Then two more stores show
//! what their limits do (`flood.rs`).

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hikyaku::prelude::*;
use tokio::task::JoinSet;

use crate::batch::{SHARD_RESTARTING, shard_of};
use crate::client::Client;
use crate::connection::Rules;
use crate::flood;
use crate::limit::Excess;
use crate::protocol::{Frame, ok};
use crate::report::{Histogram, Report, grouped};
use crate::stats::Stats;
use crate::{SHARDS, Store};

const CLIENTS: usize = 16;
const KEYS_PER_CLIENT: usize = 256;
/// How many commands a client sends at once.
const PIPELINE: usize = 16;

/// The key whose shard is made to panic. It is never set.
const VICTIM: &str = "victim";

/// How many keys are left to expire, and how long they live, in milliseconds.
const SHORT_LIVED: usize = 1000;
const LIFE: &str = "50";

/// How long it may take until there is a shard again, or until keys have expired.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far the panic is.
const BEFORE: u8 = 0;
const PANICKING: u8 = 1;
const AFTER: u8 = 2;

/// Starts a store, drives it for so long, and prints what was seen. An inconsistency is an error.
pub(crate) async fn run(length: Duration) -> Result<(), Box<dyn Error>> {
    // The panic to come is on purpose. Its message is enough, it needs no backtrace.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let rules = Rules {
        debug: true,
        limit: None,
    };
    let store = Store::start(0, ActorSystem::new("store")?, rules).await?;
    println!(
        "{SHARDS} shards, {CLIENTS} clients, {PIPELINE} commands at a time, {length:?}, on {}",
        store.address
    );
    let report = drive(store, length).await?;
    println!("\n{report}");
    if report.complaints.is_empty() {
        Ok(())
    } else {
        Err("the store is inconsistent".into())
    }
}

async fn drive(store: Store, length: Duration) -> Result<Report, Box<dyn Error>> {
    let start = Instant::now();
    let course = Arc::new(Course {
        end: start + length,
        panic: AtomicU8::new(BEFORE),
        operations: AtomicU64::new(0),
    });
    let progress = tokio::spawn(show_progress(course.clone()));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(LoadClient::run(number, store.address, course.clone()));
    }

    tokio::time::sleep(length / 2).await;
    let actors_alive = store.system.metrics().live_actors;
    let panic = make_shard_panic(store.address, &course);
    let mut errors_told = tokio::time::timeout(PATIENCE, panic).await??;

    let (mut keys_held, mut keys_missed) = (0, 0);
    let (mut latencies, mut complaints) = (Histogram::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        let client = client??;
        keys_held += client.keys.iter().filter(|key| key.value.is_some()).count();
        keys_missed += client.keys_missed;
        errors_told += client.errors_told;
        latencies.add(&client.latencies);
        complaints.extend(client.complaints);
    }
    progress.abort();
    let elapsed = start.elapsed();

    let keys_expired = count_and_expire(&store, keys_held, &mut complaints).await?;
    let keys_lost = store.stats.keys_lost.load(Ordering::Relaxed);
    if keys_missed > keys_lost {
        complaints.push(format!(
            "{keys_missed} keys are missing, but only {keys_lost} were lost"
        ));
    }
    let shard_restarts = store.stats.shard_restarts();
    let steady_shards = store.stats.steady_shards();
    if (shard_restarts, steady_shards) != (1, SHARDS as u64 - 1) {
        complaints.push(format!(
            "{shard_restarts} shards were restarted instead of one"
        ));
    }
    let floods = [
        flood::run(Excess::Delay, &mut complaints).await?,
        flood::run(Excess::Refuse, &mut complaints).await?,
    ];
    let dead_letters = store.system.metrics().dead_letters;
    let survivors = store.close().await.live_actors;
    if survivors != 0 {
        complaints.push(format!("{survivors} actors outlived the store"));
    }
    Ok(Report {
        elapsed,
        latencies,
        errors_told,
        keys_lost,
        keys_missed,
        keys_expired,
        shard_restarts,
        steady_shards,
        dead_letters,
        actors_alive,
        floods,
        complaints,
    })
}

/// What those who drive share.
struct Course {
    end: Instant,
    /// `BEFORE`, `PANICKING` or `AFTER`.
    panic: AtomicU8,
    operations: AtomicU64,
}

async fn show_progress(course: Arc<Course>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    let mut last = 0;
    for second in 1.. {
        seconds.tick().await;
        let operations = course.operations.load(Ordering::Relaxed);
        println!(
            "{second:>4} s {:>12} operations",
            grouped(operations - last)
        );
        last = operations;
    }
}

/// Makes a shard panic, and waits until there is another. Returns the number of errors it was told.
async fn make_shard_panic(address: SocketAddr, course: &Course) -> io::Result<u64> {
    let mut client = Client::connect(address).await?;
    course.panic.store(PANICKING, Ordering::SeqCst);
    let mut errors_told = 0;
    let mut reply = client.ask(&["DEBUG", "PANIC", VICTIM]).await?;
    while is_restarting(&reply) {
        errors_told += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        reply = client.ask(&["GET", VICTIM]).await?;
    }
    if reply != Frame::Null {
        return Err(io::Error::other(format!(
            "a shard was to panic, but replied {reply:?}"
        )));
    }
    course.panic.store(AFTER, Ordering::SeqCst);
    Ok(errors_told)
}

/// Counts the keys, then has some more expire. Returns how many have.
async fn count_and_expire(
    store: &Store,
    keys_held: usize,
    complaints: &mut Vec<String>,
) -> io::Result<u64> {
    let mut client = Client::connect(store.address).await?;
    let keys_counted = client.ask(&["DBSIZE"]).await?;
    if keys_counted != Frame::Integer(keys_held as i64) {
        complaints.push(format!(
            "DBSIZE is {keys_counted:?}, but the clients hold {keys_held} keys"
        ));
    }
    let keys_expired = let_keys_expire(&mut client, &store.stats).await?;
    let keys_left = client.ask(&["DBSIZE"]).await?;
    if keys_expired != SHORT_LIVED as u64 || keys_left != keys_counted {
        complaints.push(format!(
            "{keys_expired} of {SHORT_LIVED} keys expired, DBSIZE was {keys_counted:?} and is {keys_left:?}"
        ));
    }
    Ok(keys_expired)
}

/// Sets keys that live for a moment, and leaves them alone. Returns how many have expired.
///
/// Only the numbers of `INFO` are looked at meanwhile: no command reaches a shard.
async fn let_keys_expire(client: &mut Client, stats: &Stats) -> io::Result<u64> {
    for number in 0..SHORT_LIVED {
        client.queue(&["SET", &format!("moment{number}"), "gone soon", "PX", LIFE]);
    }
    client.send().await?;
    for _ in 0..SHORT_LIVED {
        client.reply().await?;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let expired = stats.expired_keys.load(Ordering::Relaxed);
        if expired == SHORT_LIVED as u64 || Instant::now() > end {
            return Ok(expired);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn is_restarting(reply: &Frame) -> bool {
    matches!(reply, Frame::Error(text) if *text == SHARD_RESTARTING)
}

/// A client that puts load on the store and checks what it reads.
struct LoadClient {
    client: Client,
    course: Arc<Course>,
    keys: Vec<Key>,
    latencies: Histogram,
    errors_told: u64,
    keys_missed: u64,
    complaints: Vec<String>,
}

/// A key, and what its client knows of it.
struct Key {
    name: String,
    value: Option<i64>,
    /// Whether the shard that is made to panic keeps it.
    on_victim: bool,
    /// Whether it was last written before that shard had panicked.
    at_risk: bool,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Get,
    Set(i64),
    Increment,
}

impl LoadClient {
    /// Runs until the course is at its end, and reads all keys once more then.
    async fn run(number: usize, address: SocketAddr, course: Arc<Course>) -> io::Result<Self> {
        let mut this = Self {
            client: Client::connect(address).await?,
            course,
            keys: (0..KEYS_PER_CLIENT)
                .map(|key| Key::new(format!("client{number}:key{key}")))
                .collect(),
            latencies: Histogram::new(),
            errors_told: 0,
            keys_missed: 0,
            complaints: Vec::new(),
        };
        let mut operations = [(0, Operation::Get); PIPELINE];
        while Instant::now() < this.course.end || this.course.panic.load(Ordering::SeqCst) != AFTER
        {
            operations.fill_with(|| (fastrand::usize(..KEYS_PER_CLIENT), Operation::any()));
            this.perform(&operations).await?;
        }
        let all: Vec<_> = (0..KEYS_PER_CLIENT)
            .map(|key| (key, Operation::Get))
            .collect();
        this.perform(&all).await?;
        Ok(this)
    }

    /// Sends the operations at once, and checks their replies.
    async fn perform(&mut self, operations: &[(usize, Operation)]) -> io::Result<()> {
        for (key, operation) in operations {
            operation.queue(&self.keys[*key].name, &mut self.client);
        }
        let panic = self.course.panic.load(Ordering::SeqCst);
        let start = Instant::now();
        self.client.send().await?;
        for &(key, operation) in operations {
            let reply = self.client.reply().await?;
            self.latencies.record(start.elapsed());
            self.check(key, operation, &reply, panic);
        }
        self.course
            .operations
            .fetch_add(operations.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Checks the reply to an operation that was sent when the panic was so far.
    fn check(&mut self, key: usize, operation: Operation, reply: &Frame, panic: u8) {
        let key = &mut self.keys[key];
        let may_miss = key.at_risk && self.course.panic.load(Ordering::SeqCst) != BEFORE;
        let (expected, value) = operation.apply(key.value);
        let (expected_if_missing, value_if_missing) = operation.apply(None);

        if is_restarting(reply) && key.on_victim && panic != AFTER {
            self.errors_told += 1;
            self.keys_missed += u64::from(key.value.take().is_some());
            return;
        } else if *reply == expected {
            key.value = value;
        } else if *reply == expected_if_missing && may_miss {
            self.keys_missed += 1;
            key.value = value_if_missing;
        } else {
            let Key { name, value, .. } = key;
            self.complaints.push(format!(
                "{operation:?} of {name}, which was {value:?}, replied {reply:?}"
            ));
        }
        if !matches!(operation, Operation::Get) {
            key.at_risk = key.on_victim && panic != AFTER;
        }
    }
}

impl Key {
    fn new(name: String) -> Self {
        let on_victim = shard_of(name.as_bytes(), SHARDS) == shard_of(VICTIM.as_bytes(), SHARDS);
        Self {
            name,
            value: None,
            on_victim,
            at_risk: false,
        }
    }
}

impl Operation {
    fn any() -> Self {
        match fastrand::u8(..10) {
            0..5 => Self::Get,
            5..8 => Self::Set(fastrand::i64(0..1_000_000_000)),
            _ => Self::Increment,
        }
    }

    fn queue(self, key: &str, client: &mut Client) {
        match self {
            Self::Get => client.queue(&["GET", key]),
            Self::Set(value) => client.queue(&["SET", key, &value.to_string()]),
            Self::Increment => client.queue(&["INCR", key]),
        }
    }

    /// The reply there should be, and the value after it.
    fn apply(self, value: Option<i64>) -> (Frame, Option<i64>) {
        match self {
            Self::Get => (
                value.map_or(Frame::Null, |value| {
                    Frame::BulkString(value.to_string().into())
                }),
                value,
            ),
            Self::Set(value) => (ok(), Some(value)),
            Self::Increment => {
                let sum = value.unwrap_or(0) + 1;
                (Frame::Integer(sum), Some(sum))
            }
        }
    }
}
