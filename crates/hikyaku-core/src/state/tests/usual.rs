//! Every transition of the two words, from every kind of state.

use crate::state::{
    AWAITING, CLOSED, Claim, HELD, Link, NOTIFIED, Next, Orders, Park, Pushed, Release, SIGNAL,
    Task, Word, bits, node, with_bits,
};
use crate::sync::{AtomicPtr, AtomicU16, Ordering};
use core::ptr::{self, NonNull};
use proptest::prelude::*;
use std::boxed::Box;
use std::vec::Vec;

/// Nodes that live as long as the test.
struct Nodes(Vec<*mut Link>);

impl Nodes {
    fn new() -> Self {
        Self(
            (0..4)
                .map(|_| Box::into_raw(Box::new(Link::new())))
                .collect(),
        )
    }

    fn get(&self, number: usize) -> *mut Link {
        if number == 0 {
            ptr::null_mut()
        } else {
            self.0[number - 1]
        }
    }

    /// Which node this is: from 1, or 0 for none.
    fn number(&self, link: *mut Link) -> usize {
        if link.is_null() {
            return 0;
        }
        1 + self
            .0
            .iter()
            .position(|known| *known == link)
            .expect("a node of ours")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for link in &self.0 {
            // SAFETY: made by `new`, and queued nowhere that outlives this.
            drop(unsafe { Box::from_raw(*link) });
        }
    }
}

/// A word's bits and the number of its newest node.
type State = (usize, usize);

fn word(nodes: &Nodes, state: State) -> Word {
    Word(AtomicPtr::new(with_bits(nodes.get(state.1), state.0)))
}

fn state(nodes: &Nodes, word: &Word) -> State {
    // Relaxed: one thread.
    let head = word.0.load(Ordering::Relaxed);
    (bits(head), nodes.number(node(head)))
}

#[test]
fn claim_takes_the_ticket_of_an_idle_cell_only() {
    let nodes = Nodes::new();
    for (before, claim, after) in [
        ((0, 0), Claim::Claimed, (HELD, 0)),
        ((HELD, 0), Claim::Busy, (HELD, 0)),
        ((HELD, 1), Claim::Busy, (HELD, 1)),
        ((HELD | SIGNAL, 0), Claim::Busy, (HELD | SIGNAL, 0)),
        ((HELD | SIGNAL, 2), Claim::Busy, (HELD | SIGNAL, 2)),
        ((HELD | CLOSED, 0), Claim::Closed, (HELD | CLOSED, 0)),
        ((HELD | CLOSED, 1), Claim::Closed, (HELD | CLOSED, 1)),
        (
            (HELD | SIGNAL | CLOSED, 3),
            Claim::Closed,
            (HELD | SIGNAL | CLOSED, 3),
        ),
    ] {
        let word = word(&nodes, before);
        assert_eq!(
            (word.claim(), state(&nodes, &word)),
            (claim, after),
            "{before:?}"
        );
    }
}

#[test]
fn push_queues_and_tells_who_schedules() {
    let queued = |first| Pushed::Queued { first };
    let nodes = Nodes::new();
    for (before, pushed, after) in [
        ((0, 0), Pushed::Schedule, (HELD, 4)),
        ((HELD, 0), queued(true), (HELD, 4)),
        ((HELD, 1), queued(false), (HELD, 4)),
        ((HELD | SIGNAL, 0), queued(true), (HELD | SIGNAL, 4)),
        ((HELD | SIGNAL, 2), queued(false), (HELD | SIGNAL, 4)),
        ((HELD | CLOSED, 0), Pushed::Closed, (HELD | CLOSED, 0)),
        ((HELD | CLOSED, 1), Pushed::Closed, (HELD | CLOSED, 1)),
        (
            (HELD | SIGNAL | CLOSED, 1),
            Pushed::Closed,
            (HELD | SIGNAL | CLOSED, 1),
        ),
    ] {
        let word = word(&nodes, before);
        let link = NonNull::new(nodes.get(4)).unwrap();
        // SAFETY: the node is ours, also when it is queued.
        let found = unsafe { word.push(link, link) };
        assert_eq!((found, state(&nodes, &word)), (pushed, after), "{before:?}");
        if pushed != Pushed::Closed {
            // SAFETY: as above.
            let next = unsafe { Link::next(link.as_ptr()) };
            assert_eq!(nodes.number(next), before.1, "{before:?}");
        }
    }
}

