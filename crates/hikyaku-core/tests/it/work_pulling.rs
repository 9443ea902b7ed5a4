//! Pools of workers that pull their jobs.

use crate::puppet::{Gate, Log};
use hikyaku_core::{
    Context, Failure, Hand, JobError, JobOverflow, MailboxOptions, SpawnOptions, Work, WorkPool,
    WorkPoolBuilder, WorkSettings, WorkStats,
};
use hikyaku_testkit::{Sim, Task, check_seeds};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What there is to do.
#[derive(Clone, Debug, Default)]
struct Job {
    number: u64,
    key: u64,
    /// Waits for it.
    gate: Option<Gate>,
    /// So many attempts fail, end the worker, or never end.
    fails: Arc<AtomicUsize>,
    dies: Arc<AtomicUsize>,
    hangs: Arc<AtomicUsize>,
    /// Lets others run so often.
    yields: usize,
}

fn job(number: u64) -> Job {
    Job {
        number,
        ..Job::default()
    }
}

impl Job {
    fn gate(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    fn key(mut self, key: u64) -> Self {
        self.key = key;
        self
    }

    fn fails(mut self, times: usize) -> Self {
        self.fails = Arc::new(AtomicUsize::new(times));
        self
    }

    fn dies(mut self, times: usize) -> Self {
        self.dies = Arc::new(AtomicUsize::new(times));
        self
    }

    fn hangs(mut self, times: usize) -> Self {
        self.hangs = Arc::new(AtomicUsize::new(times));
        self
    }
}

/// Is there one left? Takes it.
fn takes(count: &AtomicUsize) -> bool {
    let less = |n: usize| n.checked_sub(1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

/// Logs the beginning and the end of each job, after its own name.
struct Tester(char, Log);

impl Work for Tester {
    type Job = Job;
    type Done = u64;

    async fn work(&mut self, job: &Job, cx: &mut Context<'_, Hand<Self>>) -> Result<u64, Failure> {
        let (name, number) = (self.0, job.number);
        self.1.push(format!("{name}{number}"));
        if let Some(gate) = &job.gate {
            gate.pass().await;
        }
        for _ in 0..job.yields {
            cx.yield_now().await;
        }
        if takes(&job.hangs) {
            core::future::pending::<()>().await;
        }
        if takes(&job.dies) {
            cx.me().kill();
            core::future::pending::<()>().await;
        }
        if takes(&job.fails) {
            return Err(Failure::msg("as asked"));
        }
        self.1.push(format!("{number}."));
        Ok(number * 10)
    }
}

/// Workers are named in the order in which they are made.
fn plan(workers: usize, log: &Log) -> WorkPoolBuilder<Tester> {
    let (log, made) = (log.clone(), Arc::new(AtomicUsize::new(0)));
    WorkPool::builder(workers, move || {
        let made = made.fetch_add(1, Ordering::Relaxed) % 26;
        Tester(char::from(b'a' + made as u8), log.clone())
    })
}

fn start(sim: &mut Sim, plan: WorkPoolBuilder<Tester>) -> WorkPool<Tester> {
    let pool = plan.spawn(sim.system()).unwrap();
    sim.run_until_idle();
    pool
}

type Outcome = Task<Result<u64, JobError>>;

/// Hands it in now, and waits for the answer aside.
fn submit(sim: &mut Sim, pool: &WorkPool<Tester>, job: Job) -> Outcome {
    let pool = pool.clone();
    let answer = sim.spawn_task(async move { pool.submit(job).await });
    sim.run_until_idle();
    answer
}

fn stats(sim: &mut Sim, pool: &WorkPool<Tester>) -> WorkStats {
    sim.block_on(pool.stats()).unwrap()
}

fn pass(sim: &mut Sim, millis: u64) {
    for _ in 0..millis {
        sim.advance(ms(1));
        sim.run_until_idle();
    }
}

#[test]
fn row85_each_job_is_done_once_by_whoever_is_free() {
    check_seeds(100, |sim| {
        let log = Log::default();
        let workers = 1 + sim.below(4);
        let pool = plan(workers, &log).spawn(sim.system()).unwrap();
        let answers: Vec<_> = (0..20)
            .map(|n| {
                let mut job = job(n);
                job.yields = sim.below(3);
                let pool = pool.clone();
                sim.spawn_task(async move { pool.submit(job).await })
            })
            .collect();
        sim.run_until_idle();
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer.take(), Some(Ok(n as u64 * 10)));
        }
        let mut done: Vec<_> = log.take();
        done.retain(|line| line.ends_with('.'));
        assert_eq!(done.len(), 20);
        let stats = stats(sim, &pool);
        assert_eq!((stats.done, stats.queued, stats.in_hand), (20, 0, 0));
        assert_eq!((stats.workers, stats.retried), (workers, 0));
    });
}

#[test]
fn row85_a_slow_worker_holds_up_one_job_only() {
    check_seeds(30, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let pool = start(sim, plan(2, &log));
        let slow = submit(sim, &pool, job(0).gate(&gate));
        let others: Vec<_> = (1..6).map(|n| submit(sim, &pool, job(n))).collect();
        assert!(others.iter().all(Outcome::is_done) && !slow.is_done());
        gate.open();
        sim.run_until_idle();
        assert_eq!(slow.take(), Some(Ok(0)));
    });
}

