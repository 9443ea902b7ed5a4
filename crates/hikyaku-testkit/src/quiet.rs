//! Catching the panic of a test: where it was, and without a word of it if so wanted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic on this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic that was caught.
pub(crate) struct Caught {
    pub(crate) payload: Box<dyn Any + Send>,
    /// File, line and column.
    pub(crate) place: String,
}

/// Runs something and catches its panic. `quiet` keeps the panics of this thread from being shown.
pub(crate) fn catch(quiet: bool, run: impl FnOnce()) -> Result<(), Caught> {
    install();
    let before = QUIET.replace(quiet);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    outcome.map_err(|payload| Caught {
        payload,
        place: PLACE.with(RefCell::take),
    })
}

/// The hook is for the whole process, and passes on what is not ours.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Not while the thread ends, when there is nothing of it any more.
            let _ended = PLACE.try_with(|place| {
                let here = info.location().map(ToString::to_string);
                place.replace(here.unwrap_or_default());
            });
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
}
