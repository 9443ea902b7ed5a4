//! What clients can ask for, and how it is spelled.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::{Frame, error, simple};

/// A request that was understood, sorted by who can answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The connection answers by itself, with this.
    Reply(Frame),
    /// The connection reports on the store.
    Info,
    /// The connection says goodbye.
    Quit,
    /// The shard of the key answers.
    Key(Bytes, KeyCommand),
    /// The shards of the keys answer, for each key on its own.
    Keys(Vec<Bytes>, KeyCommand, Join),
    /// All shards answer.
    All(AllCommand, Join),
}

/// How several answers become one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// `+OK`, once there are all answers.
    Ok,
    /// An array of the answers.
    List,
    /// One array of all that is in the answers, which are arrays.
    Concat,
    /// The sum of the answers, which are numbers.
    Sum,
}

/// A command about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyCommand {
    Get,
    Set {
        value: Bytes,
        expiry: Option<Duration>,
        condition: Option<Condition>,
    },
    Add(i64),
    Append(Bytes),
    /// The time to live. Without one the key is removed.
    Expire(Option<Duration>),
    Ttl,
    /// One if there was such a key, zero if not.
    Delete,
    /// One if there is such a key, zero if not.
    Exists,
    /// Makes the shard panic, to show what happens then.
    Panic,
}

/// When `SET` is to do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    IfMissing,
    IfPresent,
}

/// A command about all keys there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllCommand {
    /// The keys that match a pattern.
    Keys(Bytes),
    Count,
    Clear,
}

impl Command {
    /// Understands a request. What it does not understand becomes an error reply, worded as Redis
    /// does.
    ///
    /// # Panics
    ///
    /// Panics if the request is empty.
    pub(crate) fn parse(request: &[Bytes]) -> Self {
        let name = String::from_utf8_lossy(&request[0]).to_ascii_lowercase();
        parse(&name, request).unwrap_or_else(|text| Self::Reply(error(text)))
    }
}

fn parse(name: &str, request: &[Bytes]) -> Result<Command, String> {
    use Command::{All, Info, Key, Keys, Quit, Reply};

    let arguments = &request[1..];
    let command = match (name, arguments) {
        ("ping", []) => Reply(simple("PONG")),
        ("ping" | "echo", [text]) => Reply(Frame::BulkString(text.clone())),
        ("info", []) | ("info", [_]) => Info,
        ("quit", _) => Quit,
        ("command", _) => Reply(Frame::Array(Vec::new())),
        ("config", [subcommand, rest @ ..]) => parse_config(subcommand, rest)?,

        ("get", [key]) => Key(key.clone(), KeyCommand::Get),
        ("set", [key, value, options @ ..]) => Key(key.clone(), parse_set(value, options)?),
        ("incr", [key]) => Key(key.clone(), KeyCommand::Add(1)),
        ("decr", [key]) => Key(key.clone(), KeyCommand::Add(-1)),
        ("append", [key, tail]) => Key(key.clone(), KeyCommand::Append(tail.clone())),
        ("expire", [key, seconds]) => Key(
            key.clone(),
            KeyCommand::Expire(parse_expire(integer(seconds)?)?),
        ),
        ("ttl", [key]) => Key(key.clone(), KeyCommand::Ttl),
        ("debug", [subcommand, key]) if subcommand.eq_ignore_ascii_case(b"panic") => {
            Key(key.clone(), KeyCommand::Panic)
        }

        ("mget", keys @ [_, ..]) => Keys(keys.to_vec(), KeyCommand::Get, Join::List),
        ("del", keys @ [_, ..]) => Keys(keys.to_vec(), KeyCommand::Delete, Join::Sum),
        ("exists", keys @ [_, ..]) => Keys(keys.to_vec(), KeyCommand::Exists, Join::Sum),

        ("keys", [pattern]) => All(AllCommand::Keys(pattern.clone()), Join::Concat),
        ("dbsize", []) => All(AllCommand::Count, Join::Sum),
        ("flushall", []) => All(AllCommand::Clear, Join::Ok),
        ("flushall", [mode]) if is_any(mode, &["sync", "async"]) => {
            All(AllCommand::Clear, Join::Ok)
        }
        ("flushall", _) => return Err(SYNTAX_ERROR.into()),

        (
            "ping" | "echo" | "info" | "config" | "get" | "set" | "incr" | "decr" | "append"
            | "expire" | "ttl" | "mget" | "del" | "exists" | "keys" | "dbsize",
            _,
        ) => return Err(wrong_arity(name)),
        _ => return Err(unknown_command(request)),
    };
    Ok(command)
}

