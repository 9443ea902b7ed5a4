use super::MIRI;
use crate::driver::Sim;

#[test]
fn the_seeds_for_miri_have_the_single_core_and_two_workers() {
    let shape = |seed| Sim::new(seed).recording().values()[0];
    assert_eq!((shape(MIRI), shape(MIRI + 1)), (0, 2));
}