#[test]
fn a_chain_is_pushed_at_once() {
    let nodes = Nodes::new();
    let word = word(&nodes, (HELD, 1));
    let [newest, oldest] = [3, 2].map(|number| NonNull::new(nodes.get(number)).unwrap());
    // SAFETY: the nodes are ours.
    unsafe {
        Link::set_next(nodes.get(1), ptr::null_mut());
        Link::set_next(newest.as_ptr(), oldest.as_ptr());
        assert_eq!(word.push(newest, oldest), Pushed::Queued { first: false });
    }
    let mut chain = word.take();
    let mut numbers = Vec::new();
    while !chain.is_null() {
        numbers.push(nodes.number(chain));
        // SAFETY: taken.
        chain = unsafe { Link::next(chain) };
    }
    assert_eq!(numbers, [3, 2, 1]);
}

#[test]
fn take_leaves_the_bits() {
    let nodes = Nodes::new();
    for before in [
        (HELD, 0),
        (HELD, 1),
        (HELD | SIGNAL, 0),
        (HELD | SIGNAL, 2),
        (HELD | CLOSED, 3),
        (HELD | SIGNAL | CLOSED, 4),
    ] {
        let word = word(&nodes, before);
        assert_eq!(word.has_nodes(), before.1 != 0);
        assert_eq!(nodes.number(word.take()), before.1);
        assert_eq!(state(&nodes, &word), (before.0, 0), "{before:?}");
        assert!(!word.has_nodes());
    }
}

#[test]
fn release_gives_back_only_if_nothing_is_there() {
    let nodes = Nodes::new();
    for (before, release) in [
        ((HELD, 0), Release::Idle),
        ((HELD, 1), Release::More),
        ((HELD | SIGNAL, 0), Release::More),
        ((HELD | SIGNAL, 1), Release::More),
        ((HELD | CLOSED, 0), Release::More),
        ((HELD | CLOSED | SIGNAL, 0), Release::More),
    ] {
        let word = word(&nodes, before);
        assert_eq!(word.release(), release, "{before:?}");
        let after = if release == Release::Idle {
            (0, 0)
        } else {
            before
        };
        assert_eq!(state(&nodes, &word), after, "{before:?}");
        assert_eq!(word.is_held(), release == Release::More);
    }
}

#[test]
fn signal_and_acknowledge() {
    let nodes = Nodes::new();
    for (before, close, next, after) in [
        ((0, 0), false, Next::Schedule, (HELD | SIGNAL, 0)),
        ((0, 0), true, Next::Schedule, (HELD | SIGNAL | CLOSED, 0)),
        ((HELD, 0), false, Next::Noted, (HELD | SIGNAL, 0)),
        ((HELD, 1), false, Next::Noted, (HELD | SIGNAL, 1)),
        ((HELD, 1), true, Next::Noted, (HELD | SIGNAL | CLOSED, 1)),
        (
            (HELD | SIGNAL, 0),
            true,
            Next::Noted,
            (HELD | SIGNAL | CLOSED, 0),
        ),
        (
            (HELD | CLOSED, 2),
            false,
            Next::Noted,
            (HELD | SIGNAL | CLOSED, 2),
        ),
        (
            (HELD | CLOSED, 0),
            true,
            Next::Noted,
            (HELD | SIGNAL | CLOSED, 0),
        ),
    ] {
        let word = word(&nodes, before);
        assert_eq!(word.signal(close), next, "{before:?}");
        assert_eq!(state(&nodes, &word), after, "{before:?}");
        assert_eq!(word.is_closed(), after.0 & CLOSED != 0);
        word.acknowledge();
        let after = (after.0 & !SIGNAL, after.1);
        assert_eq!(state(&nodes, &word), after, "{before:?}");
        word.acknowledge();
        assert_eq!(state(&nodes, &word), after, "{before:?}");
    }
}

#[test]
fn finish_takes_all_and_keeps_the_ticket() {
    let nodes = Nodes::new();
    for before in [
        (HELD, 0),
        (HELD, 1),
        (HELD | SIGNAL, 2),
        (HELD | SIGNAL | CLOSED, 3),
    ] {
        let word = word(&nodes, before);
        assert_eq!(nodes.number(word.finish()), before.1, "{before:?}");
        assert_eq!(state(&nodes, &word), (HELD | CLOSED, 0), "{before:?}");
        assert!(word.is_closed() && word.is_held());
    }
}

