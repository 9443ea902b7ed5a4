//! Bounded mailboxes, and waiting for room.

use super::Runtime;
use super::subject::{Act, End, Log, all, closed, occupy, poll_once, spawn_with};
use hikyaku_core::{
    ActorRef, AskError, MailboxOptions, MailboxOverflowPolicy, Priority, SendError, SpawnOptions,
};
use std::pin::pin;

fn bounded(runtime: &impl Runtime, capacity: usize, log: &Log) -> ActorRef<Act> {
    let options = SpawnOptions::new().mailbox(MailboxOptions::bounded(capacity));
    spawn_with(runtime, options, "a", log)
}

/// The number of a note that was refused for want of room.
fn full(refused: Result<(), SendError<Act>>) -> Option<u64> {
    match refused {
        Err(SendError::Full(act)) => act.number(),
        _ => None,
    }
}

/// It takes what it has room for, besides the message in hand, and refuses the next.
pub fn row03_a_full_mailbox_refuses(runtime: &impl Runtime) {
    runtime.block_on(async {
        for capacity in 1..4 {
            let log = Log::default();
            let actor = bounded(runtime, capacity as usize, &log);
            let gate = occupy(&actor).await;
            for n in 0..capacity {
                assert!(actor.tell(Act::Note(n)).is_ok(), "{n} of {capacity}");
            }
            assert_eq!(full(actor.tell(Act::Note(90))), Some(90));
            assert_eq!(full(actor.try_send(Act::Note(91))), Some(91));
            let asked = actor.ask(|reply: hikyaku_core::Reply<()>| Act::call(move |_| drop(reply)));
            assert_eq!(asked.await, Err(AskError::Full));
            gate.open();
            actor.stop_gracefully();
            actor.stopped().await;
            let taken: String = (0..capacity).map(|n| format!(" a{n}")).collect();
            assert_eq!(log.line(), format!("a+{taken} a-"));
        }
    });
}

/// In the order in which they began to wait, and before anybody who comes later.
pub fn row05_waiting_senders_are_served_in_order(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = bounded(runtime, 1, &log);
        let gate = occupy(&actor).await;
        actor.tell(Act::Note(0)).unwrap();
        let mut waiting = pin!(all((1..6).map(|n| actor.send(Act::Note(n)))));
        assert!(!poll_once(waiting.as_mut()).await);
        assert_eq!(full(actor.try_send(Act::Note(90))), Some(90));
        gate.open();
        assert!(waiting.await.iter().all(Result::is_ok));
        actor.stop_gracefully();
        actor.stopped().await;
        assert_eq!(log.line(), "a+ a0 a1 a2 a3 a4 a5 a-");
    });
}

/// Those behind it are served all the same.
pub fn row05_a_send_given_up_leaves_no_message(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = bounded(runtime, 1, &log);
        let gate = occupy(&actor).await;
        actor.tell(Act::Note(0)).unwrap();
        let mut waiting: Vec<_> = (1..4).map(|n| Box::pin(actor.send(Act::Note(n)))).collect();
        for send in &mut waiting {
            assert!(!poll_once(send.as_mut()).await);
        }
        drop(waiting.remove(1));
        gate.open();
        assert!(all(waiting).await.iter().all(Result::is_ok));
        actor.stop_gracefully();
        actor.stopped().await;
        assert_eq!(log.line(), "a+ a0 a1 a3 a-");
    });
}

/// Whatever the order to end is.
pub fn row05_waiting_senders_get_their_messages_back_when_the_actor_stops(runtime: &impl Runtime) {
    let ends: [End; 3] = [
        ("a+ a0 a-", ActorRef::stop_gracefully),
        ("a+ a-", ActorRef::stop),
        ("a+", ActorRef::kill),
    ];
    runtime.block_on(async {
        for (expected, end) in ends {
            let log = Log::default();
            let actor = bounded(runtime, 1, &log);
            let gate = occupy(&actor).await;
            actor.tell(Act::Note(0)).unwrap();
            let mut waiting = pin!(all((1..4).map(|n| actor.send(Act::Note(n)))));
            assert!(!poll_once(waiting.as_mut()).await);
            end(&actor);
            let returned: Vec<_> = waiting.await.into_iter().map(closed).collect();
            assert_eq!(returned, [Some(1), Some(2), Some(3)], "{expected}");
            gate.open();
            actor.stopped().await;
            assert_eq!(log.line(), expected);
        }
    });
}

/// A `send` to itself is refused at once when there is no room.
pub fn row11_an_actor_never_waits_for_its_own_mailbox(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = bounded(runtime, 1, &log);
        let (me, notes) = (actor.clone(), log.clone());
        let sending = async move {
            me.send(Act::Note(1)).await.unwrap();
            let refused = me.send(Act::Note(2)).await;
            notes.push(format!("refused {:?}", full(refused)));
            me.stop_gracefully();
        };
        actor.tell(Act::run(sending)).unwrap();
        actor.stopped().await;
        assert_eq!(log.line(), "a+ refused Some(2) a1 a-");
    });
}

