//! An idle system uses no processor time. A binary of its own, with one test, because it measures its process.
#![cfg(target_os = "linux")]

use hikyaku::{Actor, ActorSystem, Context, Failure, SpawnOptions, Timer, block_on};
use std::fs;
use std::thread;
use std::time::Duration;

struct Idle;

impl Actor for Idle {
    type Msg = ();

    async fn handle(&mut self, (): (), cx: &mut Context<'_, Self>) -> Result<(), Failure> {
        cx.start_timer(0, Timer::once(Duration::from_secs(3600), ()))?;
        Ok(())
    }
}

/// Of this process, in user and system mode, in hundredths of a second.
fn processor_time() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How often its threads went to sleep, so how often they were woken.
fn switches() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let count = |path: std::path::PathBuf| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    threads
        .filter_map(|thread| count(thread.ok()?.path()))
        .sum()
}

#[test]
fn a_system_with_a_thousand_idle_actors_uses_no_processor_time() {
    #[cfg_attr(not(feature = "tokio"), expect(unused_mut, reason = "no others"))]
    let mut systems = vec![
        ActorSystem::builder("fixed")
            .own_threads()
            .workers(4)
            .build()
            .unwrap(),
        ActorSystem::builder("adaptive")
            .own_threads()
            .workers(1..=4)
            .build()
            .unwrap(),
    ];
    #[cfg(feature = "tokio")]
    {
        let runtime = ::tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let builder = ActorSystem::builder("tasks").own_runtime(runtime);
        systems.push(builder.build().unwrap());
    }
    for system in systems {
        for n in 0..1000 {
            let actor = match n % 100 {
                0 => system.spawn_blocking(SpawnOptions::new(), || Idle),
                _ => system.spawn(|| Idle),
            };
            actor.unwrap().tell(()).unwrap();
        }
        // Until everybody has gone to bed, which may take a while where others are busy.
        let quiet = (0..50).any(|_| {
            let (time, woken) = (processor_time(), switches());
            thread::sleep(Duration::from_millis(300));
            let metrics = system.metrics();
            // Of the wake-ups some are this thread's own.
            metrics.handled == 1000
                && metrics.workers_asleep == metrics.workers
                && processor_time() - time <= 1
                && switches().saturating_sub(woken) <= 5
        });
        assert!(
            quiet,
            "{} does something: {:?}",
            system.name(),
            system.metrics()
        );
        assert_eq!(system.metrics().live_actors, 1000);
        block_on(system.terminate());
    }
}
