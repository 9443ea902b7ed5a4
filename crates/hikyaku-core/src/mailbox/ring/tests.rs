//! Tests.

use super::{Crowded, Ring, Take};

#[cfg(not(loom))]
mod usual {
    use super::{Crowded, Ring, Take};
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push,
        Pop,
        Resize(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => Just(Step::Push),
            4 => Just(Step::Pop),
            1 => (1_usize..9).prop_map(Step::Resize),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 256 }, ..ProptestConfig::default() })]

        /// Against a plain queue, beginning where positions wrap.
        #[test]
        fn keeps_order_and_bound(limit in 1_usize..9, steps in steps(), wraps in any::<bool>()) {
            let ring = Ring::new(limit, 8).unwrap();
            if wraps {
                ring.begin_at(usize::MAX - 15);
            }
            let (mut model, mut limit) = (VecDeque::new(), limit);
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => match ring.push(number) {
                        Ok(()) => {
                            prop_assert!(model.len() < limit);
                            model.push_back(number);
                        }
                        Err(Crowded::Full(back, oldest)) => {
                            prop_assert_eq!(back, number);
                            prop_assert!(model.len() >= limit);
                            prop_assert_eq!(ring.take(oldest), Take::Taken(model.pop_front().unwrap()));
                            prop_assert_eq!(ring.take(oldest), Take::Gone);
                        }
                        Err(Crowded::Busy(_)) => prop_assert!(false, "nobody else is there"),
                    },
                    Step::Pop => prop_assert_eq!(ring.pop().map(|(number, _)| number), model.pop_front()),
                    Step::Resize(n) => {
                        ring.resize(n);
                        limit = n;
                    }
                }
                prop_assert_eq!(ring.has_messages(), !model.is_empty());
                prop_assert_eq!(ring.is_ready(), !model.is_empty());
            }
        }
    }
}

/// As in the annex: a message that is in is announced in the queue word, and the thread that is to schedule runs
/// the lane.
#[cfg(loom)]
mod loom {
    use super::{Crowded, Ring, Take};
    use crate::state::{Announced, Release, Word};
    use crate::sync::Mutex;
    use crate::sync::{Arc, UnsafeCell};
    use ::loom::alloc::Track;
    use ::loom::model::Builder;
    use ::loom::thread;
    use std::vec::Vec;

    struct Mini {
        ring: Ring<Track<u32>>,
        word: Word,
        /// The runner's.
        handled: UnsafeCell<Vec<u32>>,
        dropped: Mutex<Vec<u32>>,
        dead: Mutex<Vec<u32>>,
        returned: Mutex<Vec<u32>>,
    }

    // SAFETY: loom checks each access.
    unsafe impl Send for Mini {}
    // SAFETY: likewise.
    unsafe impl Sync for Mini {}

    impl Mini {
        fn new(limit: usize) -> Arc<Self> {
            let mini = Self {
                ring: Ring::new(limit, limit).unwrap(),
                word: Word::held(),
                handled: UnsafeCell::new(Vec::new()),
                dropped: Mutex::new(Vec::new()),
                dead: Mutex::new(Vec::new()),
                returned: Mutex::new(Vec::new()),
            };
            assert_eq!(mini.word.release(), Release::Idle);
            Arc::new(mini)
        }

        fn tell(&self, value: u32) {
            if self.word.is_closed() {
                return self.returned.with(|returned| returned.push(value));
            }
            let mut message = Track::new(value);
            loop {
                match self.ring.push(message) {
                    Ok(()) => break,
                    Err(Crowded::Busy(_)) => {
                        return self.returned.with(|returned| returned.push(value));
                    }
                    Err(Crowded::Full(newcomer, oldest)) => {
                        match self.ring.take(oldest) {
                            Take::Taken(old) => {
                                self.dropped.with(|dropped| dropped.push(old.into_inner()));
                            }
                            Take::Gone => {}
                            Take::Unready => {
                                return self.returned.with(|returned| returned.push(value));
                            }
                        }
                        message = newcomer;
                    }
                }
            }
            if self.word.announce() == Announced::Schedule {
                self.run();
            }
            if self.ring.is_finished() {
                self.drain();
            }
        }

        fn run(&self) {
            loop {
                while let Some((value, _)) = self.ring.pop() {
                    let value = value.into_inner();
                    // SAFETY: loom finds two at a time.
                    self.handled
                        .with_mut(|handled| unsafe { (*handled).push(value) });
                }
                self.word.acknowledge();
                if !self.ring.is_ready() && self.word.release() == Release::Idle {
                    return;
                }
            }
        }

