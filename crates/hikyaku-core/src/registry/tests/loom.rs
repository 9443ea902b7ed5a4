//! An index is looked up while its actor ends and its slot is given to another.

use super::super::{MailboxIndex, MailboxRegistry};
use crate::cell::{CellPtr, Header};
use crate::sync::Arc;
use ::loom::{model, thread};

/// A cell that is a number: its address is never followed.
fn cell(number: usize) -> CellPtr {
    let header = core::ptr::without_provenance_mut::<Header>(number * align_of::<Header>());
    // SAFETY: only the address is used.
    unsafe { CellPtr::from_ptr(header) }
}

fn register(registry: &MailboxRegistry, number: usize) -> MailboxIndex {
    let mut index = MailboxIndex::NONE;
    let registered = registry.register(0, cell(number), |published| index = published);
    assert!(registered.is_ok());
    index
}

#[test]
fn row29_a_stale_index_never_resolves() {
    model(|| {
        let registry = Arc::new(MailboxRegistry::new(1));
        let first = register(&registry, 1);
        let lookups = [(); 2].map(|()| {
            let registry = Arc::clone(&registry);
            thread::spawn(move || {
                let found = registry.resolve(first, |found| found);
                assert!(found.is_none_or(|found| found == cell(1)));
                found.is_some()
            })
        });
        assert_eq!(registry.remove(first), Some(false));
        assert_eq!(registry.resolve(first, |found| found), None);
        let second = register(&registry, 2);
        assert_eq!((second.slot, first == second), (first.slot, false));
        assert_eq!(registry.resolve(first, |found| found), None);
        assert_eq!(registry.resolve(second, |found| found), Some(cell(2)));
        for lookup in lookups {
            let _found = lookup.join().unwrap();
        }
    });
}

/// Whoever lists an actor that ends either does so before, and the end knows, or is told.
#[test]
fn listing_against_the_end() {
    model(|| {
        let registry = Arc::new(MailboxRegistry::new(1));
        let index = register(&registry, 1);
        let other = Arc::clone(&registry);
        let lister = thread::spawn(move || other.list(index));
        let was_listed = registry.remove(index);
        assert_eq!(was_listed, Some(lister.join().unwrap()));
        let next = register(&registry, 2);
        assert_eq!(registry.remove(next), Some(false), "nothing is left of it");
    });
}
