//! Futures and streams whose results become messages of an actor.

use crate::actor_ref::ActorRef;
use crate::agenda::{More, Task};
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
        Poll::Ready((map.take().map(|map| map(output)), More::Over))
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
            None => (end.take().and_then(|end| end()), More::Over),
        })
    }
}