#[test]
fn a_new_cell_is_held() {
    let nodes = Nodes::new();
    assert_eq!(state(&nodes, &Word::held()), (HELD, 0));
    assert!(!Word::held().is_closed());
}

// === task ===

fn task(state: u16) -> Task {
    Task(AtomicU16::new(state))
}

fn task_state(task: &Task) -> u16 {
    // Relaxed: one thread.
    task.0.load(Ordering::Relaxed)
}

const STOP: u16 = Orders::STOP.0;
const LANE: u16 = Orders::LANE.0;

#[test]
fn wake_schedules_what_awaits_and_notes_the_rest() {
    for (before, next, after) in [
        (0, Next::Noted, NOTIFIED),
        (NOTIFIED, Next::Noted, NOTIFIED),
        (AWAITING, Next::Schedule, 0),
        (STOP, Next::Noted, STOP | NOTIFIED),
        (AWAITING | NOTIFIED, Next::Schedule, NOTIFIED),
    ] {
        let task = task(before);
        assert_eq!((task.wake(), task_state(&task)), (next, after), "{before}");
    }
}

#[test]
fn an_order_schedules_what_awaits_and_is_noted() {
    for (before, next, after) in [
        (0, Next::Noted, LANE),
        (AWAITING, Next::Schedule, LANE),
        (NOTIFIED, Next::Noted, NOTIFIED | LANE),
        (STOP, Next::Noted, STOP | LANE),
        (LANE, Next::Noted, LANE),
    ] {
        let task = task(before);
        assert_eq!(
            (task.order(Orders::LANE), task_state(&task)),
            (next, after),
            "{before}"
        );
        assert!(task.attention());
    }
}

#[test]
fn park_fails_while_something_is_unread() {
    for (before, park, after) in [
        (0, Park::Parked, AWAITING),
        (NOTIFIED, Park::Notified, 0),
        (STOP, Park::Ordered, STOP),
        (STOP | NOTIFIED, Park::Ordered, STOP | NOTIFIED),
        (LANE, Park::Ordered, LANE),
    ] {
        let task = task(before);
        assert_eq!((task.park(), task_state(&task)), (park, after), "{before}");
    }
}

#[test]
fn orders_are_taken_once() {
    for (before, taken, after) in [
        (0, 0, 0),
        (STOP, STOP, 0),
        (STOP | LANE | NOTIFIED, STOP | LANE, NOTIFIED),
        (NOTIFIED, 0, NOTIFIED),
    ] {
        let task = task(before);
        assert_eq!(
            (task.take_orders(), task_state(&task)),
            (Orders(taken), after),
            "{before}"
        );
        assert!(!task.attention());
        assert_eq!(task.take_orders(), Orders(0));
    }
}

#[test]
fn a_wake_is_noted_and_taken_once() {
    let task = task(STOP);
    assert!(task.note_wake());
    assert!(!task.note_wake());
    assert!(task.take_wake());
    assert!(!task.take_wake());
    assert_eq!(task_state(&task), STOP);
}

#[test]
fn orders_are_sets() {
    let all = [
        Orders::DRAIN,
        Orders::STOP,
        Orders::KILL,
        Orders::LANE,
        Orders::SHUTDOWN,
    ];
    for (at, one) in all.into_iter().enumerate() {
        for (other_at, other) in all.into_iter().enumerate() {
            assert_eq!(one.has(other), at == other_at);
            assert!(one.and(other).has(one) && one.and(other).has(other));
        }
        assert_eq!(one.0 & !Orders::ALL, 0);
        assert_eq!(one.0 & (AWAITING | NOTIFIED), 0);
    }
}

// === against a model ===

#[derive(Debug, Clone, Copy)]
enum Step {
    Claim,
    Push,
    Take,
    Release,
    Signal(bool),
    Acknowledge,
    Finish,
}

