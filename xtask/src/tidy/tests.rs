//! Each rule on a made-up project that breaks it, and on one that does not.

use super::*;

/// The lines that a rule finds fault with in these files.
fn lines(rule: Rule, files: &[(&str, &str)]) -> Vec<usize> {
    let files = files.iter().map(|(path, text)| File {
        path: (*path).into(),
        text: (*text).into(),
    });
    rule(&Project::new(files.collect()))
        .into_iter()
        .map(|found| found.line)
        .collect()
}

/// The same for one file of the core.
fn core_lines(rule: Rule, text: &str) -> Vec<usize> {
    lines(rule, &[("crates/hikyaku-core/src/state.rs", text)])
}

const NONE: [usize; 0] = [];

#[test]
fn every_rule_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = RULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn violations_are_printed_as_editors_expect() {
    assert_eq!(violation("a.rs", 3, "is odd").to_string(), "a.rs:3: is odd");
}

#[test]
fn crate_folder_is_the_crate_name() {
    let path = "crates/hikyaku-core/Cargo.toml";
    assert_eq!(
        lines(
            crate_folder,
            &[(path, "[package]\nname = \"hikyaku-core\"")]
        ),
        NONE
    );
    assert_eq!(
        lines(
            crate_folder,
            &[(path, "[package]\nname = \"core\"\n[lib]\nname = \"x\"")]
        ),
        [2]
    );
    assert_eq!(lines(crate_folder, &[("crates/x/src/lib.rs", "")]), [1]);
}

#[test]
fn no_mod_rs_anywhere() {
    assert_eq!(lines(no_mod_rs, &[("xtask/src/a/mod.rs", "")]), [1]);
    assert_eq!(
        lines(
            no_mod_rs,
            &[("xtask/src/a.rs", ""), ("xtask/src/amod.rs", "")]
        ),
        NONE
    );
}

#[test]
fn no_glob_reexports() {
    let bad = "mod a;\npub use a::{\n    b,\n    c::*,\n};\npub use self::a::*;";
    assert_eq!(
        lines(no_glob_reexport, &[("crates/a/src/lib.rs", bad)]),
        [2, 6]
    );
    let good = "pub use a::{b, c};\nuse d::*;\npub(crate) use e::*; // pub use f::*;";
    assert_eq!(
        lines(no_glob_reexport, &[("crates/a/src/lib.rs", good)]),
        NONE
    );
}

#[test]
fn type_names_say_something() {
    let bad = "pub struct GenericQueue;\npub enum QueueImpl<T> { A(T) }\npub unsafe trait Manager {}\npub type QueueV2 = u8;";
    assert_eq!(lines(type_name, &[("a.rs", bad)]).len(), 4);
    let good = "pub struct Implicit; struct QueueImpl; pub(crate) struct TimerManager;\n\
                pub enum Simple { Helper }\n/// pub struct Helper\npub struct Managers;";
    assert_eq!(lines(type_name, &[("a.rs", good)]), NONE);
}

#[test]
fn files_have_a_limit() {
    let long = "fn a() {}\n".repeat(FILE_LIMIT + 1);
    assert_eq!(lines(file_length, &[("src/a.rs", &long)]), [1]);
    let fair = "/// Doc.\n\n".repeat(FILE_LIMIT) + &long[10..];
    let tested = format!("{fair}#[cfg(test)]\nmod t {{\n{long}}}\n");
    assert_eq!(
        lines(
            file_length,
            &[("src/a.rs", &tested), ("src/a/tests.rs", &long)]
        ),
        NONE
    );
}

#[test]
fn folders_are_shallow() {
    assert_eq!(lines(depth, &[("crates/a/src/b/c/d.rs", "")]), [1]);
    let good = [
        "crates/a/src/b/c.rs",
        "crates/a/src/b/tests/loom.rs",
        "crates/a/tests/it/x/y/z.rs",
    ];
    assert_eq!(lines(depth, &good.map(|path| (path, ""))), NONE);
    assert_eq!(lines(depth, &[("crates/a/src/b/c/tests/d.rs", "")]), [1]);
}

#[test]
fn only_sync_touches_atomics_and_std() {
    let bad = "use core::sync::atomic::AtomicUsize;\nuse core::{cell::{Cell, UnsafeCell}, fmt};\n\
               fn a() { std::thread::yield_now() }\ntype B = core::cell::UnsafeCell<u8>;";
    let mut found = core_lines(core_sync, bad);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3, 4]);
    let good = "//! Not std::sync.\nuse crate::sync::{atomic::AtomicUsize, cell::UnsafeCell};\nuse core::cell::Cell;\n\
                extern crate std;\n#[cfg(test)]\nmod tests { use std::sync::Arc; }\n#[cfg(test)]\nmod races;";
    let race = ("crates/hikyaku-core/src/state/races.rs", "use std::thread;");
    let sync = (
        "crates/hikyaku-core/src/sync.rs",
        "pub use core::sync::atomic; use std::thread;",
    );
    let facade = ("crates/hikyaku/src/lib.rs", "use std::thread;");
    let state = ("crates/hikyaku-core/src/state.rs", good);
    assert_eq!(lines(core_sync, &[state, race, sync, facade]), NONE);
}

