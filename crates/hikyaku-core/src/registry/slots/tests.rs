//! Slots and generations, step by step.

use super::{
    Content, MailboxIndex, MailboxRegistry, NO_SLOT, Packed, Refused, SEGMENT, Segment, Shard,
};
use crate::cell::{CellPtr, Header};
use crate::{Actor, Context, Failure, System, Turn};
use core::ptr;
use core::task::Waker;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::vec::Vec;

/// A cell that is a number: its address is never followed.
fn cell(number: usize) -> CellPtr {
    let header = ptr::without_provenance_mut::<Header>(number * align_of::<Header>());
    // SAFETY: only the address is used.
    unsafe { CellPtr::from_ptr(header) }
}

fn register(
    registry: &MailboxRegistry,
    shard: usize,
    cell: CellPtr,
) -> Result<MailboxIndex, Refused> {
    let mut published = None;
    registry.register(shard, cell, |index| published = Some(index))?;
    Ok(published.expect("published before anyone can find it"))
}

fn found(registry: &MailboxRegistry, index: MailboxIndex) -> Option<CellPtr> {
    registry.resolve(index, |cell| cell)
}

#[test]
fn what_was_registered_is_found_until_it_is_gone() {
    let registry = MailboxRegistry::new(3);
    let indices: Vec<_> = (1..=9)
        .map(|n| register(&registry, n % 3, cell(n)).unwrap())
        .collect();
    assert_eq!(registry.live(), 9);
    for (at, index) in indices.iter().enumerate() {
        assert_eq!(found(&registry, *index), Some(cell(at + 1)));
        assert_eq!(registry.remove(*index), Some(false));
        assert_eq!(found(&registry, *index), None);
        assert_eq!(registry.remove(*index), None, "twice");
        assert_eq!(registry.live(), 8 - at);
    }
    assert_eq!(indices.iter().collect::<BTreeSet<_>>().len(), 9);
}

#[test]
fn a_slot_is_used_again_under_a_new_generation() {
    let registry = MailboxRegistry::new(1);
    let mut last = register(&registry, 0, cell(1)).unwrap();
    for n in 2..50 {
        assert_eq!(registry.remove(last), Some(false));
        let next = register(&registry, 0, cell(n)).unwrap();
        assert_eq!(
            (next.slot, next.generation),
            (last.slot, last.generation + 1)
        );
        assert_eq!(found(&registry, last), None);
        assert_eq!(registry.remove(last), None, "stale");
        assert_eq!(found(&registry, next), Some(cell(n)));
        last = next;
    }
}

#[test]
fn unknown_indices_reach_nobody() {
    let registry = MailboxRegistry::new(2);
    let index = register(&registry, 0, cell(1)).unwrap();
    for stranger in [
        MailboxIndex::NONE,
        MailboxIndex {
            slot: index.slot + 1,
            ..index
        },
        MailboxIndex {
            slot: index.slot + 2,
            ..index
        },
        MailboxIndex {
            slot: u32::MAX,
            ..index
        },
        MailboxIndex {
            generation: 0,
            ..index
        },
        MailboxIndex {
            generation: index.generation + 1,
            ..index
        },
        MailboxIndex {
            generation: u32::MAX,
            ..index
        },
    ] {
        assert_eq!(found(&registry, stranger), None, "{stranger}");
        assert_eq!(registry.remove(stranger), None, "{stranger}");
    }
    assert_eq!(found(&registry, index), Some(cell(1)));
}

#[test]
fn a_shard_that_does_not_exist_is_the_last_one() {
    let registry = MailboxRegistry::new(4);
    let index = register(&registry, usize::MAX, cell(1)).unwrap();
    assert_eq!(index.slot % 4, 3);
    // No shard at all is one.
    let registry = MailboxRegistry::new(0);
    assert_eq!(register(&registry, 7, cell(1)).unwrap().slot, 0);
}

#[test]
fn a_sealed_registry_takes_nobody_and_lets_go() {
    let registry = MailboxRegistry::new(2);
    let index = register(&registry, 1, cell(1)).unwrap();
    registry.seal();
    for shard in 0..2 {
        assert_eq!(register(&registry, shard, cell(2)), Err(Refused::Sealed));
    }
    assert_eq!(found(&registry, index), Some(cell(1)));
    assert_eq!(registry.remove(index), Some(false));
    assert_eq!(registry.live(), 0);
}

#[test]
fn slots_are_made_in_segments_that_stay() {
    let registry = MailboxRegistry::new(1);
    let count = SEGMENT * 2 + 1;
    let indices: Vec<_> = (1..=count)
        .map(|n| register(&registry, 0, cell(n)).unwrap())
        .collect();
    for (at, index) in indices.iter().enumerate() {
        assert_eq!(index.slot as usize, at);
        assert_eq!(found(&registry, *index), Some(cell(at + 1)));
    }
    // The slot freed last is used first.
    for index in &indices[SEGMENT - 1..=SEGMENT] {
        assert_eq!(registry.remove(*index), Some(false));
    }
    assert_eq!(
        register(&registry, 0, cell(1)).unwrap().slot as usize,
        SEGMENT
    );
    assert_eq!(
        register(&registry, 0, cell(1)).unwrap().slot as usize,
        SEGMENT - 1
    );
    assert_eq!(
        register(&registry, 0, cell(1)).unwrap().slot as usize,
        count
    );
}

