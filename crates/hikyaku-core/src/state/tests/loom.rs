//! Races of the two words. The thread that is told to schedule runs the cell at once, so that
//! whoever holds the ticket is the runner, whichever thread that is. What the runner keeps lies in
//! a cell of loom's, which finds two runners at a time, and one that does not see what the last
//! one left.

use crate::state::{Claim, Link, Next, Orders, Park, Pushed, Release, Task, Word};
use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};
use ::loom::alloc::Track;
use ::loom::{model, thread};
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

#[repr(C)]
struct Node {
    link: Link,
    value: u32,
    /// Read and written by whoever owns the node.
    owned: UnsafeCell<()>,
    _track: Track<()>,
}

fn node(value: u32) -> NonNull<Link> {
    let node = Box::new(Node {
        link: Link::new(),
        value,
        owned: UnsafeCell::new(()),
        _track: Track::new(()),
    });
    node.owned.with_mut(|_| ());
    NonNull::from(Box::leak(node)).cast()
}

/// # Safety
/// The node is the caller's.
unsafe fn open(link: NonNull<Link>) -> u32 {
    // SAFETY: made by `node`, and the caller's.
    let node = unsafe { Box::from_raw(link.as_ptr().cast::<Node>()) };
    node.owned.with_mut(|_| ());
    node.value
}

/// What only the runner touches.
#[derive(Default)]
struct Runner {
    handled: Vec<u32>,
    dead: Vec<u32>,
    lane: usize,
    /// A handler is pending, until `flags` says that all came.
    pending: bool,
    ended: bool,
}

struct Mini {
    word: Word,
    task: Task,
    runner: UnsafeCell<Runner>,
    /// The inline slot: the claimer's, until it runs the cell.
    slot: UnsafeCell<Option<u32>>,
    /// What the pending handler waits for: this many signs.
    signs: [AtomicUsize; 2],
    wanted: usize,
}

// SAFETY: loom checks each access.
unsafe impl Send for Mini {}
// SAFETY: likewise.
unsafe impl Sync for Mini {}

impl Mini {
    fn new(wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            word: Word::held(),
            task: Task::new(),
            runner: UnsafeCell::new(Runner {
                pending: wanted != 0,
                ..Runner::default()
            }),
            slot: UnsafeCell::new(None),
            signs: [AtomicUsize::new(0), AtomicUsize::new(0)],
            wanted,
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Runner) -> R) -> R {
        // SAFETY: loom finds two at a time.
        self.runner.with_mut(|runner| f(unsafe { &mut *runner }))
    }

    fn slot<R>(&self, f: impl FnOnce(&mut Option<u32>) -> R) -> R {
        // SAFETY: loom finds two at a time.
        self.slot.with_mut(|slot| f(unsafe { &mut *slot }))
    }

    /// One activation. The caller holds the ticket.
    fn run(&self) {
        loop {
            if self.task.attention() {
                self.word.acknowledge();
                let orders = self.task.take_orders();
                self.with(|runner| runner.lane += usize::from(orders.has(Orders::LANE)));
                if orders.has(Orders::STOP) {
                    return self.end();
                }
            }
            if self.with(|runner| runner.pending) {
                // Relaxed: whoever changes a sign wakes afterwards.
                let came = self.signs.iter().map(|s| s.load(Ordering::Relaxed));
                if came.sum::<usize>() != self.wanted {
                    match self.task.park() {
                        Park::Parked => return,
                        Park::Notified | Park::Ordered => continue,
                    }
                }
                self.with(|runner| runner.pending = false);
            }
            if let Some(value) = self.slot(Option::take) {
                self.with(|runner| runner.handled.push(value));
            }
            let values = self.opened(self.word.take());
            if values.is_empty() {
                match self.word.release() {
                    Release::Idle => return,
                    Release::More => self.word.acknowledge(),
                }
            }
            self.with(|runner| runner.handled.extend(values));
        }
    }

    fn end(&self) {
        let left = self.opened(self.word.finish());
        let inline = self.slot(Option::take);
        self.with(|runner| {
            assert!(!runner.ended);
            runner.ended = true;
            runner.dead.extend(inline);
            runner.dead.extend(left);
        });
    }

    /// The values of a taken chain, oldest first.
    fn opened(&self, mut newest: *mut Link) -> Vec<u32> {
        let mut values = vec![];
        while let Some(link) = NonNull::new(newest) {
            // SAFETY: taken nodes are the runner's.
            unsafe {
                newest = Link::next(link.as_ptr());
                values.push(open(link));
            }
        }
        values.reverse();
        values
    }

    /// Queues a value; gives it back if admission has ended.
    fn push(&self, value: u32) -> Result<(), u32> {
        let link = node(value);
        // SAFETY: the node is ours.
        match unsafe { self.word.push(link, link) } {
            Pushed::Schedule => self.run(),
            Pushed::Queued { .. } => {}
            // SAFETY: refused, so still ours.
            Pushed::Closed => return Err(unsafe { open(link) }),
        }
        Ok(())
    }

    /// Sends a value as `mailbox::push` does.
    fn tell(&self, value: u32) -> Result<(), u32> {
        match self.word.claim() {
            Claim::Claimed => {
                self.slot(|slot| assert!(slot.replace(value).is_none()));
                self.run();
                Ok(())
            }
            Claim::Busy => self.push(value),
            Claim::Closed => Err(value),
        }
    }

    fn order(&self, orders: Orders, close: bool) {
        let woken = self.task.order(orders);
        let claimed = self.word.signal(close);
        assert!(woken == Next::Noted || claimed == Next::Noted);
        if woken == Next::Schedule || claimed == Next::Schedule {
            self.run();
        }
    }

    fn sign(&self, at: usize) {
        // Relaxed: the wake publishes it.
        self.signs[at].store(1, Ordering::Relaxed);
        if self.task.wake() == Next::Schedule {
            self.run();
        }
    }
}

