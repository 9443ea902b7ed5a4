//! What few programs use: made when it is first used, and known by its own table from then on. So a program that does not
//! use it does not link what is done with it, though each system has a place for it: a word.

use crate::sync::{self, AtomicPtr, Map, Mutex, Ordering};
use alloc::boxed::Box;
use core::any::TypeId;
use core::ptr;

/// A value that is made when it is first used, and stays. `T` is a trait: what is done with it.
pub(crate) struct Late<T: ?Sized>(AtomicPtr<Box<T>>);

impl<T: ?Sized + Send + Sync> Late<T> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// In place of a value: none is made any more.
    fn over() -> *mut Box<T> {
        ptr::without_provenance_mut(1)
    }

    /// The value, if it was made.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the Release in `or_make`.
        let made = self.0.load(Ordering::Acquire);
        // SAFETY: any other address is that of a value, which stays until this is dropped.
        (made.addr() > 1).then(|| unsafe { &**made })
    }

    /// The value. If two make it at once, one is kept. `None` after `close`.
    pub(crate) fn or_make(&self, make: impl FnOnce() -> Box<T>) -> Option<&T> {
        if self.get().is_none() {
            let new = Box::into_raw(Box::new(make()));
            // Release: the value is there for who finds it. Acquire: so is that of another.
            let none = ptr::null_mut();
            let order = (Ordering::AcqRel, Ordering::Acquire);
            let put = self.0.compare_exchange(none, new, order.0, order.1);
            if put.is_err() {
                // SAFETY: made above, and nobody else has it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
        self.get()
    }

    /// From now on none is made that is not there already. The value, if it was made.
    pub(crate) fn close(&self) -> Option<&T> {
        let (none, over) = (ptr::null_mut(), Self::over());
        // Release and Acquire: as in `or_make`. It does not matter which it is.
        let _was = self
            .0
            .compare_exchange(none, over, Ordering::AcqRel, Ordering::Acquire);
        self.get()
    }
}

impl<T: ?Sized> Drop for Late<T> {
    // Out of line: a system has several.
    #[inline(never)]
    fn drop(&mut self) {
        // Relaxed: nobody else has it.
        let made = self.0.load(Ordering::Relaxed);
        if made.addr() > 1 {
            // SAFETY: put there by `or_make`, and used no more.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}

/// The table of a value that only has to be found.
pub(crate) trait Holds<V>: Send + Sync {
    fn value(&self) -> &V;
}

impl<V: Send + Sync> Holds<V> for V {
    fn value(&self) -> &V {
        self
    }
}

/// The table of a value that goes at the end of the system, before its place does.
pub(crate) trait Ends<V>: Send + Sync {
    /// `None` once it has gone.
    fn value(&self) -> &Mutex<Option<V>>;

    fn end(&self);
}

impl<V: Send> Ends<V> for Mutex<Option<V>> {
    fn value(&self) -> &Self {
        self
    }

    fn end(&self) {
        drop(self.with(Option::take));
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
    use crate::sync::Arc;

    #[test]
    fn it_is_made_once() {
        let late = Late::<dyn Holds<Arc<u32>>>::new();
        assert!(late.get().is_none());
        let value = Arc::new(7);
        for _ in 0..2 {
            let made = late.or_make(|| Box::new(Arc::clone(&value))).unwrap();
            assert!(Arc::ptr_eq(made.value(), &value));
            assert_eq!(Arc::strong_count(&value), 2);
        }
        assert!(late.get().is_some_and(|it| **it.value() == 7));
        assert!(late.close().is_some_and(|it| **it.value() == 7));
        assert!(late.get().is_some(), "it stays");
        drop(late);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn none_is_made_when_it_is_over() {
        let late = Late::<dyn Holds<u32>>::new();
        assert!(late.close().is_none());
        assert!(late.or_make(|| Box::new(1)).is_none());
        assert!(late.get().is_none());
        assert!(late.close().is_none());
    }
}

#[cfg(all(test, loom))]
mod loom {
    use super::*;
    use crate::sync::Arc;
    use ::loom::{model, thread};

    /// Who adds something while two make the value and it ends has it taken by the end, or is refused.
    #[test]
    fn first_uses_against_the_end() {
        model(|| {
            type List = Mutex<Option<usize>>;
            let late = Arc::new(Late::<dyn Holds<List>>::new());
            let users = [(); 2].map(|()| {
                let late = Arc::clone(&late);
                thread::spawn(move || {
                    let list = late.or_make(|| Box::new(List::new(Some(0))));
                    let added = list.and_then(|list| {
                        list.value().with(|list| {
                            *list.as_mut()? += 1;
                            Some(())
                        })
                    });
                    usize::from(added.is_some())
                })
            });
            let taken = late
                .close()
                .and_then(|list| list.value().with(Option::take));
            let added: usize = users.into_iter().map(|user| user.join().unwrap()).sum();
            assert_eq!(taken.unwrap_or(0), added);
        });
    }
}
