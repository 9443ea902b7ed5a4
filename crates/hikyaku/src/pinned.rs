//! Actors with a thread of their own.

use crate::crew::Crew;
use crate::settings::Live;
use crate::threads::run_local;
use hikyaku_core::{
    Actor, ActorRef, Dispatcher, LocalActor, PinnedWorker, SpawnError, SpawnOptions, System,
};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// Starts the thread and has the actor spawned for it. The thread ends when the actor, and what it
/// has spawned there, has ended.
fn spawn<R>(
    crew: &Arc<Crew>,
    live: &Arc<Live>,
    system: &System,
    spawn: impl FnOnce(&Dispatcher, &PinnedWorker) -> Result<R, SpawnError>,
) -> Result<R, SpawnError> {
    let (give, take) = sync_channel::<PinnedWorker>(1);
    let live = Arc::clone(live);
    // First the thread: dropping a worker whose actor lives would end the system.
    let started = crew.start("pinned", move || {
        if let Ok(worker) = take.recv() {
            run_local(&mut worker.on_this_thread(), &live);
        }
    });
    started.map_err(|_| SpawnError::Capacity)?;
    let (dispatcher, workers) = system.dispatcher().retire_when_empty().build();
    let worker = workers
        .into_iter()
        .next()
        .and_then(|worker| worker.pinned().ok())
        .expect("a dispatcher has one worker unless told otherwise");
    let actor = spawn(&dispatcher, &worker)?;
    // The thread waits for it.
    let _ = give.send(worker);
    Ok(actor)
}

pub(crate) fn spawn_actor<A: Actor>(
    crew: &Arc<Crew>,
    live: &Arc<Live>,
    system: &System,
    options: SpawnOptions,
    factory: impl FnMut() -> A + Send + 'static,
) -> Result<ActorRef<A::Msg>, SpawnError> {
    spawn(crew, live, system, |dispatcher, _| {
        system.spawn_with(options.dispatcher(dispatcher), factory)
    })
}

pub(crate) fn spawn_local<A: LocalActor>(
    crew: &Arc<Crew>,
    live: &Arc<Live>,
    system: &System,
    options: SpawnOptions,
    factory: impl FnMut() -> A + Send + 'static,
) -> Result<ActorRef<A::Msg>, SpawnError> {
    spawn(crew, live, system, |dispatcher, worker| {
        worker.spawn_local(options.dispatcher(dispatcher), factory)
    })
}