/// The job in hand when a worker fails is the first that its successor gets; what waits for all goes on elsewhere.
#[test]
fn row85_the_next_job_of_a_restarted_worker_is_the_one_it_had() {
    check_seeds(50, |sim| {
        for dies in [false, true] {
            let (log, one, other) = (Log::default(), Gate::default(), Gate::default());
            let pool = start(sim, plan(2, &log));
            let first = job(0).gate(&one);
            let first = if dies { first.dies(1) } else { first.fails(1) };
            let first = submit(sim, &pool, first);
            let busy = submit(sim, &pool, job(1).gate(&other));
            let waiting: Vec<_> = (2..5).map(|n| submit(sim, &pool, job(n))).collect();
            log.take();
            one.open();
            sim.run_until_idle();
            assert_eq!(log.line(), "c0 0. c2 2. c3 3. c4 4.");
            other.open();
            sim.run_until_idle();
            assert!(first.is_done() && busy.is_done() && waiting.iter().all(Outcome::is_done));
            let stats = stats(sim, &pool);
            assert_eq!((stats.done, stats.retried, stats.failed), (5, 1, 0));
        }
    });
}

/// Its place is not filled again, so the job goes to whoever is left.
#[test]
fn row85_row88_what_a_worker_that_leaves_did_not_finish_goes_to_another() {
    check_seeds(30, |sim| {
        let (log, gate, other) = (Log::default(), Gate::default(), Gate::default());
        let pool = start(sim, plan(2, &log).sticky(|job| job.key));
        let first = submit(sim, &pool, job(0).key(0).gate(&other));
        let second = submit(sim, &pool, job(1).key(1).gate(&gate).dies(1));
        let behind = submit(sim, &pool, job(2).key(1));
        let common = submit(sim, &pool, job(3).key(2));
        pool.configure(|s| s.workers = 1);
        sim.run_until_idle();
        log.take();
        gate.open();
        sim.run_until_idle();
        assert_eq!((stats(sim, &pool).workers, second.is_done()), (1, false));
        other.open();
        sim.run_until_idle();
        let lines = log.line();
        let worker = lines.chars().nth(3).unwrap();
        let wanted = [1, 2, 3].map(|n| format!("{worker}{n} {n}."));
        assert_eq!(lines, format!("0. {}", wanted.join(" ")));
        assert!([first, second, behind, common].iter().all(Outcome::is_done));
    });
}

