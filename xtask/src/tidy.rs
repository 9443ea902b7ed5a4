//! Rules of the project that neither rustc nor clippy checks, as searches in the text of the files.
//!
//! Each rule is a function from the project to what it finds wrong; `RULES` lists them all. `tidy/tests.rs` holds,
//! for each rule, a made-up project that breaks it and one that does not.

use std::collections::BTreeSet;

use crate::shell::{self, Outcome};
use crate::source::{Source, is_word};
use crate::tree::{self, File};

/// From the project to what is wrong with it.
type Rule = fn(&Project) -> Vec<Violation>;

/// The rules, by name.
const RULES: [(&str, Rule); 12] = [
    ("crate-folder", crate_folder),
    ("no-mod-rs", no_mod_rs),
    ("no-glob-reexport", no_glob_reexport),
    ("type-name", type_name),
    ("file-length", file_length),
    ("depth", depth),
    ("core-sync", core_sync),
    ("ordering-comment", ordering_comment),
    ("steady-tests", steady_tests),
    ("architecture", architecture),
    ("trailing-space", trailing_space),
    ("core-dependencies", core_dependencies),
];

/// Words that say nothing in the name of a public type.
const EMPTY_WORDS: [&str; 5] = ["Generic", "Impl", "Manager", "Helper", "V2"];
/// Most lines of code in one file, tests and comments not counted.
const FILE_LIMIT: usize = 800;
/// Most lines of ARCHITECTURE.md.
const ARCHITECTURE_LIMIT: usize = 400;
/// What only the core's `sync.rs` may name.
const SYNC_ONLY: [&str; 4] = [
    "core::sync::atomic",
    "core::cell::UnsafeCell",
    "std::",
    "portable_atomic::",
];
/// Memory orderings, each use of which says what it pairs with.
const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
/// What makes a test slow, flaky or absent.
const UNSTEADY: [&str; 5] = [
    "thread::sleep",
    "Instant::now",
    "SystemTime::now",
    "#[ignore",
    "todo!",
];
/// What the core may depend on, and what its tests may.
const CORE_DEPENDENCIES: [&str; 5] = [
    "portable-atomic",
    "portable-atomic-util",
    "critical-section",
    "futures-core",
    "loom",
];
const CORE_TEST_DEPENDENCIES: [&str; 2] = ["proptest", "hikyaku-testkit"];

const CORE: &str = "crates/hikyaku-core/";
const TESTKIT: &str = "crates/hikyaku-testkit/";

/// Checks the project on disk.
pub(crate) fn check() -> Outcome {
    let project = Project::new(tree::read(shell::root())?);
    let mut found = 0;
    for (name, rule) in RULES {
        for violation in rule(&project) {
            println!("{violation} [{name}]");
            found += 1;
        }
    }
    match found {
        0 => {
            println!(
                "tidy: {} files keep {} rules",
                project.files.len(),
                RULES.len()
            );
            Ok(())
        }
        _ => Err(format!("tidy: {found} violations")),
    }
}

/// Something wrong at a line of a file.
#[derive(Debug, PartialEq)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All the files, and those of Rust taken apart.
#[derive(Debug)]
struct Project {
    files: Vec<File>,
    rust: Vec<Rust>,
}

/// A file of Rust.
#[derive(Debug)]
struct Rust {
    path: String,
    source: Source,
    /// Whether the whole file is test code.
    test: bool,
}

impl Project {
    fn new(files: Vec<File>) -> Self {
        let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
        let mut rust: Vec<Rust> = rust
            .map(|file| Rust {
                path: file.path.clone(),
                source: Source::parse(&file.text),
                test: is_test_path(&file.path),
            })
            .collect();
        let modules: Vec<String> = rust.iter().flat_map(test_files).collect();
        for file in &mut rust {
            file.test |= modules.iter().any(|stem| {
                let rest = file.path.strip_prefix(stem.as_str());
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            });
        }
        Self { files, rust }
    }

    fn text(&self, path: &str) -> Option<&str> {
        let file = self.files.iter().find(|file| file.path == path)?;
        Some(&file.text)
    }

