//! The names of a system's actors. The first name that is given brings the list, so a program without names does not
//! link it.

use crate::cell::CellPtr;
use crate::sync::Map;
use alloc::boxed::Box;

/// A name that is asked for, and what brings the list.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) text: Box<str>,
    make: fn() -> Box<dyn Names>,
}

impl Name {
    pub(crate) fn new(text: Box<str>) -> Self {
        Self {
            text,
            make: || Box::new(Map::new()),
        }
    }

    pub(crate) fn list(&self) -> Box<dyn Names> {
        (self.make)()
    }
}

/// Reserved or living actors by name.
pub(crate) trait Names: Send {
    /// False if the name is taken.
    fn reserve(&mut self, name: &str) -> bool;
    /// The actor of a reserved name is there.
    fn publish(&mut self, name: &str, cell: CellPtr);
    /// The name is free again.
    fn give_up(&mut self, name: &str);
    fn find(&self, name: &str) -> Option<CellPtr>;
}

impl Names for Map<Box<str>, Option<CellPtr>> {
    fn reserve(&mut self, name: &str) -> bool {
        let free = !self.contains_key(name);
        if free {
            self.insert(name.into(), None);
        }
        free
    }

    fn publish(&mut self, name: &str, cell: CellPtr) {
        if let Some(entry) = self.get_mut(name) {
            *entry = Some(cell);
        }
    }

    fn give_up(&mut self, name: &str) {
        self.remove(name);
    }

    fn find(&self, name: &str) -> Option<CellPtr> {
        *self.get(name)?
    }
}