#[test]
fn row85_a_job_is_tried_so_often_and_no_more() {
    type Fault = fn(Job, usize) -> Job;
    let faults: [(&str, Fault); 3] = [
        ("fails", Job::fails),
        ("dies", Job::dies),
        ("hangs", Job::hangs),
    ];
    check_seeds(20, |sim| {
        for (what, fault) in faults {
            for (attempts, times) in [(0, 0), (0, 1), (1, 1), (3, 2), (3, 3), (3, 9)] {
                let (log, shown) = (Log::default(), Log::default());
                let seen = shown.clone();
                let plan = plan(1, &log)
                    .settings(|s| {
                        s.attempts = attempts;
                        s.patience = Some(ms(5));
                    })
                    .on_discard(move |job, why| seen.push(format!("{} {why:?}", job.number)));
                let pool = start(sim, plan);
                let bad = submit(sim, &pool, fault(job(1), times));
                let good = submit(sim, &pool, job(2));
                pass(sim, 20);
                let fine = times < attempts.max(1) as usize;
                let wanted = if fine { Ok(10) } else { Err(JobError::Failed) };
                assert_eq!(bad.take(), Some(wanted), "{what} {attempts} {times}");
                assert_eq!(shown.line(), if fine { "" } else { "1 Failed" });
                assert_eq!(good.take(), Some(Ok(20)));
                let begun = log.take().iter().filter(|line| line[1..] == *"1").count();
                assert_eq!(begun, (times + 1).min(attempts.max(1) as usize));
                let stats = stats(sim, &pool);
                assert_eq!((stats.failed, stats.workers), (usize::from(!fine), 1));
                assert_eq!(stats.replaced > 0, what == "hangs" && times > 0);
            }
        }
    });
}

#[test]
fn row85_a_stuck_worker_is_replaced_and_the_others_go_on() {
    check_seeds(30, |sim| {
        let log = Log::default();
        let plan = plan(2, &log).settings(|s| s.patience = Some(ms(10)));
        let pool = start(sim, plan);
        let stuck = submit(sim, &pool, job(0).hangs(1));
        pass(sim, 5);
        let slow = Gate::default();
        let in_time = submit(sim, &pool, job(1).gate(&slow));
        pass(sim, 4);
        assert_eq!(stats(sim, &pool).replaced, 0);
        slow.open();
        pass(sim, 1);
        assert_eq!(stats(sim, &pool).replaced, 1);
        assert_eq!((stuck.take(), in_time.take()), (Some(Ok(0)), Some(Ok(10))));
        pass(sim, 30);
        let stats = stats(sim, &pool);
        assert_eq!((stats.replaced, stats.workers, stats.done), (1, 2, 2));
    });
}

/// Jobs of one key: never two at once, in order, and by one worker as long as there are any.
#[test]
fn row85_jobs_with_one_key_stick_together() {
    check_seeds(200, |sim| {
        let log = Log::default();
        let pool = start(sim, plan(3, &log).sticky(|job| job.key));
        let mut keys = BTreeMap::new();
        for number in 0..30 {
            let mut job = job(number).key(sim.below(4) as u64);
            job.yields = sim.below(4);
            let job = match sim.below(8) {
                0 => job.fails(1),
                1 => job.dies(1),
                _ => job,
            };
            keys.insert(number, job.key);
            pool.tell(job).map_err(|_| "refused").unwrap();
            let steps = sim.below(6);
            sim.run_steps(steps);
        }
        sim.run_until_idle();
        let (mut in_hand, mut done) = (BTreeSet::new(), BTreeMap::<u64, Vec<u64>>::new());
        for line in log.take() {
            if let Some(number) = line.strip_suffix('.') {
                let number: u64 = number.parse().unwrap();
                assert!(in_hand.remove(&number));
                done.entry(keys[&number]).or_default().push(number);
            } else {
                let number: u64 = line[1..].parse().unwrap();
                // Begun again after a failure, or the only one of its key.
                in_hand.insert(number);
                let same = in_hand.iter().filter(|n| keys[n] == keys[&number]).count();
                assert_eq!(same, 1, "{number}");
            }
        }
        assert!(done.values().all(|numbers| numbers.is_sorted()), "{done:?}");
        assert_eq!(done.values().map(Vec::len).sum::<usize>(), 30);
    });
}

#[test]
fn row85_a_key_waits_for_its_worker_while_others_are_free() {
    check_seeds(20, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let pool = start(sim, plan(2, &log).sticky(|job| job.key));
        let jobs = [(0, 7), (1, 7), (2, 8), (3, 7), (4, 8)];
        let answers = jobs.map(|(n, key)| {
            let job = job(n).key(key);
            submit(sim, &pool, if n == 0 { job.gate(&gate) } else { job })
        });
        assert_eq!(answers.iter().filter(|answer| answer.is_done()).count(), 2);
        log.take();
        gate.open();
        sim.run_until_idle();
        let lines = log.take();
        let worker = lines[1].chars().next().unwrap();
        assert_eq!(lines.join(" "), format!("0. {worker}1 1. {worker}3 3."));
    });
}