/// The options of `SET key value`: one condition and one expiry at most.
fn parse_set(value: &Bytes, options: &[Bytes]) -> Result<KeyCommand, String> {
    let (mut expiry, mut condition) = (None, None);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" if condition != Some(Condition::IfPresent) => {
                condition = Some(Condition::IfMissing)
            }
            b"xx" if condition != Some(Condition::IfMissing) => {
                condition = Some(Condition::IfPresent)
            }
            unit @ (b"ex" | b"px") if expiry.is_none() => {
                let amount = integer(rest.next().ok_or(SYNTAX_ERROR)?)?;
                expiry = Some(
                    to_duration(amount, unit == b"ex")
                        .ok_or("ERR invalid expire time in 'set' command")?,
                );
            }
            _ => return Err(SYNTAX_ERROR.into()),
        }
    }
    Ok(KeyCommand::Set {
        value: value.clone(),
        expiry,
        condition,
    })
}

/// A time to live that is not positive has passed already.
fn parse_expire(seconds: i64) -> Result<Option<Duration>, String> {
    match to_duration(seconds, true) {
        None if seconds > 0 => Err("ERR invalid expire time in 'expire' command".into()),
        expiry => Ok(expiry),
    }
}

/// The time until a key expires. It is positive, and not so long that its end has no name.
fn to_duration(amount: i64, in_seconds: bool) -> Option<Duration> {
    let milliseconds = if in_seconds {
        amount.checked_mul(1000)?
    } else {
        amount
    };
    let milliseconds = u64::try_from(milliseconds)
        .ok()
        .filter(|&length| length > 0)?;
    let duration = Duration::from_millis(milliseconds);
    (duration <= MAX_EXPIRY).then_some(duration)
}

/// The longest time to live: a hundred years.
const MAX_EXPIRY: Duration = Duration::from_hours(100 * 365 * 24);

/// There is nothing to configure: every `CONFIG GET` finds nothing.
fn parse_config(subcommand: &Bytes, rest: &[Bytes]) -> Result<Command, String> {
    match rest {
        _ if !subcommand.eq_ignore_ascii_case(b"get") => Err(format!(
            "ERR unknown subcommand '{}'. Try CONFIG HELP.",
            shorten(subcommand)
        )),
        [] => Err(wrong_arity("config|get")),
        _ => Ok(Command::Reply(Frame::Array(Vec::new()))),
    }
}

const SYNTAX_ERROR: &str = "ERR syntax error";
pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

fn unknown_command(request: &[Bytes]) -> String {
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        shorten(&request[0])
    );
    for argument in &request[1..] {
        if text.len() > 256 {
            break;
        }
        write!(text, "'{}' ", shorten(argument)).expect("a string takes everything");
    }
    text
}

/// The beginning of what a client sent, to quote it.
fn shorten(text: &Bytes) -> String {
    String::from_utf8_lossy(&text[..text.len().min(128)]).into_owned()
}

fn is_any(text: &Bytes, words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

fn integer(digits: &Bytes) -> Result<i64, String> {
    parse_integer(digits).ok_or_else(|| NOT_AN_INTEGER.into())
}

/// Reads an integer in the one spelling Redis knows: no plus sign, no spaces, no zeros before it.
pub(crate) fn parse_integer(digits: &[u8]) -> Option<i64> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let canonical = match unsigned {
        [b'0'] => digits.len() == 1,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if canonical {
        str::from_utf8(digits).ok()?.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        let request: Vec<_> = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        Command::parse(&request)
    }

    #[test]
    fn integers() {
        let cases: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
            ("x", None),
        ];
        for (digits, expected) in cases {
            assert_eq!(parse_integer(digits.as_bytes()), *expected, "{digits}");
        }
    }

    #[test]
    fn names_and_options_ignore_case() {
        let expected = Command::Key(
            "Key".into(),
            KeyCommand::Set {
                value: "Value".into(),
                expiry: Some(Duration::from_millis(1500)),
                condition: Some(Condition::IfMissing),
            },
        );
        assert_eq!(parse("sEt Key Value pX 1500 Nx"), expected);
        assert_eq!(parse("SET Key Value NX nx PX 1500"), expected);
    }

    #[test]
    fn expiry_has_bounds() {
        let longest = MAX_EXPIRY.as_secs() as i64;
        assert_eq!(to_duration(longest, true), Some(MAX_EXPIRY));
        for (amount, in_seconds) in [
            (0, true),
            (-1, false),
            (longest + 1, true),
            (i64::MAX, true),
            (i64::MAX, false),
        ] {
            assert_eq!(to_duration(amount, in_seconds), None, "{amount}");
        }
    }

    #[test]
    fn an_error_quotes_only_the_beginning() {
        let Command::Reply(Frame::Error(text)) =
            parse(&format!("{} {}", "x".repeat(500), "y ".repeat(500)))
        else {
            panic!("an error was expected");
        };
        assert!(text.len() < 512, "{}", text.len());
    }
}
