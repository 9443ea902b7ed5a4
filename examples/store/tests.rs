//! Tests of the whole store: requests go in over a socket, and the replies are compared.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hikyaku::prelude::*;

use crate::batch::{SHARD_RESTARTING, shard_of};
use crate::client::Client;
use crate::connection::Rules;
use crate::limit::{Excess, Limit, TOO_MANY};
use crate::protocol::Frame;
use crate::{SHARDS, Store};

/// A store whose time stands still until it is advanced.
struct TestStore {
    store: Store,
    clock: TestClock,
}

/// Shows so many milliseconds.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl hikyaku::Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl TestStore {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(limit: Option<Limit>) -> Self {
        let rules = Rules { debug: true, limit };
        let clock = TestClock::default();
        let system = ActorSystem::builder("store").clock(clock.clone()).build();
        let store = Store::start(0, system.expect("it starts"), rules)
            .await
            .expect("the store starts");
        Self { store, clock }
    }

    async fn client(&self) -> Client {
        Client::connect(self.store.address)
            .await
            .expect("the store accepts")
    }

    fn advance(&self, milliseconds: u64) {
        self.clock.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

/// Sends a line as one command. `''` is an empty argument.
async fn ask(client: &mut Client, line: &str) -> String {
    queue(client, line);
    client.send().await.expect("the store reads");
    reply(client).await
}

fn queue(client: &mut Client, line: &str) {
    let words: Vec<&str> = line
        .split(' ')
        .map(|word| if word == "''" { "" } else { word })
        .collect();
    client.queue(&words);
}

async fn reply(client: &mut Client) -> String {
    show(&read(client).await.expect("the store replies"))
}

async fn read(client: &mut Client) -> io::Result<Frame> {
    tokio::time::timeout(Duration::from_secs(10), client.reply()).await?
}

/// The end of a connection, when there is no reply left.
async fn assert_closed(client: &mut Client) {
    let error = read(client)
        .await
        .expect_err("the connection was to be closed");
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ),
        "{error}"
    );
}

/// A reply as a table has it: `+OK`, `-ERR ...`, `:1`, `"text"`, `nil`, `[...]`.
fn show(frame: &Frame) -> String {
    match frame {
        Frame::SimpleString(text) => format!("+{}", String::from_utf8_lossy(text)),
        Frame::Error(text) => format!("-{text}"),
        Frame::Integer(number) => format!(":{number}"),
        Frame::BulkString(text) => format!("{:?}", String::from_utf8_lossy(text)),
        Frame::Array(elements) => format!(
            "[{}]",
            elements.iter().map(show).collect::<Vec<_>>().join(" ")
        ),
        Frame::Null => "nil".into(),
    }
}

/// Requests and the replies there should be. `ADVANCE n` advances the clock by so many
/// milliseconds.
type Table<'a> = &'a [(&'a str, &'a str)];

/// Runs the tables one after the other on one connection, each with an empty store.
async fn check(tables: &[Table<'_>]) {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    for table in tables {
        assert_eq!(ask(&mut client, "FLUSHALL").await, "+OK");
        for (request, expected) in *table {
            if let Some(milliseconds) = request.strip_prefix("ADVANCE ") {
                store.advance(milliseconds.parse().expect("a number"));
            } else {
                assert_eq!(ask(&mut client, request).await, *expected, "{request}");
            }
        }
    }
}

#[tokio::test]
async fn commands_without_keys() {
    check(&[&[
        ("PING", "+PONG"),
        ("ping", "+PONG"),
        ("PING hello", "\"hello\""),
        ("PING ''", "\"\""),
        (
            "PING a b",
            "-ERR wrong number of arguments for 'ping' command",
        ),
        ("ECHO hello", "\"hello\""),
        ("eChO ''", "\"\""),
        ("ECHO", "-ERR wrong number of arguments for 'echo' command"),
        (
            "ECHO a b",
            "-ERR wrong number of arguments for 'echo' command",
        ),
        ("COMMAND", "[]"),
        ("COMMAND DOCS", "[]"),
        ("CONFIG GET save", "[]"),
        ("config get save appendonly", "[]"),
        (
            "CONFIG",
            "-ERR wrong number of arguments for 'config' command",
        ),
        (
            "CONFIG GET",
            "-ERR wrong number of arguments for 'config|get' command",
        ),
        (
            "CONFIG SET a b",
            "-ERR unknown subcommand 'SET'. Try CONFIG HELP.",
        ),
        (
            "INFO a b",
            "-ERR wrong number of arguments for 'info' command",
        ),
        (
            "NOPE",
            "-ERR unknown command 'NOPE', with args beginning with: ",
        ),
        (
            "Nope a b",
            "-ERR unknown command 'Nope', with args beginning with: 'a' 'b' ",
        ),
        ("''", "-ERR unknown command '', with args beginning with: "),
        (
            "a\r\nb",
            "-ERR unknown command 'a  b', with args beginning with: ",
        ),
        (
            "DEBUG",
            "-ERR unknown command 'DEBUG', with args beginning with: ",
        ),
    ]])
    .await;
}

