//! What becomes of a message.

use super::Runtime;
use super::subject::{
    Act, Count, Gate, Log, Subject, all, closed, occupy, settle, spawn, spawn_with, text,
};
use hikyaku_core::{
    MailboxOptions, Recipient, SendError, SpawnError, SpawnOptions, SystemState, Wrap, once,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whichever calls it uses, what one sender sends is handled in that order.
pub fn row01_messages_of_one_sender_keep_their_order(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn(runtime, "a", &log);
        for n in (0..400).step_by(4) {
            actor.tell(Act::Note(n)).unwrap();
            actor.try_send(Act::Note(n + 1)).unwrap();
            actor.send(Act::Note(n + 2)).await.unwrap();
            actor.tell_all([Act::Note(n + 3)]).unwrap();
        }
        settle(&actor).await;
        let expected: String = (0..400).map(|n| format!(" a{n}")).collect();
        assert_eq!(log.line(), format!("a+{expected}"));
    });
}

/// Actors and a future send to one actor at the same time.
pub fn row01_of_many_senders_none_loses_or_doubles_a_message(runtime: &impl Runtime) {
    const SENDERS: u64 = 8;
    const EACH: u64 = if cfg!(miri) { 20 } else { 300 };
    for mailbox in [MailboxOptions::unbounded(), MailboxOptions::bounded(4)] {
        runtime.block_on(async {
            let log = Log::default();
            let options = SpawnOptions::new().mailbox(mailbox);
            let actor = spawn_with(runtime, options, "", &log);
            let send = |sender: u64| {
                let actor = actor.clone();
                async move {
                    for n in 0..EACH {
                        actor.send(Act::Note(sender * 1000 + n)).await.unwrap();
                    }
                }
            };
            let senders: Vec<_> = (1..SENDERS)
                .map(|number| {
                    let sender = spawn(runtime, "s", &Log::default());
                    sender.tell(Act::run(send(number))).unwrap();
                    sender
                })
                .collect();
            send(0).await;
            all(senders.iter().map(settle)).await;
            actor.stop_gracefully();
            actor.stopped().await;

            let line = log.line();
            let numbers = line.split(' ').filter_map(|n| n.parse::<u64>().ok());
            let mut next = [0; SENDERS as usize];
            for number in numbers {
                let place = usize::try_from(number / 1000).unwrap();
                assert_eq!(number % 1000, next[place], "of sender {place}");
                next[place] += 1;
            }
            assert_eq!(next, [EACH; SENDERS as usize]);
        });
    }
}

/// Into any mailbox, with what does not fit handed back in order.
pub fn row01_tell_all_keeps_the_order(runtime: &impl Runtime) {
    runtime.block_on(async {
        let cases = [
            (MailboxOptions::unbounded(), 9),
            (MailboxOptions::bounded(3), 3),
        ];
        for (mailbox, fits) in cases {
            let log = Log::default();
            let options = SpawnOptions::new().mailbox(mailbox);
            let actor = spawn_with(runtime, options, "a", &log);
            let gate = occupy(&actor).await;
            let told = actor.tell_all((0..9).map(Act::Note));
            let left = match told {
                Ok(()) => Vec::new(),
                Err(SendError::Full(left)) => Act::numbers(&left),
                Err(SendError::Closed(_)) => panic!("it takes messages"),
            };
            assert_eq!(left, (fits..9).collect::<Vec<_>>());
            actor.stop_gracefully();
            let Err(SendError::Closed(left)) = actor.tell_all([Act::Note(7), Act::Note(8)]) else {
                panic!("it was told to stop")
            };
            assert_eq!(Act::numbers(&left), [7, 8]);
            gate.open();
            actor.stopped().await;
            let taken: String = (0..fits).map(|n| format!(" a{n}")).collect();
            assert_eq!(log.line(), format!("a+{taken} a-"));
        }
    });
}

/// Each message that was queued is dropped, once, and counted.
pub fn row09_a_stop_makes_dead_letters_of_what_is_queued(runtime: &impl Runtime) {
    runtime.block_on(async {
        let (log, count) = (Log::default(), Count::default());
        let before = runtime.system().metrics().dead_letters;
        let actor = spawn(runtime, "a", &log);
        let gate = occupy(&actor).await;
        for _ in 0..5 {
            let (one, log) = (count.one(), log.clone());
            let act = Act::call(move |_| {
                log.push("handled");
                drop(one);
            });
            actor.tell(act).unwrap();
        }
        actor.stop();
        assert_eq!(closed(actor.tell(Act::Note(6))), Some(6));
        assert_eq!(count.alive(), 5);
        gate.open();
        assert_eq!(text(&actor.stopped().await), "stopped");
        assert_eq!(log.line(), "a+ a-");
        assert_eq!(count.alive(), 0);
        assert_eq!(runtime.system().metrics().dead_letters - before, 5);
    });
}

