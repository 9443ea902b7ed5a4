//! The keys of one shard, with their values and deadlines. Plain data, no actors.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::command::{Condition, parse_integer};
use crate::glob;

/// A map from keys to values. A key may have a deadline, on the clock of the system.
///
/// Every read and write comes after [`Keyspace::expire`], so the map only holds keys that are
/// alive.
#[derive(Debug, Default)]
pub(crate) struct Keyspace {
    entries: HashMap<Bytes, Entry>,
    /// The keys that have a deadline, the next to go first.
    deadlines: BTreeSet<(Duration, Bytes)>,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    deadline: Option<Duration>,
}

/// Why a number was not changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AddError {
    NotAnInteger,
    Overflow,
}

impl Keyspace {
    /// Drops the keys whose deadline has come. Returns how many there were.
    pub(crate) fn expire(&mut self, now: Duration) -> u64 {
        let mut expired = 0;
        while let Some((deadline, _)) = self.deadlines.first()
            && *deadline <= now
        {
            let (_, key) = self.deadlines.pop_first().expect("the first was just seen");
            self.entries.remove(&key);
            expired += 1;
        }
        expired
    }

    /// When the next key goes, if one has a deadline.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, key: &Bytes) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn get(&self, key: &Bytes) -> Option<Bytes> {
        self.entries.get(key).map(|entry| entry.value.clone())
    }

    /// The keys that match the pattern, in no order.
    pub(crate) fn keys(&self, pattern: &[u8]) -> impl Iterator<Item = Bytes> {
        self.entries
            .keys()
            .filter(move |key| glob::matches(pattern, key))
            .cloned()
    }

    /// Whether the condition held and the value was set.
    pub(crate) fn set(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        deadline: Option<Duration>,
        condition: Option<Condition>,
    ) -> bool {
        match condition {
            Some(Condition::IfMissing) if self.contains(key) => return false,
            Some(Condition::IfPresent) if !self.contains(key) => return false,
            _ => {}
        }
        self.entry(key).value = own(value);
        self.set_deadline(key, deadline);
        true
    }

    /// Adds to a number. A missing key counts as zero.
    pub(crate) fn add(&mut self, key: &Bytes, amount: i64) -> Result<i64, AddError> {
        let old = match self.entries.get(key) {
            Some(entry) => parse_integer(&entry.value).ok_or(AddError::NotAnInteger)?,
            None => 0,
        };
        let new = old.checked_add(amount).ok_or(AddError::Overflow)?;
        self.entry(key).value = Bytes::from(new.to_string());
        Ok(new)
    }

    /// The length of the value after `tail` was appended, unless it would be longer than `limit`.
    pub(crate) fn append(&mut self, key: &Bytes, tail: &Bytes, limit: usize) -> Option<usize> {
        let length = self.entries.get(key).map_or(0, |entry| entry.value.len()) + tail.len();
        if length > limit {
            return None;
        }
        let value = &mut self.entry(key).value;
        // A value that nobody is reading grows in place; another is copied first.
        let mut longer = BytesMut::from(std::mem::take(value));
        longer.extend_from_slice(tail);
        *value = longer.freeze();
        Some(length)
    }

    /// Whether there was such a key to remove.
    pub(crate) fn remove(&mut self, key: &Bytes) -> bool {
        self.set_deadline(key, None);
        self.entries.remove(key).is_some()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The deadline of a key, if there is such a key, and if it has one.
    pub(crate) fn deadline(&self, key: &Bytes) -> Option<Option<Duration>> {
        self.entries.get(key).map(|entry| entry.deadline)
    }

    /// Whether there is such a key to give a deadline, or to take it from.
    pub(crate) fn set_deadline(&mut self, key: &Bytes, deadline: Option<Duration>) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.deadlines.remove(&(old, key.clone()));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, own(key)));
        }
        true
    }

    /// The entry of a key, which may be new and empty.
    fn entry(&mut self, key: &Bytes) -> &mut Entry {
        if !self.entries.contains_key(key) {
            self.entries.insert(
                own(key),
                Entry {
                    value: Bytes::new(),
                    deadline: None,
                },
            );
        }
        self.entries
            .get_mut(key)
            .expect("it was there or was just inserted")
    }
}