#[tokio::test]
async fn get_and_set() {
    check(&[
        &[
            ("GET a", "nil"),
            ("SET a 1", "+OK"),
            ("GET a", "\"1\""),
            ("set a ''", "+OK"),
            ("get a", "\"\""),
            ("SET '' empty", "+OK"),
            ("GET ''", "\"empty\""),
            ("GET A", "nil"),
            ("SET line a\r\nb", "+OK"),
            ("GET line", "\"a\\r\\nb\""),
        ],
        &[
            ("SET a 1 XX", "nil"),
            ("GET a", "nil"),
            ("SET a 1 NX", "+OK"),
            ("SET a 2 nx", "nil"),
            ("GET a", "\"1\""),
            ("SET a 3 xx", "+OK"),
            ("GET a", "\"3\""),
            ("SET a 4 NX NX", "nil"),
        ],
        &[
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            (
                "GET a b",
                "-ERR wrong number of arguments for 'get' command",
            ),
            ("SET", "-ERR wrong number of arguments for 'set' command"),
            ("SET a", "-ERR wrong number of arguments for 'set' command"),
            ("SET a 1 b", "-ERR syntax error"),
            ("SET a 1 NX XX", "-ERR syntax error"),
            ("SET a 1 EX", "-ERR syntax error"),
            ("SET a 1 EX 1 PX 1", "-ERR syntax error"),
            (
                "SET a 1 EX x",
                "-ERR value is not an integer or out of range",
            ),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 PX -1", "-ERR invalid expire time in 'set' command"),
            (
                "SET a 1 EX 9223372036854775807",
                "-ERR invalid expire time in 'set' command",
            ),
            (
                "SET a 1 EX 9223372036854775808",
                "-ERR value is not an integer or out of range",
            ),
            ("GET a", "nil"),
        ],
    ])
    .await;
}

#[tokio::test]
async fn several_keys() {
    let spread: Vec<usize> = ["a", "b", "c", "d"]
        .iter()
        .map(|key| shard_of(key.as_bytes(), SHARDS))
        .collect();
    assert!(
        spread.iter().any(|shard| *shard != spread[0]),
        "the keys are to be on several shards"
    );
    check(&[
        &[
            ("SET a 1", "+OK"),
            ("SET b 2", "+OK"),
            ("SET c 3", "+OK"),
            ("MGET c a missing b a", "[\"3\" \"1\" nil \"2\" \"1\"]"),
            ("MGET missing", "[nil]"),
            ("EXISTS a b c missing a", ":4"),
            ("EXISTS missing", ":0"),
            ("DBSIZE", ":3"),
            ("DEL a missing c a", ":2"),
            ("DEL a", ":0"),
            ("MGET a b c", "[nil \"2\" nil]"),
            ("DBSIZE", ":1"),
            ("FLUSHALL SYNC", "+OK"),
            ("DBSIZE", ":0"),
            ("GET b", "nil"),
            ("flushall async", "+OK"),
        ],
        &[
            ("MGET", "-ERR wrong number of arguments for 'mget' command"),
            ("DEL", "-ERR wrong number of arguments for 'del' command"),
            (
                "EXISTS",
                "-ERR wrong number of arguments for 'exists' command",
            ),
            (
                "DBSIZE a",
                "-ERR wrong number of arguments for 'dbsize' command",
            ),
            ("FLUSHALL NOW", "-ERR syntax error"),
            ("FLUSHALL SYNC SYNC", "-ERR syntax error"),
        ],
        &[
            ("KEYS *", "[]"),
            ("SET hello 1", "+OK"),
            ("KEYS *", "[\"hello\"]"),
            ("KEYS h?llo", "[\"hello\"]"),
            ("KEYS h[ae]llo", "[\"hello\"]"),
            ("KEYS h[^e]llo", "[]"),
            ("KEYS HELLO", "[]"),
            ("KEYS ''", "[]"),
            ("KEYS", "-ERR wrong number of arguments for 'keys' command"),
            (
                "KEYS a b",
                "-ERR wrong number of arguments for 'keys' command",
            ),
        ],
    ])
    .await;
}

