//! Systems that come and go leave nothing: no thread, no file descriptor, no memory to speak of. A binary of its
//! own, with one test, because other tests would disturb the counts.
#![cfg(target_os = "linux")]

use hikyaku::{Actor, ActorSystem, Context, CurrentThread, Failure, Reply, SpawnOptions, block_on};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

struct Echo;

impl Actor for Echo {
    type Msg = Reply<()>;

    async fn handle(
        &mut self,
        reply: Reply<()>,
        cx: &mut Context<'_, Self>,
    ) -> Result<(), Failure> {
        cx.blocking(|| ()).await?;
        cx.sleep(Duration::from_micros(1)).await?;
        let _ = reply.send(());
        Ok(())
    }
}

/// Uses every kind of thread that a system has.
fn use_up(system: &ActorSystem) {
    let actors = [
        system.spawn(|| Echo).unwrap(),
        system.spawn_blocking(SpawnOptions::new(), || Echo).unwrap(),
        system.spawn_pinned(SpawnOptions::new(), || Echo).unwrap(),
    ];
    for actor in actors {
        block_on(actor.ask(|reply| reply)).unwrap();
    }
}

fn one_round(round: usize) {
    let system = ActorSystem::builder("threads")
        .own_threads()
        .workers(1..=3)
        .build()
        .unwrap();
    use_up(&system);
    match round % 4 {
        0 => block_on(system.terminate()),
        1 => drop(system.graceful_shutdown()),
        2 => system.force_stop(),
        _ => {}
    }
    if round % 4 != 3 {
        system.join();
    }
    drop(system);
    let local = CurrentThread::new("local");
    let actor = local.spawn(|| Echo).unwrap();
    local.block_on(actor.ask(|reply| reply)).unwrap();
    #[cfg(feature = "tokio")]
    {
        use ::tokio::runtime::Builder;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let system = ActorSystem::builder("tasks")
            .own_runtime(runtime)
            .build()
            .unwrap();
        use_up(&system);
        if round.is_multiple_of(2) {
            block_on(system.terminate());
        }
        drop(system);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let system = ActorSystem::new("inside").unwrap();
            let actor = system.spawn(|| Echo).unwrap();
            actor.ask(|reply| reply).await.unwrap();
            if round.is_multiple_of(2) {
                system.terminate().await;
            }
        });
    }
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// What is there: the names of threads, or nothing of descriptors.
fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |path: PathBuf| fs::read_to_string(path.join("comm")).unwrap_or_default();
    entries.map(|entry| name(entry.unwrap().path())).collect()
}

/// In kilobytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Threads that have been told to end do so soon.
fn settles(what: &str, folder: &str, to: usize) {
    let begin = Instant::now();
    while entries(folder) > to {
        let late = begin.elapsed() > Duration::from_secs(20);
        assert!(!late, "{what}: {to} before, now {:?}", names(folder));
        thread::yield_now();
    }
}

#[test]
fn row20_a_hundred_systems_leave_no_thread_no_descriptor_and_no_memory() {
    const THREADS: &str = "/proc/self/task";
    const FILES: &str = "/proc/self/fd";
    let threads = entries(THREADS);
    // What is made once for the process, such as the pipe that Tokio hears signals by, is there afterwards.
    one_round(0);
    settles("threads", THREADS, threads);
    let files = entries(FILES);
    (0..20).for_each(one_round);
    settles("threads", THREADS, threads);
    settles("descriptors", FILES, files);
    let memory = resident();
    (0..100).for_each(one_round);
    settles("threads", THREADS, threads);
    settles("descriptors", FILES, files);
    let grown = resident().saturating_sub(memory);
    assert!(
        grown < 4096,
        "{grown} KiB more after a hundred rounds, {memory} before"
    );
}
