//! What few programs use: made when it is first used, and known by its own table from then on. So a program that does not
//! use it does not link what drops it, though each system has a place for it.

use crate::sync::{self, Map};
use alloc::boxed::Box;
use core::any::TypeId;

/// A value that is made when it is first used.
pub(crate) struct Late<T>(Option<Box<dyn Made<T>>>);

/// The table: where the value is, and how it is dropped.
trait Made<T>: Send {
    fn value(&self) -> &T;
    fn value_mut(&mut self) -> &mut T;
}

impl<T: Send> Made<T> for T {
    fn value(&self) -> &T {
        self
    }

    fn value_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: Default + Send + 'static> Late<T> {
    pub(crate) const NOT_YET: Self = Self(None);

    /// The value, if it was made.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|made| (**made).value())
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut().map(|made| (**made).value_mut())
    }

    pub(crate) fn or_make(&mut self) -> &mut T {
        let made = self.0.get_or_insert_with(|| Box::new(T::default()));
        (**made).value_mut()
    }
}

/// Values of the user's, by a type each. Each is dropped alone: one whose destructor panics must not keep the others.
pub(crate) struct ByType<V>(pub(crate) Map<TypeId, V>);

impl<V> Default for ByType<V> {
    fn default() -> Self {
        Self(Map::new())
    }
}

impl<V> Drop for ByType<V> {
    fn drop(&mut self) {
        for (_, value) in core::mem::take(&mut self.0) {
            sync::quietly(|| drop(value));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once() {
        let mut late = Late::<u32>::NOT_YET;
        assert_eq!(late.get(), None);
        assert_eq!(late.get_mut(), None);
        *late.or_make() += 1;
        *late.or_make() += 1;
        assert_eq!(late.get(), Some(&2));
    }
}