/// A copy with memory of its own. What a request holds are parts of the connection's input, which
/// would stay in memory as a whole for as long as one of them does.
fn own(part: &Bytes) -> Bytes {
    Bytes::copy_from_slice(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Bytes = Bytes::from_static(b"key");
    const VALUE: Bytes = Bytes::from_static(b"value");

    fn text(bytes: &'static str) -> Bytes {
        Bytes::from_static(bytes.as_bytes())
    }

    #[test]
    fn set_replaces_value_and_deadline() {
        let now = Duration::ZERO;
        let mut keyspace = Keyspace::default();
        assert!(!keyspace.set(&KEY, &VALUE, None, Some(Condition::IfPresent)));
        assert!(keyspace.set(&KEY, &VALUE, Some(now), Some(Condition::IfMissing)));
        assert!(!keyspace.set(&KEY, &text("other"), None, Some(Condition::IfMissing)));
        assert_eq!(keyspace.deadline(&KEY), Some(Some(now)));
        assert!(keyspace.set(&KEY, &text("other"), None, Some(Condition::IfPresent)));
        assert_eq!(keyspace.get(&KEY), Some(text("other")));
        assert_eq!(keyspace.deadline(&KEY), Some(None));
        assert!(keyspace.deadlines.is_empty());
    }

    #[test]
    fn keys_expire_at_their_deadline() {
        let at = Duration::from_millis;
        let mut keyspace = Keyspace::default();
        keyspace.set(&text("a"), &VALUE, Some(at(2)), None);
        keyspace.set(&text("b"), &VALUE, Some(at(1)), None);
        keyspace.set(&text("c"), &VALUE, Some(at(1)), None);
        keyspace.set(&text("d"), &VALUE, None, None);
        // A later deadline replaces the earlier one, and a removed key takes its deadline along.
        assert!(keyspace.set_deadline(&text("c"), Some(at(3))));
        assert!(keyspace.remove(&text("a")));
        keyspace.set(&text("a"), &VALUE, None, None);

        assert_eq!(keyspace.expire(at(0)), 0);
        assert_eq!(keyspace.next_deadline(), Some(at(1)));
        assert_eq!(keyspace.expire(at(1)), 1);
        assert!(!keyspace.contains(&text("b")));
        assert_eq!(keyspace.expire(at(2)), 0);
        assert_eq!(keyspace.len(), 3);
        assert_eq!(keyspace.next_deadline(), Some(at(3)));
        assert_eq!(keyspace.expire(at(3)), 1);
        assert_eq!(keyspace.next_deadline(), None);
        let mut left: Vec<_> = keyspace.keys(b"*").collect();
        left.sort();
        assert_eq!(left, [text("a"), text("d")]);
    }

    #[test]
    fn add_keeps_the_deadline() {
        let now = Duration::ZERO;
        let mut keyspace = Keyspace::default();
        assert_eq!(keyspace.add(&KEY, -1), Ok(-1));
        assert!(keyspace.set_deadline(&KEY, Some(now)));
        assert_eq!(keyspace.add(&KEY, 3), Ok(2));
        assert_eq!(keyspace.deadline(&KEY), Some(Some(now)));
    }

    #[test]
    fn add_changes_nothing_when_it_fails() {
        for (value, amount, expected) in [
            ("9223372036854775807", 1, AddError::Overflow),
            ("-9223372036854775808", -1, AddError::Overflow),
            ("ten", 1, AddError::NotAnInteger),
            ("", 1, AddError::NotAnInteger),
        ] {
            let mut keyspace = Keyspace::default();
            keyspace.set(&KEY, &text(value), None, None);
            assert_eq!(keyspace.add(&KEY, amount), Err(expected), "{value}");
            assert_eq!(keyspace.get(&KEY), Some(text(value)));
        }
    }

    #[test]
    fn append_leaves_what_was_read_alone() {
        let mut keyspace = Keyspace::default();
        assert_eq!(keyspace.append(&KEY, &text("ab"), 4), Some(2));
        let read = keyspace.get(&KEY).expect("it was set");
        assert_eq!(keyspace.append(&KEY, &text("cd"), 4), Some(4));
        assert_eq!(keyspace.append(&KEY, &text("e"), 4), None);
        assert_eq!(read, "ab");
        assert_eq!(keyspace.get(&KEY), Some(text("abcd")));
    }
}
