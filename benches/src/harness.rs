//! Clocks, child processes, rounds and ratios.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::systems::{self, System};
use crate::timers::{Step, Timers};
use crate::workload::{
    Counts, FULL, Fan, QUICK, RING, Ring, Runtime, Tell, WARM_UP, WORKERS, Workload,
};

/// Wall and CPU time of `ops` operations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    ops: u64,
    wall: Duration,
    cpu: Duration,
}

impl Timed {
    fn per_op(self, time: Duration) -> f64 {
        time.as_nanos() as f64 / self.ops as f64
    }
}

pub(crate) struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock {
            cpu: cpu_time(),
            wall: Instant::now(),
        }
    }

    pub(crate) fn stop(self, ops: u64) -> Timed {
        let wall = self.wall.elapsed();
        Timed {
            ops,
            wall,
            cpu: self.cpu(),
        }
    }

    /// What the processors did since the start.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_time() - self.cpu
    }
}

/// What all threads of this process used, in user and kernel mode.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to, and the clock exists on every Linux.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "this process has a CPU clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident set of this process in bytes.
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("statm has a second number");
    // SAFETY: sysconf only reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * page as u64
}

/// Bytes per actor: idle, and after one message each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) idle: f64,
    pub(crate) after_message: f64,
}

/// Takes the resident set before, between and after; see [`Memory`].
pub(crate) struct MemoryProbe {
    before: u64,
    idle: u64,
}

impl MemoryProbe {
    pub(crate) fn start() -> MemoryProbe {
        MemoryProbe {
            before: resident(),
            idle: 0,
        }
    }

    pub(crate) fn idle(&mut self) {
        self.idle = resident();
    }

    pub(crate) fn stop(self, actors: usize) -> Memory {
        let per_actor = |now: u64| now.saturating_sub(self.before) as f64 / actors as f64;
        Memory {
            idle: per_actor(self.idle),
            after_message: per_actor(resident()),
        }
    }
}

/// The runtime under the systems that bring none of their own.
pub(crate) fn tokio_runtime(runtime: Runtime) -> tokio::runtime::Runtime {
    let mut builder = match runtime {
        Runtime::St => tokio::runtime::Builder::new_current_thread(),
        Runtime::Mt => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("the runtime starts")
}

/// The slowest sample takes a tenth of it on an ordinary machine.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// One number of one sample.
#[derive(Clone, Debug)]
struct Value {
    metric: String,
    value: f64,
}

/// Which sample a child process takes.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) system: &'static System,
    pub(crate) runtime: Runtime,
    pub(crate) quick: bool,
}

impl Case {
    fn exists(self) -> bool {
        let core = self.workload.is_core() && self.runtime == Runtime::Mt;
        self.workload.runs_on(self.runtime)
            && (core || !self.system.is_executor())
            && (self.workload.rule().is_none() || self.system.tell_by.is_some())
            && match self.workload {
                Workload::TellBounded => self.system.tell_bounded.is_some(),
                Workload::AskDeadline => self.system.ask_deadline.is_some(),
                Workload::SuspendResume => self.system.suspend_resume.is_some(),
                Workload::RegisterReady => self.system.register_ready.is_some(),
                Workload::TimersInsert | Workload::TimersCancel | Workload::TimersFire => {
                    self.system.timers.is_some()
                }
                Workload::IdleCpu => self.system.idle_cpu.is_some(),
                _ => true,
            }
    }