#[test]
fn row85_what_has_no_room_is_discarded_and_shown() {
    // One job is in hand; then ten come, and the gate opens.
    let cases = [
        (JobOverflow::Newest, 3, "0 1 2 3", "4 5 6 7 8 9 10"),
        (JobOverflow::Oldest, 3, "0 8 9 10", "1 2 3 4 5 6 7"),
        (JobOverflow::Newest, 0, "0", "1 2 3 4 5 6 7 8 9 10"),
        (JobOverflow::Oldest, 0, "0", "1 2 3 4 5 6 7 8 9 10"),
        (JobOverflow::Oldest, 99, "0 1 2 3 4 5 6 7 8 9 10", ""),
    ];
    check_seeds(10, |sim| {
        for (overflow, capacity, done, discarded) in cases {
            let (log, shown, gate) = (Log::default(), Log::default(), Gate::default());
            let seen = shown.clone();
            let plan = plan(1, &log)
                .settings(|s| {
                    s.capacity = capacity;
                    s.overflow = overflow;
                })
                .on_discard(move |job, why| {
                    assert_eq!(why, JobError::Discarded);
                    seen.push(job.number.to_string());
                });
            let pool = start(sim, plan);
            let mut answers = vec![submit(sim, &pool, job(0).gate(&gate))];
            answers.extend((1..=10).map(|n| submit(sim, &pool, job(n))));
            gate.open();
            sim.run_until_idle();
            let (ok, refused): (Vec<_>, Vec<_>) =
                (0..)
                    .zip(answers)
                    .partition(|(n, answer)| match answer.take() {
                        Some(Ok(done)) => done == n * 10,
                        Some(Err(JobError::Discarded)) => false,
                        other => panic!("{other:?}"),
                    });
            let line = |jobs: Vec<(u64, Outcome)>| {
                let numbers = jobs.iter().map(|(n, _)| n.to_string());
                numbers.collect::<Vec<_>>().join(" ")
            };
            assert_eq!(
                (line(ok).as_str(), line(refused).as_str()),
                (done, discarded)
            );
            assert_eq!(shown.line(), discarded);
            let stats = stats(sim, &pool);
            assert_eq!(stats.discarded + stats.done, 11);
        }
    });
}

#[test]
fn row85_what_waits_for_too_long_expires() {
    check_seeds(20, |sim| {
        let (log, shown, gate) = (Log::default(), Log::default(), Gate::default());
        let seen = shown.clone();
        let plan = plan(1, &log)
            .settings(|s| s.time_to_live = Some(ms(10)))
            .on_discard(move |job, why| seen.push(format!("{} {why:?}", job.number)));
        let pool = start(sim, plan);
        let slow = submit(sim, &pool, job(0).gate(&gate));
        let first = submit(sim, &pool, job(1));
        pass(sim, 5);
        let second = submit(sim, &pool, job(2));
        pool.configure(|s| s.time_to_live = None);
        let third = submit(sim, &pool, job(3));
        pass(sim, 4);
        assert!(!first.is_done());
        pass(sim, 2);
        assert_eq!(first.take(), Some(Err(JobError::Expired)));
        assert!(!second.is_done());
        pass(sim, 5);
        assert_eq!(second.take(), Some(Err(JobError::Expired)));
        pass(sim, 100);
        // What is in hand does not expire.
        gate.open();
        sim.run_until_idle();
        assert_eq!((slow.take(), third.take()), (Some(Ok(0)), Some(Ok(30))));
        assert_eq!(shown.line(), "1 Expired 2 Expired");
        assert_eq!(stats(sim, &pool).expired, 2);
    });
}

