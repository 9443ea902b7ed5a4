//! Where actors run: pinned threads, threads for what blocks, tasks of a runtime, whoever polls.

use crate::{LONG, eventually};
use hikyaku::{
    Actor, ActorRef, ActorSystem, BlockingError, Context, CurrentThread, Failure, Local,
    LocalActor, MetricsSink, Reply, RestartPolicy, SpawnError, SpawnOptions, StopCause,
    SystemState, block_on,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Answers with the thread it runs on.
struct Where;

impl Actor for Where {
    type Msg = Reply<ThreadId>;

    async fn handle(
        &mut self,
        reply: Reply<ThreadId>,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let _ = reply.send(thread::current().id());
        Ok(())
    }
}

fn ask_where(actor: &ActorRef<Reply<ThreadId>>) -> ThreadId {
    block_on(actor.ask(|reply| reply)).expect("it lives")
}

/// Blocks its thread until it is told to go on.
struct Blocker;

impl Actor for Blocker {
    type Msg = (Reply<ThreadId>, Receiver<()>);

    async fn handle(
        &mut self,
        (reply, wait): Self::Msg,
        _: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        let _ = reply.send(thread::current().id());
        let _ = wait.recv_timeout(LONG);
        Ok(())
    }
}

fn systems() -> Vec<(&'static str, ActorSystem)> {
    let builder = || ActorSystem::builder("here").own_threads();
    #[cfg_attr(not(feature = "tokio"), expect(unused_mut, reason = "no others"))]
    let mut systems = vec![
        ("one thread", builder().workers(1).build().unwrap()),
        ("two threads", builder().workers(2).build().unwrap()),
        ("one to three", builder().workers(1..=3).build().unwrap()),
    ];
    #[cfg(feature = "tokio")]
    for workers in [1, 2] {
        let runtime = ::tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let builder = ActorSystem::builder("here").workers(workers);
        systems.push(("tasks", builder.own_runtime(runtime).build().unwrap()));
    }
    systems
}

#[test]
fn row19_an_actor_that_blocks_delays_nobody_on_the_default_workers() {
    const BLOCKERS: usize = 5;
    for (name, system) in systems() {
        let plain = system.spawn(|| Where).unwrap();
        let (frees, blocked): (Vec<Sender<()>>, BTreeSet<_>) = (0..BLOCKERS)
            .map(|_| {
                let options = SpawnOptions::new();
                let blocker = system.spawn_blocking(options, || Blocker).unwrap();
                let (free, wait) = channel();
                let thread = block_on(blocker.ask(|reply| (reply, wait))).unwrap();
                (free, format!("{thread:?}"))
            })
            .unzip();
        assert_eq!(blocked.len(), BLOCKERS, "{name}: each has its thread");
        for _ in 0..100 {
            assert!(!blocked.contains(&format!("{:?}", ask_where(&plain))));
        }
        drop(frees);
        block_on(system.graceful_shutdown());
        system.join();
        assert_eq!(system.metrics().live_actors, 0, "{name}");
    }
}

#[test]
fn row19_a_pinned_actor_stays_on_its_own_thread_with_its_children() {
    /// Not `Send`; says where it was made, run and dropped.
    struct Bound {
        seen: Rc<RefCell<Vec<ThreadId>>>,
        dropped: Sender<(ThreadId, usize)>,
        child: Option<ActorRef<Reply<ThreadId>>>,
    }
    impl LocalActor for Bound {
        type Msg = Reply<ThreadId>;
        async fn handle(
            &mut self,
            reply: Self::Msg,
            cx: &mut Context<'_, Local<Self>>,
        ) -> Result<(), Failure> {
            let child = match self.child.take() {
                Some(child) => child,
                None => cx.spawn(|| Where)?,
            };
            // The child is on this thread, so this has to be awaited.
            let of_child = child.ask(|reply| reply).await?;
            self.child = Some(child);
            self.seen.borrow_mut().push(of_child);
            self.seen.borrow_mut().push(thread::current().id());
            let _ = reply.send(thread::current().id());
            Ok(())
        }
    }
    impl Drop for Bound {
        fn drop(&mut self) {
            let here = thread::current().id();
            let all_here = self.seen.borrow().iter().all(|seen| *seen == here);
            let count = self.seen.borrow().len() * usize::from(all_here);
            let _ = self.dropped.send((here, count));
        }
    }
    for (name, system) in systems() {
        let (dropped, by) = channel();
        let bound: Vec<_> = (0..3)
            .map(|_| {
                let dropped = dropped.clone();
                let factory = move || Bound {
                    seen: Rc::default(),
                    dropped: dropped.clone(),
                    child: None,
                };
                system
                    .spawn_pinned_local(SpawnOptions::new(), factory)
                    .unwrap()
            })
            .collect();
        let pinned: Vec<_> = (0..3)
            .map(|_| system.spawn_pinned(SpawnOptions::new(), || Where).unwrap())
            .collect();
        let threads: Vec<_> = bound.iter().chain(&pinned).map(ask_where).collect();
        for _ in 0..20 {
            let again = bound.iter().chain(&pinned).map(ask_where);
            assert!(again.eq(threads.iter().copied()), "{name}");
        }
        let mut distinct: Vec<_> = threads.iter().map(|thread| format!("{thread:?}")).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), threads.len(), "{name}: each has its own");
        bound[0].stop();
        assert!(matches!(block_on(bound[0].stopped()), StopCause::Stopped));
        let dropped = by.recv_timeout(LONG).unwrap();
        assert_eq!(dropped, (threads[0], 42), "{name}");
        block_on(system.terminate());
        let rest: Vec<_> = by.try_iter().map(|(thread, _)| thread).collect();
        assert_eq!(rest.len(), 2, "{name}");
        assert!(rest.iter().all(|thread| threads[1..3].contains(thread)));
    }
}

