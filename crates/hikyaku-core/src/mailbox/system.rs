//! The system lane: messages that are never refused and never lost.
//!
//! Each message has its storage before it is sent: a node that the sender made, or a part of the
//! cell that sends it. The lane is a stack that the runner takes whole and turns over, so it is
//! first in, first out. When the cell ends, the lane ends with it, in the same exchange that takes
//! the last messages.
//!
//! # Concurrency
//!
//! `push`: any thread. `take`, `finish`: the runner.

use crate::cell::{CellPtr, Link};
use crate::failure::{Failure, StopCause};
use crate::sync::{self, Arc, AtomicPtr, Mutex, Ordering};
use alloc::boxed::Box;
use core::fmt;
use core::ptr::{self, NonNull};
use core::task::Waker;
use core::time::Duration;

/// What the runtime tells a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemMessage {
    /// The node is the head of a [`Letter`].
    Letter,
    /// The child whose cell this node is part of has ended.
    ChildEnded,
}

/// What the runtime tells a cell that needs a box of its own.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Somebody waits for the start or the end.
    Watch(Arc<Notice>),
    /// From the supervisor, or from a child.
    Kin(KinLetter),
    /// The actor of this cell has linked itself to this one.
    Link(Link),
    /// It has taken that back.
    Unlink(CellPtr),
    /// It has ended; with this failure, if that breaks the link.
    LinkEnded(CellPtr, Option<Failure>),
    /// Something to do for the runner. Dropped, if there is none any more.
    Call(Call),
}

/// What supervisors and their children write to each other.
#[derive(Debug)]
pub(crate) enum KinLetter {
    /// A child has failed, and waits.
    ChildFailed(ChildFailed),
    /// The supervisor has decided on a restart.
    Restart(Restart),
    /// It may start: the older ones that are restarted with it have.
    Turn(u32),
    /// A child that had its turn has started, after the restart of this number.
    Started(CellPtr, u32),
    /// The supervisor has ordered a stop: the handler in flight has so long.
    Hurry(Duration),
}

/// What is linked only by those who use it comes as a function.
pub(crate) struct Call(pub(crate) Box<dyn FnOnce(CellPtr) + Send>);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// A child has failed.
#[derive(Debug)]
pub(crate) struct ChildFailed {
    pub(crate) child: CellPtr,
    pub(crate) failure: Failure,
    /// The number of the last restart that it has been through.
    pub(crate) number: u32,
}

/// To begin anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restart {
    /// Counts what the supervisor has told the child.
    pub(crate) number: u32,
    pub(crate) after: Duration,
    /// How long the handler in flight has by then.
    pub(crate) patience: Duration,
    /// Others are restarted with it: it starts when it is told that it may.
    pub(crate) in_turn: bool,
}

#[repr(C)]
struct Envelope {
    node: SystemNode,
    letter: Letter,
}

impl Letter {
    /// Boxed for the lane.
    pub(crate) fn seal(self) -> NonNull<SystemNode> {
        let envelope = Box::new(Envelope {
            node: SystemNode::new(SystemMessage::Letter),
            letter: self,
        });
        NonNull::from(Box::leak(envelope)).cast()
    }

    /// # Safety
    /// The node came from [`Letter::seal`] and is the caller's. Once.
    pub(crate) unsafe fn open(node: NonNull<SystemNode>) -> Self {
        // SAFETY: as the caller promises; the node is the envelope's first part, and its pointer was made
        // from the whole.
        unsafe { Box::from_raw(node.cast::<Envelope>().as_ptr()) }.letter
    }
}

/// A message in the lane.
#[derive(Debug)]
pub(crate) struct SystemNode {
    next: *mut SystemNode,
    pub(crate) message: SystemMessage,
}

impl SystemNode {
    pub(crate) fn new(message: SystemMessage) -> Self {
        Self {
            next: ptr::null_mut(),
            message,
        }
    }
}

/// The lane of one cell.
#[derive(Debug)]
pub(crate) struct SystemLane(AtomicPtr<SystemNode>);

/// The lane of a cell that has ended.
fn ended() -> *mut SystemNode {
    ptr::without_provenance_mut(1)
}

