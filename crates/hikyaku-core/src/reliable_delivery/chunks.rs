//! Large messages in parts.

use alloc::vec::Vec;
use core::iter;

/// A part of a message that is too large to be sent at once. What makes it whole again is an [`Assembly`].
///
/// Push the chunks of a message to the [`Producer`](crate::Producer) one after the other. At the
/// [`Consumer`](crate::Consumer) confirm the last chunk only: whoever is restarted between two of them then gets all of
/// them again.
///
/// ```
/// use hikyaku_core::{Assembly, Chunk};
///
/// let mut assembly = Assembly::default();
/// let mut whole = None;
/// for chunk in Chunk::split(b"a large message", 4) {
///     assert!(chunk.bytes.len() <= 4 && whole.is_none());
///     whole = assembly.push(chunk);
/// }
/// assert_eq!(whole.as_deref(), Some(&b"a large message"[..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// No other chunk of the message follows.
    pub last: bool,
    /// The part.
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// The message in parts of at most so many bytes, one at least. An empty one is one empty chunk.
    pub fn split(message: &[u8], most: usize) -> impl Iterator<Item = Self> {
        let mut rest = Some(message);
        iter::from_fn(move || {
            let message = rest.take()?;
            let (part, behind) = message.split_at(most.max(1).min(message.len()));
            rest = (!behind.is_empty()).then_some(behind);
            Some(Self {
                last: behind.is_empty(),
                bytes: part.to_vec(),
            })
        })
    }
}

/// Makes messages of their [`Chunk`]s. One for each producer.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Adds the next chunk. Gives the message if it is the last one.
    pub fn push(&mut self, chunk: Chunk) -> Option<Vec<u8>> {
        if self.bytes.is_empty() {
            self.bytes = chunk.bytes;
        } else {
            self.bytes.extend_from_slice(&chunk.bytes);
        }
        chunk.last.then(|| core::mem::take(&mut self.bytes))
    }
}
