//! Tests.

/// Races of the tail. As in the tests of the two words, the thread that is told to schedule runs
/// the lane at once. Senders that wait block a thread of loom's, which finds those that are left
/// waiting.
#[cfg(loom)]
mod loom {
    use super::super::super::{Waiter, Waiting};
    use super::super::{Kind, Node, Room, Stock, Tail};
    use crate::state::{Link, Pushed, Release, Word};
    use crate::sync::{Arc, UnsafeCell, alloc, dealloc};
    use ::loom::alloc::Track;
    use ::loom::future::block_on;
    use ::loom::model::Builder;
    use ::loom::{model, thread};
    use core::future::Future;
    use core::marker::PhantomPinned;
    use core::mem::MaybeUninit;
    use core::pin::{Pin, pin};
    use core::ptr::NonNull;
    use core::task::{Context, Poll, Waker};
    use std::collections::VecDeque;
    use std::vec;
    use std::vec::Vec;

    type Value = Track<u32>;

    struct SendNode(NonNull<Node<Value>>);

    // SAFETY: belongs to whoever has it.
    unsafe impl Send for SendNode {}

    #[derive(Default)]
    struct Runner {
        chain: VecDeque<NonNull<Node<Value>>>,
        handled: Vec<u32>,
        dead: Vec<u32>,
    }

    struct Mini {
        word: Word,
        room: NonNull<Room>,
        capacity: usize,
        runner: UnsafeCell<Runner>,
    }

    // SAFETY: loom checks each access.
    unsafe impl Send for Mini {}
    // SAFETY: likewise.
    unsafe impl Sync for Mini {}

    impl Mini {
        fn new(capacity: usize) -> Arc<Self> {
            let layout = Room::layout(Kind::of::<Value>(), capacity).unwrap();
            // SAFETY: the layout is not empty.
            let room = NonNull::new(unsafe { alloc(layout) }).unwrap().cast();
            // SAFETY: memory of the layout.
            unsafe {
                let stock = Stock {
                    limit: capacity,
                    slots: capacity,
                    annex: None,
                };
                Room::write(room, Kind::of::<Value>(), stock);
            }
            Arc::new(Self {
                word: Word::held(),
                room,
                capacity,
                runner: UnsafeCell::new(Runner::default()),
            })
        }

        fn tail(&self) -> Tail {
            // SAFETY: made by `write`; freed with `self`.
            unsafe { Tail::new(self.room, Kind::of::<Value>()) }
        }

        fn with<R>(&self, f: impl FnOnce(&mut Runner) -> R) -> R {
            // SAFETY: loom finds two at a time.
            self.runner.with_mut(|runner| f(unsafe { &mut *runner }))
        }

        fn absorb(&self, mut newest: *mut Link) {
            let mut taken = VecDeque::new();
            while let Some(link) = NonNull::new(newest) {
                taken.push_front(link.cast());
                // SAFETY: taken nodes are the runner's.
                newest = unsafe { Link::next(link.as_ptr()) };
            }
            self.with(|runner| runner.chain.append(&mut taken));
        }

        fn give_back(&self) {
            if self.word.is_closed() {
                return self.tail().gate().refuse_waiting();
            }
            // SAFETY: called by the runner.
            unsafe {
                self.tail().give_back(|node| {
                    self.absorb(self.word.take());
                    self.with(|runner| runner.chain.push_back(node.cast()));
                });
            }
        }

        fn pop(&self) -> Option<u32> {
            if self.with(|runner| runner.chain.is_empty()) {
                self.absorb(self.word.take());
            }
            let node = self.with(|runner| runner.chain.pop_front())?;
            // SAFETY: a queued node holds a message.
            let value = unsafe { Node::open(node) };
            let drained = self.with(|runner| runner.chain.is_empty());
            // SAFETY: called by the runner; opened above.
            if unsafe { self.tail().free(node.cast()) } || drained {
                self.give_back();
            }
            Some(value.into_inner())
        }