    /// Takes the sample in this process and prints one line per metric.
    #[allow(clippy::print_stdout, reason = "the parent process reads it")]
    pub(crate) fn run_here(self) {
        // A runtime may catch a panic, and the sample would then never end. Nor would it if a message got lost.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            report(info);
            std::process::abort();
        }));
        std::thread::spawn(|| {
            std::thread::sleep(TIME_LIMIT);
            panic!("no result after {TIME_LIMIT:?}");
        });
        if self.workload.warms_up() && !self.quick {
            self.measure(&WARM_UP);
        }
        for value in self.measure(if self.quick { &QUICK } else { &FULL }) {
            println!("{} {}", value.metric, value.value);
        }
    }

    fn measure(self, counts: &Counts) -> Vec<Value> {
        let Case {
            system, runtime, ..
        } = self;
        let fan = |actors| Fan {
            actors,
            each: counts.fan_each,
        };
        if let Some(rule) = self.workload.rule() {
            let load = Tell::steady(counts.tell, 1);
            return values("wall", had(system.tell_by)(runtime, load, rule), None);
        }
        let timed = match self.workload {
            Workload::Tell => (system.tell)(runtime, Tell::steady(counts.tell, 1)),
            Workload::TellBurst => (system.tell)(runtime, Tell::burst(counts.tell)),
            Workload::Tell4To1 => (system.tell)(runtime, Tell::steady(counts.tell, 4)),
            Workload::TellBounded => had(system.tell_bounded)(runtime, Tell::burst(counts.tell)),
            Workload::Fan100 => (system.fan)(runtime, fan(100)),
            Workload::Fan1000 => (system.fan)(runtime, fan(1_000)),
            Workload::PingPong => {
                let both_ways = (system.ring)(
                    runtime,
                    Ring {
                        actors: 2,
                        hops: 2 * counts.round_trips,
                    },
                );
                Timed {
                    ops: both_ways.ops / 2,
                    ..both_ways
                }
            }
            Workload::Ring => (system.ring)(
                runtime,
                Ring {
                    actors: RING,
                    hops: counts.hops,
                },
            ),
            Workload::Spawn => (system.spawn)(runtime, counts.spawned),
            Workload::TimersInsert => self.timers(Step::Insert, counts),
            Workload::TimersCancel => self.timers(Step::Cancel, counts),
            _ => return self.measure_apart(counts),
        };
        values("wall", timed, None)
    }

    /// The workloads whose values are others than wall and CPU time.
    fn measure_apart(self, counts: &Counts) -> Vec<Value> {
        let Case {
            system, runtime, ..
        } = self;
        match self.workload {
            Workload::Ask => values("mean", (system.ask)(runtime, counts.asks), None),
            Workload::AskDeadline => {
                let asked = had(system.ask_deadline)(runtime, counts.asks);
                values("mean", asked, None)
            }
            Workload::SuspendResume => {
                let asked = had(system.suspend_resume)(runtime, counts.asks);
                values("mean", asked, None)
            }
            Workload::AskOutside => {
                let asked = (system.ask_outside)(counts.asks_outside);
                values("mean", asked.timed, Some(asked.p50))
            }
            Workload::Memory => {
                let actors = if system.heavy {
                    counts.idle_heavy
                } else {
                    counts.idle
                };
                let memory = (system.memory)(runtime, actors);
                vec![
                    value("bytes", memory.idle),
                    value("bytes_after_message", memory.after_message),
                ]
            }
            Workload::RegisterReady => had(system.register_ready)(runtime, counts.rounds)
                .medians()
                .map(|(name, ns)| value(name, ns))
                .into(),
            Workload::TimersFire => {
                let fired = self.timers(Step::Fire, counts);
                vec![value("cpu", fired.per_op(fired.cpu))]
            }
            Workload::IdleCpu => {
                let used = had(system.idle_cpu)(runtime, counts.at_rest);
                vec![value("cpu", used.as_nanos() as f64 / 1e3)]
            }
            other => unreachable!("{} has a wall time", other.name()),
        }
    }

    fn timers(self, step: Step, counts: &Counts) -> Timed {
        let count = counts.timers;
        had(self.system.timers)(self.runtime, Timers { count, step })
    }

    /// Takes the sample in a process of its own: no sample sees the heap or the threads another one left.
    fn run_in_child(self) -> Vec<Value> {
        let name = format!(
            "{} {} {}",
            self.workload.name(),
            self.system.name,
            self.runtime.name()
        );
        let output = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([
                "--child",
                self.workload.name(),
                self.system.name,
                self.runtime.name(),
            ])
            .args(self.quick.then_some("--quick"))
            .stderr(Stdio::inherit())
            .output()
            .expect("a child process starts");
        assert!(output.status.success(), "{name}: {}", output.status);
        let text = String::from_utf8(output.stdout).expect("the child prints text");
        text.lines()
            .map(|line| {
                let (metric, number) = line.split_once(' ').expect("a metric and a number");
                value(metric, number.parse().expect("a number"))
            })
            .collect()
    }
}

fn had<T>(means: Option<T>) -> T {
    means.expect("only systems that have it are asked")
}

fn value(metric: &str, value: f64) -> Value {
    Value {
        metric: metric.to_owned(),
        value,
    }
}

fn values(wall: &str, timed: Timed, p50: Option<Duration>) -> Vec<Value> {
    let p50 = p50.map(|time| value("p50", time.as_nanos() as f64));
    p50.into_iter()
        .chain([
            value(wall, timed.per_op(timed.wall)),
            value("cpu", timed.per_op(timed.cpu)),
        ])
        .collect()
}

/// One line of the results.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) system: &'static str,
    pub(crate) runtime: &'static str,
    pub(crate) metric: String,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    /// Median of the ratios of each round.
    pub(crate) ratio: f64,
}

/// Measures one workload on one runtime: every round has each system once. The yardstick always runs.
pub(crate) fn compare(
    workload: Workload,
    runtime: Runtime,
    wanted: &[&'static System],
    rounds: usize,
    quick: bool,
) -> Vec<Row> {
    let yardstick = systems::yardstick();
    let others = wanted
        .iter()
        .copied()
        .filter(|system| system.name != yardstick.name);
    let cases: Vec<Case> = std::iter::once(yardstick)
        .chain(others)
        .map(|system| Case {
            workload,
            system,
            runtime,
            quick,
        })
        .filter(|case| case.exists())
        .collect();
    let rounds: Vec<Vec<Vec<Value>>> = (0..rounds)
        .map(|_| cases.iter().map(|case| case.run_in_child()).collect())
        .collect();

    let mut rows = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        if !wanted.iter().any(|system| system.name == case.system.name) {
            continue;
        }
        for (m, Value { metric, .. }) in rounds[0][i].iter().enumerate() {
            let samples: Vec<f64> = rounds.iter().map(|round| round[i][m].value).collect();
            let ratios: Vec<f64> = rounds
                .iter()
                .map(|round| round[i][m].value / round[0][m].value)
                .collect();
            rows.push(Row {
                workload: workload.name(),
                system: case.system.name,
                runtime: runtime.name(),
                metric: metric.clone(),
                unit: workload.unit(),
                min: samples.iter().copied().fold(f64::INFINITY, f64::min),
                median: median(samples),
                ratio: median(ratios),
            });
        }
    }
    rows
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let upper = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        numbers[upper]
    } else {
        (numbers[upper - 1] + numbers[upper]) / 2.0
    }
}
