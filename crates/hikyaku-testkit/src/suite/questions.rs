//! Questions and their answers.

use super::Runtime;
use super::subject::{Act, Gate, Log, all, occupy, spawn, text};
use hikyaku_core::{AskError, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Answers so.
fn answer(n: u64) -> impl FnOnce(Reply<u64>) -> Act {
    move |reply| {
        Act::call(move |_| {
            let _ = reply.send(n);
        })
    }
}

/// Many questions at once, also by an actor, and answered by another than the one asked.
pub fn row58_questions_are_answered(runtime: &impl Runtime) {
    runtime.block_on(async {
        let actors: Vec<_> = (0..3)
            .map(|_| spawn(runtime, "a", &Log::default()))
            .collect();
        let asks = (0..90).map(|n| actors[n as usize % 3].ask(answer(n * n)));
        let expected: Vec<_> = (0..90).map(|n| Ok(n * n)).collect();
        assert_eq!(all(asks).await, expected);

        let [asker, middle, last] = [0, 1, 2].map(|n| actors[n].clone());
        let asked = asker.ask(|reply: Reply<u64>| {
            Act::run(async move {
                let answer = middle.ask(|inner| Act::call(move |_| forward(&last, inner)));
                let _ = reply.send(answer.await.unwrap() + 1);
            })
        });
        assert_eq!(asked.await, Ok(7));
    });
}

fn forward(to: &hikyaku_core::ActorRef<Act>, reply: Reply<u64>) {
    to.tell(answer(6)(reply)).unwrap();
}

/// It is not asked any more, and never by timeout.
pub fn row59_a_stopped_actor_answers_at_once(runtime: &impl Runtime) {
    runtime.block_on(async {
        let actor = spawn(runtime, "a", &Log::default());
        let gate = occupy(&actor).await;
        actor.stop();
        assert_eq!(actor.ask(answer(1)).await, Err(AskError::Closed));
        gate.open();
        actor.stopped().await;
        assert_eq!(actor.ask(answer(2)).await, Err(AskError::Closed));
    });
}

/// Whoever answers a question that was given up learns of it; no other question gets the answer.
pub fn row59_a_late_answer_comes_back(runtime: &impl Runtime) {
    runtime.block_on(async {
        let log = Log::default();
        let actor = spawn(runtime, "a", &log);
        let gate = occupy(&actor).await;
        let notes = log.clone();
        let given_up = actor.ask(|reply: Reply<u64>| {
            Act::call(move |_| {
                let cancelled = reply.is_cancelled();
                notes.push(format!("{cancelled} {:?}", reply.send(1)));
            })
        });
        let next = actor.ask(answer(2));
        drop(given_up);
        gate.open();
        assert_eq!(next.await, Ok(2));
        assert_eq!(log.line(), "a+ true Err(1)");
    });
}

/// No later question is answered before an earlier one: the actor numbers its answers.
pub fn row60_answers_come_in_the_order_of_the_questions(runtime: &impl Runtime) {
    runtime.block_on(async {
        let actor = spawn(runtime, "", &Log::default());
        let answers = Arc::new(AtomicU64::new(0));
        let questions = (0..50).map(|_| {
            let answers = Arc::clone(&answers);
            // Relaxed: one actor counts.
            actor.ask(move |reply: Reply<u64>| {
                Act::call(move |_| {
                    let _ = reply.send(answers.fetch_add(1, Ordering::Relaxed));
                })
            })
        });
        let expected: Vec<_> = (0..50).map(Ok).collect();
        assert_eq!(all(questions).await, expected);
    });
}

/// By the handler, by the end of the actor, and by a panic.
pub fn row61_a_dropped_question_is_answered_at_once(runtime: &impl Runtime) {
    runtime.block_on(async {
        let actor = spawn(runtime, "a", &Log::default());
        let dropped = actor.ask(|reply: Reply<u64>| Act::call(move |_| drop(reply)));
        assert_eq!(dropped.await, Err(AskError::Dropped), "by the handler");

        let entered = Gate::default();
        let inside = entered.clone();
        let in_hand = actor.ask(|reply: Reply<u64>| {
            Act::run(async move {
                inside.open();
                std::future::pending::<()>().await;
                drop(reply);
            })
        });
        let queued = actor.ask(answer(1));
        entered.pass().await;
        actor.kill();
        assert_eq!(in_hand.await, Err(AskError::Dropped), "by a kill");
        assert_eq!(queued.await, Err(AskError::Dropped), "in the mailbox");

        // Nothing catches a panic without `std`.
        if cfg!(feature = "std") {
            let actor = spawn(runtime, "a", &Log::default());
            let asked = actor.ask(|reply: Reply<u64>| {
                Act::call(move |_| {
                    let _reply = reply;
                    panic!("as asked");
                })
            });
            assert_eq!(asked.await, Err(AskError::Dropped), "by a panic");
            assert_eq!(text(&actor.stopped().await), "panicked: as asked");
        }
    });
}
