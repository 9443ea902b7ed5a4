//! What became of each message: exactly one thing.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

const RELAXED: Ordering = Ordering::Relaxed;

/// What can become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    Handled = 1,
    Returned = 2,
    Dead = 3,
    /// Taken back by a `send` that was dropped.
    Withdrawn = 4,
}

const FATES: [Fate; 4] = [Fate::Handled, Fate::Returned, Fate::Dead, Fate::Withdrawn];

/// Counts and sums of the messages of each fate. Clones are the same ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Books>);

#[derive(Debug, Default)]
struct Books {
    sent: Column,
    fates: [Column; 4],
    /// Dropped by nobody's wish.
    lost: AtomicUsize,
    dropped: AtomicUsize,
}

#[derive(Debug, Default)]
struct Column {
    count: AtomicUsize,
    /// Of the numbers of the messages, so that one cannot stand for another.
    sum: AtomicU64,
}

impl Column {
    fn add(&self, number: u64) {
        self.count.fetch_add(1, RELAXED);
        self.sum
            .fetch_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), RELAXED);
    }
}

thread_local! {
    /// Is a `send` being dropped on this thread?
    static WITHDRAWING: Cell<bool> = const { Cell::new(false) };
}

/// A message that knows its fate.
pub(crate) struct Parcel {
    pub(crate) sender: u32,
    /// Rises with each message of the sender.
    pub(crate) number: u64,
    fate: AtomicU8,
    ledger: Ledger,
}

impl Ledger {
    pub(crate) fn parcel(&self, sender: u32, number: u64) -> Parcel {
        self.0.sent.add(number);
        Parcel {
            sender,
            number,
            fate: AtomicU8::new(0),
            ledger: self.clone(),
        }
    }

    pub(crate) fn sent(&self) -> usize {
        self.0.sent.count.load(RELAXED)
    }

    pub(crate) fn count(&self, fate: Fate) -> usize {
        self.0.fates[fate as usize - 1].count.load(RELAXED)
    }

    /// Every message has had its fate, and none is left.
    pub(crate) fn close(&self) {
        let books = &self.0;
        let all = FATES.map(|fate| (fate, self.count(fate)));
        assert_eq!(
            books.lost.load(RELAXED),
            0,
            "lost: {all:?} of {}",
            self.sent()
        );
        assert_eq!(
            books.dropped.load(RELAXED),
            self.sent(),
            "left or dropped twice: {all:?}"
        );
        assert_eq!(
            all.iter().map(|(_, count)| count).sum::<usize>(),
            self.sent(),
            "{all:?}"
        );
        let sum = books
            .fates
            .iter()
            .fold(0, |sum: u64, fate| sum.wrapping_add(fate.sum.load(RELAXED)));
        assert_eq!(
            sum,
            books.sent.sum.load(RELAXED),
            "one message stood for another: {all:?}"
        );
    }
}

impl Parcel {
    pub(crate) fn met(&self, fate: Fate) {
        let before = self.fate.swap(fate as u8, RELAXED);
        assert_eq!(before, 0, "{self:?} met {fate:?} too");
        self.ledger.0.fates[fate as usize - 1].add(self.number);
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if *self.fate.get_mut() == 0 {
            if WITHDRAWING.get() {
                self.met(Fate::Withdrawn);
            } else {
                self.ledger.0.lost.fetch_add(1, RELAXED);
            }
        }
        self.ledger.0.dropped.fetch_add(1, RELAXED);
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = self.fate.load(RELAXED);
        write!(f, "parcel {} of {} (fate {fate})", self.number, self.sender)
    }
}

/// Calls something that drops a message it cannot use.
pub(crate) fn withdrawing<R>(call: impl FnOnce() -> R) -> R {
    let before = WITHDRAWING.replace(true);
    let result = call();
    WITHDRAWING.set(before);
    result
}

/// A future that may take a parcel back when it is dropped.
pub(crate) struct Withdraw<F>(Option<Pin<Box<F>>>);

impl<F> Withdraw<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Withdraw<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.0.as_mut().expect("polled while it is there");
        future.as_mut().poll(cx)
    }
}

impl<F> Drop for Withdraw<F> {
    fn drop(&mut self) {
        withdrawing(|| self.0 = None);
    }
}
