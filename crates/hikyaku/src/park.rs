//! Putting a thread to sleep until it is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Duration;

/// How often a waiting thread looks at its flag before it sleeps: about 20 microseconds.
pub(crate) const SPINS: u32 = 1000;

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// Puts a thread to sleep until it is woken. Spins first.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    thread: Thread,
}

impl Parker {
    /// A parker for the calling thread.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU32::new(EMPTY),
            thread: thread::current(),
        })
    }

    /// Waits until somebody called `wake` since the last return, or the time is over. Was it woken?
    pub(crate) fn park(&self, spins: u32, timeout: Option<Duration>) -> bool {
        for _ in 0..spins {
            if self.take_notice() {
                return true;
            }
            std::hint::spin_loop();
        }
        // AcqRel: as in `wake`. If it fails, a notice has come in.
        let sleep = self
            .state
            .compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        // Acquire: as above.
        while sleep && self.state.load(Ordering::Acquire) == PARKED {
            match timeout {
                None => thread::park(),
                Some(timeout) => {
                    thread::park_timeout(timeout);
                    break;
                }
            }
        }
        // Acquire: a notice that is taken back here, unseen, is as good as one that was seen: whoever
        // waits looks for what it waits for after this.
        self.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    fn take_notice(&self) -> bool {
        // Relaxed first: spinning must not take the line away from the one who writes it.
        self.state.load(Ordering::Relaxed) == NOTIFIED
            && self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what the waker's caller wrote is seen by the parked thread.
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            self.thread.unpark();
        }
    }
}