#[test]
fn an_actor_that_is_refused_a_pinned_thread_harms_nobody() {
    let system = ActorSystem::builder("refused").workers(1).build().unwrap();
    let named = || SpawnOptions::new().name("one");
    let one = system.spawn_pinned(named(), || Where).unwrap();
    let two = system.spawn_pinned(named(), || Where);
    assert!(matches!(two, Err(SpawnError::NameTaken)));
    ask_where(&one);
    assert_eq!(system.state(), SystemState::Running);
    block_on(system.terminate());
    let three = system.spawn_pinned(SpawnOptions::new(), || Where);
    assert!(matches!(three, Err(SpawnError::ShuttingDown)));
    system.join();
}

#[test]
fn a_dispatcher_of_own_threads_is_apart_and_may_be_several() {
    let system = ActorSystem::builder("apart").workers(1).build().unwrap();
    let apart = system.start_dispatcher(2).unwrap();
    assert_eq!((apart.workers(), system.metrics().workers), (2, 3));
    let options = SpawnOptions::new().dispatcher(&apart);
    let there = system.spawn_with(options, || Where).unwrap();
    let here = system.spawn(|| Where).unwrap();
    for _ in 0..50 {
        assert_ne!(ask_where(&there), ask_where(&here));
    }
    block_on(system.terminate());
}

/// Runs functions that block.
struct Caller;

enum Call {
    Add(u32, Reply<Result<u32, BlockingError>>),
    Panic(Reply<Result<(), BlockingError>>),
}

impl Actor for Caller {
    type Msg = Call;

    async fn handle(&mut self, call: Call, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        match call {
            Call::Add(n, reply) => {
                let _ = reply.send(cx.blocking(move || n + 1).await);
            }
            Call::Panic(reply) => {
                let _ = reply.send(cx.blocking(|| panic!("a job")).await);
            }
        }
        Ok(())
    }
}

async fn calls(caller: &ActorRef<Call>) {
    for n in 0..10 {
        assert_eq!(caller.ask(|reply| Call::Add(n, reply)).await, Ok(Ok(n + 1)));
        let dropped = Ok(Err(BlockingError::Dropped));
        assert_eq!(caller.ask(Call::Panic).await, dropped);
    }
}

