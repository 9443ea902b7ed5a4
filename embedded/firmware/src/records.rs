//! What happens in a system, as records of defmt.

use crate::bench::{Bench, end, room, small};
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use critical_section::{Mutex, RestoreState};
use defmt::global_logger;
use hikyaku_core::{Actor, Context, Failure, ResumeCondition, SuspendReason};
use hikyaku_embassy::log_events;
use portable_atomic::AtomicUsize;

/// A logger that keeps what it is given. Text is in it as it is; the rest are numbers of what the host knows.
#[global_logger]
struct Kept;

struct Records {
    bytes: [u8; 256],
    length: usize,
    count: usize,
    restore: RestoreState,
}

static RECORDS: Mutex<RefCell<Records>> = Mutex::new(RefCell::new(Records {
    bytes: [0; 256],
    length: 0,
    count: 0,
    restore: RestoreState::invalid(),
}));

// SAFETY: one record at a time, in a critical section from `acquire` to `release`.
unsafe impl defmt::Logger for Kept {
    fn acquire() {
        // SAFETY: given back by `release`.
        let restore = unsafe { critical_section::acquire() };
        critical_section::with(|cs| RECORDS.borrow_ref_mut(cs).restore = restore);
    }

    unsafe fn flush() {}

    unsafe fn release() {
        let restore = critical_section::with(|cs| {
            let mut records = RECORDS.borrow_ref_mut(cs);
            records.count += 1;
            records.restore
        });
        // SAFETY: what `acquire` was given.
        unsafe { critical_section::release(restore) };
    }

    unsafe fn write(bytes: &[u8]) {
        critical_section::with(|cs| {
            let records = &mut *RECORDS.borrow_ref_mut(cs);
            for byte in bytes {
                if let Some(place) = records.bytes.get_mut(records.length) {
                    *place = *byte;
                    records.length += 1;
                }
            }
        });
    }
}

struct Fails;

impl Actor for Fails {
    type Msg = ();

    async fn handle(&mut self, (): (), _: &mut Context<'_, Self>) -> Result<(), Failure> {
        Err(Failure::msg("the reason"))
    }
}

pub(crate) async fn what_happens_is_written_by_defmt(bench: &Bench) {
    static EVENTS: AtomicUsize = AtomicUsize::new(0);
    let system = bench.start(small(1));
    log_events(&system);
    system.events().listen(|_| {
        EVENTS.fetch_add(1, Ordering::Relaxed);
    });
    let fails = system.spawn_with(room(2).name("clumsy"), || Fails).unwrap();
    fails.tell(()).ok().unwrap();
    fails.tell(()).ok().unwrap();
    fails.stop_gracefully();
    fails.stopped().await;
    drop(fails);
    let naps = system.spawn_with(room(1).name("drowsy"), || Fails).unwrap();
    naps.suspend(SuspendReason::UserDefined, ResumeCondition::Explicit)
        .unwrap();
    naps.resume();
    naps.started().await.unwrap();
    drop(naps);
    end(system).await;
    critical_section::with(|cs| {
        let records = RECORDS.borrow_ref(cs);
        let text = &records.bytes[..records.length];
        for word in ["clumsy", "the reason", "drowsy"] {
            let found = text.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(found, "{word} is in no record");
        }
        // Starts, failures, restarts, ends; a suspension and its end.
        assert!(records.count >= 8, "{} records", records.count);
        assert_eq!(records.count, EVENTS.load(Ordering::Relaxed));
    });
}
