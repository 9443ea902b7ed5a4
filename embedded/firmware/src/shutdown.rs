//! The end of a system.

use crate::bench::{Bench, end, room, small};
use hikyaku_core::{Actor, Context, Failure, SpawnError, SystemState};

struct Sink;

impl Actor for Sink {
    type Msg = u32;

    async fn handle(&mut self, _: u32, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Ok(())
    }
}

pub(crate) async fn a_graceful_end_handles_what_is_queued(bench: &Bench) {
    let system = bench.start(small(2));
    let sinks = [(); 2].map(|()| system.spawn_with(room(8), || Sink).unwrap());
    for sink in &sinks {
        for n in 0..8 {
            sink.tell(n).ok().unwrap();
        }
    }
    end(system.clone()).await;
    let counted = system.metrics();
    assert_eq!((counted.handled, counted.dead_letters), (16, 0));
    let late = system.spawn_with(room(1), || Sink);
    assert_eq!(late.err(), Some(SpawnError::ShuttingDown));
}

pub(crate) async fn a_forced_end_leaves_dead_letters(bench: &Bench) {
    let system = bench.start(small(1));
    let sink = system.spawn_with(room(8), || Sink).unwrap();
    for n in 0..8 {
        sink.tell(n).ok().unwrap();
    }
    system.force_stop();
    system.terminated().await;
    assert_eq!(system.state(), SystemState::Stopped);
    let counted = system.metrics();
    assert_eq!(counted.handled + counted.dead_letters, 8);
    assert!(sink.tell(9).is_err());
}