#[test]
fn a_slot_whose_generation_would_wrap_is_retired() {
    let mut shard = Shard::new();
    let (number, generation) = shard.insert(cell(1), 8).unwrap();
    assert_eq!((number, generation), (0, 1));
    assert_eq!(shard.remove(0, 1), Some(false));
    *shard.slot(0).unwrap().generation = u32::MAX;
    assert_eq!(shard.insert(cell(2), 8), Ok((0, u32::MAX)));
    assert_eq!(shard.remove(0, u32::MAX), Some(false));
    let slot = shard.slot(0).unwrap();
    assert!(slot.content.content() == Content::Retired);
    assert_eq!(*slot.generation, u32::MAX);
    assert_eq!(shard.remove(0, u32::MAX), None, "gone for good");
    assert_eq!(shard.free, NO_SLOT);
    assert_eq!(shard.insert(cell(3), 8), Ok((1, 1)));
    assert_eq!(shard.live, 1);
}

#[test]
fn the_limit_of_a_shard_holds() {
    let mut shard = Shard::new();
    for n in 0..3 {
        assert_eq!(shard.insert(cell(1), 3), Ok((n, 1)));
    }
    assert_eq!(shard.insert(cell(1), 3), Err(Refused::Full));
    assert_eq!(shard.remove(1, 1), Some(false));
    assert_eq!(shard.insert(cell(1), 3), Ok((1, 2)));
    assert_eq!(shard.insert(cell(1), 3), Err(Refused::Full));
    assert!(shard.slot(u32::MAX).is_none());
    assert_eq!(shard.remove(u32::MAX, 1), None);
}

#[test]
fn indices_are_shown_as_slot_and_generation() {
    let index = MailboxIndex {
        slot: 7,
        generation: 3,
    };
    assert_eq!(format!("{index} {index:?}"), "7.3 7.3");
    assert!(format!("{:?}", MailboxRegistry::new(2)).contains("shards: 2"));
}

struct Nobody;

impl Actor for Nobody {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn everyone_is_visited_once_also_when_they_leave_meanwhile() {
    let (system, mut workers) = System::builder("test").build().unwrap();
    let actors: Vec<_> = (0..SEGMENT + 3)
        .map(|_| system.spawn(|| Nobody).unwrap())
        .collect();
    let registry = MailboxRegistry::new(2);
    let mut indices = BTreeMap::new();
    for (at, actor) in actors.iter().enumerate() {
        let index = register(&registry, at % 2, actor.cell()).unwrap();
        indices.insert(actor.index(), index);
    }
    let mut visited = Vec::new();
    registry.for_each(&mut |cell| {
        visited.push(cell.index());
        assert_eq!(registry.remove(indices[&cell.index()]), Some(false));
    });
    visited.sort_unstable();
    let mut expected: Vec<_> = actors.iter().map(crate::ActorRef::index).collect();
    expected.sort_unstable();
    assert_eq!(visited, expected);
    assert_eq!(registry.live(), 0);
    registry.for_each(&mut |_| panic!("nobody is left"));
    assert!(matches!(
        workers[0].poll(10_000, Waker::noop()),
        Turn::Idle { .. }
    ));
}

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    Unregister(usize),
    Stale(usize),
}

proptest! {
    #[test]
    fn the_registry_is_a_map(
        shards in 1_usize..4,
        steps in proptest::collection::vec(
            prop_oneof![
                3 => (0_usize..4).prop_map(Step::Register),
                2 => any::<usize>().prop_map(Step::Unregister),
                1 => any::<usize>().prop_map(Step::Stale),
            ],
            0..if cfg!(miri) { 30 } else { 200 },
        ),
    ) {
        let registry = MailboxRegistry::new(shards);
        let mut model = BTreeMap::new();
        let mut stale = Vec::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Register(shard) => {
                    let index = register(&registry, shard, cell(at + 1)).unwrap();
                    prop_assert_eq!(index.slot as usize % shards, shard.min(shards - 1));
                    prop_assert!(!stale.contains(&index));
                    prop_assert!(model.insert(index, cell(at + 1)).is_none());
                }
                Step::Unregister(which) if !model.is_empty() => {
                    let index = *model.keys().nth(which % model.len()).unwrap();
                    prop_assert_eq!(registry.remove(index), Some(false));
                    model.remove(&index);
                    stale.push(index);
                }
                Step::Stale(which) if !stale.is_empty() => {
                    let index: MailboxIndex = stale[which % stale.len()];
                    prop_assert_eq!(registry.remove(index), None);
                    prop_assert_eq!(found(&registry, index), None);
                }
                _ => {}
            }
            prop_assert_eq!(registry.live(), model.len());
        }
        for (index, cell) in &model {
            prop_assert_eq!(found(&registry, *index), Some(*cell));
        }
    }
}

// The segments do not move when the registry grows.
const _: fn(&Shard) -> Option<&Box<Segment>> = |shard| shard.segments.first();

#[test]
fn a_content_fits_one_word() {
    for content in [
        Content::Cell(cell(1)),
        Content::Cell(cell(12_345)),
        Content::Free(0),
        Content::Free(1),
        Content::Free(u32::MAX / 2 - 1),
        Content::Free(NO_SLOT),
        Content::Retired,
    ] {
        assert!(Packed::new(content).content() == content);
    }
}
