//! The reply slot, step by step.

use crate::actor_ref::SendError;
use crate::ask::{Answer, Ask, AskError, Reply};
use crate::cell::CellPtr;
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::{Actor, DeadLetterReason, Failure, System};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use std::format;
use std::task::Wake;

/// A value that is counted.
#[derive(Debug, Clone)]
struct Counted(
    u32,
    #[allow(dead_code, reason = "its drop is what counts")] Arc<()>,
);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        // Relaxed: one thread.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn wakes(wakes: &Wakes) -> usize {
    // Relaxed: one thread.
    wakes.0.load(Ordering::Relaxed)
}

fn pair<T>() -> (Answer<T>, Reply<T>) {
    let (reply, answer) = Reply::pair();
    (answer, reply)
}

/// A cell that is never looked at.
fn nobody() -> CellPtr {
    // SAFETY: only the address is used.
    unsafe { CellPtr::from_ptr(core::ptr::without_provenance_mut(64)) }
}

struct Deaf;

impl Actor for Deaf {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut crate::Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

fn poll<T>(ask: &mut Answer<T>, waker: &Waker) -> Poll<Result<T, AskError>> {
    pin!(ask).poll(&mut Context::from_waker(waker))
}

const NONE: &Waker = Waker::noop();

#[test]
fn an_answer_arrives_before_and_after_the_first_poll() {
    let (mut ask, reply) = pair();
    assert_eq!(reply.send(7), Ok(()));
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Ok(7)));

    let (mut ask, reply) = pair();
    let count = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&count));
    assert_eq!(poll(&mut ask, &waker), Poll::Pending);
    assert_eq!(reply.send(7), Ok(()));
    assert_eq!(wakes(&count), 1);
    assert_eq!(poll(&mut ask, &waker), Poll::Ready(Ok(7)));
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn the_last_waker_is_woken() {
    let (mut ask, reply) = pair();
    let counts = [(); 3].map(|()| Arc::new(Wakes::default()));
    for count in &counts {
        let waker = Waker::from(Arc::clone(count));
        assert_eq!(poll(&mut ask, &waker), Poll::Pending);
        assert_eq!(poll(&mut ask, &waker), Poll::Pending);
        assert_eq!(Arc::strong_count(count), 3);
    }
    // The slot has the last one only.
    assert_eq!(counts.each_ref().map(Arc::strong_count), [1, 1, 2]);
    reply.send(7).unwrap();
    assert_eq!(counts.each_ref().map(|count| wakes(count)), [0, 0, 1]);
    assert_eq!(counts.each_ref().map(Arc::strong_count), [1, 1, 1]);
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Ok(7)));
}

#[test]
fn a_lost_reply_is_told_at_once() {
    let (mut ask, reply) = pair::<u32>();
    let count = Arc::new(Wakes::default());
    assert_eq!(
        poll(&mut ask, &Waker::from(Arc::clone(&count))),
        Poll::Pending
    );
    drop(reply);
    assert_eq!(wakes(&count), 1);
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Err(AskError::Dropped)));

    let (mut ask, reply) = pair::<u32>();
    drop(reply);
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Err(AskError::Dropped)));
}

#[test]
fn an_asker_that_left_is_noticed() {
    for polled in [false, true] {
        let (mut ask, reply) = pair();
        let count = Arc::new(Wakes::default());
        if polled {
            assert_eq!(
                poll(&mut ask, &Waker::from(Arc::clone(&count))),
                Poll::Pending
            );
        }
        assert!(!reply.is_cancelled());
        assert_eq!(format!("{reply:?}"), "Reply { cancelled: false }");
        drop(ask);
        assert!(reply.is_cancelled());
        assert_eq!(Arc::strong_count(&count), 1);
        assert_eq!(reply.send(7), Err(7));
        assert_eq!(wakes(&count), 0);
    }
}

