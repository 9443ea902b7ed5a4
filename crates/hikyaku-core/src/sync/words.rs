//! Atomics where there is no compare-and-swap.
//!
//! A change is a critical section, and a function of its own, since there are hundreds of them: one for each width, so a
//! number of a pointer's width is kept as an address. A read needs none: a change is one store, and a release, also of what
//! earlier changes have released, which the critical section has seen. Nor does a store, on one promised core: nothing comes
//! between the parts of a change there.

use super::{Ordering, PROMISED, plain};
use core::fmt;
use core::marker::PhantomData;
use core::ptr;

/// What all words of one width have in common.
trait Width {
    type Value: Copy + Eq;

    fn read(&self, order: Ordering) -> Self::Value;
    fn write(&self, value: Self::Value, order: Ordering);

    /// What was there before.
    #[inline(always)]
    fn change(&self, change: impl FnOnce(Self::Value) -> Self::Value) -> Self::Value {
        critical_section::with(|_| {
            // Relaxed: the critical section has seen all earlier changes.
            let seen = self.read(Ordering::Relaxed);
            // Release: pairs with reads outside.
            self.write(change(seen), Ordering::Release);
            seen
        })
    }

    #[inline(never)]
    fn exchange(&self, value: Self::Value) -> Self::Value {
        self.change(|_| value)
    }

    #[inline(never)]
    fn exchange_if(&self, current: Self::Value, new: Self::Value) -> Self::Value {
        self.change(|seen| if seen == current { new } else { seen })
    }
}

macro_rules! width {
    ($plain:ty, $value:ty) => {
        impl Width for $plain {
            type Value = $value;

            #[inline(always)]
            fn read(&self, order: Ordering) -> $value {
                if !PROMISED {
                    return self.load(order);
                }
                // Relaxed: other contexts are interrupts, so the order is the compiler's alone.
                let value = self.load(Ordering::Relaxed);
                hold_back(order);
                value
            }

            #[inline(always)]
            fn write(&self, value: $value, order: Ordering) {
                if !PROMISED {
                    return self.store(value, order);
                }
                hold_back(order);
                // Relaxed: as above.
                self.store(value, Ordering::Relaxed);
            }
        }
    };
}

/// Keeps the compiler from moving what this order keeps in its place.
#[inline(always)]
fn hold_back(order: Ordering) {
    // Relaxed: nothing is kept.
    if order != Ordering::Relaxed {
        plain::compiler_fence(order);
    }
}

width!(plain::AtomicPtr<()>, *mut ());
width!(plain::AtomicU16, u16);
width!(plain::AtomicU32, u32);

/// `$put` and `$get`: how a value becomes one of the word, and back.
macro_rules! atomic {
    ($name:ident $(<$of:ident>)?, $value:ty, $word:ty, $put:expr, $get:expr) => {
        pub(crate) struct $name $(<$of>)? ($word $(, PhantomData<fn() -> $of>)?);

        #[allow(dead_code, reason = "not each width is used in each way")]
        impl $(<$of>)? $name $(<$of>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(<$word>::new($put(value)) $(, PhantomData::<fn() -> $of>)?)
            }

            #[inline(always)]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                $get(self.0.read(order))
            }

            #[inline(always)]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                if PROMISED {
                    self.0.write($put(value), order);
                } else {
                    // Another core may be in the middle of a change, which would undo it.
                    self.swap(value, order);
                }
            }

            #[inline(always)]
            pub(crate) fn swap(&self, value: $value, _: Ordering) -> $value {
                $get(self.0.exchange($put(value)))
            }

            #[inline(always)]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                _: Ordering,
                _: Ordering,
            ) -> Result<$value, $value> {
                let seen = $get(self.0.exchange_if($put(current), $put(new)));
                if seen == current { Ok(seen) } else { Err(seen) }
            }

            #[inline(always)]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            #[inline(always)]
            pub(crate) fn fetch_update(
                &self,
                _: Ordering,
                _: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut new = None;
                let seen = self.change(|seen| {
                    new = change(seen);
                    new.unwrap_or(seen)
                });
                new.map_or(Err(seen), |_| Ok(seen))
            }

            #[inline(always)]
            fn change(&self, change: impl FnOnce($value) -> $value) -> $value {
                $get(self.0.change(|seen| $put(change($get(seen)))))
            }
        }

        impl $(<$of>)? fmt::Debug for $name $(<$of>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty, $word:ty, $put:expr, $get:expr) => {
        atomic!($name, $value, $word, $put, $get);

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }

        #[allow(dead_code, reason = "not each width is used in each way")]
        impl $name {
            #[inline(never)]
            pub(crate) fn fetch_add(&self, value: $value, _: Ordering) -> $value {
                self.change(|seen| seen.wrapping_add(value))
            }

            #[inline(always)]
            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.fetch_add(value.wrapping_neg(), order)
            }

            #[inline(never)]
            pub(crate) fn fetch_or(&self, value: $value, _: Ordering) -> $value {
                self.change(|seen| seen | value)
            }

            #[inline(never)]
            pub(crate) fn fetch_and(&self, value: $value, _: Ordering) -> $value {
                self.change(|seen| seen & value)
            }
        }
    };
}