/// Runs `main`, which holds the ticket, beside the others, then `check`.
fn race<const N: usize>(
    wanted: usize,
    others: [fn(&Mini); N],
    main: fn(&Mini),
    check: fn(&Mini, &mut Runner),
) {
    model(move || {
        let mini = Mini::new(wanted);
        let threads = others.map(|other| {
            let mini = Arc::clone(&mini);
            thread::spawn(move || other(&mini))
        });
        main(&mini);
        for thread in threads {
            thread.join().unwrap();
        }
        mini.with(|runner| check(&mini, runner));
    });
}

fn is_idle(mini: &Mini) {
    assert!(!mini.word.is_held());
    assert!(!mini.word.has_nodes());
    assert!(!mini.task.attention());
}

#[test]
fn push_against_release() {
    let pusher = |mini: &Mini| {
        mini.push(1).unwrap();
        mini.push(2).unwrap();
    };
    race(0, [pusher], Mini::run, |mini, runner| {
        assert_eq!(runner.handled, [1, 2]);
        is_idle(mini);
    });
}

#[test]
fn two_pushers_against_take() {
    let first = |mini: &Mini| {
        mini.push(11).unwrap();
        mini.push(12).unwrap();
    };
    let second = |mini: &Mini| mini.push(21).unwrap();
    race(0, [first, second], Mini::run, |mini, runner| {
        is_idle(mini);
        let of_first: Vec<u32> = runner.handled.iter().copied().filter(|v| *v < 20).collect();
        assert_eq!(of_first, [11, 12]);
        runner.handled.sort_unstable();
        assert_eq!(runner.handled, [11, 12, 21]);
    });
}

#[test]
fn claim_against_release() {
    let teller = |mini: &Mini| {
        mini.tell(1).unwrap();
        mini.tell(2).unwrap();
    };
    race(0, [teller], Mini::run, |mini, runner| {
        assert_eq!(runner.handled, [1, 2]);
        is_idle(mini);
    });
}

#[test]
fn claim_against_claim() {
    let first = |mini: &Mini| mini.tell(1).unwrap();
    let main = |mini: &Mini| {
        mini.run();
        mini.tell(2).unwrap();
    };
    race(0, [first], main, |mini, runner| {
        is_idle(mini);
        runner.handled.sort_unstable();
        assert_eq!(runner.handled, [1, 2]);
    });
}

#[test]
fn claim_against_push_against_release() {
    let first = |mini: &Mini| mini.tell(1).unwrap();
    let second = |mini: &Mini| mini.push(2).unwrap();
    race(0, [first, second], Mini::run, |mini, runner| {
        is_idle(mini);
        runner.handled.sort_unstable();
        assert_eq!(runner.handled, [1, 2]);
    });
}

#[test]
fn wake_against_park() {
    race(1, [|mini| mini.sign(0)], Mini::run, |mini, runner| {
        assert!(!runner.pending);
        is_idle(mini);
    });
}

#[test]
fn two_wakes_against_park() {
    let wakers: [fn(&Mini); 2] = [|mini| mini.sign(0), |mini| mini.sign(1)];
    race(2, wakers, Mini::run, |mini, runner| {
        assert!(!runner.pending);
        is_idle(mini);
    });
}

