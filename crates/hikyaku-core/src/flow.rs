//! What only the feature `flow` makes.
//!
//! Without it there is no value of [`IfFlow`]: an `Option` of one takes no room, and what is done with it, its drop too,
//! is compiled to nothing. So a small firmware pays nothing for it, and the code around knows of one kind of
//! build only.

use core::ops::{Deref, DerefMut};

/// Is flow control beyond a bound built in?
pub(crate) const FLOW: bool = cfg!(feature = "flow");

/// Something that is there with the feature only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfFlow<T> {
    #[cfg(feature = "flow")]
    BuiltIn(T),
    #[cfg(not(feature = "flow"))]
    #[expect(dead_code, reason = "there is none")]
    Never(core::convert::Infallible, core::marker::PhantomData<T>),
}

impl<T> IfFlow<T> {
    #[cfg(feature = "flow")]
    pub(crate) fn new(value: T) -> Option<Self> {
        Some(Self::BuiltIn(value))
    }

    #[cfg(not(feature = "flow"))]
    pub(crate) fn new(_: T) -> Option<Self> {
        None
    }

    /// As [`new`](Self::new), of a value in a constant.
    pub(crate) const fn of(value: T) -> Option<Self>
    where
        T: Copy,
    {
        #[cfg(feature = "flow")]
        return Some(Self::BuiltIn(value));
        #[cfg(not(feature = "flow"))]
        {
            let _ = value;
            None
        }
    }

    pub(crate) fn into_inner(self) -> T {
        match self {
            #[cfg(feature = "flow")]
            Self::BuiltIn(value) => value,
            #[cfg(not(feature = "flow"))]
            Self::Never(never, _) => match never {},
        }
    }
}

impl<T> Deref for IfFlow<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self {
            #[cfg(feature = "flow")]
            Self::BuiltIn(value) => value,
            #[cfg(not(feature = "flow"))]
            Self::Never(never, _) => match *never {},
        }
    }
}

impl<T> DerefMut for IfFlow<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        match self {
            #[cfg(feature = "flow")]
            Self::BuiltIn(value) => value,
            #[cfg(not(feature = "flow"))]
            Self::Never(never, _) => match *never {},
        }
    }
}

#[cfg(feature = "flow")]
impl<T: Default> Default for IfFlow<T> {
    fn default() -> Self {
        Self::BuiltIn(T::default())
    }
}