        /// One activation. The caller holds the ticket.
        fn run(&self) {
            loop {
                while let Some(value) = self.pop() {
                    self.with(|runner| runner.handled.push(value));
                }
                self.give_back();
                if self.with(|runner| runner.chain.is_empty())
                    && self.word.release() == Release::Idle
                {
                    return;
                }
            }
        }

        /// The end. The caller holds the ticket.
        fn close(&self) {
            self.absorb(self.word.finish());
            while let Some(value) = self.pop() {
                self.with(|runner| runner.dead.push(value));
            }
            self.tail().gate().refuse_waiting();
        }

        fn try_send(&self, value: u32) -> Result<bool, u32> {
            if self.word.is_closed() {
                return Err(value);
            }
            match self.reserve() {
                Some(node) => self.push(node, value).map(|()| true),
                None if self.word.is_closed() => Err(value),
                None => Ok(false),
            }
        }

        fn reserve(&self) -> Option<NonNull<Node<Value>>> {
            // SAFETY: not the consumer's thread, says `None`.
            unsafe { self.tail().reserve(None) }.map(NonNull::cast)
        }

        fn push(&self, node: NonNull<Node<Value>>, value: u32) -> Result<(), u32> {
            // SAFETY: the reserved node is the caller's.
            unsafe {
                (&raw mut (*node.as_ptr()).message).write(MaybeUninit::new(Track::new(value)));
            }
            let link = node.cast::<Link>();
            // SAFETY: ours until it is queued.
            match unsafe { self.word.push(link, link) } {
                Pushed::Schedule => self.run(),
                Pushed::Queued { .. } => {}
                Pushed::Closed => {
                    // SAFETY: refused, so still ours.
                    drop(unsafe { Node::open(node) });
                    return Err(value);
                }
            }
            Ok(())
        }

        fn send(&self, value: u32) -> Sending<'_> {
            Sending {
                mini: self,
                waiter: UnsafeCell::new(Waiter::new(Track::new(value))),
                value,
                queued: false,
                _pinned: PhantomPinned,
            }
        }

        /// Sends, or gives up at once; tells whether the lane has it.
        fn send_or_leave(&self, value: u32) -> bool {
            let mut sending = pin!(self.send(value));
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = sending.as_mut().poll(&mut cx) {
                return result.is_ok();
            }
            let sending = sending.project();
            sending.leave();
            // SAFETY: not in the list any more.
            sending
                .waiter
                .with_mut(|waiter| unsafe { (*waiter).take().is_none() })
        }