#[tokio::test]
async fn keys_come_from_all_shards() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    let mut expected: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    for key in &expected {
        assert_eq!(ask(&mut client, &format!("SET {key} 1")).await, "+OK");
    }
    let Frame::Array(keys) = client
        .ask(&["KEYS", "key*"])
        .await
        .expect("the store replies")
    else {
        panic!("an array was expected");
    };
    let mut keys: Vec<String> = keys.iter().map(|key| show(key).replace('"', "")).collect();
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn numbers_and_appending() {
    let not_an_integer = "-ERR value is not an integer or out of range";
    let overflow = "-ERR increment or decrement would overflow";
    check(&[
        &[
            ("INCR n", ":1"),
            ("incr n", ":2"),
            ("DECR n", ":1"),
            ("DECR m", ":-1"),
            ("GET n", "\"1\""),
            ("SET n 9223372036854775806", "+OK"),
            ("INCR n", ":9223372036854775807"),
            ("INCR n", overflow),
            ("GET n", "\"9223372036854775807\""),
            ("SET n -9223372036854775808", "+OK"),
            ("DECR n", overflow),
            ("SET n 9223372036854775808", "+OK"),
            ("INCR n", not_an_integer),
            ("SET n ten", "+OK"),
            ("DECR n", not_an_integer),
            ("SET n ''", "+OK"),
            ("INCR n", not_an_integer),
            ("INCR", "-ERR wrong number of arguments for 'incr' command"),
            (
                "DECR a b",
                "-ERR wrong number of arguments for 'decr' command",
            ),
        ],
        &[
            ("APPEND a hello", ":5"),
            ("APPEND a ''", ":5"),
            ("append a !", ":6"),
            ("GET a", "\"hello!\""),
            ("APPEND b ''", ":0"),
            ("EXISTS b", ":1"),
            ("INCR n", ":1"),
            ("APPEND n 0", ":2"),
            ("INCR n", ":11"),
            (
                "APPEND a",
                "-ERR wrong number of arguments for 'append' command",
            ),
        ],
    ])
    .await;
}

#[tokio::test]
async fn set_with_an_expiry() {
    check(&[
        // The deadline is the first moment without the key.
        &[
            ("SET a 1 PX 1000", "+OK"),
            ("SET b 1 EX 2", "+OK"),
            ("TTL a", ":1"),
            ("TTL b", ":2"),
            ("ADVANCE 999", ""),
            ("GET a", "\"1\""),
            ("DBSIZE", ":2"),
            ("ADVANCE 1", ""),
            ("DBSIZE", ":1"),
            ("KEYS *", "[\"b\"]"),
            ("MGET a b", "[nil \"1\"]"),
            ("TTL a", ":-2"),
            ("ADVANCE 1000", ""),
            ("EXISTS a b", ":0"),
            ("DEL b", ":0"),
        ],
        // Time to live is rounded to the nearest second.
        &[
            ("SET a 1 PX 1499", "+OK"),
            ("TTL a", ":1"),
            ("SET a 1 PX 1500", "+OK"),
            ("TTL a", ":2"),
            ("SET a 1 PX 1", "+OK"),
            ("TTL a", ":0"),
        ],
        // A new value takes the deadline away, a changed one keeps it.
        &[
            ("SET a 1 PX 10", "+OK"),
            ("SET a 2", "+OK"),
            ("TTL a", ":-1"),
            ("SET n 1 PX 10", "+OK"),
            ("INCR n", ":2"),
            ("APPEND n 0", ":2"),
            ("ADVANCE 10", ""),
            ("MGET a n", "[\"2\" nil]"),
            ("INCR n", ":1"),
            ("TTL n", ":-1"),
        ],
        // A key that has expired is missing for `NX` and `XX`. One that was not set keeps its
        // deadline.
        &[
            ("SET a 1 PX 10", "+OK"),
            ("SET a 2 NX", "nil"),
            ("ADVANCE 10", ""),
            ("SET a 2 XX", "nil"),
            ("SET a 2 NX", "+OK"),
        ],
    ])
    .await;
}

