//! Actors that are not `Send`.

use crate::puppet::{Count, Counted, Gate};
use hikyaku_core::{
    Context, Failure, InvokeResult, Local, LocalActor, Reply, ResumeCondition, SpawnOptions,
    StopCause, SuspendReason, System,
};
use hikyaku_testkit::{Sim, explore};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Shares its state with the test, and holds some over awaits.
struct Cellist {
    notes: Rc<RefCell<Vec<u32>>>,
    _counted: Counted,
    _not_send: Rc<Cell<u8>>,
}

enum Play {
    Note(u32),
    After(u32, Gate),
    /// Spawns a child on the same thread and plays a note with it.
    Duet(u32, Count),
    Count(Reply<usize>),
}

impl LocalActor for Cellist {
    type Msg = Play;

    async fn started(&mut self, cx: &mut Context<'_, Local<Self>>) -> Result<(), Failure> {
        let held = Rc::clone(&self.notes);
        cx.yield_now().await;
        held.borrow_mut().push(0);
        Ok(())
    }

    async fn handle(
        &mut self,
        play: Play,
        cx: &mut Context<'_, Local<Self>>,
    ) -> Result<(), Failure> {
        match play {
            Play::Note(n) => self.notes.borrow_mut().push(n),
            Play::After(n, gate) => {
                let held = Rc::clone(&self.notes);
                gate.pass().await;
                held.borrow_mut().push(n);
            }
            Play::Duet(n, count) => {
                let child = cx.spawn_local(SpawnOptions::new(), move || Cellist {
                    notes: Rc::default(),
                    _counted: count.one(),
                    _not_send: Rc::default(),
                })?;
                let _ = child.tell(Play::Note(n));
                let played = child.ask(Play::Count).await?;
                self.notes.borrow_mut().push(played as u32);
            }
            Play::Count(reply) => {
                let _ = reply.send(self.notes.borrow().len());
            }
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<'_, Local<Self>>) {
        self.notes.borrow_mut().push(99);
    }
}

#[test]
fn a_local_actor_keeps_what_is_not_send() {
    explore(100, |seed| {
        let mut sim = Sim::builder(seed).single_core().build();
        let (notes, count, gate) = (Rc::default(), Count::default(), Gate::default());
        let actor = {
            let (notes, count) = (Rc::clone(&notes), count.clone());
            // The factory is not `Send` either.
            sim.spawn_local(SpawnOptions::new(), move || Cellist {
                notes: Rc::clone(&notes),
                _counted: count.one(),
                _not_send: Rc::default(),
            })
            .unwrap()
        };
        // References are as any other's, from tasks too.
        let (outside, after) = (actor.clone(), gate.clone());
        let task = sim.spawn_task(async move {
            outside.send(Play::Note(1)).await.is_ok()
                && outside.send(Play::After(2, after)).await.is_ok()
        });
        sim.run_until_idle();
        assert_eq!(task.take(), Some(true));
        assert_eq!(*notes.borrow(), [0, 1]);
        gate.open();
        assert!(actor.tell(Play::Duet(7, count.clone())).is_ok());
        assert_eq!(sim.block_on(actor.ask(Play::Count)), Ok(4));
        assert_eq!(*notes.borrow(), [0, 1, 2, 2]);
        assert_eq!(count.alive(), 2);
        actor.stop();
        assert!(matches!(sim.block_on(actor.stopped()), StopCause::Stopped));
        assert_eq!(notes.borrow().last(), Some(&99));
        assert_eq!((count.alive(), Rc::strong_count(&notes)), (0, 1));
    });
}

#[test]
fn a_dropped_worker_ends_local_actors_on_its_thread() {
    explore(200, |seed| {
        let mut sim = Sim::builder(seed).single_core().build();
        let (notes, count) = (Rc::<RefCell<Vec<u32>>>::default(), Count::default());
        let actors: Vec<_> = (0..4)
            .map(|_| {
                let (notes, count) = (Rc::clone(&notes), count.clone());
                sim.spawn_local(SpawnOptions::new(), move || Cellist {
                    notes: Rc::clone(&notes),
                    _counted: count.one(),
                    _not_send: Rc::default(),
                })
                .unwrap()
            })
            .collect();
        for actor in &actors {
            assert!(actor.tell(Play::Note(1)).is_ok());
            assert!(actor.tell(Play::After(2, Gate::default())).is_ok());
            assert!(actor.tell(Play::Duet(3, count.clone())).is_ok());
        }
        let steps = sim.below(40);
        sim.run_steps(steps);
        drop(sim);
        assert_eq!((count.alive(), Rc::strong_count(&notes)), (0, 1));
        assert!(
            actors
                .iter()
                .all(|actor| actor.tell(Play::Note(4)).is_err())
        );
    });
}

/// Several workers have several threads.
#[test]
fn a_worker_with_company_cannot_stay_on_one_thread() {
    explore(1, |_| {
        let (_system, workers) = hikyaku_core::System::builder("test")
            .workers(2)
            .build()
            .unwrap();
        for worker in workers {
            assert!(worker.on_this_thread().is_err());
        }
    });
}

/// What an activation can end with, step by step.
struct Clerk;

#[derive(Clone)]
enum Order {
    Work,
    Wait,
    Pause,
    Fail,
    #[cfg(feature = "std")]
    Panic,
}

impl LocalActor for Clerk {
    type Msg = Order;

    async fn handle(
        &mut self,
        order: Order,
        cx: &mut Context<'_, Local<Self>>,
    ) -> Result<(), Failure> {
        match order {
            Order::Work => {}
            Order::Wait => core::future::pending().await,
            Order::Pause => cx.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)?,
            Order::Fail => return Err(Failure::msg("as asked")),
            #[cfg(feature = "std")]
            Order::Panic => panic!("as asked"),
        }
        Ok(())
    }
}

#[test]
fn whoever_steps_is_told_what_each_activation_ended_with() {
    use Order::{Fail, Pause, Wait, Work};
    let cases: &[(&[Order], &[&str])] = &[
        (&[Work], &["Completed 1"]),
        (&[Work, Work, Work, Work], &["Yielded", "Completed 1"]),
        (&[Wait], &["Suspended AwaitExternal Explicit"]),
        (&[Pause, Work], &["Suspended UserDefined Explicit"]),
        (&[Fail, Work], &["Failed as asked", "Stopped"]),
        #[cfg(feature = "std")]
        (&[Order::Panic], &["Failed panicked: as asked", "Stopped"]),
    ];
    for (orders, expected) in cases {
        let (system, mut workers) = System::builder("steps").build().unwrap();
        let mut worker = workers.remove(0).on_this_thread().unwrap();
        let options = crate::puppet::mortal().throughput(3);
        let clerk = worker.spawn_local(options, || Clerk).unwrap();
        for order in *orders {
            assert!(clerk.tell(order.clone()).is_ok());
        }
        let told = core::iter::from_fn(|| {
            let (actor, result) = worker.run_one()?;
            assert_eq!(actor, clerk.index());
            Some(match result {
                InvokeResult::Completed { ready_hint } => format!("Completed {ready_hint}"),
                InvokeResult::Suspended { reason, resume_on } => {
                    format!("Suspended {reason:?} {resume_on:?}")
                }
                InvokeResult::Failed { error, .. } => format!("Failed {error}"),
                other => format!("{other:?}"),
            })
        });
        assert_eq!(told.collect::<Vec<_>>(), *expected);
        system.force_stop();
    }
}