#[test]
fn late_wake_against_release() {
    // A waker that outlived its handler schedules nobody.
    let waker = |mini: &Mini| assert_eq!(mini.task.wake(), Next::Noted);
    race(0, [waker], Mini::run, |mini, _| is_idle(mini));
}

#[test]
fn late_wake_against_push() {
    let waker = |mini: &Mini| assert_eq!(mini.task.wake(), Next::Noted);
    let pusher = |mini: &Mini| mini.push(1).unwrap();
    race(0, [waker, pusher], Mini::run, |mini, runner| {
        assert_eq!(runner.handled, [1]);
        is_idle(mini);
    });
}

#[test]
fn order_against_release() {
    let orderer = |mini: &Mini| mini.order(Orders::LANE, false);
    race(0, [orderer], Mini::run, |mini, runner| {
        assert_eq!(runner.lane, 1);
        is_idle(mini);
    });
}

#[test]
fn acknowledge_against_signal() {
    let orderer = |mini: &Mini| {
        mini.order(Orders::LANE, false);
        mini.order(Orders::STOP, true);
    };
    let other = |mini: &Mini| mini.order(Orders::LANE, false);
    race(0, [orderer, other], Mini::run, |mini, runner| {
        assert!(runner.ended);
        assert!(mini.word.is_held());
    });
}

#[test]
fn order_against_park() {
    // Nobody wakes the handler: only the order can end this.
    let orderer = |mini: &Mini| mini.order(Orders::STOP, true);
    race(1, [orderer], Mini::run, |_, runner| {
        assert!(runner.pending && runner.ended);
    });
}

#[test]
fn order_against_wake_against_park() {
    let orderer = |mini: &Mini| mini.order(Orders::LANE, false);
    let waker = |mini: &Mini| mini.sign(0);
    race(1, [orderer, waker], Mini::run, |mini, runner| {
        assert!(!runner.pending);
        assert_eq!(runner.lane, 1);
        is_idle(mini);
    });
}

#[test]
fn push_against_park() {
    // A message does not schedule a cell that awaits; the wake does, and the message is handled.
    let pusher = |mini: &Mini| mini.push(1).unwrap();
    let waker = |mini: &Mini| mini.sign(0);
    race(1, [pusher, waker], Mini::run, |mini, runner| {
        assert!(!runner.pending);
        assert_eq!(runner.handled, [1]);
        is_idle(mini);
    });
}

fn refuse(mini: &Mini, value: u32) {
    if let Err(refused) = mini.tell(value) {
        assert_eq!(refused, value);
        // Relaxed: joined before it is read.
        mini.signs[0].fetch_or(value as usize, Ordering::Relaxed);
    }
}

/// Each of the values 1, 2 .. `all` was handled, was drained or was given back, and only that.
fn one_winner_each(mini: &Mini, runner: &mut Runner, all: u32) {
    // Relaxed: the threads have been joined.
    let refused = mini.signs[0].load(Ordering::Relaxed) as u32;
    let taken = runner.handled.iter().chain(&runner.dead);
    let taken = taken.fold(0, |sum, value| {
        assert_eq!(sum & value, 0);
        sum | value
    });
    assert_eq!(taken & refused, 0);
    assert_eq!(taken | refused, all);
    assert!(runner.ended && mini.word.is_closed() && !mini.word.has_nodes());
}

#[test]
fn close_against_push() {
    let pusher = |mini: &Mini| {
        refuse(mini, 1);
        refuse(mini, 2);
        // Once refused, always refused.
        // Relaxed: own writes.
        let refused = mini.signs[0].load(Ordering::Relaxed);
        assert!(refused & 1 == 0 || refused & 2 != 0);
    };
    let stopper = |mini: &Mini| {
        mini.order(Orders::STOP, true);
        assert_eq!(mini.tell(8), Err(8));
    };
    let main = |mini: &Mini| {
        refuse(mini, 4);
        mini.run();
    };
    race(0, [pusher, stopper], main, |mini, runner| {
        one_winner_each(mini, runner, 7);
    });
}

#[test]
fn close_against_two_pushers() {
    let main = |mini: &Mini| {
        mini.run();
        mini.order(Orders::STOP, true);
    };
    let others: [fn(&Mini); 2] = [|mini| refuse(mini, 1), |mini| refuse(mini, 2)];
    race(0, others, main, |mini, runner| {
        one_winner_each(mini, runner, 3);
    });
}

#[test]
fn finish_against_push() {
    let others: [fn(&Mini); 2] = [|mini| refuse(mini, 1), |mini| refuse(mini, 2)];
    race(0, others, Mini::end, |mini, runner| {
        one_winner_each(mini, runner, 3);
    });
}