/// Only `INFO` is asked, which no shard is told of.
#[tokio::test]
async fn a_key_expires_though_nobody_touches_it() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    for line in ["SET a 1 PX 10", "SET b 1 PX 30", "SET c 1"] {
        assert_eq!(ask(&mut client, line).await, "+OK");
    }
    let keys = || {
        let counts = store.store.stats.key_counts.iter();
        counts
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<usize>()
    };
    assert_eq!(keys(), 3);
    for (milliseconds, left) in [(10, 2), (20, 1)] {
        store.advance(milliseconds);
        wait_until(|| keys() == left).await;
    }
    assert!(ask(&mut client, "INFO").await.contains("expired_keys:2"));
    assert_eq!(ask(&mut client, "KEYS *").await, "[\"c\"]");
}

#[tokio::test]
async fn expire() {
    check(&[&[
        ("EXPIRE a 10", ":0"),
        ("SET a 1", "+OK"),
        ("TTL a", ":-1"),
        ("EXPIRE a 10", ":1"),
        ("TTL a", ":10"),
        ("EXPIRE a 20", ":1"),
        ("ADVANCE 19999", ""),
        ("EXISTS a", ":1"),
        ("ADVANCE 1", ""),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("EXPIRE a 0", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("EXPIRE a -1", ":1"),
        ("EXPIRE a -1", ":0"),
        ("SET a 1", "+OK"),
        (
            "EXPIRE a 9223372036854775807",
            "-ERR invalid expire time in 'expire' command",
        ),
        (
            "EXPIRE a 1.5",
            "-ERR value is not an integer or out of range",
        ),
        ("TTL a", ":-1"),
        (
            "EXPIRE a",
            "-ERR wrong number of arguments for 'expire' command",
        ),
        ("TTL", "-ERR wrong number of arguments for 'ttl' command"),
    ]])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_commands_are_answered_in_order() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    let mut expected = Vec::new();
    for number in 0..2000 {
        queue(&mut client, &format!("SET key{number} {number}"));
        queue(&mut client, &format!("APPEND key{number} x"));
        queue(&mut client, "INCR counter");
        queue(&mut client, &format!("MGET key{number} counter"));
        queue(&mut client, "PING");
        let length = number.to_string().len() + 1;
        let count = number + 1;
        expected.extend(["+OK".into(), format!(":{length}"), format!(":{count}")]);
        expected.extend([format!("[\"{number}x\" \"{count}\"]"), "+PONG".into()]);
    }
    client.send().await.expect("the store reads");
    for expected in expected {
        assert_eq!(reply(&mut client).await, expected);
    }
    assert_eq!(ask(&mut client, "DBSIZE").await, ":2001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_at_the_same_time_lose_no_update() {
    let store = TestStore::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = store.client().await;
        tasks.spawn(async move {
            for _ in 0..10 {
                for _ in 0..50 {
                    queue(&mut client, "INCR n");
                }
                client.send().await.expect("the store reads");
                for _ in 0..50 {
                    reply(&mut client).await;
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(ask(&mut store.client().await, "GET n").await, "\"4000\"");
}

#[tokio::test]
async fn large_values() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    let value = "x".repeat(1024 * 1024);
    assert_eq!(ask(&mut client, &format!("SET large {value}")).await, "+OK");
    assert_eq!(
        ask(&mut client, "APPEND large y").await,
        format!(":{}", value.len() + 1)
    );
    let expected = format!("{:?}", value + "y");
    assert_eq!(
        ask(&mut client, "MGET large large").await,
        format!("[{expected} {expected}]")
    );
}

#[tokio::test]
async fn inline_commands_and_pieces() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    client.queue_raw(b"PING\r\n\r\nset greeting \"hello world\"\nGET greeting\r\n*0\r\n");
    client.send().await.expect("the store reads");
    for expected in ["+PONG", "+OK", "\"hello world\""] {
        assert_eq!(reply(&mut client).await, expected);
    }
    for piece in ["*2\r", "\n$4\r\nEC", "HO\r\n$2\r\nh", "i\r\n"] {
        client.queue_raw(piece.as_bytes());
        client.send().await.expect("the store reads");
        tokio::task::yield_now().await;
    }
    assert_eq!(reply(&mut client).await, "\"hi\"");
}

#[tokio::test]
async fn malformed_input_closes_only_its_connection() {
    let store = TestStore::start().await;
    let mut bystander = store.client().await;
    let cases = [
        ("*x\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$99999999999\r\n", "invalid bulk length"),
        ("*1\r\n$4\r\nPINGPONG", "expected CRLF after bulk"),
        ("ECHO \"a\r\n", "unbalanced quotes in request"),
    ];
    for (input, expected) in cases {
        let mut client = store.client().await;
        queue(&mut client, "ECHO before");
        client.queue_raw(input.as_bytes());
        client.send().await.expect("the store reads");
        assert_eq!(reply(&mut client).await, "\"before\"", "{input:?}");
        assert_eq!(
            reply(&mut client).await,
            format!("-ERR Protocol error: {expected}"),
            "{input:?}"
        );
        assert_closed(&mut client).await;
        assert_eq!(ask(&mut bystander, "PING").await, "+PONG");
    }
}

#[tokio::test]
async fn quit_ends_the_connection() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    for line in ["PING", "quit", "SET a 1"] {
        queue(&mut client, line);
    }
    client.send().await.expect("the store reads");
    assert_eq!(reply(&mut client).await, "+PONG");
    assert_eq!(reply(&mut client).await, "+OK");
    assert_closed(&mut client).await;
    assert_eq!(ask(&mut store.client().await, "EXISTS a").await, ":0");
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing_behind() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    assert_eq!(ask(&mut client, "PING").await, "+PONG");
    let actors = store.store.system.metrics().live_actors;

    let mut leaving = store.client().await;
    assert_eq!(ask(&mut leaving, "PING").await, "+PONG");
    assert!(
        ask(&mut client, "INFO")
            .await
            .contains("connected_clients:2")
    );
    assert_eq!(store.store.system.metrics().live_actors, actors + 1);
    leaving.queue_raw(b"*1\r\n$4\r\nPI");
    leaving.send().await.expect("the store reads");
    drop(leaving);
    wait_until(|| store.store.system.metrics().live_actors == actors).await;
    assert!(
        ask(&mut client, "info server")
            .await
            .contains("connected_clients:1")
    );
}

async fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "the condition never held");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_panics_is_restarted() {
    let store = TestStore::start().await;
    let mut client = store.client().await;
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for number in 0..100 {
        let key = format!("key{number}");
        assert_eq!(
            ask(&mut client, &format!("SET {key} {number}")).await,
            "+OK"
        );
        let same_shard = shard_of(key.as_bytes(), SHARDS) == shard_of(b"victim", SHARDS);
        if same_shard {
            lost.push(key)
        } else {
            kept.push(key)
        }
    }
    assert!(!lost.is_empty() && !kept.is_empty());

    // In one batch, all commands for the shard are lost with it, and no others.
    let told = format!("-{SHARD_RESTARTING}");
    queue(&mut client, &format!("SET {} new", lost[0]));
    queue(&mut client, &format!("EXISTS {}", kept[0]));
    queue(&mut client, "DEBUG PANIC victim");
    queue(&mut client, &format!("MGET {} {}", kept[0], lost[0]));
    queue(&mut client, "DBSIZE");
    queue(&mut client, &format!("EXISTS {}", kept[0]));
    client.send().await.expect("the store reads");
    for expected in [&told, ":1", &told, &told, &told, ":1"] {
        assert_eq!(reply(&mut client).await, expected);
    }

    // The restart waits a moment, which this clock has to be told of.
    wait_until(|| {
        store.advance(1);
        store.store.stats.shard_restarts() == 1
    })
    .await;
    while ask(&mut client, "GET victim").await == told {
        tokio::task::yield_now().await;
    }
    for key in &lost {
        assert_eq!(
            ask(&mut client, &format!("GET {key}")).await,
            "nil",
            "{key}"
        );
    }
    for key in &kept {
        assert_ne!(
            ask(&mut client, &format!("GET {key}")).await,
            "nil",
            "{key}"
        );
    }
    assert_eq!(ask(&mut client, &format!("INCR {}", lost[0])).await, ":1");
    let info = ask(&mut client, "INFO").await;
    assert!(info.contains("shard_restarts:1"), "{info}");
    assert!(
        info.contains(&format!("keys_lost:{}\\r", lost.len())),
        "{info}"
    );
}

#[tokio::test]
async fn clients_may_not_make_a_shard_panic_unless_allowed() {
    let system = ActorSystem::new("store").expect("it starts");
    let store = Store::start(0, system, Rules::default())
        .await
        .expect("the store starts");
    let mut client = Client::connect(store.address)
        .await
        .expect("the store accepts");
    assert_eq!(
        ask(&mut client, "DEBUG PANIC a").await,
        "-ERR DEBUG command not allowed"
    );
    assert_eq!(ask(&mut client, "GET a").await, "nil");
}

/// Ten a second, and one at once.
fn limited(excess: Excess) -> Option<Limit> {
    Some(Limit {
        per_second: 10,
        excess,
    })
}

#[tokio::test]
async fn over_the_limit_commands_are_refused_in_order() {
    let store = TestStore::start_with(limited(Excess::Refuse)).await;
    let (mut client, mut other) = (store.client().await, store.client().await);
    let refused = format!("-{TOO_MANY}");
    for (advance, expected) in [(0, ":1"), (100, ":2"), (5000, ":3")] {
        store.advance(advance);
        for _ in 0..3 {
            queue(&mut client, "INCR n");
        }
        client.send().await.expect("the store reads");
        for expected in [expected, &refused, &refused] {
            assert_eq!(reply(&mut client).await, expected, "{advance}");
        }
        assert_eq!(ask(&mut other, "PING").await, "+PONG", "has its own");
    }
    let stats = &store.store.stats;
    let counts = [&stats.delayed, &stats.refused, &stats.clients_over_limit];
    assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [0, 6, 1]);
}

#[tokio::test]
async fn over_the_limit_commands_wait_for_their_turn() {
    let store = TestStore::start_with(limited(Excess::Delay)).await;
    let (mut client, mut other) = (store.client().await, store.client().await);
    for _ in 0..4 {
        queue(&mut client, "INCR n");
    }
    // Half of it comes later.
    client.queue_raw(b"INCR");
    client.send().await.expect("the store reads");
    assert_eq!(reply(&mut client).await, ":1");
    client.queue_raw(b" n\r\n");
    client.send().await.expect("the store reads");
    let delayed = || store.store.stats.delayed.load(Ordering::Relaxed);
    for n in 2..=5 {
        // The command before has its reply, this one waits.
        wait_until(|| delayed() == n - 1).await;
        assert_eq!(ask(&mut other, "GET n").await, format!("\"{}\"", n - 1));
        store.advance(100);
        assert_eq!(reply(&mut client).await, format!(":{n}"));
    }
    assert_eq!(delayed(), 4);
    assert_eq!(
        store.store.stats.clients_over_limit.load(Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn a_delayed_client_does_not_keep_the_store_open() {
    let store = TestStore::start_with(limited(Excess::Delay)).await;
    let mut client = store.client().await;
    queue(&mut client, "INCR n");
    queue(&mut client, "INCR n");
    client.send().await.expect("the store reads");
    assert_eq!(reply(&mut client).await, ":1");
    wait_until(|| store.store.stats.delayed.load(Ordering::Relaxed) == 1).await;
    assert_eq!(store.store.close().await.live_actors, 0);
    assert_closed(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_answers_what_was_received() {
    let TestStore { store, .. } = TestStore::start().await;
    let address = store.address;
    let mut idle = Client::connect(address).await.expect("the store accepts");
    assert_eq!(ask(&mut idle, "PING").await, "+PONG");

    let mut busy = Client::connect(address).await.expect("the store accepts");
    assert_eq!(ask(&mut busy, "PING").await, "+PONG");
    for _ in 0..100 {
        queue(&mut busy, "INCR n");
    }
    busy.send().await.expect("the store reads");
    let metrics = store.close().await;
    assert_eq!(metrics.live_actors, 0);

    for expected in 1..=100 {
        assert_eq!(reply(&mut busy).await, format!(":{expected}"));
    }
    assert_closed(&mut busy).await;
    assert_closed(&mut idle).await;
    assert!(Client::connect(address).await.is_err());
}
