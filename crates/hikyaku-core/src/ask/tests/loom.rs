//! Races of the reply slot. Values and slots are counted by loom, wakers block a thread of loom's:
//! what is lost, freed twice or never woken fails the test.

use crate::ask::{Answer, AskError, Reply};
use crate::sync::Arc;
use ::loom::alloc::Track;
use ::loom::future::block_on;
use ::loom::{model, thread};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::task::Wake;

type Value = Track<u32>;

/// The two sides of one question.
fn pair() -> (Answer<Value>, Reply<Value>) {
    let (reply, answer) = Reply::pair();
    (answer, reply)
}

/// A waker that loom counts.
struct Counted(#[allow(dead_code, reason = "its drop is what counts")] Track<()>);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

fn counted() -> Waker {
    Waker::from(Arc::new(Counted(Track::new(()))))
}

/// Waits for the answer. While the answerer holds the waker of an earlier poll the asker asks to be
/// polled at once; loom has to be told to run the other one meanwhile.
fn answer(ask: Answer<Value>) -> Result<u32, AskError> {
    let mut ask = pin!(ask);
    block_on(core::future::poll_fn(|cx| {
        let polled = ask.as_mut().poll(cx);
        if polled.is_pending() {
            thread::yield_now();
        }
        polled
    }))
    .map(Track::into_inner)
}

fn poll_once<T>(ask: &mut Answer<T>) -> Option<Result<T, AskError>> {
    let waker = counted();
    match pin!(ask).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn number(result: Result<Value, AskError>) -> Result<u32, AskError> {
    result.map(Track::into_inner)
}

/// Runs both sides at once.
fn race(answerer: fn(Reply<Value>), asker: fn(Answer<Value>)) {
    model(move || {
        let (ask, reply) = pair();
        let thread = thread::spawn(move || answerer(reply));
        asker(ask);
        thread.join().unwrap();
    });
}

fn send(reply: Reply<Value>) {
    if let Err(value) = reply.send(Track::new(7)) {
        assert_eq!(*value.get_ref(), 7);
    }
}

#[test]
fn send_against_poll() {
    race(send, |ask| assert_eq!(answer(ask), Ok(7)));
}

#[test]
fn send_against_poll_with_new_waker() {
    race(send, |mut ask| match poll_once(&mut ask) {
        Some(result) => assert_eq!(number(result), Ok(7)),
        None => assert_eq!(answer(ask), Ok(7)),
    });
}

#[test]
fn send_against_several_polls() {
    race(send, |mut ask| {
        for _ in 0..3 {
            if let Some(result) = poll_once(&mut ask) {
                assert_eq!(number(result), Ok(7));
                return;
            }
        }
    });
}

#[test]
fn send_against_drop() {
    race(send, drop);
}

#[test]
fn send_against_poll_and_drop() {
    race(send, |mut ask| {
        if let Some(result) = poll_once(&mut ask) {
            assert_eq!(number(result), Ok(7));
        }
    });
}

#[test]
fn lost_reply_against_poll() {
    race(drop, |ask| {
        assert_eq!(answer(ask), Err(AskError::Dropped));
    });
}

#[test]
fn lost_reply_against_poll_with_new_waker() {
    race(drop, |mut ask| match poll_once(&mut ask) {
        Some(result) => assert_eq!(number(result), Err(AskError::Dropped)),
        None => assert_eq!(answer(ask), Err(AskError::Dropped)),
    });
}

#[test]
fn lost_reply_against_drop() {
    race(drop, drop);
}

#[test]
fn lost_reply_against_poll_and_drop() {
    race(drop, |mut ask| drop(poll_once(&mut ask)));
}

#[test]
fn cancellation_against_a_look_at_it() {
    race(
        |reply| {
            let cancelled = reply.is_cancelled();
            let refused = reply.send(Track::new(7)).is_err();
            assert!(refused || !cancelled);
        },
        drop,
    );
}

/// Waits until the asker has left. Only its leaving can end this.
fn watch(mut reply: Reply<Value>) {
    block_on(reply.cancelled());
    assert!(reply.is_cancelled());
    let value = reply.send(Track::new(7)).expect_err("nobody waits");
    assert_eq!(value.into_inner(), 7);
}

#[test]
fn leaving_against_a_watch() {
    race(watch, drop);
}

#[test]
fn leaving_after_a_poll_against_a_watch() {
    race(watch, |mut ask| assert!(poll_once(&mut ask).is_none()));
}

#[test]
fn leaving_against_a_watch_with_new_waker() {
    race(
        |mut reply| {
            let waker = counted();
            let mut cx = Context::from_waker(&waker);
            let _ = pin!(reply.cancelled()).poll(&mut cx);
            watch(reply);
        },
        drop,
    );
}

/// The answerer looks once whether it should go on, then answers.
#[test]
fn leaving_against_a_watch_and_send() {
    race(
        |mut reply| {
            let waker = counted();
            let mut cx = Context::from_waker(&waker);
            let left = pin!(reply.cancelled()).poll(&mut cx).is_ready();
            let refused = reply.send(Track::new(7)).is_err();
            assert!(refused || !left);
        },
        |mut ask| {
            if let Some(result) = poll_once(&mut ask) {
                assert_eq!(number(result), Ok(7));
            }
        },
    );
}

#[test]
fn lost_reply_after_a_watch_against_leaving() {
    race(
        |mut reply| {
            let waker = counted();
            let _ = pin!(reply.cancelled()).poll(&mut Context::from_waker(&waker));
        },
        drop,
    );
}

/// The time limit is noted while the question is being answered.
#[test]
fn deadline_against_a_look_and_send() {
    race(
        |reply| {
            let deadline = reply.deadline().map(crate::Deadline::since_start);
            assert!(deadline.is_none_or(|deadline| deadline == LIMIT));
            send(reply);
        },
        |ask| {
            ask.set_deadline(LIMIT);
            assert_eq!(answer(ask), Ok(7));
        },
    );
}

/// Both halves of it say something.
const LIMIT: core::time::Duration = core::time::Duration::from_nanos(0x1234_5678_9abc_def0);

#[test]
fn asker_moves_between_threads() {
    model(|| {
        let (mut ask, reply) = pair();
        let answerer = thread::spawn(move || send(reply));
        let polled = poll_once(&mut ask);
        if let Some(result) = polled {
            assert_eq!(number(result), Ok(7));
        } else {
            let asker = thread::spawn(move || assert_eq!(answer(ask), Ok(7)));
            asker.join().unwrap();
        }
        answerer.join().unwrap();
    });
}
