//! Which rows of `docs/conformance.md` are shown by which tests, and which executors pass the suite.
//!
//! A test shows a row when the name of its function says so: `row05_waiting_send_is_fifo` shows row 5,
//! `row01_row13_storm` shows rows 1 and 13. Nothing else counts. A function is a test when an attribute of it
//! names `test`, when it is stamped by a macro, or when it is a scenario of the suite: public, over any runtime.
//!
//! The suite is run, once for each executor that a `tests/suite.rs` names.

use std::collections::{BTreeMap, BTreeSet};

use crate::shell::{self, Outcome, cargo};
use crate::source::Source;
use crate::tree::{self, File};

/// Rows that the list has.
const ROWS: usize = 91;
const LIST: &str = "docs/conformance.md";

/// A test and the rows that its name claims.
#[derive(Debug, PartialEq)]
struct Claim {
    place: String,
    name: String,
    rows: Vec<usize>,
}

/// Prints the executors that pass the suite, and the rows that are shown, with their tests; at last their numbers.
pub(crate) fn report() -> Outcome {
    let files = tree::read(shell::root())?;
    let executors = report_executors(&files);
    report_rows(&files)?;
    executors
}

fn report_rows(files: &[File]) -> Outcome {
    let list = files.iter().find(|file| file.path == LIST);
    let titles = titles(&list.ok_or_else(|| format!("{LIST} is missing"))?.text)?;
    let mut shown: BTreeMap<usize, Vec<&Claim>> = BTreeMap::new();
    let claims = claims(files);
    for claim in &claims {
        for row in &claim.rows {
            if !titles.contains_key(row) {
                return Err(format!(
                    "{}: {} names row {row}, which does not exist",
                    claim.place, claim.name
                ));
            }
            shown.entry(*row).or_default().push(claim);
        }
    }
    for (row, tests) in &shown {
        println!("{row}. {}", titles[row]);
        for test in tests {
            println!("    {} {}", test.place, test.name);
        }
    }
    let rows: Vec<String> = shown.keys().map(usize::to_string).collect();
    println!("rows shown: {} of {ROWS}: {}", rows.len(), rows.join(","));
    Ok(())
}

/// Runs the suites, and prints how many scenarios each executor passes.
fn report_executors(files: &[File]) -> Outcome {
    let scenarios = scenarios(files);
    let mut command = cargo("test --no-fail-fast --test suite");
    for package in suites(files) {
        command.args(["-p", package]);
    }
    let said = shell::keep(&mut command)?;
    let executors = executors(&said.stdout);
    if executors.is_empty() {
        return Err(said.stderr);
    }
    println!("executors, and the scenarios of {scenarios} that they pass:");
    for (name, results) in &executors {
        println!("    {name} {}", results.passed);
    }
    let wrong: Vec<String> = executors
        .iter()
        .filter_map(|(name, results)| results.wrong(name, scenarios))
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

/// The packages that run the suite.
fn suites(files: &[File]) -> impl Iterator<Item = &str> {
    files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/tests/suite.rs")?;
        folder.strip_prefix("crates/")
    })
}

/// What became of one executor's tests.
#[derive(Debug, Default, PartialEq)]
struct Results<'a> {
    passed: usize,
    failed: Vec<&'a str>,
}

impl Results<'_> {
    fn wrong(&self, executor: &str, scenarios: usize) -> Option<String> {
        let ran = self.passed + self.failed.len();
        if !self.failed.is_empty() {
            Some(format!("{executor} fails: {}", self.failed.join(", ")))
        } else if ran != scenarios {
            Some(format!(
                "{executor} runs {ran} of {scenarios} scenarios: the list in `conformance_suite!` is not whole"
            ))
        } else {
            None
        }
    }
}

/// Takes apart the lines `test EXECUTOR::SCENARIO ... ok` of `cargo test`.
fn executors(text: &str) -> BTreeMap<&str, Results<'_>> {
    let mut executors = BTreeMap::<&str, Results<'_>>::new();
    for line in text.lines() {
        let test = line.strip_prefix("test ");
        let Some((name, result)) = test.and_then(|test| test.split_once(" ... ")) else {
            continue;
        };
        let Some((executor, scenario)) = name.split_once("::") else {
            continue;
        };
        let results = executors.entry(executor).or_default();
        match result {
            "ok" => results.passed += 1,
            _ => results.failed.push(scenario),
        }
    }
    executors
}

/// How many scenarios the suite has.
fn scenarios(files: &[File]) -> usize {
    let in_file = |file: &File| {
        let source = Source::parse(&file.text);
        let functions = source.functions();
        let scenarios = functions.iter().filter(|(at, _)| is_scenario(&source, *at));
        scenarios.count()
    };
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.map(in_file).sum()
}

/// Whether the function is public and takes a runtime of any kind, and nothing else.
fn is_scenario(source: &Source, at: usize) -> bool {
    let signature = source.code[at..].split('{').next().unwrap_or_default();
    source.code[..at].trim_end().ends_with("pub") && signature.contains("(runtime: &impl Runtime)")
}

