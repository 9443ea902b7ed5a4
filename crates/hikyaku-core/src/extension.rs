//! What programs and libraries attach to a system, found by its type.

use crate::late::{ByType, Ends, Late};
use crate::sync::{Arc, Mutex};
use crate::system::System;
use alloc::boxed::Box;
use core::any::{Any, TypeId};
use core::fmt;
use core::ops::Deref;

/// A handle to a value that is attached to a system. See [`System::extension`].
///
/// It dereferences to the value. Clones are the same value.
pub struct Extension<T>(Arc<T>);

impl<T> Deref for Extension<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Extension<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Extension<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Extension").field(&self.0).finish()
    }
}

/// The handles, each an `Extension<T>` under the type of its `T`.
type Handles = ByType<Box<dyn Any + Send + Sync>>;

/// The extensions of a system; `None` once it has stopped.
pub(crate) struct Extensions(Late<dyn Ends<Handles>>);

impl Extensions {
    pub(crate) fn new() -> Self {
        Self(Late::new())
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Extension<T>> {
        let handles = self.0.get()?.value();
        handles.with(|handles| find(handles.as_ref()?))
    }

    /// Adds one, unless there is one already: then that.
    fn add<T: Send + Sync + 'static>(&self, extension: Extension<T>) -> Extension<T> {
        // Made outside the lock, and what is not used is dropped outside.
        let handle = Box::new(extension.clone());
        let new = || -> Box<dyn Ends<Handles>> { Box::new(Mutex::new(Some(Handles::default()))) };
        let Some(attached) = self.0.or_make(new) else {
            return extension;
        };
        let found = attached.value().with(|handles| {
            let handles = handles.as_mut()?;
            let found = find(handles);
            if found.is_none() {
                handles.0.insert(TypeId::of::<T>(), handle);
            }
            found
        });
        found.unwrap_or(extension)
    }

    /// The system has stopped. What is attached may hold the system, so it must go.
    pub(crate) fn end(&self) {
        if let Some(attached) = self.0.close() {
            attached.end();
        }
    }
}

fn find<T: Send + Sync + 'static>(handles: &Handles) -> Option<Extension<T>> {
    handles
        .0
        .get(&TypeId::of::<T>())?
        .downcast_ref::<Extension<T>>()
        .cloned()
}

impl System {
    /// The system's value of this type; makes it if there is none.
    ///
    /// For what belongs to a system and is shared by its actors: a pool of connections, settings, the
    /// state of a library. The system lets go of it when it has stopped; then, or with the last handle,
    /// it is dropped. It may hold references to actors, and the system itself.
    ///
    /// If two threads ask for the same type for the first time at once, both may call `make`. One value
    /// is kept, and both get that one. Asked for after the system has stopped, the value belongs to the
    /// caller alone.
    ///
    /// ```
    /// # use hikyaku_core::System;
    /// struct Settings { retries: u32 }
    ///
    /// let (system, _workers) = System::builder("demo").build()?;
    /// assert!(system.find_extension::<Settings>().is_none());
    /// let settings = system.extension(|| Settings { retries: 3 });
    /// assert_eq!(settings.retries, 3);
    /// assert_eq!(system.extension(|| Settings { retries: 9 }).retries, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `make` does.
    pub fn extension<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Extension<T> {
        let extensions = &self.home().shared.extensions;
        match extensions.get() {
            Some(found) => found,
            None => extensions.add(Extension(Arc::new(make()))),
        }
    }

    /// The system's value of this type, if [`extension`](Self::extension) has made one.
    pub fn find_extension<T: Send + Sync + 'static>(&self) -> Option<Extension<T>> {
        self.home().shared.extensions.get()
    }
}
