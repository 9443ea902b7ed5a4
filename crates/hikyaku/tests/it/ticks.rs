//! Who drives the timers, from the start of a system to its end.

use crate::{LONG, eventually};
use hikyaku::executor::{StopToken, TickDriver, TickHandle};
use hikyaku::{
    Actor, ActorRef, ActorSystem, Builder, Clock, Context, CurrentThread, Failure, ManualDriver,
    SleepError, StdClock, ThreadDriver, Timer, block_on,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Says how often it was read: once at least for each tick.
#[derive(Clone)]
struct Counting(StdClock, Arc<AtomicUsize>);

impl Counting {
    fn new() -> Self {
        Self(StdClock::new(), Arc::default())
    }

    fn reads(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

impl Clock for Counting {
    fn now(&self) -> Duration {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.now()
    }
}

/// Starts a timer, and reports its message.
struct Timed(Sender<()>, Duration);

impl Actor for Timed {
    type Msg = bool;

    async fn handle(&mut self, fired: bool, cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        if fired {
            self.0.send(())?;
        } else {
            cx.start_timer("t", Timer::once(self.1, true))?;
            // A turn of its own, so that the other is set.
            self.0.send(())?;
        }
        Ok(())
    }
}

fn timed(system: &hikyaku::System, report: &Sender<()>, delay: Duration) -> ActorRef<bool> {
    let report = report.clone();
    let actor = system.spawn(move || Timed(report.clone(), delay)).unwrap();
    actor.tell(false).unwrap();
    actor
}

/// Systems by who ticks.
fn systems(
    configure: fn(Builder) -> Builder,
    clock: &Counting,
) -> Vec<(&'static str, ActorSystem)> {
    let builder = || configure(ActorSystem::builder("ticks").clock(clock.clone()));
    #[cfg_attr(not(feature = "tokio"), expect(unused_mut, reason = "no others"))]
    let mut systems = vec![
        ("default", builder().own_threads().workers(2).build()),
        (
            "thread",
            builder()
                .own_threads()
                .workers(1)
                .tick_driver(ThreadDriver)
                .build(),
        ),
    ];
    #[cfg(feature = "tokio")]
    {
        let runtime = ::tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        systems.push(("tokio", builder().own_runtime(runtime).build()));
    }
    systems
        .into_iter()
        .map(|(name, system)| (name, system.unwrap()))
        .collect()
}

#[test]
fn timers_fire_without_any_code_of_the_user() {
    let clock = Counting::new();
    for (name, system) in systems(|builder| builder, &clock) {
        let (report, reports) = channel();
        let begin = Instant::now();
        timed(&system, &report, Duration::from_millis(5));
        for _ in 0..2 {
            reports.recv_timeout(LONG).expect(name);
        }
        assert!(begin.elapsed() >= Duration::from_millis(5), "{name}");
        block_on(system.sleep(Duration::from_millis(1))).unwrap();
        block_on(system.terminate());
    }
}

#[test]
fn the_current_thread_ticks_itself() {
    let system = CurrentThread::new("ticks");
    let (report, reports) = channel();
    timed(&system, &report, Duration::from_millis(5));
    system
        .block_on(system.sleep(Duration::from_millis(20)))
        .unwrap();
    assert_eq!(reports.try_iter().count(), 2);
    // A timer that is set while the thread sleeps, by another one.
    let plain = hikyaku::System::clone(&system);
    let other = thread::spawn(move || block_on(plain.sleep(Duration::from_millis(5))));
    system
        .block_on(system.sleep(Duration::from_millis(20)))
        .unwrap();
    while !other.is_finished() {
        system
            .block_on(system.sleep(Duration::from_millis(1)))
            .unwrap();
    }
    assert_eq!(other.join().unwrap(), Ok(()));
}

#[test]
fn a_timer_in_an_hour_wakes_nobody_until_then() {
    const HOUR: Duration = Duration::from_secs(3600);
    let clock = Counting::new();
    for (name, system) in systems(|builder| builder, &clock) {
        let (report, reports) = channel();
        timed(&system, &report, HOUR);
        reports.recv_timeout(LONG).expect(name);
        // Until the driver has gone back to sleep.
        let mut last = clock.reads();
        let mut begin = Instant::now();
        let all = Instant::now();
        while begin.elapsed() < Duration::from_millis(40) {
            if clock.reads() != last {
                (last, begin) = (clock.reads(), Instant::now());
            }
            assert!(all.elapsed() < LONG, "{name}: it ticks on");
            thread::yield_now();
        }
    }
    // The same on the current thread, which has nothing else to do for a while.
    let clock = Counting::new();
    let system = ActorSystem::builder("ticks")
        .clock(clock.clone())
        .build_current_thread();
    let (report, _reports) = channel();
    timed(&system, &report, HOUR);
    let (done, wait) = signal();
    let waker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(40));
        done.lock().unwrap().finish();
    });
    system.block_on(wait);
    waker.join().unwrap();
    assert!(clock.reads() < 20, "{} reads", clock.reads());
}

