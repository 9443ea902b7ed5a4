//! Atomics where there is no compare-and-swap.
//!
//! A change is a critical section, and a function of its own, since there are hundreds of them. A read needs none: a
//! change is one store, and a release, also of what earlier changes have released, which the critical section has seen.

use super::{Ordering, plain};
use core::fmt;

macro_rules! atomic {
    ($name:ident $(<$of:ident>)?, $value:ty) => {
        pub(crate) struct $name $(<$of>)? (plain::$name $(<$of>)?);

        #[allow(dead_code, reason = "not each width is used in each way")]
        impl $(<$of>)? $name $(<$of>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(plain::$name::new(value))
            }

            #[inline(always)]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            #[inline(always)]
            pub(crate) fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.swap(value, order);
            }

            #[inline(never)]
            pub(crate) fn swap(&self, value: $value, _: Ordering) -> $value {
                self.change(|_| value)
            }

            #[inline(never)]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                _: Ordering,
                _: Ordering,
            ) -> Result<$value, $value> {
                let seen = self.change(|seen| if seen == current { new } else { seen });
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

            /// What was there before.
            #[inline(always)]
            fn change(&self, change: impl FnOnce($value) -> $value) -> $value {
                critical_section::with(|_| {
                    // Relaxed: the critical section has seen all earlier changes.
                    let seen = self.0.load(Ordering::Relaxed);
                    // Release: pairs with reads outside.
                    self.0.store(change(seen), Ordering::Release);
                    seen
                })
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
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

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

atomic!(AtomicPtr<T>, *mut T);
number!(AtomicU8, u8);
number!(AtomicU16, u16);
number!(AtomicU32, u32);
number!(AtomicUsize, usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_do_what_those_of_the_language_do() {
        let (ours, theirs) = (AtomicU8::new(250), plain::AtomicU8::new(250));
        // Relaxed, here and below: one thread.
        let order = Ordering::Relaxed;
        assert_eq!(ours.fetch_add(9, order), theirs.fetch_add(9, order));
        assert_eq!(ours.fetch_sub(7, order), theirs.fetch_sub(7, order));
        assert_eq!(ours.fetch_or(3, order), theirs.fetch_or(3, order));
        assert_eq!(ours.fetch_and(6, order), theirs.fetch_and(6, order));
        for current in [0, theirs.load(order)] {
            assert_eq!(
                ours.compare_exchange(current, 9, order, order),
                theirs.compare_exchange(current, 9, order, order),
            );
        }
        for up_to in [9, 10] {
            let more = |seen: u8| (seen < up_to).then_some(seen + 1);
            assert_eq!(
                ours.fetch_update(order, order, more),
                theirs.fetch_update(order, order, more),
            );
        }
        assert_eq!(ours.swap(1, order), theirs.swap(1, order));
        ours.store(2, order);
        assert_eq!(ours.load(order), 2);
    }
}