#[test]
fn row85_no_more_jobs_are_begun_than_the_rate_allows() {
    check_seeds(20, |sim| {
        let log = Log::default();
        let plan = plan(4, &log).settings(|s| s.rate = Some((3, ms(30))));
        let pool = start(sim, plan);
        for n in 0..9 {
            pool.tell(job(n)).map_err(|_| "refused").unwrap();
        }
        sim.run_until_idle();
        let mut begun = vec![stats(sim, &pool).done];
        for _ in 0..6 {
            pass(sim, 11);
            begun.push(stats(sim, &pool).done);
        }
        assert_eq!(begun, [3, 4, 5, 6, 7, 8, 9]);
        // A quiet time is made up for once, not more.
        pass(sim, 1000);
        for n in 0..9 {
            pool.tell(job(n)).map_err(|_| "refused").unwrap();
        }
        sim.run_until_idle();
        assert_eq!(stats(sim, &pool).done, 12);
        pool.configure(|s| s.rate = None);
        sim.run_until_idle();
        assert_eq!(stats(sim, &pool).done, 18);
    });
}

#[test]
fn row85_what_was_used_of_a_rate_stays_so_when_it_changes() {
    // The rate, the jobs that come, and how many are done in all: at once, and eleven milliseconds later.
    let steps = [
        // Without a time it is no limit.
        (Some((1, ms(0))), 9, [9, 9]),
        (Some((3, ms(30))), 9, [12, 13]),
        // Twice as many in the same time, less those before.
        (Some((6, ms(30))), 0, [13, 15]),
        // The thirty milliseconds begin when all of that is made up for.
        (Some((1, ms(30))), 0, [15, 15]),
        (None, 0, [18, 18]),
        // Also over a time without a rate.
        (Some((3, ms(30))), 9, [20, 21]),
        // Without a time, at once whatever was used.
        (Some((1, ms(0))), 0, [27, 27]),
        (None, 0, [27, 27]),
        // One, when what was used before is made up for, and never another.
        (Some((1, Duration::MAX)), 9, [27, 28]),
        (Some((1, Duration::MAX)), 9, [28, 28]),
    ];
    check_seeds(20, |sim| {
        let pool = start(sim, plan(4, &Log::default()));
        for (at, (rate, jobs, wanted)) in steps.into_iter().enumerate() {
            pool.configure(move |s| s.rate = rate);
            for n in 0..jobs {
                pool.tell(job(n)).map_err(|_| "refused").unwrap();
            }
            sim.run_until_idle();
            let at_once = stats(sim, &pool).done;
            pass(sim, 11);
            let done = [at_once, stats(sim, &pool).done];
            assert_eq!(done, wanted, "step {at}");
        }
    });
}

#[test]
fn row85_draining_does_what_is_there_and_refuses_the_rest() {
    check_seeds(50, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let pool = start(sim, plan(2, &log));
        let mut answers: Vec<_> = (0..6)
            .map(|n| submit(sim, &pool, job(n).gate(&gate).fails(n as usize % 2)))
            .collect();
        let ended = sim.spawn_task(pool.drain());
        sim.run_until_idle();
        let late = submit(sim, &pool, job(7));
        assert_eq!(late.take(), Some(Err(JobError::Closed)));
        assert!(!ended.is_done());
        gate.open();
        sim.run_until_idle();
        assert!(ended.is_done());
        for (n, answer) in answers.drain(..).enumerate() {
            assert_eq!(answer.take(), Some(Ok(n as u64 * 10)));
        }
        let late = submit(sim, &pool, job(8));
        assert_eq!(late.take(), Some(Err(JobError::Closed)));
        assert!(
            pool.tell(job(9))
                .is_err_and(|refused| refused.into_inner().number == 9)
        );
        assert_eq!(sim.block_on(pool.stats()), None);
        assert_eq!(sim.system().metrics().live_actors, 0);
    });
}

#[test]
fn row85_a_pool_that_is_stopped_says_that_the_jobs_are_lost() {
    check_seeds(30, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let pool = start(sim, plan(1, &log));
        let answers = [0, 1].map(|n| submit(sim, &pool, job(n).gate(&gate)));
        pool.stop();
        gate.open();
        sim.run_until_idle();
        assert!(
            answers
                .iter()
                .all(|answer| answer.take() == Some(Err(JobError::Lost)))
        );
    });
}