/// What became of the messages of a shutdown under load.
#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    handled: AtomicU64,
    returned: AtomicU64,
}

impl Tally {
    fn add(count: &AtomicU64) -> u64 {
        count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Senders go on until they are refused: what was accepted is handled, the rest is handed back.
pub fn row20_a_graceful_shutdown_under_load_loses_nothing(runtime: &impl Runtime) {
    let system = runtime.system();
    let (tally, enough) = (Arc::<Tally>::default(), Gate::default());
    runtime.block_on(async {
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(8));
                spawn_with(runtime, options, "r", &Log::default())
            })
            .collect();
        for _ in 0..4 {
            let (receivers, tally, enough) = (receivers.clone(), tally.clone(), enough.clone());
            let sending = async move {
                for receiver in receivers.iter().cycle() {
                    let (count, enough) = (tally.clone(), enough.clone());
                    let act = Act::call(move |_| {
                        if Tally::add(&count.handled) == 200 {
                            enough.open();
                        }
                    });
                    if receiver.send(act).await.is_err() {
                        Tally::add(&tally.returned);
                        return;
                    }
                    Tally::add(&tally.accepted);
                }
            };
            let sender = spawn(runtime, "s", &Log::default());
            sender.tell(Act::run(sending)).unwrap();
        }
        enough.pass().await;
        system.graceful_shutdown().await;

        assert_eq!(closed(receivers[0].tell(Act::Note(7))), Some(7));
        assert_eq!(closed(receivers[1].send(Act::Note(8)).await), Some(8));
    });
    let [accepted, handled, returned] = [&tally.accepted, &tally.handled, &tally.returned]
        .map(|count| count.load(Ordering::Relaxed));
    assert_eq!((accepted, returned), (handled, 4));
    assert_eq!(system.metrics().dead_letters, 0);
    assert_eq!(system.state(), SystemState::Stopped);
}

/// Handlers that await are dropped, what is queued becomes dead letters, no hook runs.
pub fn row20_a_forced_stop_leaves_nothing(runtime: &impl Runtime) {
    let system = runtime.system();
    runtime.block_on(async {
        let (log, count) = (Log::default(), Count::default());
        let mut actors = Vec::new();
        for _ in 0..3 {
            let actor = spawn(runtime, "a", &log);
            let (one, entered) = (count.one(), Gate::default());
            let inside = entered.clone();
            let hanging = async move {
                let _one = one;
                inside.open();
                std::future::pending().await
            };
            actor.tell(Act::run(hanging)).unwrap();
            for _ in 0..2 {
                let one = count.one();
                actor.tell(Act::call(move |_| drop(one))).unwrap();
            }
            entered.pass().await;
            actors.push(actor);
        }
        assert_eq!((log.line().as_str(), count.alive()), ("a+ a+ a+", 9));
        system.force_stop();
        system.terminated().await;

        assert_eq!((log.line().as_str(), count.alive()), ("", 0));
        let metrics = system.metrics();
        assert_eq!((metrics.live_actors, metrics.dead_letters), (0, 6));
        for actor in &actors {
            assert_eq!(closed(actor.tell(Act::Note(7))), Some(7));
            assert_eq!(text(&actor.stopped().await), "the system shut down");
        }
        let late = once(Subject::new("late", &log));
        let late = runtime.spawn(SpawnOptions::new(), late);
        assert_eq!(late.unwrap_err(), SpawnError::ShuttingDown);
    });
}

impl Wrap<u64> for Act {
    fn wrap(n: u64) -> Self {
        Self::Note(n)
    }

    fn unwrap(self) -> u64 {
        self.number().expect("only a note is wrapped")
    }
}

/// A recipient of a part of the messages is the same actor, and hands the part back.
pub fn recipients_wrap_and_hand_back_what_they_were_given(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(1));
        let actor = spawn_with(runtime, options, "a", &log);
        let recipient: Recipient<u64> = actor.recipient();
        assert!(recipient.is_alive() && recipient.index() == actor.index());
        let gate = occupy(&actor).await;
        recipient.tell(1).unwrap();
        let Err(SendError::Full(2)) = recipient.try_send(2) else {
            panic!("there is room for one")
        };
        actor.stop_gracefully();
        assert!(!recipient.is_alive());
        let Err(SendError::Closed(3)) = recipient.tell(3) else {
            panic!("it was told to stop")
        };
        gate.open();
        actor.stopped().await;
        assert_eq!(log.line(), "a+ a1 a-");
    });
}