#[test]
fn finish_against_order() {
    let stopper = |mini: &Mini| mini.order(Orders::STOP, true);
    let other = |mini: &Mini| mini.order(Orders::LANE, false);
    race(0, [stopper, other], Mini::end, |_, runner| {
        assert!(runner.ended);
    });
}

/// A child that has failed, looks at its parent, and waits for a verdict or for being let go.
struct Child {
    parent: Task,
    mini: Arc<Mini>,
    /// The runner's: failed, held, ended.
    state: UnsafeCell<(bool, bool, bool)>,
}

// SAFETY: loom checks each access.
unsafe impl Send for Child {}
// SAFETY: likewise.
unsafe impl Sync for Child {}

impl Child {
    fn with<R>(&self, f: impl FnOnce(&mut (bool, bool, bool)) -> R) -> R {
        // SAFETY: loom finds two at a time.
        self.state.with_mut(|state| f(unsafe { &mut *state }))
    }

    /// One activation. The caller holds the ticket.
    fn run(&self) {
        let (word, task) = (&self.mini.word, &self.mini.task);
        loop {
            if task.attention() {
                word.acknowledge();
                let orders = task.take_orders();
                let held = orders.has(Orders::KIN).then(|| self.parent.is_holding());
                self.with(|(failed, is_held, ended)| {
                    assert!(!*ended);
                    *is_held = held.unwrap_or(*is_held);
                    *failed &= !orders.has(Orders::RESUME);
                    *ended = orders.has(Orders::KILL);
                });
            }
            if self.with(|(_, _, ended)| *ended) {
                assert!(word.finish().is_null());
                return;
            }
            if self.with(|(failed, held, _)| *failed || *held) {
                match task.park() {
                    Park::Parked => return,
                    Park::Notified | Park::Ordered => continue,
                }
            }
            match word.release() {
                Release::Idle => return,
                Release::More => word.acknowledge(),
            }
        }
    }

    fn order(&self, orders: Orders) {
        let woken = self.mini.task.order(orders);
        let claimed = self.mini.word.signal(orders.has(Orders::KILL));
        if woken == Next::Schedule || claimed == Next::Schedule {
            self.run();
        }
    }

    fn hold(&self, hold: bool) {
        self.parent.hold(hold);
        self.order(Orders::KIN);
    }
}

fn race_child<const N: usize>(
    failed: bool,
    others: [fn(&Child); N],
    check: fn(&Child, (bool, bool, bool)),
) {
    model(move || {
        let child = Arc::new(Child {
            parent: Task::new(),
            mini: Mini::new(0),
            state: UnsafeCell::new((failed, false, false)),
        });
        let threads = others.map(|other| {
            let child = Arc::clone(&child);
            thread::spawn(move || other(&child))
        });
        child.run();
        for thread in threads {
            thread.join().unwrap();
        }
        let state = child.with(|state| *state);
        check(&child, state);
    });
}

#[test]
fn hold_against_park() {
    let parent = |child: &Child| {
        child.hold(true);
        child.hold(false);
    };
    race_child(false, [parent], |child, state| {
        assert_eq!(state, (false, false, false));
        is_idle(&child.mini);
    });
}

#[test]
fn hold_that_stays_against_release() {
    race_child(false, [|child| child.hold(true)], |child, state| {
        assert_eq!(state, (false, true, false));
        assert!(child.mini.word.is_held());
    });
}

#[test]
fn verdict_against_park() {
    race_child(
        true,
        [|child| child.order(Orders::RESUME)],
        |child, state| {
            assert_eq!(state, (false, false, false));
            is_idle(&child.mini);
        },
    );
}

#[test]
fn verdict_and_hold_against_park() {
    // One who decides, and then holds and lets go; beside a waker of a future that is gone.
    let parent = |child: &Child| {
        child.order(Orders::RESUME);
        child.hold(true);
        child.hold(false);
    };
    let waker = |child: &Child| {
        if child.mini.task.wake() == Next::Schedule {
            child.run();
        }
    };
    race_child(true, [parent, waker], |child, state| {
        assert_eq!(state, (false, false, false));
        is_idle(&child.mini);
    });
}

#[test]
fn verdict_against_the_end() {
    let parent = |child: &Child| {
        child.order(Orders::RESUME);
        child.hold(true);
    };
    let killer = |child: &Child| child.order(Orders::KILL);
    race_child(true, [parent, killer], |child, (_, _, ended)| {
        assert!(ended && child.mini.word.is_closed());
    });
}