        fn drain(&self) {
            while let Some((value, _)) = self.ring.pop() {
                self.dead.with(|dead| dead.push(value.into_inner()));
            }
        }

        /// The end. The caller holds the ticket.
        fn close(&self) {
            self.ring.finish();
            let _ = self.word.finish();
            self.drain();
        }

        fn handled(&self) -> Vec<u32> {
            // SAFETY: loom finds two at a time.
            self.handled
                .with_mut(|handled| unsafe { (*handled).clone() })
        }

        /// Each of the values, by its fate. Nothing is left.
        fn fates(&self) -> [Vec<u32>; 4] {
            assert!(!self.ring.has_messages(), "somebody is left behind");
            let take = |list: &Mutex<Vec<u32>>| list.with(|list| list.clone());
            [
                self.handled(),
                take(&self.dropped),
                take(&self.dead),
                take(&self.returned),
            ]
        }
    }

    fn race<const N: usize>(
        limit: usize,
        before: &'static [u32],
        others: [fn(&Mini); N],
        main: fn(&Mini),
        all: &'static [u32],
        check: fn(&[Vec<u32>; 4]),
    ) {
        let mut builder = Builder::new();
        if N > 1 {
            builder.preemption_bound = builder.preemption_bound.map(|bound| bound.max(2) - 1);
        }
        builder.check(move || {
            let mini = Mini::new(limit);
            if !before.is_empty() {
                // As a cell that is queued.
                assert_eq!(mini.word.announce(), Announced::Schedule);
                for &value in before {
                    mini.tell(value);
                }
            }
            let threads = others.map(|other| {
                let mini = Arc::clone(&mini);
                thread::spawn(move || other(&mini))
            });
            main(&mini);
            for thread in threads {
                thread.join().unwrap();
            }
            if mini.word.is_held() && !mini.word.is_closed() {
                // Queued, and nobody has run it yet.
                mini.run();
            }
            let fates = mini.fates();
            let mut sorted: Vec<u32> = fates.iter().flatten().copied().collect();
            sorted.sort_unstable();
            assert_eq!(sorted, all, "{fates:?}");
            check(&fates);
        });
    }

    #[test]
    fn push_against_push_against_pop() {
        let one = |mini: &Mini| mini.tell(1);
        let two = |mini: &Mini| mini.tell(2);
        race(2, &[0], [one, two], Mini::run, &[0, 1, 2], |fates| {
            assert!(fates[2].is_empty());
        });
    }

    #[test]
    fn evict_against_pop() {
        race(
            1,
            &[0],
            [|mini| mini.tell(1)],
            Mini::run,
            &[0, 1],
            |[handled, dropped, ..]| {
                assert!(handled.is_sorted());
                assert!(dropped.is_empty() || *dropped == [0]);
            },
        );
    }

    #[test]
    fn evict_against_evict() {
        let one = |mini: &Mini| mini.tell(1);
        let two = |mini: &Mini| mini.tell(2);
        race(1, &[0], [one], two, &[0, 1, 2], |_| {});
    }

    #[test]
    fn idle_against_push() {
        race(
            2,
            &[],
            [|mini| mini.tell(1)],
            |mini| mini.tell(0),
            &[0, 1],
            |[handled, ..]| {
                assert_eq!(handled.len(), 2);
            },
        );
    }

    #[test]
    fn push_against_close() {
        race(
            2,
            &[0],
            [|mini| mini.tell(1)],
            Mini::close,
            &[0, 1],
            |[handled, _, dead, _]| {
                assert!(handled.is_empty() && dead.contains(&0));
            },
        );
    }

    #[test]
    fn push_against_push_against_close() {
        let one = |mini: &Mini| mini.tell(1);
        let two = |mini: &Mini| mini.tell(2);
        race(2, &[0], [one, two], Mini::close, &[0, 1, 2], |_| {});
    }

    #[test]
    fn evict_against_close() {
        race(1, &[0], [|mini| mini.tell(1)], Mini::close, &[0, 1], |_| {});
    }

    #[test]
    fn a_lap_against_a_slow_taker() {
        // Half taken slots count as no room, and never as a message.
        let sender = |mini: &Mini| (1..6).for_each(|value| mini.tell(value));
        race(
            1,
            &[0],
            [sender],
            Mini::run,
            &[0, 1, 2, 3, 4, 5],
            |[handled, ..]| {
                assert!(handled.is_sorted());
            },
        );
    }
}