#[test]
fn row19_functions_that_block_run_beside_the_workers_of_every_executor() {
    for (name, system) in systems() {
        let caller = system.spawn(|| Caller).unwrap();
        block_on(calls(&caller));
        block_on(system.terminate());
        assert!(block_on(caller.ask(Call::Panic)).is_err(), "{name}");
    }
    let system = CurrentThread::new("here");
    let caller = system.spawn(|| Caller).unwrap();
    system.block_on(calls(&caller));
}

#[test]
fn threads_for_blocking_functions_are_bounded_and_end_when_idle() {
    const MOST: usize = 3;
    /// Says when its thread ends.
    struct End(Sender<()>);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    thread_local! {
        static END: RefCell<Option<End>> = const { RefCell::new(None) };
    }
    struct Runner(Arc<(AtomicUsize, AtomicUsize)>, Sender<()>);
    impl Actor for Runner {
        type Msg = Reply<bool>;
        async fn handle(
            &mut self,
            reply: Reply<bool>,
            cx: &mut Context<'_, Self>,
        ) -> Result<(), Failure> {
            let (counts, end) = (self.0.clone(), self.1.clone());
            let job = cx.blocking(move || {
                END.set(Some(End(end)));
                let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
                counts.1.fetch_max(now, Ordering::SeqCst);
                thread::yield_now();
                counts.0.fetch_sub(1, Ordering::SeqCst);
            });
            let _ = reply.send(job.await.is_ok());
            Ok(())
        }
    }
    let system = ActorSystem::builder("bounded")
        .workers(2)
        .blocking_threads(MOST)
        .idle_time(Duration::from_millis(10))
        .build()
        .unwrap();
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (end, ended) = channel();
    for _ in 0..3 {
        let runners: Vec<_> = (0..20)
            .map(|_| {
                let (counts, end) = (counts.clone(), end.clone());
                let factory = move || Runner(counts.clone(), end.clone());
                system.spawn(factory).unwrap()
            })
            .collect();
        let asks: Vec<_> = runners
            .iter()
            .map(|runner| runner.ask(|reply| reply))
            .collect();
        for ask in asks {
            assert_eq!(block_on(ask), Ok(true));
        }
        let most = counts.1.load(Ordering::SeqCst);
        assert!((1..=MOST).contains(&most), "{most}");
        ended.recv_timeout(LONG).expect("a thread has ended");
    }
    let none = ActorSystem::builder("none")
        .blocking_threads(0)
        .build()
        .unwrap();
    let caller = none.spawn(|| Caller).unwrap();
    let refused = block_on(caller.ask(|reply| Call::Add(1, reply)));
    assert_eq!(refused, Ok(Err(BlockingError::NoPool)));
}

#[test]
fn settings_change_while_the_system_runs() {
    let system = ActorSystem::builder("settings")
        .throughput(7)
        .workers(1)
        .build()
        .unwrap();
    let before = system.settings();
    assert_eq!(before.throughput, 7);
    assert_eq!(before.time_budget, Some(Duration::from_millis(1)));
    system.update_settings(|settings| {
        settings.throughput = 1;
        settings.time_budget = None;
        settings.idle_spins = 0;
        settings.idle_time = Duration::from_secs(1);
    });
    let clone = system.clone();
    let after = clone.settings();
    assert_eq!((after.throughput, after.time_budget), (1, None));
    assert_eq!(
        (after.idle_spins, after.idle_time),
        (0, Duration::from_secs(1))
    );
    clone.update_settings(|settings| *settings = before);
    assert_eq!(system.settings(), before);
}

/// Two actors on one worker: who runs how long shows in the order of their messages.
#[test]
fn row16_a_throughput_of_one_that_is_set_at_run_time_means_round_robin() {
    struct Noter(u32, Arc<Mutex<Vec<u32>>>, Option<Receiver<()>>);
    impl Actor for Noter {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            if let Some(wait) = self.2.take() {
                let _ = wait.recv_timeout(LONG);
            }
            self.1.lock().unwrap().push(self.0);
            Ok(())
        }
    }
    for (throughput, turns) in [(1, 20), (10, 2)] {
        let system = ActorSystem::builder("turns").workers(1).build().unwrap();
        system.update_settings(|settings| settings.throughput = throughput);
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (free, wait) = channel();
        let mut gate = Some(wait);
        let actors = [0, 1].map(|n| {
            let (notes, mut gate) = (notes.clone(), gate.take());
            let factory = move || Noter(n, notes.clone(), gate.take());
            let actor = system.spawn(factory).unwrap();
            block_on(actor.started()).unwrap();
            actor
        });
        for actor in &actors {
            (0..10).for_each(|_| actor.tell(()).unwrap());
        }
        free.send(()).unwrap();
        eventually("all are handled", || notes.lock().unwrap().len() == 20);
        let notes = notes.lock().unwrap();
        let changes = notes.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes + 1 >= turns.min(18), "{throughput}: {notes:?}");
        assert!(changes < turns + 2, "{throughput}: {notes:?}");
    }
}