#[derive(Default)]
struct Once {
    done: bool,
    waker: Option<std::task::Waker>,
}

impl Once {
    fn finish(&mut self) {
        self.done = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn signal() -> (Arc<Mutex<Once>>, impl Future<Output = ()>) {
    let once = Arc::new(Mutex::new(Once::default()));
    let wait = once.clone();
    let future = std::future::poll_fn(move |cx| {
        let mut once = wait.lock().unwrap();
        if once.done {
            return std::task::Poll::Ready(());
        }
        once.waker = Some(cx.waker().clone());
        std::task::Poll::Pending
    });
    (once, future)
}

/// Counts its starts, and keeps the token.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<Vec<StopToken>>>);

impl TickDriver for Spy {
    fn start(self: Box<Self>, handle: TickHandle, stop: StopToken) -> Result<(), Failure> {
        self.0.lock().unwrap().push(stop.clone());
        Box::new(ThreadDriver).start(handle, stop)
    }
}

#[test]
fn row71_the_driver_starts_with_the_system_and_stops_with_it_however_it_ends() {
    type End = fn(ActorSystem);
    let ends: [(&str, End); 5] = [
        ("terminate", |system| block_on(system.terminate())),
        ("graceful", |system| {
            drop(system.graceful_shutdown());
            system.join();
        }),
        ("force", |system| {
            system.force_stop();
            system.join();
        }),
        ("drop", drop),
        ("panic", |system| {
            let panic = catch_unwind(AssertUnwindSafe(move || {
                let _system = system;
                panic!("on purpose");
            }));
            assert!(panic.is_err());
        }),
    ];
    for (name, end) in ends {
        let spy = Spy::default();
        let builder = ActorSystem::builder("spied").own_threads().workers(2);
        let system = builder.tick_driver(spy.clone()).build().unwrap();
        let plain = hikyaku::System::clone(&system);
        let pending = system.sleep(Duration::from_secs(3600));
        let waits = thread::spawn(move || block_on(pending));
        let token = match &spy.0.lock().unwrap()[..] {
            [token] => token.clone(),
            tokens => panic!("{name}: started {} times", tokens.len()),
        };
        assert!(!token.is_stopped(), "{name}");
        end(system);
        eventually(name, || token.is_stopped());
        // Timers that are pending, and new ones, are refused.
        assert_eq!(waits.join().unwrap(), Err(SleepError::Stopped), "{name}");
        let late = block_on(plain.sleep(Duration::from_secs(1)));
        assert_eq!(late, Err(SleepError::Stopped), "{name}");
    }
}

#[test]
fn a_driver_that_does_not_start_is_an_error_and_leaves_nothing() {
    let manual = ManualDriver::new();
    let build = || {
        ActorSystem::builder("one")
            .own_threads()
            .workers(1)
            .tick_driver(manual.clone())
    };
    let first = build().build().unwrap();
    let error = build().build().unwrap_err();
    assert!(
        error.to_string().contains("belongs to another system"),
        "{error}"
    );
    block_on(first.terminate());
}

#[test]
fn a_due_time_is_rounded_up_to_the_resolution_that_was_chosen() {
    /// Set by the test, in milliseconds.
    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicUsize>);
    impl Clock for Hand {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst) as u64)
        }
    }
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for (resolution, fires) in [(1, 3), (2, 4), (20, 20)] {
        let (clock, manual) = (Hand::default(), ManualDriver::new());
        let system = ActorSystem::builder("coarse")
            .own_threads()
            .workers(1)
            .clock(clock.clone())
            .resolution(Duration::from_millis(resolution))
            .tick_driver(manual.clone())
            .build()
            .unwrap();
        let mut sleep = std::pin::pin!(system.sleep(Duration::from_millis(3)));
        let woken = Arc::new(Woken::default());
        let waker = std::task::Waker::from(woken.clone());
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        let mut now = 0;
        while woken.0.load(Ordering::SeqCst) == 0 {
            now += 1;
            clock.0.store(now, Ordering::SeqCst);
            manual.tick();
            assert!(now <= fires, "{resolution}");
        }
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        assert_eq!(now, fires, "{resolution}");
        block_on(system.terminate());
    }
}