#[derive(Debug, Default)]
struct Model {
    held: bool,
    signal: bool,
    closed: bool,
    queued: Vec<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Claim),
        4 => Just(Step::Push),
        2 => Just(Step::Take),
        3 => Just(Step::Release),
        1 => any::<bool>().prop_map(Step::Signal),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Finish),
    ];
    proptest::collection::vec(step, 0..if cfg!(miri) { 20 } else { 100 })
}

proptest! {
    /// What is said of the word, in plain fields.
    #[test]
    fn the_word_is_as_its_model(steps in steps()) {
        let word = Word::held();
        let mut model = Model { held: true, ..Model::default() };
        let nodes: Vec<*mut Link> = steps.iter().map(|_| Box::into_raw(Box::new(Link::new()))).collect();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Claim => {
                    let idle = !model.held;
                    let expected = if idle { Claim::Claimed } else if model.closed { Claim::Closed } else { Claim::Busy };
                    prop_assert_eq!(word.claim(), expected);
                    model.held = true;
                }
                Step::Push => {
                    let link = NonNull::new(nodes[at]).unwrap();
                    let expected = match (model.closed, model.held) {
                        (true, _) => Pushed::Closed,
                        (false, false) => Pushed::Schedule,
                        (false, true) => Pushed::Queued { first: model.queued.is_empty() },
                    };
                    // SAFETY: the node is ours, and pushed once.
                    prop_assert_eq!(unsafe { word.push(link, link) }, expected);
                    if !model.closed {
                        model.held = true;
                        model.queued.push(at);
                    }
                }
                Step::Take if model.held => check(&nodes, word.take(), core::mem::take(&mut model.queued)),
                Step::Finish if model.held => {
                    check(&nodes, word.finish(), core::mem::take(&mut model.queued));
                    (model.closed, model.signal) = (true, false);
                }
                Step::Release if model.held => {
                    let idle = model.queued.is_empty() && !model.signal && !model.closed;
                    prop_assert_eq!(word.release() == Release::Idle, idle);
                    model.held = !idle;
                }
                Step::Signal(close) => {
                    prop_assert_eq!(word.signal(close) == Next::Schedule, !model.held);
                    model = Model { held: true, signal: true, closed: model.closed | close, ..model };
                }
                Step::Acknowledge if model.held => {
                    word.acknowledge();
                    model.signal = false;
                }
                Step::Take | Step::Finish | Step::Release | Step::Acknowledge => {}
            }
            prop_assert_eq!(word.is_held(), model.held);
            prop_assert_eq!(word.is_closed(), model.closed);
            prop_assert_eq!(word.has_nodes(), !model.queued.is_empty());
        }
        for link in nodes {
            // SAFETY: made above; the word is used no more.
            drop(unsafe { Box::from_raw(link) });
        }
    }

    /// However wakes, orders and parks come: nothing is lost, and one at a time is told to schedule.
    #[test]
    fn the_task_loses_nothing(steps in proptest::collection::vec(0_u16..5, 0..64)) {
        let task = Task::new();
        let (mut runs, mut woken, mut ordered) = (true, false, false);
        for step in steps {
            match step {
                0 => {
                    prop_assert_eq!(task.wake() == Next::Schedule, !runs);
                    woken = runs;
                    runs = true;
                }
                1 => {
                    prop_assert_eq!(task.order(Orders::STOP) == Next::Schedule, !runs);
                    ordered = true;
                    runs = true;
                }
                2 if runs => {
                    prop_assert_eq!(task.attention(), ordered);
                    prop_assert_eq!(task.take_orders().has(Orders::STOP), ordered);
                    ordered = false;
                }
                3 if runs => match task.park() {
                    Park::Ordered => prop_assert!(ordered),
                    Park::Notified => prop_assert!(!ordered && core::mem::take(&mut woken)),
                    Park::Parked => {
                        prop_assert!(!ordered && !woken);
                        runs = false;
                    }
                },
                4 if runs => prop_assert_eq!(task.take_wake(), core::mem::take(&mut woken)),
                _ => {}
            }
        }
    }
}

/// The chain is these nodes, newest first.
fn check(nodes: &[*mut Link], mut chain: *mut Link, mut expected: Vec<usize>) {
    while !chain.is_null() {
        assert_eq!(
            chain,
            nodes[expected.pop().expect("no more than were queued")]
        );
        // SAFETY: taken.
        chain = unsafe { Link::next(chain) };
    }
    assert!(expected.is_empty());
}