    /// Names of the folders in `crates/`.
    fn crates(&self) -> BTreeSet<&str> {
        let inside = self
            .files
            .iter()
            .filter_map(|file| file.path.strip_prefix("crates/"));
        inside
            .filter_map(|path| Some(path.split_once('/')?.0))
            .collect()
    }

    /// The sources of the core that end up in programs.
    fn core(&self) -> impl Iterator<Item = &Rust> {
        let sources = self.rust.iter().filter(|file| file.path.starts_with(CORE));
        sources.filter(|file| file.below_src().is_some() && !file.test)
    }
}

impl Rust {
    /// The path below the nearest `src/`.
    fn below_src(&self) -> Option<&str> {
        Some(self.path.rsplit_once("src/")?.1)
    }

    fn violation(&self, at: usize, message: impl Into<String>) -> Violation {
        violation(&self.path, self.source.line(at), message)
    }

    /// Every place in the code, tests left out, where this stands as whole words.
    fn find<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.source
            .find(word)
            .filter(|at| !self.source.in_test(*at))
    }
}

fn violation(path: &str, line: usize, message: impl Into<String>) -> Violation {
    Violation {
        path: path.to_owned(),
        line,
        message: message.into(),
    }
}

fn is_test_path(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "tests" | "tests.rs"))
}

/// Paths, without `.rs`, of the modules that this file declares for tests only.
fn test_files(file: &Rust) -> Vec<String> {
    let stem = file.path.trim_end_matches(".rs");
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let folder = if matches!(name, "lib" | "main") {
        folder
    } else {
        stem
    };
    let modules = file.source.test_modules().into_iter();
    modules.map(|module| format!("{folder}/{module}")).collect()
}

// === the rules ===

fn crate_folder(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for folder in project.crates() {
        let path = format!("crates/{folder}/Cargo.toml");
        let Some(text) = project.text(&path) else {
            found.push(violation(&path, 1, "is missing"));
            continue;
        };
        let entries = manifest(text);
        let name = entries
            .iter()
            .find(|entry| entry.section == "package" && entry.key == "name");
        let (line, name) =
            name.map_or((1, ""), |entry| (entry.line, entry.value.trim_matches('"')));
        if name != folder {
            found.push(violation(
                &path,
                line,
                format!("crate `{name}` lies in the folder `{folder}`"),
            ));
        }
    }
    found
}

fn no_mod_rs(project: &Project) -> Vec<Violation> {
    let named = project
        .rust
        .iter()
        .filter(|file| file.path.ends_with("/mod.rs"));
    named
        .map(|file| violation(&file.path, 1, "write foo.rs beside foo/, not foo/mod.rs"))
        .collect()
}

fn no_glob_reexport(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in &project.rust {
        for each in file.source.uses() {
            if each.public && each.paths.iter().any(|path| path.ends_with('*')) {
                found.push(
                    file.violation(each.span.start, "a `pub use` lists its names, without `*`"),
                );
            }
        }
    }
    found
}

fn type_name(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in project.rust.iter().filter(|file| !file.test) {
        for (at, name) in ["struct", "enum", "trait", "type", "union"]
            .iter()
            .flat_map(|keyword| file.find(keyword).map(move |at| (at, at + keyword.len())))
            .filter_map(|(at, end)| public_name(&file.source.code, at, end))
        {
            if let Some(word) = camel_words(name).find(|word| EMPTY_WORDS.contains(word)) {
                found.push(file.violation(at, format!("`{word}` in `{name}` says nothing")));
            }
        }
    }
    found
}

/// The name that follows `end`, if what stands at `at` is declared `pub`.
fn public_name(code: &str, at: usize, end: usize) -> Option<(usize, &str)> {
    let before = code[..at].trim_end();
    let before = before.strip_suffix("unsafe").unwrap_or(before).trim_end();
    let public = before
        .strip_suffix("pub")
        .is_some_and(|rest| !rest.ends_with(is_word));
    let rest = code[end..].trim_start();
    let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
    public.then_some((at, name))
}

