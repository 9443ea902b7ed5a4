//! The names of living actors.
//!
//! A name brings what is done with it, so a program that gives none does not link this.

use crate::cell::CellPtr;
use crate::late::{Holds, Late};
use crate::sync::{Map, Mutex};
use crate::system::SpawnError;
use alloc::boxed::Box;
use core::fmt;

/// Actors by name: reserved (`None`) or living.
type Known = Mutex<Map<Box<str>, Option<CellPtr>>>;

/// Those of a system.
pub(crate) struct Names(Late<dyn Holds<Known>>);

/// The name of one actor, or of one to be.
#[derive(Clone)]
pub(crate) struct Name {
    text: Box<str>,
    verbs: &'static Verbs,
}

/// How the names are reached. Only [`Name::new`] names these functions.
struct Verbs {
    reserve: fn(&Names, &str) -> Result<(), SpawnError>,
    publish: fn(&Names, &str, CellPtr),
    remove: fn(&Names, &str),
}

impl Names {
    pub(crate) fn new() -> Self {
        Self(Late::new())
    }

    /// Calls `found` with the living actor of this name, under the lock: its end takes the name first.
    pub(crate) fn find<R>(&self, name: &str, found: impl FnOnce(CellPtr) -> R) -> Option<R> {
        let known = self.0.get()?.value();
        known.with(|known| (*known.get(name)?).map(found))
    }

    fn reserve(&self, name: &str) -> Result<(), SpawnError> {
        let known = self.0.or_make(|| Box::new(Known::new(Map::new())));
        let known = known.expect("it is never closed").value();
        known.with(|known| {
            if known.contains_key(name) {
                return Err(SpawnError::NameTaken);
            }
            known.insert(name.into(), None);
            Ok(())
        })
    }
}

impl Name {
    pub(crate) fn new(text: Box<str>) -> Self {
        Self {
            text,
            verbs: &Verbs {
                reserve: Names::reserve,
                publish: |names, name, cell| {
                    if let Some(known) = names.0.get() {
                        known.value().with(|known| {
                            if let Some(entry) = known.get_mut(name) {
                                *entry = Some(cell);
                            }
                        });
                    }
                },
                remove: |names, name| {
                    if let Some(known) = names.0.get() {
                        known.value().with(|known| known.remove(name));
                    }
                },
            },
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Nobody else may have it from now on.
    pub(crate) fn reserve(&self, names: &Names) -> Result<(), SpawnError> {
        (self.verbs.reserve)(names, &self.text)
    }

    /// The actor of a reserved name can be found from now on.
    pub(crate) fn publish(&self, names: &Names, cell: CellPtr) {
        (self.verbs.publish)(names, &self.text, cell);
    }

    /// The actor has ended, or was not spawned after all.
    pub(crate) fn give_up(&self, names: &Names) {
        (self.verbs.remove)(names, &self.text);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
