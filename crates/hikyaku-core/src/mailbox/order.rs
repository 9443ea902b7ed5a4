//! Priorities: the runner orders what the lane brings.
//!
//! The lane stays as it is; before each message the runner moves what is queued to lists of nodes, one for each
//! priority that occurs. A node keeps its room until its message is popped, so a bound counts what is in the lists
//! too. A list keeps the order of arrival by itself, and needs no memory but the nodes.
//!
//! What has its turn among the messages (`mailbox/mark.rs`) has to know which of them were there before it. So they
//! have an age: how often somebody had asked that when they arrived. A list notes how many of the same age follow
//! each other.
//!
//! # Concurrency
//!
//! *Runner.*

use super::{Chain, Node};
use crate::sync;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;

/// How urgent a message is: the highest comes first. Equals come in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

impl Priority {
    /// After all others.
    pub const LOWEST: Self = Self(0);
    /// In the middle. The default.
    pub const NORMAL: Self = Self(128);
    /// Before all others.
    pub const HIGHEST: Self = Self(255);
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// The messages of one priority.
struct List {
    priority: Priority,
    nodes: Chain,
    ages: VecDeque<Run>,
}

/// So many nodes of an age.
struct Run {
    age: u64,
    count: usize,
}

struct Lists {
    /// By priority.
    lists: Vec<List>,
    /// A bit for each priority whose list is not empty.
    filled: [u64; 4],
    len: usize,
    age: u64,
    /// Has one arrived with this age?
    aged: bool,
}

impl Lists {
    fn list(&mut self, priority: Priority) -> &mut List {
        let found = self
            .lists
            .binary_search_by_key(&priority, |list| list.priority);
        let index = found.unwrap_or_else(|index| {
            let list = List {
                priority,
                nodes: Chain::EMPTY,
                ages: VecDeque::new(),
            };
            self.lists.insert(index, list);
            index
        });
        &mut self.lists[index]
    }

    fn highest(&self) -> Option<Priority> {
        let word = self.filled.iter().rposition(|word| *word != 0)?;
        let bit = self.filled[word].ilog2();
        // Four words of 64 bits.
        Some(Priority((word as u32 * 64 + bit) as u8))
    }
}

pub(crate) struct Order<M> {
    priority: fn(&M) -> Priority,
    lists: RefCell<Lists>,
}

impl<M> Order<M> {
    pub(crate) fn new(priority: fn(&M) -> Priority) -> Self {
        Self {
            priority,
            lists: RefCell::new(Lists {
                lists: Vec::new(),
                filled: [0; 4],
                len: 0,
                age: 0,
                aged: false,
            }),
        }
    }

    /// Takes a queued node in. A panic of the user's function means: the default.
    ///
    /// # Safety
    /// The node holds a message, and is the caller's.
    pub(crate) unsafe fn add(&self, node: NonNull<Node<M>>) {
        // SAFETY: as the caller promises.
        let message = unsafe { Node::peek(node) };
        let mut priority = Priority::default();
        sync::quietly(|| priority = (self.priority)(message));
        let lists = &mut *self.lists.borrow_mut();
        let age = lists.age;
        let list = lists.list(priority);
        // SAFETY: the nodes of the lists are the runner's, as this one is now.
        unsafe { list.nodes.append(node.cast().as_ptr()) };
        match list.ages.back_mut() {
            Some(run) if run.age == age => run.count += 1,
            _ => list.ages.push_back(Run { age, count: 1 }),
        }
        lists.filled[usize::from(priority.0) / 64] |= 1 << (priority.0 % 64);
        lists.len += 1;
        lists.aged = true;
    }

    /// The most urgent node, and its age.
    pub(crate) fn pop(&self) -> Option<(NonNull<Node<M>>, u64)> {
        let lists = &mut *self.lists.borrow_mut();
        let priority = lists.highest()?;
        let list = lists.list(priority);
        // SAFETY: the nodes of the lists are the runner's.
        let node = unsafe { list.nodes.pop()? };
        let run = list.ages.front_mut()?;
        let age = run.age;
        run.count -= 1;
        if run.count == 0 {
            list.ages.pop_front();
        }
        if list.nodes.first.is_null() {
            lists.filled[usize::from(priority.0) / 64] &= !(1 << (priority.0 % 64));
        }
        lists.len -= 1;
        Some((node.cast(), age))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.borrow().len == 0
    }

    /// How many there are. Their ages are below the one that comes with it, those of later ones are not.
    pub(crate) fn mark(&self) -> (usize, u64) {
        let lists = &mut *self.lists.borrow_mut();
        if core::mem::take(&mut lists.aged) {
            lists.age += 1;
        }
        (lists.len, lists.age)
    }
}