/// `MailboxImplV2` is `Mailbox`, `Impl`, `V2`.
fn camel_words(name: &str) -> impl Iterator<Item = &str> {
    let starts = name
        .char_indices()
        .filter(|(_, c)| c.is_uppercase())
        .map(|(at, _)| at);
    let mut starts: Vec<usize> = starts.chain([name.len()]).collect();
    starts.dedup();
    (1..starts.len())
        .map(move |i| &name[starts[i - 1]..starts[i]])
        .collect::<Vec<_>>()
        .into_iter()
}

fn file_length(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in project.rust.iter().filter(|file| !file.test) {
        let source = &file.source;
        let code = (1..=source.lines()).map(|line| source.span(line));
        let count = code
            .filter(|span| {
                !source.code[span.clone()].trim().is_empty() && !source.in_test(span.start)
            })
            .count();
        if count > FILE_LIMIT {
            let message = format!("{count} lines of code; {FILE_LIMIT} are the limit");
            found.push(violation(&file.path, 1, message));
        }
    }
    found
}

fn depth(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in &project.rust {
        // Tests lie beside what they test, which may be one deeper.
        let limit = if file.test { 3 } else { 2 };
        if file
            .below_src()
            .is_some_and(|path| path.split('/').count() > limit)
        {
            found.push(violation(
                &file.path,
                1,
                format!("more than {limit} deep below src/"),
            ));
        }
    }
    found
}

fn core_sync(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in project
        .core()
        .filter(|file| file.below_src() != Some("sync.rs"))
    {
        let uses = file.source.uses();
        for name in SYNC_ONLY {
            let in_use = |at: &usize| uses.iter().any(|each| each.span.contains(at));
            let plain = file.find(name).filter(|at| !in_use(at));
            let used = uses.iter().filter(|each| {
                let path = |path: &String| format!("{path}::").starts_with(name);
                !file.source.in_test(each.span.start) && each.paths.iter().any(path)
            });
            for at in plain.chain(used.map(|each| each.span.start)) {
                let name = name.trim_end_matches("::");
                found.push(file.violation(
                    at,
                    format!("`{name}` is for sync.rs only; take it from crate::sync"),
                ));
            }
        }
    }
    found
}

fn ordering_comment(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in project.core() {
        let mut reported = BTreeSet::new();
        for (at, word) in ORDERINGS.iter().flat_map(|word| orderings(file, word)) {
            let line = file.source.line(at);
            if !explained(&file.source, at) && reported.insert(line) {
                let message = format!("say what this {word} pairs with, within 3 lines");
                found.push(file.violation(at, message));
            }
        }
    }
    found
}

/// Where a memory ordering is named: as `Ordering::Release`, or as `Release` where that is imported.
fn orderings<'a>(file: &'a Rust, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let uses = file.source.uses();
    let full = format!("Ordering::{word}");
    let imported = uses
        .iter()
        .any(|each| each.paths.iter().any(|path| path.ends_with(&full)));
    let named = file.find(word).filter(move |at| {
        let before = &file.source.code[..*at];
        let in_use = uses.iter().any(|each| each.span.contains(at));
        !in_use && (before.ends_with("Ordering::") || imported && !before.ends_with("::"))
    });
    named.map(move |at| (at, word))
}

/// Whether a comment stands in the line, in the call that it is an argument of, or in the 3 lines before that.
fn explained(source: &Source, at: usize) -> bool {
    let first = source
        .line(call_start(&source.code, at))
        .saturating_sub(3)
        .max(1);
    (first..=source.line(at)).any(|line| {
        let note = source.notes[source.span(line)].trim();
        let is_doc = note.starts_with("///") || note.starts_with("//!");
        // What a function is for does not explain an ordering, unless it names one.
        let names_one = ORDERINGS.iter().any(|word| note.contains(word));
        note.len() > 2 && (!is_doc || names_one)
    })
}

/// Where the parenthesis opens that encloses this place.
fn call_start(code: &str, at: usize) -> usize {
    let mut depth = 0;
    for (before, c) in code[..at].char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' if depth == 0 => return before,
            '(' => depth -= 1,
            ';' | '{' | '}' if depth == 0 => break,
            _ => {}
        }
    }
    at
}