atomic!(
    AtomicPtr<T>,
    *mut T,
    plain::AtomicPtr<()>,
    <*mut T>::cast::<()>,
    <*mut ()>::cast::<T>
);
number!(
    AtomicUsize,
    usize,
    plain::AtomicPtr<()>,
    ptr::without_provenance_mut,
    <*mut ()>::addr
);
number!(
    AtomicU16,
    u16,
    plain::AtomicU16,
    core::convert::identity,
    core::convert::identity
);
number!(
    AtomicU32,
    u32,
    plain::AtomicU32,
    core::convert::identity,
    core::convert::identity
);

#[cfg(test)]
mod tests {
    use super::*;

    /// What those of the language do, the same on both.
    macro_rules! alike {
        ($name:ident) => {
            let (ours, theirs) = ($name::new(250), plain::$name::new(250));
            // Relaxed, here and below: one thread.
            let order = Ordering::Relaxed;
            assert_eq!(ours.fetch_add(9, order), theirs.fetch_add(9, order));
            assert_eq!(ours.fetch_sub(7, order), theirs.fetch_sub(7, order));
            assert_eq!(ours.fetch_or(3, order), theirs.fetch_or(3, order));
            assert_eq!(ours.fetch_and(6, order), theirs.fetch_and(6, order));
            for less in [7, 1] {
                // Also below zero, and back.
                assert_eq!(ours.fetch_sub(less, order), theirs.fetch_sub(less, order));
            }
            assert_eq!(ours.fetch_add(8, order), theirs.fetch_add(8, order));
            for current in [0, theirs.load(order)] {
                assert_eq!(
                    ours.compare_exchange(current, 9, order, order),
                    theirs.compare_exchange(current, 9, order, order),
                );
            }
            for up_to in [9, 10] {
                let more = |seen| (seen < up_to).then_some(seen + 1);
                assert_eq!(
                    ours.fetch_update(order, order, more),
                    theirs.fetch_update(order, order, more),
                );
            }
            assert_eq!(ours.swap(1, order), theirs.swap(1, order));
            ours.store(2, order);
            assert_eq!(ours.load(order), 2);
        };
    }

    #[test]
    fn numbers_do_what_those_of_the_language_do() {
        alike!(AtomicU16);
        alike!(AtomicU32);
        alike!(AtomicUsize);
    }

    #[test]
    fn a_pointer_keeps_its_tag_and_what_it_points_to() {
        let order = Ordering::Relaxed;
        let mut number = 7_u32;
        let pointer = &raw mut number;
        let word = AtomicPtr::new(pointer);
        let tagged = word.fetch_update(order, order, |seen| Some(seen.map_addr(|at| at | 1)));
        assert_eq!(tagged, Ok(pointer));
        let seen = word.load(order);
        assert_eq!(seen.addr(), pointer.addr() | 1);
        // SAFETY: the number is there, and nobody else looks at it.
        unsafe { seen.map_addr(|at| at & !1).write(8) };
        assert_eq!(
            word.compare_exchange(pointer, ptr::null_mut(), order, order),
            Err(seen)
        );
        assert_eq!(
            word.compare_exchange(seen, ptr::null_mut(), order, order),
            Ok(seen)
        );
        assert_eq!(word.swap(pointer, order), ptr::null_mut());
        word.store(ptr::null_mut(), order);
        assert!(word.load(order).is_null());
        assert_eq!(number, 8);
    }
}