#[test]
fn orderings_are_explained() {
    let bad = "use crate::sync::atomic::Ordering::{self, AcqRel, Acquire};\n\n\n\n\
               /// Begins.\nfn a(x: &X) { x.load(Ordering::Relaxed); }\n\n\nfn b(x: &X) { x.swap(1, AcqRel); }";
    assert_eq!(core_lines(ordering_comment, bad), [6, 9]);
    let good = "use crate::sync::atomic::Ordering::{self, AcqRel, Acquire};\n\n\n\n\
                // Pairs with the Release in `b`.\nfn a(x: &X) {\n    x.compare_exchange(\n        1,\n        2,\n        \
                AcqRel,\n        Acquire,\n    );\n}\n\n\n\n/// Relaxed: only a count.\nfn c(x: &X) { x.load(Ordering::Relaxed) }\n\
                fn d(x: &X) { x.load(Acquire) } // Pairs with `e`.\n\n\n\nfn e() { a.cmp(&b) == Ordering::Less }";
    assert_eq!(core_lines(ordering_comment, good), NONE);
    let elsewhere = "use core::sync::atomic::Ordering;\n\n\nenum Release { Idle }\n\n\nfn a() -> Release { Release::Idle }";
    assert_eq!(core_lines(ordering_comment, elsewhere), NONE);
}

#[test]
fn tests_do_not_wait_for_clocks() {
    let bad = "fn a() { std::thread::sleep(d); }\nfn b() { Instant::now(); todo!() }\n#[ignore = \"slow\"]\nfn c() {}";
    let testkit = (
        "crates/hikyaku-testkit/src/lib.rs",
        "fn d() { todo!(\"later\") }",
    );
    assert_eq!(
        lines(
            steady_tests,
            &[("crates/hikyaku-core/tests/it/a.rs", bad), testkit]
        ),
        [1, 2, 3, 2, 1]
    );
    let good = "// no thread::sleep\nfn a() { clock.now(); thread::sleeper(); }";
    let facade = ("crates/hikyaku/src/lib.rs", "fn b() { Instant::now(); }");
    assert_eq!(
        lines(
            steady_tests,
            &[("crates/hikyaku-core/tests/it/a.rs", good), facade]
        ),
        NONE
    );
}

#[test]
fn measurements_read_clocks() {
    let measure = (
        "crates/hikyaku-core/src/a/measure.rs",
        "#[test]\n#[ignore]\nfn a() { Instant::now(); }",
    );
    let of_tests = ("crates/hikyaku-core/src/a.rs", "#[cfg(test)] mod measure;");
    assert_eq!(lines(steady_tests, &[of_tests, measure]), NONE);
    let of_programs = ("crates/hikyaku-core/src/a.rs", "mod measure;");
    assert_eq!(lines(steady_tests, &[of_programs, measure]), [3, 2]);
}

#[test]
fn architecture_is_short_and_complete() {
    let lib = ("crates/hikyaku-core/src/lib.rs", "");
    let long = "hikyaku-core\n".repeat(ARCHITECTURE_LIMIT + 1);
    assert_eq!(lines(architecture, &[lib]), [1]);
    assert_eq!(
        lines(architecture, &[lib, ("ARCHITECTURE.md", &long)]),
        [401]
    );
    assert_eq!(
        lines(
            architecture,
            &[
                lib,
                ("ARCHITECTURE.md", "only `hikyaku-core-x` and hikyaku")
            ]
        ),
        [1]
    );
    assert_eq!(
        lines(
            architecture,
            &[lib, ("ARCHITECTURE.md", "- `crates/hikyaku-core/`: all")]
        ),
        NONE
    );
}

#[test]
fn lines_end_where_their_text_ends() {
    assert_eq!(
        lines(
            trailing_space,
            &[("a.md", "a\nb \nc\t\n"), ("b.rs", "\r\n")]
        ),
        [2, 3]
    );
    assert_eq!(lines(trailing_space, &[("a.md", "a\n\n  b\n")]), NONE);
}

#[test]
fn the_core_depends_on_little() {
    let check = |text| {
        lines(
            core_dependencies,
            &[("crates/hikyaku-core/Cargo.toml", text)],
        )
    };
    let bad = "[dependencies]\nspin = \"1\"\n[dev-dependencies]\ntokio.workspace = true\n[build-dependencies]\nloom = \"1\"\n\
               [target.'cfg(loom)'.dependencies]\nproptest = { version = \"1\", features = [\n  \"std\",\n] }\n[dependencies.log]\nversion = \"1\"";
    assert_eq!(check(bad), [2, 4, 6, 8, 11]);
    let good = "[package]\nname = \"hikyaku-core\"\n[dependencies]\n# small\ncritical-section = \"1.2\"\n\
                [target.'cfg(not(target_has_atomic = \"ptr\"))'.dependencies]\nportable-atomic = { version = \"1\", features = [\n  \"a\",\n] }\n\
                [target.'cfg(loom)'.dependencies]\nloom = \"0.7\"\n[dev-dependencies]\nproptest.workspace = true\nhikyaku-testkit = { path = \"../x\" }\n[lints]\nworkspace = true";
    assert_eq!(check(good), NONE);
}