/// The rows of the list with the beginning of each; every number must be there once.
fn titles(text: &str) -> Result<BTreeMap<usize, &str>, String> {
    let mut titles = BTreeMap::new();
    for line in text.lines() {
        let Some((number, title)) = line.split_once(". ") else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else {
            continue;
        };
        if titles.insert(number, title).is_some() {
            return Err(format!("{LIST}: row {number} is there twice"));
        }
    }
    match (1..=ROWS).find(|row| !titles.contains_key(row)) {
        Some(row) => Err(format!("{LIST}: row {row} is missing")),
        None if titles.len() > ROWS => Err(format!("{LIST}: more than {ROWS} rows")),
        None => Ok(titles),
    }
}

fn claims(files: &[File]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let source = Source::parse(&file.text);
        for (at, name) in source.functions() {
            let rows = rows(name);
            if !rows.is_empty() && (is_test(&source, at) || is_scenario(&source, at)) {
                let place = format!("{}:{}", file.path, source.line(at));
                claims.push(Claim {
                    place,
                    name: name.to_owned(),
                    rows: rows.into_iter().collect(),
                });
            }
        }
    }
    claims
}

/// The numbers of the segments `rowNN` of a name.
fn rows(name: &str) -> BTreeSet<usize> {
    let segments = name
        .split('_')
        .filter_map(|segment| segment.strip_prefix("row"));
    segments.filter_map(|number| number.parse().ok()).collect()
}

fn is_test(source: &Source, at: usize) -> bool {
    let attributes = source.attributes(at);
    let names = |attribute: &str, word| {
        attribute
            .split(|c| !crate::source::is_word(c))
            .any(|part| part == word)
    };
    let ignored = attributes
        .iter()
        .any(|attribute| names(attribute, "ignore"));
    // `#[cfg(test)]` makes a function a part of the tests, not one of them.
    let test = |attribute: &&str| names(attribute, "test") && !attribute.starts_with("cfg(");
    !ignored && (attributes.iter().any(test) || source.in_macro(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Claim> {
        claims(&[File {
            path: "a.rs".into(),
            text: text.into(),
        }])
    }

    #[test]
    fn names_of_tests_claim_rows() {
        let text = "#[test]\nfn row05_waiting_send_is_fifo() {}\n#[tokio::test]\nasync fn storm_row01_row13() {}\n\
                    proptest! { #[test] fn row7_order(x in 0..3) {} }\nmacro_rules! suite { () => { fn row90_x() {} } }";
        let rows: Vec<Vec<usize>> = found(text).into_iter().map(|claim| claim.rows).collect();
        assert_eq!(rows, [vec![5], vec![1, 13], vec![7], vec![90]]);
        assert_eq!(found(text)[0].place, "a.rs:2");
    }

    #[test]
    fn nothing_else_does() {
        let text = "fn row01_helper() {}\n#[cfg(test)]\nfn row02_helper() {}\n// #[test] fn row03_x() {}\n\
                    #[test]\nfn rows_04() {}\n#[test]\n#[ignore]\nfn row05_x() {}\n#[test]\nfn arrow06() {}\n// shows rows 7";
        assert_eq!(found(text), []);
    }

    #[test]
    fn scenarios_of_the_suite_claim_rows() {
        let text = "pub fn row05_x(runtime: &impl Runtime) {}\nfn row06_x(runtime: &impl Runtime) {}\n\
                    pub fn row07_x(n: u32, runtime: &impl Runtime) {}\npub fn y(runtime: &impl Runtime) {}";
        let claims = found(text);
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].rows, [5]);
        let file = |path: &str| File {
            path: path.into(),
            text: text.into(),
        };
        let files = [file("crates/a/tests/suite.rs"), file("crates/b/src/lib.rs")];
        assert_eq!(scenarios(&files), 4);
        assert_eq!(suites(&files).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn results_are_counted_by_executor() {
        let text = "running 4 tests\ntest one::row01_x ... ok\ntest one::y ... FAILED\ntest two::row01_x ... ok\n\
                    test two::y ... ok\ntest alone ... ok\ntest result: ok. 4 passed; 0 failed";
        let executors = executors(text);
        assert_eq!(executors.len(), 2);
        let (one, two) = (&executors["one"], &executors["two"]);
        assert_eq!((one.passed, &one.failed), (1, &vec!["y"]));
        assert_eq!(one.wrong("one", 2).unwrap(), "one fails: y");
        assert_eq!(two.wrong("two", 2), None);
        assert!(two.wrong("two", 3).unwrap().contains("2 of 3"));
    }

    #[test]
    fn the_list_must_be_whole() {
        let whole: String = (1..=ROWS)
            .map(|row| format!("{row}. Behaviour.\n"))
            .collect();
        assert_eq!(titles(&whole).unwrap().len(), ROWS);
        assert!(titles(&whole.replace("\n7. ", "\n8. ")).is_err());
        assert!(titles(&whole.replace("\n7. ", "\n- ")).is_err());
        assert!(titles(&format!("{whole}92. More.\n")).is_err());
    }
}