#[test]
fn row85_settings_change_while_it_runs() {
    type Change = fn(&mut WorkSettings);
    // Ten jobs wait behind those in hand. What is in hand after each change, what waits, and how many workers.
    let steps: [(Change, [usize; 3]); 7] = [
        (|_| {}, [2, 8, 2]),
        (|s| s.workers = 5, [5, 5, 5]),
        // Those that have a job keep it.
        (|s| s.workers = 1, [5, 5, 5]),
        (|s| s.workers = 6, [6, 4, 6]),
        (|s| s.capacity = 3, [6, 3, 6]),
        (|s| s.workers = 0, [6, 3, 6]),
        (|s| s.workers = 3, [6, 3, 6]),
    ];
    check_seeds(30, |sim| {
        let (log, gate) = (Log::default(), Gate::default());
        let pool = start(sim, plan(2, &log));
        let answers: Vec<_> = (0..10)
            .map(|n| submit(sim, &pool, job(n).gate(&gate)))
            .collect();
        for (at, (change, wanted)) in steps.into_iter().enumerate() {
            pool.configure(change);
            sim.run_until_idle();
            let stats = stats(sim, &pool);
            let got = [stats.in_hand, stats.queued, stats.workers];
            assert_eq!(got, wanted, "step {at}");
        }
        gate.open();
        sim.run_until_idle();
        assert!(answers.iter().all(Outcome::is_done));
        let stats = stats(sim, &pool);
        assert_eq!((stats.workers, stats.done, stats.discarded), (3, 9, 1));
    });
}

/// Workers that cannot be made do not keep the others from their jobs, and are tried ever more rarely.
#[cfg(feature = "std")]
#[test]
fn row85_workers_that_cannot_start_are_tried_again_later() {
    struct Frail;

    impl Work for Frail {
        type Job = u64;
        type Done = u64;

        async fn work(&mut self, n: &u64, _: &mut Context<'_, Hand<Self>>) -> Result<u64, Failure> {
            Ok(*n)
        }
    }

    check_seeds(20, |sim| {
        let made = Arc::new(Mutex::new((0, 7)));
        let count = Arc::clone(&made);
        let pool = WorkPool::builder(1, move || {
            let mut made = count.lock().unwrap();
            made.0 += 1;
            let fails = made.0 <= made.1;
            drop(made);
            assert!(!fails, "cannot be made");
            Frail
        });
        let pool = pool.spawn(sim.system()).unwrap();
        let answer = sim.spawn_task({
            let pool = pool.clone();
            async move { pool.submit(5).await }
        });
        sim.run_until_idle();
        let mut tries = vec![made.lock().unwrap().0];
        for _ in 0..4 {
            pass(sim, 400);
            tries.push(made.lock().unwrap().0);
        }
        // After 100, 300, 700, 1500 milliseconds.
        assert_eq!(tries, [1, 3, 4, 4, 5]);
        pass(sim, 5000);
        assert!(!answer.is_done());
        sim.run_for(ms(10_000));
        assert_eq!(answer.take(), Some(Ok(5)));
    });
}

