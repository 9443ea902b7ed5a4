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
    settle: fn(&Names, &str, Option<CellPtr>),
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

    fn settle(&self, name: &str, actor: Option<CellPtr>) {
        let Some(known) = self.0.get() else { return };
        known.value().with(|known| match known.get_mut(name) {
            Some(entry) if actor.is_some() => *entry = actor,
            _ => drop(known.remove(name)),
        });
    }
}

impl Name {
    pub(crate) fn new(text: Box<str>) -> Self {
        Self {
            text,
            verbs: &Verbs {
                reserve: Names::reserve,
                settle: Names::settle,
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

    /// The actor of a reserved name can be found from now on; if there is none, because it has ended or was not spawned
    /// after all, the name is free.
    pub(crate) fn settle(&self, names: &Names, actor: Option<CellPtr>) {
        (self.verbs.settle)(names, &self.text, actor);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
