//! A system on the thread that blocks on it.

use hikyaku::{
    Actor, Context, CurrentThread, Failure, Local, LocalActor, Reply, RestartPolicy, SpawnOptions,
    StopCause,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::thread;

struct Adder(u64);

impl Actor for Adder {
    type Msg = (u64, Reply<u64>);

    async fn handle(
        &mut self,
        (n, reply): Self::Msg,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        self.0 += n;
        let _ = reply.send(self.0);
        Ok(())
    }
}

struct Noter(Rc<RefCell<Vec<u64>>>);

impl LocalActor for Noter {
    type Msg = u64;

    async fn handle(&mut self, n: u64, _: &mut Context<'_, Local<Self>>) -> Result<(), Failure> {
        self.0.borrow_mut().push(n);
        Ok(())
    }
}

#[test]
fn actors_run_while_somebody_blocks_on_a_future() {
    let system = CurrentThread::new("test");
    let adder = system.spawn(|| Adder(0)).unwrap();
    let notes = Rc::new(RefCell::new(Vec::new()));
    let noter = {
        let notes = notes.clone();
        system
            .spawn_local(SpawnOptions::new(), move || Noter(notes.clone()))
            .unwrap()
    };
    noter.tell(1).unwrap();
    assert!(notes.borrow().is_empty());
    assert_eq!(system.block_on(adder.ask(|reply| (2, reply))), Ok(2));
    assert_eq!(system.block_on(adder.ask(|reply| (3, reply))), Ok(5));
    noter.stop_gracefully();
    assert!(matches!(
        system.block_on(noter.stopped()),
        StopCause::Stopped
    ));
    assert_eq!(*notes.borrow(), [1]);
    let end = system.graceful_shutdown();
    system.block_on(end);
    assert_eq!(system.metrics().live_actors, 0);
}

#[test]
fn row01_other_threads_may_send_to_it() {
    const EACH: u64 = 5_000;
    let system = CurrentThread::new("test");
    let notes = Rc::new(RefCell::new(Vec::new()));
    let noter = {
        let notes = notes.clone();
        system
            .spawn_local(SpawnOptions::new(), move || Noter(notes.clone()))
            .unwrap()
    };
    let senders: Vec<_> = (0..3)
        .map(|sender| {
            let noter = noter.clone();
            thread::spawn(move || {
                for n in 0..EACH {
                    noter.tell(sender * EACH + n).unwrap();
                }
            })
        })
        .collect();
    let stopper = noter.clone();
    let last = thread::spawn(move || {
        for sender in senders {
            sender.join().unwrap();
        }
        stopper.stop_gracefully();
    });
    system.block_on(noter.stopped());
    last.join().unwrap();
    let notes = notes.borrow();
    for sender in 0..3 {
        let own = notes.iter().filter(|n| **n / EACH == sender);
        assert!(own.copied().eq(sender * EACH..(sender + 1) * EACH));
    }
}

#[test]
fn dropped_it_ends_its_actors_on_its_thread() {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let system = CurrentThread::new("test");
    let noter = {
        let notes = notes.clone();
        system
            .spawn_local(SpawnOptions::new(), move || Noter(notes.clone()))
            .unwrap()
    };
    noter.tell(1).unwrap();
    system.block_on(noter.started()).unwrap();
    drop(system);
    assert_eq!(Rc::strong_count(&notes), 1);
    assert!(noter.tell(2).is_err());
}

#[test]
fn its_future_may_block_on_it_but_its_actors_may_not() {
    struct Blocks(std::rc::Rc<CurrentThread>);

    impl LocalActor for Blocks {
        type Msg = ();
        async fn handle(
            &mut self,
            (): (),
            _: &mut Context<'_, Local<Self>>,
        ) -> Result<(), Failure> {
            self.0.block_on(std::future::pending::<()>());
            Ok(())
        }
    }

    let system = std::rc::Rc::new(CurrentThread::new("test"));
    assert_eq!(system.block_on(async { system.block_on(async { 7 }) }), 7);

    let inside = system.clone();
    let cause = system.block_on(async {
        let options = SpawnOptions::new().restart(RestartPolicy::Temporary);
        let actor = system
            .spawn_local(options, move || Blocks(inside.clone()))
            .expect("spawned from inside the future");
        actor.tell(()).expect("it is alive");
        actor.stopped().await
    });
    let StopCause::Failed(failure) = cause else {
        panic!("{cause:?}");
    };
    let text = failure.panic_message().expect("a panic");
    assert!(text.contains("from an actor of the same system"), "{text}");
}

/// Whoever blocks inside takes the timers over, and gives them back.
#[test]
fn timers_fire_for_whoever_blocks_inside_and_outside() {
    let system = CurrentThread::new("test");
    let moment = std::time::Duration::from_millis(1);
    for _ in 0..3 {
        system.block_on(async {
            system.sleep(moment).await.unwrap();
            system.block_on(system.sleep(moment)).unwrap();
            system.sleep(moment).await.unwrap();
        });
    }
}
