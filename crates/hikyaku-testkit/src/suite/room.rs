//! Bounded mailboxes, and waiting for room.

use super::Runtime;
use super::subject::{Act, End, Log, all, closed, occupy, poll_once, spawn_with};
use hikyaku_core::{ActorRef, AskError, MailboxOptions, SendError, SpawnOptions};
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