#[test]
fn a_metrics_sink_is_exchanged_while_the_system_runs() {
    #[derive(Clone, Default)]
    struct Counts(Arc<[AtomicUsize; 3]>);
    impl Counts {
        fn get(&self) -> [usize; 3] {
            [0, 1, 2].map(|at| self.0[at].load(Ordering::SeqCst))
        }
    }
    impl MetricsSink for Counts {
        fn dead_letter(&self, _: &hikyaku::DeadLetter<'_>) {
            self.0[0].fetch_add(1, Ordering::SeqCst);
        }
        fn failure(&self, _: &hikyaku::FailureReport<'_>) {
            self.0[1].fetch_add(1, Ordering::SeqCst);
        }
        fn totals(&self, system: &str, metrics: &hikyaku::Metrics) {
            assert_eq!((system, metrics.workers), ("sinks", 1));
            self.0[2].fetch_add(1, Ordering::SeqCst);
        }
    }
    struct Fails;
    impl Actor for Fails {
        type Msg = ();
        async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
            Err(std::io::Error::other("on purpose").into())
        }
    }
    let seen = Arc::new(AtomicUsize::new(0));
    let listener = seen.clone();
    let system = ActorSystem::builder("sinks")
        .workers(1)
        .on_failure(move |_| {
            listener.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let fail = || {
        let mortal = SpawnOptions::new().restart(RestartPolicy::Temporary);
        let actor = system.spawn_with(mortal, || Fails).unwrap();
        actor.tell_all([(), (), ()]).unwrap();
        block_on(actor.stopped());
        system.report_metrics();
    };
    let [first, second] = [Counts::default(), Counts::default()];
    fail();
    system.set_metrics_sink(first.clone());
    fail();
    system.set_metrics_sink(second.clone());
    fail();
    fail();
    system.clear_metrics_sink();
    fail();
    assert_eq!(
        (first.get()[1..].to_vec(), second.get()[1..].to_vec()),
        (vec![1, 1], vec![2, 2])
    );
    assert!(first.get()[0] <= 2 && second.get()[0] <= 4);
    assert_eq!(seen.load(Ordering::SeqCst), 5, "the listener sees all");
}

#[cfg(feature = "tokio")]
mod tasks {
    use super::{LONG, Where, ask_where};
    use ::tokio::runtime::{Builder, Runtime};
    use ::tokio::task::LocalSet;
    use hikyaku::{
        Actor, ActorRef, ActorSystem, BuildError, Context, CurrentThread, Failure, Local,
        LocalActor, Reply, SpawnOptions, ThreadDriver, block_on,
    };
    use std::rc::Rc;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn runtime(workers: usize) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(workers)
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn the_workers_are_tasks_of_the_runtime_that_was_given() {
        let runtime = runtime(3);
        let builder = ActorSystem::builder("tasks");
        let system = builder.tokio(runtime.handle()).build().unwrap();
        assert_eq!(system.metrics().workers, 3);
        let actor = system.spawn(|| Where).unwrap();
        ask_where(&actor);
        assert!(runtime.metrics().num_alive_tasks() >= 3);
        block_on(system.terminate());
        assert_eq!(system.metrics().live_actors, 0);
        system.join();
    }

    /// What a worker task that is stuck was about to run is run by another, which is on watch.
    #[test]
    fn row08_a_task_on_watch_looks_again() {
        struct Neighbour(std::sync::mpsc::Sender<()>);
        impl Actor for Neighbour {
            type Msg = ();
            async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
                self.0.send(())?;
                Ok(())
            }
        }
        struct Stuck(ActorRef<()>);
        impl Actor for Stuck {
            type Msg = (Reply<bool>, Receiver<()>);
            async fn handle(
                &mut self,
                (reply, ran): Self::Msg,
                _: &mut Context<'_, Self>,
            ) -> Result<(), Failure> {
                self.0.tell(())?;
                let _ = reply.send(ran.recv_timeout(LONG).is_ok());
                Ok(())
            }
        }
        let runtime = runtime(2);
        let builder = ActorSystem::builder("watch").workers(2);
        let system = builder.tokio(runtime.handle()).build().unwrap();
        for _ in 0..5 {
            let (sender, ran) = channel();
            let neighbour = system.spawn(hikyaku::once(Neighbour(sender))).unwrap();
            block_on(neighbour.started()).unwrap();
            let stuck = system.spawn(hikyaku::once(Stuck(neighbour))).unwrap();
            assert_eq!(block_on(stuck.ask(|reply| (reply, ran))), Ok(true));
        }
        block_on(system.terminate());
    }

    #[test]
    fn a_runtime_without_timers_is_refused_where_they_are_needed() {
        let multi = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let single = Builder::new_current_thread().build().unwrap();
        for runtime in [&multi, &single] {
            let error = ActorSystem::builder("timeless")
                .tokio(runtime.handle())
                .build()
                .unwrap_err();
            assert!(matches!(error, BuildError::NoTimeDriver));
            assert!(error.to_string().contains("enable_time"), "{error}");
        }
        let builder = ActorSystem::builder("brings its own").workers(2);
        let two = builder.tokio(multi.handle()).tick_driver(ThreadDriver);
        assert!(matches!(two.build(), Err(BuildError::NoTimeDriver)));
        let builder = ActorSystem::builder("brings its own").workers(1);
        let one = builder.tokio(multi.handle()).tick_driver(ThreadDriver);
        let one = one.build().unwrap();
        block_on(one.sleep(Duration::from_millis(1))).unwrap();
        block_on(one.terminate());
    }

    #[test]
    fn actors_that_are_not_send_run_inside_a_local_set() {
        struct Sleeper(Rc<str>);
        impl LocalActor for Sleeper {
            type Msg = Reply<String>;
            async fn handle(
                &mut self,
                reply: Self::Msg,
                cx: &mut Context<'_, Local<Self>>,
            ) -> Result<(), Failure> {
                cx.sleep(Duration::from_millis(2)).await?;
                ::tokio::time::sleep(Duration::from_millis(2)).await;
                let _ = reply.send(self.0.to_string());
                Ok(())
            }
        }
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let set = LocalSet::new();
        set.block_on(&runtime, async {
            let system = Rc::new(CurrentThread::new("local"));
            let name: Rc<str> = "rc".into();
            let sleeper = system
                .spawn_local(SpawnOptions::new(), move || Sleeper(name.clone()))
                .unwrap();
            let runs = system.clone();
            let task = ::tokio::task::spawn_local(async move {
                let end = runs.terminated();
                runs.run_until(end).await;
            });
            for _ in 0..3 {
                let answer = sleeper.ask(|reply| reply).await;
                assert_eq!(answer.as_deref(), Ok("rc"));
            }
            drop(system.graceful_shutdown());
            task.await.unwrap();
            assert_eq!(system.metrics().live_actors, 0);
        });
    }
}

/// Not a Tokio runtime: anything that polls will do.
#[test]
fn a_current_thread_system_runs_while_its_future_is_polled() {
    let system = CurrentThread::new("polled");
    let actor = system.spawn(|| Where).unwrap();
    let answer = block_on(system.run_until(actor.ask(|reply| reply)));
    assert_eq!(answer, Ok(thread::current().id()));
    // Dropped half-way, it goes on in the next call.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let pending = system.run_until(std::future::pending::<()>());
    assert!(std::pin::pin!(pending).poll(&mut cx).is_pending());
    let answer = block_on(system.run_until(actor.ask(|reply| reply)));
    assert_eq!(answer, Ok(thread::current().id()));
}