impl SystemLane {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Queues a node. *Any thread.* False if the cell has ended; the node is then still the
    /// caller's.
    ///
    /// # Safety
    /// The node is the caller's; when it is queued, it is the runner's.
    pub(crate) unsafe fn push(&self, node: NonNull<SystemNode>) -> bool {
        // Acquire: a caller that finds the lane ended reads how the cell ended, which was written
        // before the Release in `finish`.
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            if head == ended() {
                return false;
            }
            // SAFETY: the node is ours until the exchange succeeds.
            unsafe { (*node.as_ptr()).next = head };
            match self.0.compare_exchange_weak(
                head,
                node.as_ptr(),
                // Release: pairs with the Acquire in `take` and `finish`.
                Ordering::Release,
                // Acquire: as above.
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes what is queued, oldest first. *Runner.*
    pub(crate) fn take(&self) -> Taken {
        // Acquire: pairs with the Release in `push`.
        Taken::turned(self.0.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Ends the lane and takes what is left, oldest first. *Runner.*
    pub(crate) fn finish(&self) -> Taken {
        // Acquire: as in `take`. Release: pairs with the Acquire in `push`.
        Taken::turned(self.0.swap(ended(), Ordering::AcqRel))
    }
}

/// Nodes taken from a lane, oldest first. They belong to the holder.
#[derive(Debug)]
pub(crate) struct Taken(*mut SystemNode);

impl Taken {
    fn turned(newest: *mut SystemNode) -> Self {
        let mut node = newest;
        let mut turned = ptr::null_mut();
        while !node.is_null() {
            // SAFETY: taken nodes are the runner's.
            unsafe {
                let older = (*node).next;
                (*node).next = turned;
                turned = node;
                node = older;
            }
        }
        Self(turned)
    }
}

impl Iterator for Taken {
    type Item = NonNull<SystemNode>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = NonNull::new(self.0)?;
        // SAFETY: the node is ours until it is handed out.
        self.0 = unsafe { (*node.as_ptr()).next };
        Some(node)
    }
}

/// What somebody waits for: the start of an actor, or its end.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Is it the start that is waited for?
    pub(crate) start: bool,
    state: Mutex<NoticeState>,
}

#[derive(Debug)]
enum NoticeState {
    Waiting(Option<Waker>),
    /// Started: `None`. Ended: how.
    Done(Option<StopCause>),
    /// Nobody waits any more.
    Left,
}

impl Notice {
    pub(crate) fn new(start: bool) -> Arc<Self> {
        Arc::new(Self {
            start,
            state: Mutex::new(NoticeState::Waiting(None)),
        })
    }

    /// Boxed as a message for the lane.
    pub(crate) fn node(notice: &Arc<Self>) -> NonNull<SystemNode> {
        Letter::Watch(Arc::clone(notice)).seal()
    }

    /// Tells the one who waits: started (`None`), or ended.
    pub(crate) fn tell(&self, ended: Option<StopCause>) {
        let mut ended = Some(ended);
        let waker = self.state.with(|state| match state {
            NoticeState::Waiting(waker) => {
                let waker = waker.take();
                *state = NoticeState::Done(ended.take().flatten());
                waker
            }
            NoticeState::Done(_) | NoticeState::Left => None,
        });
        if let Some(waker) = waker {
            sync::wake(waker);
        }
    }

    /// What was told, or leaves the waker.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Option<StopCause>> {
        let mut waker = Some(waker.clone());
        let told = self.state.with(|state| match state {
            NoticeState::Waiting(slot) => {
                core::mem::swap(slot, &mut waker);
                None
            }
            NoticeState::Done(cause) => Some(cause.clone()),
            NoticeState::Left => None,
        });
        drop(waker);
        told
    }

    /// Nobody waits any more.
    pub(crate) fn leave(&self) {
        let _left = self
            .state
            .with(|state| core::mem::replace(state, NoticeState::Left));
    }

    pub(crate) fn is_left(&self) -> bool {
        self.state.with(|state| matches!(state, NoticeState::Left))
    }
}