#[test]
fn values_that_nobody_reads_are_dropped() {
    let count = Arc::new(());
    let value = || Counted(7, Arc::clone(&count));
    let (ask, reply) = pair();
    reply.send(value()).unwrap();
    assert_eq!(Arc::strong_count(&count), 2);
    drop(ask);
    assert_eq!(Arc::strong_count(&count), 1);

    let (ask, reply) = pair();
    drop(ask);
    drop(reply.send(value()));
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn row30_a_refused_question_says_why_and_is_a_dead_letter() {
    let letters = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&letters);
    let (system, _workers) = System::builder("test")
        .on_dead_letter(move |letter| {
            assert_eq!(letter.reason, DeadLetterReason::Bounced);
            assert_eq!(letter.sender, None, "sent by no actor");
            assert!(letter.message.is::<Reply<u32>>());
            // Relaxed: one thread.
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let actor = system.spawn(|| Deaf).unwrap();
    let target = actor.cell();
    for (refused, error) in [
        (
            SendError::Full as fn(Reply<u32>) -> SendError<Reply<u32>>,
            AskError::Full,
        ),
        (SendError::Closed, AskError::Closed),
    ] {
        let mut ask = Ask::send(target, |made| made, |made| Err(refused(made)));
        let poll = pin!(&mut ask).poll(&mut Context::from_waker(NONE));
        assert_eq!(poll, Poll::Ready(Err(error)));
        drop(Ask::send(target, |made| made, |made| Err(refused(made))));
    }
    // Relaxed: one thread.
    assert_eq!(letters.load(Ordering::Relaxed), 4);
}

#[test]
fn a_panic_in_making_the_question_leaves_nothing() {
    let count = Arc::new(());
    for reply_is_dropped in [true, false] {
        let mut kept = None;
        let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            Ask::<Counted>::send(
                nobody(),
                |made: Reply<Counted>| {
                    if !reply_is_dropped {
                        kept = Some(made);
                    }
                    panic!("no question")
                },
                |()| Ok(()),
            )
        }));
        assert!(result.is_err());
        if let Some(kept) = kept {
            assert!(kept.is_cancelled());
            assert!(kept.send(Counted(1, Arc::clone(&count))).is_err());
        }
    }
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
#[should_panic(expected = "polled after it was done")]
fn polling_after_the_answer_is_a_mistake() {
    let (mut ask, reply) = pair();
    reply.send(7).unwrap();
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Ok(7)));
    let _ = poll(&mut ask, NONE);
}

#[test]
fn values_without_a_size_or_with_a_large_one_arrive() {
    let (mut ask, reply) = pair();
    reply.send(()).unwrap();
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Ok(())));

    #[derive(Debug, PartialEq, Clone, Copy)]
    #[repr(align(64))]
    struct Large([u8; 200]);
    let (mut ask, reply) = pair();
    reply.send(Large([3; 200])).unwrap();
    assert_eq!(poll(&mut ask, NONE), Poll::Ready(Ok(Large([3; 200]))));
}

#[test]
fn errors_say_what_happened() {
    for (error, text) in [
        (AskError::Full, "the mailbox is full"),
        (AskError::Closed, "the actor takes no more messages"),
        (
            AskError::Dropped,
            "the question was dropped without an answer",
        ),
    ] {
        assert_eq!(format!("{error}"), text);
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Poll(usize),
    Look,
    Send,
    LoseReply,
    Leave,
}

proptest! {
    /// Any steps of both sides, against what each may expect.
    #[test]
    fn the_slot_is_as_its_model(
        steps in proptest::collection::vec(
            prop_oneof![
                4 => (0_usize..3).prop_map(Step::Poll),
                1 => Just(Step::Look),
                1 => Just(Step::Send),
                1 => Just(Step::LoseReply),
                1 => Just(Step::Leave),
            ],
            0..12,
        ),
    ) {
        let count = Arc::new(());
        let tasks = [(); 3].map(|()| Arc::new(Wakes::default()));
        let wakers = tasks.each_ref().map(|task| Waker::from(Arc::clone(task)));
        let (ask, reply) = pair::<Counted>();
        let (mut ask, mut reply) = (Some(ask), Some(reply));
        // What was answered, who waits, and how often each was woken.
        let (mut answer, mut waiting, mut woken) = (None, None, [0; 3]);
        for step in steps {
            match step {
                Step::Poll(task) if ask.is_some() => {
                    let polled = poll(ask.as_mut().unwrap(), &wakers[task]);
                    match answer.take() {
                        Some(answer) => {
                            prop_assert_eq!(polled, Poll::Ready(answer));
                            ask = None;
                        }
                        None => {
                            prop_assert_eq!(polled, Poll::Pending);
                            waiting = Some(task);
                        }
                    }
                }
                Step::Look if reply.is_some() => {
                    prop_assert_eq!(reply.as_ref().unwrap().is_cancelled(), ask.is_none());
                }
                Step::Send | Step::LoseReply if reply.is_some() => {
                    let reply = reply.take().unwrap();
                    let sends = matches!(step, Step::Send);
                    if sends {
                        let sent = reply.send(Counted(7, Arc::clone(&count)));
                        prop_assert_eq!(sent.is_ok(), ask.is_some());
                    } else {
                        drop(reply);
                    }
                    if ask.is_some() {
                        answer = Some(if sends { Ok(Counted(7, Arc::clone(&count))) } else { Err(AskError::Dropped) });
                        if let Some(task) = waiting.take() {
                            woken[task] += 1;
                        }
                    }
                }
                Step::Leave => {
                    ask = None;
                    (answer, waiting) = (None, None);
                }
                _ => {}
            }
            prop_assert_eq!(tasks.each_ref().map(|task| wakes(task)), woken);
            for (at, task) in tasks.iter().enumerate() {
                let held = ask.is_some() && waiting == Some(at);
                prop_assert_eq!(Arc::strong_count(task), 2 + usize::from(held));
            }
        }
        drop((ask, reply, answer));
        prop_assert_eq!(Arc::strong_count(&count), 1);
    }
}