fn with(runtime: &impl Runtime, mailbox: MailboxOptions, log: &Log) -> ActorRef<Act> {
    spawn_with(runtime, SpawnOptions::new().mailbox(mailbox), "a", log)
}

/// The newest, or the oldest; each is counted.
pub fn row03_row04_a_policy_drops_what_it_says_and_counts_it(runtime: &impl Runtime) {
    let two = MailboxOptions::bounded(2);
    let cases = [
        (two.overflow(MailboxOverflowPolicy::DropNewest), "a0 a1"),
        (two.overflow(MailboxOverflowPolicy::DropOldest), "a3 a4"),
    ];
    runtime.block_on(async {
        for (mailbox, kept) in cases {
            let log = Log::default();
            let actor = with(runtime, mailbox, &log);
            let gate = occupy(&actor).await;
            let before = runtime.system().metrics();
            for n in 0..5 {
                assert!(actor.tell(Act::Note(n)).is_ok());
            }
            let after = runtime.system().metrics();
            assert_eq!(after.overflowed - before.overflowed, 3);
            assert_eq!(after.dead_letters - before.dead_letters, 3);
            gate.open();
            actor.stop_gracefully();
            actor.stopped().await;
            assert_eq!(log.line(), format!("a+ {kept} a-"));
        }
    });
}

/// What was sent is handled or counted as dropped, and the last one is handled.
pub fn row01_row03_a_storm_that_overflows_loses_nothing_uncounted(runtime: &impl Runtime) {
    const SENT: u64 = 200;
    let policies = [
        MailboxOptions::latest(3),
        MailboxOptions::bounded(3).overflow(MailboxOverflowPolicy::DropNewest),
    ];
    runtime.block_on(async {
        for mailbox in policies {
            let log = Log::default();
            let target = with(runtime, mailbox, &log);
            let before = runtime.system().metrics().overflowed;
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    let to = target.clone();
                    let sender = spawn_with(runtime, SpawnOptions::new(), "s", &Log::default());
                    let sending = async move {
                        for n in 0..SENT {
                            // `send` waits for the moment that `tell` would not.
                            let sent = if n % 2 == 0 {
                                to.send(Act::Note(n)).await
                            } else {
                                to.tell(Act::Note(n))
                            };
                            if sent.is_err() {
                                to.send(Act::Note(n)).await.unwrap();
                            }
                        }
                    };
                    sender.tell(Act::run(sending)).unwrap();
                    sender
                })
                .collect();
            for sender in senders {
                sender.stop_gracefully();
                sender.stopped().await;
            }
            target.stop_gracefully();
            target.stopped().await;
            let dropped = runtime.system().metrics().overflowed - before;
            let line = log.line();
            let handled = line.split_whitespace().count() - 2;
            assert_eq!(handled + dropped, 3 * SENT as usize, "{mailbox:?}");
        }
    });
}

/// Control messages first, then by priority, equals in order.
pub fn row06_row07_control_messages_and_priorities_overtake(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let mailbox = MailboxOptions::unbounded()
            .control(|act: &Act| act.number() == Some(9), 1)
            .priority(|act: &Act| Priority((act.number().unwrap_or(0) % 3) as u8));
        let actor = with(runtime, mailbox, &log);
        let gate = occupy(&actor).await;
        for n in [0, 1, 2, 3, 4, 5, 9] {
            assert!(actor.tell(Act::Note(n)).is_ok());
        }
        assert_eq!(full(actor.tell(Act::Note(9))), Some(9));
        gate.open();
        actor.stop_gracefully();
        actor.stopped().await;
        assert_eq!(log.line(), "a+ a9 a2 a5 a1 a4 a0 a3 a-");
    });
}

/// Raised while the handler awaits: those who wait have room at once.
pub fn row12_the_bound_changes_while_senders_wait(runtime: &impl Runtime) {
    runtime.block_on(async {
        for mailbox in [
            MailboxOptions::bounded(1).up_to(4),
            MailboxOptions::bounded(1).pressure(1, 0),
        ] {
            let log = Log::default();
            let actor = with(runtime, mailbox, &log);
            let gate = occupy(&actor).await;
            actor.tell(Act::Note(0)).unwrap();
            let mut waiting = pin!(all((1..4).map(|n| actor.send(Act::Note(n)))));
            assert!(!poll_once(waiting.as_mut()).await);
            actor.set_capacity(4).unwrap();
            assert!(waiting.await.iter().all(Result::is_ok));
            assert_eq!(actor.capacity(), Some(4));
            gate.open();
            actor.stop_gracefully();
            actor.stopped().await;
            assert_eq!(log.line(), "a+ a0 a1 a2 a3 a-");
        }
    });
}
