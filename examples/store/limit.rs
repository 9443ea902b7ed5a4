//! How many commands a client may send: each connection has a bucket of tokens, and takes one for each command.
//!
//! It is the connection that counts, not a middleware before it: what its actor is sent is whatever the socket has, be
//! it half a command or a hundred.

use std::time::Duration;

use hikyaku::TokenBucket;

/// What a client is told whose command was refused.
pub(crate) const TOO_MANY: &str = "ERR too many commands, try again later";

/// The limit of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) per_second: u32,
    pub(crate) excess: Excess,
}

/// What becomes of a command that is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It waits, and what comes behind it is not read meanwhile.
    Delay,
    /// It is answered with [`TOO_MANY`].
    Refuse,
}

impl Limit {
    /// How many there may be at once: those of a tenth of a second.
    pub(crate) fn burst(self) -> u32 {
        (self.per_second / 10).max(1)
    }
}

/// The limit of one client, and what is left of it.
#[derive(Debug)]
pub(crate) struct Meter {
    bucket: TokenBucket,
    excess: Excess,
    was_over: bool,
}

/// What is to be done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// There is a token for it after so long.
    Delay(Duration),
    Refuse,
}

impl Meter {
    pub(crate) fn new(limit: Limit) -> Self {
        let interval = Duration::from_secs(1) / limit.per_second.max(1);
        Self {
            bucket: TokenBucket::new(interval, limit.burst()),
            excess: limit.excess,
            was_over: false,
        }
    }

    /// Judges one more command.
    pub(crate) fn judge(&mut self, now: Duration) -> Verdict {
        match (self.bucket.take(now), self.excess) {
            (Ok(()), _) => Verdict::Pass,
            (Err(missing), Excess::Delay) => Verdict::Delay(missing),
            (Err(_), Excess::Refuse) => Verdict::Refuse,
        }
    }

    /// True when it is called for the first time.
    pub(crate) fn is_first_excess(&mut self) -> bool {
        !std::mem::replace(&mut self.was_over, true)
    }
}
