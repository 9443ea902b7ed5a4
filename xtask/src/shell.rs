//! Running other programs: each command line is printed first, in a form that can be pasted into a shell.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Nothing, or why it went wrong.
pub(crate) type Outcome = Result<(), String>;

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// Where builds go, below the folder that everything else is built in.
pub(crate) fn target_dir(name: &str) -> PathBuf {
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(base).join(name)
}

/// `cargo` with these arguments (separated by spaces), to be run in the workspace.
pub(crate) fn cargo(args: &str) -> Command {
    program("cargo", args)
}

/// Any program with these arguments (separated by spaces), to be run in the workspace.
pub(crate) fn program(name: &str, args: &str) -> Command {
    let mut command = Command::new(name);
    command.args(args.split_whitespace()).current_dir(root());
    command
}

/// Adds to the flags that the caller's environment holds for the compiler.
pub(crate) fn rustflags(command: &mut Command, flags: &str) {
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{given} {flags}").trim());
}

/// Runs a command; what it prints goes where our own output goes.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = announce(command);
    let status = command.status().map_err(|e| format!("{line}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}`: {status}"))
    }
}

/// Runs a command, shows its standard output as it comes and returns it.
pub(crate) fn run_and_read(command: &mut Command) -> Result<String, String> {
    let line = announce(command);
    let fail = |e: std::io::Error| format!("`{line}`: {e}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(fail)?;
    let mut text = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    for read in BufReader::new(stdout).lines() {
        let read = read.map_err(fail)?;
        println!("{read}");
        text.push_str(&read);
        text.push('\n');
    }
    let status = child.wait().map_err(fail)?;
    if status.success() {
        Ok(text)
    } else {
        Err(format!("`{line}`: {status}"))
    }
}

/// Runs a test command; a filter that matches no test at all is a failure.
pub(crate) fn run_tests(command: &mut Command) -> Outcome {
    match passed(&run_and_read(command)?) {
        0 => Err(format!("`{}`: no test ran", show(command))),
        _ => Ok(()),
    }
}

/// What a command prints, without showing it.
pub(crate) fn quiet(command: &mut Command) -> Result<String, String> {
    let line = show(command);
    let output = command.output().map_err(|e| format!("`{line}`: {e}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{line}`: {}\n{errors}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a command has printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

/// Runs a command, however it ends, and shows nothing of what it prints.
pub(crate) fn keep(command: &mut Command) -> Result<Said, String> {
    let line = announce(command);
    let output = command.output().map_err(|e| format!("`{line}`: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        status: output.status,
    })
}

/// The sum of the result lines of `cargo test`.
fn passed(text: &str) -> usize {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("test result: ok. "))
        .filter_map(|rest| rest.split_once(" passed")?.0.parse::<usize>().ok())
        .sum()
}

fn announce(command: &Command) -> String {
    let line = show(command);
    println!("$ {line}");
    line
}

fn show(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy().into_owned();
        Some(format!("{}={}", name.to_string_lossy(), quote(&value)))
    });
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()));
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '$', '"', '*']) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let text = "running 2 tests\ntest result: ok. 2 passed; 0 failed;\n\
                    noise\ntest result: ok. 40 passed; 0 failed;\n";
        assert_eq!(passed(text), 42);
        assert_eq!(
            passed("test result: ok. 0 passed; 0 failed; 7 filtered out"),
            0
        );
    }

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let mut command = cargo("test --lib loom");
        command.env("RUSTFLAGS", "--cfg loom");
        assert_eq!(
            show(&command),
            "RUSTFLAGS='--cfg loom' cargo test --lib loom"
        );
    }
}
