//! Futures and streams whose results become messages of an actor.

use crate::actor_ref::{ActorRef, Stopped};
use crate::agenda::{More, Task};
use crate::failure::{Failure, StopCause};
use crate::registry::MailboxIndex;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_core::Stream;

/// A future whose result becomes a message.
pub(crate) struct Pipe<F, G, M> {
    pub(crate) future: F,
    pub(crate) map: Option<G>,
    /// The actor lives until the result is there.
    pub(crate) _keeps: ActorRef<M>,
}

impl<M, F, G> Task<M> for Pipe<F, G, M>
where
    F: Future,
    G: FnOnce(F::Output) -> M,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Option<M>, More)> {
        // SAFETY: the future is pinned as the whole is; the rest is not.
        let (future, map) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.map)
        };
        let output = ready!(future.poll(cx));
        let message = map.take().map(|map| map(output));
        Poll::Ready((message, More::Over))
    }
}

/// A stream whose items become messages.
pub(crate) struct Attached<S, G, E, M> {
    pub(crate) stream: S,
    pub(crate) map: G,
    pub(crate) end: Option<E>,
    pub(crate) _keeps: ActorRef<M>,
}

impl<M, S, G, E> Task<M> for Attached<S, G, E, M>
where
    S: Stream,
    G: FnMut(S::Item) -> M,
    E: FnOnce() -> Option<M>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Option<M>, More)> {
        // SAFETY: the stream is pinned as the whole is; the rest is not.
        let (stream, map, end) = unsafe {
            let this = self.get_unchecked_mut();
            let stream = Pin::new_unchecked(&mut this.stream);
            (stream, &mut this.map, &mut this.end)
        };
        Poll::Ready(match ready!(stream.poll_next(cx)) {
            Some(item) => (Some(map(item)), More::Later),
            None => {
                let last = end.take().and_then(|end| end());
                (last, More::Over)
            }
        })
    }
}

/// An actor has ended. What [`Context::watch`](crate::Context::watch) tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ended {
    /// Which one.
    pub actor: MailboxIndex,
    /// How.
    pub cause: StopCause,
}

/// Waits for the end of an actor.
pub(crate) struct Watching<G> {
    pub(crate) stopped: Stopped,
    pub(crate) of: MailboxIndex,
    pub(crate) map: Option<G>,
}

// The future in it is.
impl<G> Unpin for Watching<G> {}

impl<M, G: FnOnce(Ended) -> M> Task<M> for Watching<G> {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Option<M>, More)> {
        let this = self.get_mut();
        let cause = ready!(Pin::new(&mut this.stopped).poll(cx));
        let ended = Ended {
            actor: this.of,
            cause,
        };
        let message = this.map.take().map(|map| map(ended));
        Poll::Ready((message, More::Over))
    }
}

/// What an actor fails with that is linked to one that did not end in order.
pub(crate) fn broken_link(actor: MailboxIndex, cause: &StopCause) -> Option<Failure> {
    let cause = match cause {
        // The text of an error is the user's, and may panic.
        StopCause::Failed(failure) => StopCause::Failed(failure.text_only()),
        StopCause::Killed => StopCause::Killed,
        StopCause::Stopped | StopCause::Shutdown => return None,
    };
    Some(Failure::msg(format_args!(
        "the linked actor {actor} ended: {cause}"
    )))
}