fn steady_tests(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    let ours = |path: &str| path.starts_with(CORE) || path.starts_with(TESTKIT);
    // A measurement is no test: it is run by hand, and what it reads is the clock.
    let measures = |file: &Rust| file.test && file.path.ends_with("/measure.rs");
    let tests = project.rust.iter();
    for file in tests.filter(|file| ours(&file.path) && !measures(file)) {
        for name in UNSTEADY {
            for at in file.source.find(name) {
                found.push(file.violation(
                    at,
                    format!("no `{name}` here: tests wait for no clock and are not left out"),
                ));
            }
        }
    }
    found
}

fn architecture(project: &Project) -> Vec<Violation> {
    let path = "ARCHITECTURE.md";
    let Some(text) = project.text(path) else {
        return vec![violation(path, 1, "is missing")];
    };
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > ARCHITECTURE_LIMIT {
        let message = format!("{lines} lines; {ARCHITECTURE_LIMIT} are the limit");
        found.push(violation(path, ARCHITECTURE_LIMIT + 1, message));
    }
    for name in project.crates() {
        let part = |c: char| is_word(c) || c == '-';
        if !text.split(|c| !part(c)).any(|word| word == name) {
            found.push(violation(
                path,
                1,
                format!("does not name the crate `{name}`"),
            ));
        }
    }
    found
}

fn trailing_space(project: &Project) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in &project.files {
        for (at, line) in file.text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                found.push(violation(
                    &file.path,
                    at + 1,
                    "white space at the end of the line",
                ));
            }
        }
    }
    found
}

fn core_dependencies(project: &Project) -> Vec<Violation> {
    let path = format!("{CORE}Cargo.toml");
    let mut found = Vec::new();
    for entry in manifest(project.text(&path).unwrap_or_default()) {
        let Some((kind, name)) = dependency(&entry) else {
            continue;
        };
        let for_tests = kind == "dev-dependencies" && CORE_TEST_DEPENDENCIES.contains(&name);
        let allowed = kind != "build-dependencies" && CORE_DEPENDENCIES.contains(&name);
        if !allowed && !for_tests {
            let message =
                format!("`{name}` is not among the dependencies the core may have ({kind})");
            found.push(violation(&path, entry.line, message));
        }
    }
    found
}

// === manifests ===

/// One `key = value` of a manifest, or the heading of a table (with an empty key).
#[derive(Debug)]
struct Entry<'a> {
    line: usize,
    section: &'a str,
    key: &'a str,
    value: &'a str,
}

/// Reads as much TOML as our manifests use: values on one line or in brackets over several.
fn manifest(text: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut section = "";
    let mut open = 0_usize;
    for (at, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let (opened, closed) = (
            line.matches(['[', '{']).count(),
            line.matches([']', '}']).count(),
        );
        if open == 0 && line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            entries.push(Entry {
                line: at + 1,
                section,
                key: "",
                value: "",
            });
            continue;
        }
        if let (0, Some((key, value))) = (
            open,
            line.split_once('=').filter(|_| !line.starts_with('#')),
        ) {
            entries.push(Entry {
                line: at + 1,
                section,
                key: key.trim(),
                value: value.trim(),
            });
        }
        open = (open + opened).saturating_sub(closed);
    }
    entries
}

/// Which dependency an entry names, and of which kind.
fn dependency<'a>(entry: &Entry<'a>) -> Option<(&'a str, &'a str)> {
    // The table is `[KIND]`, `[target.'cfg(..)'.KIND]`, or `[KIND.name]` for a single one.
    let kinds = ["dev-dependencies", "build-dependencies", "dependencies"];
    let (kind, rest) = kinds.into_iter().find_map(|kind| {
        let rest = &entry.section[entry.section.rfind(kind)? + kind.len()..];
        (rest.is_empty() || rest.starts_with('.')).then_some((kind, rest))
    })?;
    let name = match rest.strip_prefix('.') {
        Some(name) if entry.key.is_empty() => name,
        Some(_) => return None,
        None if entry.key.is_empty() => return None,
        None => entry.key.split('.').next().unwrap_or_default(),
    };
    Some((kind, name.trim_matches('"')))
}

#[cfg(test)]
mod tests;