/// Whatever happens, each job is answered, and done at least as often as it says.
#[test]
fn row85_whatever_fails_each_job_has_one_outcome() {
    check_seeds(150, |sim| {
        let (log, shown) = (Log::default(), Log::default());
        let seen = shown.clone();
        let plan = plan(3, &log)
            .sticky(|job| job.key)
            .settings(|s| {
                s.patience = Some(ms(20));
                s.time_to_live = Some(ms(200));
                s.capacity = 15;
                s.overflow = JobOverflow::Oldest;
            })
            .on_discard(move |job, _| seen.push(job.number.to_string()));
        let pool = start(sim, plan);
        let mut answers = Vec::new();
        for number in 0..40 {
            let mut job = job(number).key(sim.below(6) as u64);
            job.yields = sim.below(4);
            let job = match sim.below(8) {
                0 => job.fails(1),
                1 => job.dies(2),
                2 => job.hangs(1),
                3 => job.fails(9),
                _ => job,
            };
            let to = pool.clone();
            answers.push(sim.spawn_task(async move { to.submit(job).await }));
            let workers = sim.below(20);
            if workers < 5 {
                pool.configure(move |s| s.workers = 1 + workers);
            }
            let steps = sim.below(20);
            sim.run_steps(steps);
            sim.advance(ms(sim.seed() % 7));
        }
        pass(sim, 500);
        let mut counts = [0; 3];
        for answer in &answers {
            match answer.take().expect("it is answered") {
                Ok(_) => counts[0] += 1,
                Err(JobError::Failed) => counts[1] += 1,
                Err(JobError::Discarded | JobError::Expired) => counts[2] += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        let done = log.take().iter().filter(|line| line.ends_with('.')).count();
        let stats = stats(sim, &pool);
        assert_eq!(
            [stats.done, stats.failed, stats.discarded + stats.expired],
            counts
        );
        assert_eq!((stats.queued, stats.in_hand), (0, 0));
        assert!(done >= stats.done);
        assert_eq!(shown.len(), counts[1] + counts[2]);
    });
}

/// What the workers report and the pool is told finds room, whatever mailboxes are asked for.
#[test]
fn row85_no_other_mailbox_loses_an_outcome() {
    let kinds = [MailboxOptions::bounded(1), MailboxOptions::latest(1)];
    for (kind, system_wide) in kinds.into_iter().zip([false, true]) {
        check_seeds(30, |sim| {
            let (system, own) = match system_wide {
                true => (kind, SpawnOptions::new()),
                false => (
                    MailboxOptions::unbounded(),
                    SpawnOptions::new().mailbox(kind),
                ),
            };
            let mut sim = Sim::builder(sim.seed())
                .configure(|builder| builder.mailbox(system))
                .build();
            let plan = plan(3, &Log::default());
            let pool = plan.options(own.clone()).workers(own).spawn(sim.system());
            let pool = pool.unwrap();
            let answers: Vec<_> = (0..30)
                .map(|n| {
                    let (pool, job) = (pool.clone(), job(n).fails(sim.below(2)));
                    let answer = sim.spawn_task(async move { pool.submit(job).await });
                    let steps = sim.below(4);
                    sim.run_steps(steps);
                    answer
                })
                .collect();
            sim.run_until_idle();
            sim.block_on(pool.drain());
            for (n, answer) in answers.iter().enumerate() {
                assert_eq!(answer.take(), Some(Ok(n as u64 * 10)));
            }
        });
    }
}

/// What runs of the program's in the pool's own handler does no harm to the jobs of others.
#[cfg(feature = "std")]
#[test]
fn row85_a_panic_in_a_job_s_own_code_is_no_failure_of_the_pool() {
    /// Panics when it is dropped, if it is to.
    struct Fragile(bool);
    impl Drop for Fragile {
        fn drop(&mut self) {
            if self.0 && !std::thread::panicking() {
                panic!("as asked");
            }
        }
    }
    struct Fine;
    impl Work for Fine {
        /// Whether job, result and key are such.
        type Job = (Fragile, bool, bool, Gate);
        type Done = Fragile;
        async fn work(
            &mut self,
            (_, done, _, gate): &Self::Job,
            _: &mut Context<'_, Hand<Self>>,
        ) -> Result<Fragile, Failure> {
            gate.pass().await;
            Ok(Fragile(*done))
        }
    }
    for (job, done, key) in [
        (true, false, false),
        (false, true, false),
        (false, false, true),
    ] {
        check_seeds(10, |sim| {
            let gate = Gate::default();
            let pool = WorkPool::builder(1, || Fine)
                .sticky(|(_, _, key, _)| if *key { panic!("as asked") } else { 0 })
                .spawn(sim.system())
                .unwrap();
            sim.run_until_idle();
            // Nobody waits for the first; the last waits behind it.
            pool.tell((Fragile(job), done, key, gate.clone())).unwrap();
            let other = pool.clone();
            let last = (Fragile(false), false, false, gate.clone());
            let last = sim.spawn_task(async move { other.submit(last).await });
            sim.run_until_idle();
            gate.open();
            sim.run_until_idle();
            assert!(matches!(last.take(), Some(Ok(_))));
            let stats = sim.block_on(pool.stats()).unwrap();
            assert_eq!((stats.done, sim.system().metrics().restarts), (2, 0));
        });
    }
}