        /// What was handled, if the lane is idle with all its room free.
        fn finish(&self) -> Vec<u32> {
            if !self.word.is_closed() {
                assert!(!self.word.is_held() && !self.word.has_nodes());
                // SAFETY: nobody else is left.
                let free = core::iter::from_fn(|| unsafe { self.tail().reserve(None) });
                assert_eq!(free.count(), self.capacity, "free slots at the end");
            }
            self.with(|runner| {
                assert!(runner.chain.is_empty());
                runner.handled.clone()
            })
        }
    }

    impl Drop for Mini {
        fn drop(&mut self) {
            // SAFETY: nobody else is left.
            unsafe {
                let capacity = Room::drop_in_place(self.room.as_ptr());
                dealloc(
                    self.room.as_ptr().cast(),
                    Room::layout(Kind::of::<Value>(), capacity).unwrap(),
                );
            }
        }
    }

    /// As the future of `ActorRef::send`.
    struct Sending<'a> {
        mini: &'a Mini,
        waiter: UnsafeCell<Waiter<Value>>,
        value: u32,
        queued: bool,
        _pinned: PhantomPinned,
    }

    impl<'a> Sending<'a> {
        fn project(self: Pin<&mut Self>) -> &mut Sending<'a> {
            // SAFETY: nothing is moved out.
            unsafe { self.get_unchecked_mut() }
        }

        fn leave(&mut self) {
            if core::mem::take(&mut self.queued) {
                self.waiter
                    // SAFETY: it was passed to `wait`.
                    .with_mut(|waiter| unsafe { self.mini.tail().gate().stop_waiting(waiter) });
            }
        }

        fn give_up(&mut self) -> Poll<Result<(), u32>> {
            self.leave();
            self.waiter
                // SAFETY: not in the list any more.
                .with_mut(|waiter| match unsafe { (*waiter).take() } {
                    Some(value) => Poll::Ready(Err(value.into_inner())),
                    None => Poll::Ready(Ok(())),
                })
        }
    }

    impl Future for Sending<'_> {
        type Output = Result<(), u32>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let this = self.project();
            let tail = this.mini.tail();
            let waiter = this.waiter.with_mut(|waiter| waiter);
            while !this.queued {
                // SAFETY: not queued, so ours alone.
                drop(unsafe { (*waiter).take() });
                match this.mini.try_send(this.value) {
                    Ok(true) => return Poll::Ready(Ok(())),
                    Ok(false) => {}
                    Err(value) => return Poll::Ready(Err(value)),
                }
                // SAFETY: as above; pinned, and left before it is dropped.
                unsafe {
                    *waiter = Waiter::new(Track::new(this.value));
                    this.queued = tail.gate().wait(waiter, cx.waker()) == Waiting::Queued;
                }
                if this.queued && this.mini.word.is_closed() {
                    return this.give_up();
                }
                if this.queued {
                    return Poll::Pending;
                }
            }
            // SAFETY: as above.
            match unsafe { tail.gate().wait(waiter, cx.waker()) } {
                Waiting::Queued => Poll::Pending,
                _ => this.give_up(),
            }
        }
    }

    impl Drop for Sending<'_> {
        fn drop(&mut self) {
            self.leave();
        }
    }

    fn race<const N: usize>(
        capacity: usize,
        before: fn(&Mini),
        others: [fn(&Mini); N],
        main: fn(&Mini),
        check: fn(&Mini),
    ) {
        let mut builder = Builder::new();
        if N > 1 {
            // Three threads that block and wake each other: one preemption less takes seconds
            // instead of minutes.
            builder.preemption_bound = builder.preemption_bound.map(|bound| bound.max(2) - 1);
        }
        builder.check(move || {
            let mini = Mini::new(capacity);
            before(&mini);
            let threads = others.map(|other| {
                let mini = Arc::clone(&mini);
                thread::spawn(move || other(&mini))
            });
            main(&mini);
            for thread in threads {
                thread.join().unwrap();
            }
            check(&mini);
        });
    }

    fn nothing(_: &Mini) {}

    fn fill(mini: &Mini) {
        for value in 0..mini.capacity as u32 {
            assert_eq!(mini.try_send(value), Ok(true));
        }
        assert_eq!(mini.try_send(9), Ok(false));
    }

    #[test]
    fn reserve_against_give_back() {
        let sender = |mini: &Mini| {
            let _ = mini.try_send(10);
            let _ = mini.try_send(11);
        };
        for capacity in [1, 2] {
            race(capacity, fill, [sender], Mini::run, |mini| {
                let handled = mini.finish();
                assert!(handled.len() >= mini.capacity);
                assert!(handled.is_sorted());
            });
        }
    }

    #[test]
    fn reserve_against_reserve_against_give_back() {
        let first = |mini: &Mini| {
            let _ = mini.try_send(10);
            let _ = mini.try_send(11);
        };
        let second = |mini: &Mini| {
            let _ = mini.try_send(20);
        };
        race(2, fill, [first, second], Mini::run, |mini| {
            let mut handled = mini.finish();
            handled.sort_unstable();
            let all = handled.len();
            handled.dedup();
            assert_eq!(handled.len(), all);
        });
    }

    #[test]
    fn two_senders_for_one_slot() {
        let first = |mini: &Mini| assert!(mini.try_send(1).is_ok());
        let second = |mini: &Mini| assert!(mini.try_send(2).is_ok());
        race(1, nothing, [first, second], Mini::run, |mini| {
            assert!(!mini.finish().is_empty());
        });
    }

    #[test]
    fn wait_against_give_back() {
        let sender = |mini: &Mini| block_on(mini.send(10)).unwrap();
        race(1, fill, [sender], Mini::run, |mini| {
            assert_eq!(mini.finish(), [0, 10]);
        });
    }

    #[test]
    fn two_waiters_against_give_back() {
        let first = |mini: &Mini| block_on(mini.send(10)).unwrap();
        let second = |mini: &Mini| block_on(mini.send(20)).unwrap();
        race(1, fill, [first, second], Mini::run, |mini| {
            let handled = mini.finish();
            assert!(handled == [0, 10, 20] || handled == [0, 20, 10]);
        });
    }

    #[test]
    fn stop_waiting_against_admit() {
        model(|| {
            let mini = Mini::new(1);
            fill(&mini);
            let other = {
                let mini = Arc::clone(&mini);
                thread::spawn(move || mini.send_or_leave(10))
            };
            mini.run();
            // What was admitted is not taken back, and what was taken back not admitted.
            let sent = other.join().unwrap();
            assert_eq!(mini.finish(), if sent { vec![0, 10] } else { vec![0] });
        });
    }

    #[test]
    fn wait_against_push_of_the_same_sender() {
        // The sender has taken the last slot when another one leaves the bit behind. Then it
        // queues its first message and waits with the second, which must not come first.
        model(|| {
            let mini = Mini::new(2);
            assert_eq!(mini.try_send(0), Ok(true));
            let node = SendNode(mini.reserve().unwrap());
            assert!(!mini.send_or_leave(9));
            let sender = {
                let mini = Arc::clone(&mini);
                thread::spawn(move || {
                    mini.push({ node }.0, 1).unwrap();
                    block_on(mini.send(2)).unwrap();
                })
            };
            mini.run();
            sender.join().unwrap();
            assert_eq!(mini.finish(), [0, 1, 2]);
        });
    }

    #[test]
    fn wait_against_stop_waiting_against_give_back() {
        // One gives up while another begins to wait: the bit that is left behind must not keep
        // the room from the other.
        let leaver = |mini: &Mini| {
            mini.send_or_leave(10);
        };
        let sender = |mini: &Mini| block_on(mini.send(20)).unwrap();
        race(1, fill, [leaver, sender], Mini::run, |mini| {
            assert!(mini.finish().contains(&20));
        });
    }

    #[test]
    fn wait_against_bit_that_was_left() {
        let before = |mini: &Mini| {
            fill(mini);
            assert!(!mini.send_or_leave(10));
        };
        let sender = |mini: &Mini| block_on(mini.send(20)).unwrap();
        race(1, before, [sender], Mini::run, |mini| {
            assert_eq!(mini.finish(), [0, 20]);
        });
    }

    fn closed(mini: &Mini, value: u32) {
        if let Err(value_back) = block_on(mini.send(value)) {
            assert_eq!(value_back, value);
            assert!(mini.word.is_closed());
        }
    }

    #[test]
    fn wait_against_close() {
        race(1, fill, [|mini| closed(mini, 10)], Mini::close, |mini| {
            assert!(mini.finish().is_empty());
            let dead = mini.with(|runner| runner.dead.clone());
            assert!(dead == [0] || dead == [0, 10]);
        });
    }

    #[test]
    fn two_waiters_against_close() {
        let others: [fn(&Mini); 2] = [|mini| closed(mini, 10), |mini| closed(mini, 20)];
        race(1, fill, others, Mini::close, |mini| {
            assert!(mini.finish().is_empty());
        });
    }

    #[test]
    fn reserve_against_close() {
        let sender = |mini: &Mini| {
            let sent = mini.try_send(10);
            assert!(sent != Ok(false) || mini.word.is_closed());
        };
        race(1, nothing, [sender], Mini::close, |mini| {
            assert!(mini.with(|runner| runner.dead.len()) <= 1);
            mini.finish();
        });
    }
}
