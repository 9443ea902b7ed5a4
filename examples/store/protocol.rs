//! RESP2, the Redis protocol: requests come in, frames go out.
//!
//! Frames (the replies) are encoded by the `redis-protocol` crate. Requests are read here, because
//! a request is much less than a frame: a flat array of strings, or one line of words. Reading only
//! that, and with limits, keeps a hostile client from costing more than its own connection.

use bytes::{Buf, Bytes, BytesMut};
pub(crate) use redis_protocol::resp2::types::BytesFrame as Frame;

/// The bytes one request may have, its values included.
pub(crate) const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// The arguments one request may have.
const MAX_ARGUMENTS: usize = 1024 * 1024;
/// The bytes one line may have: an inline request, or the length of what follows.
const MAX_LINE: usize = 64 * 1024;

/// The reply `+OK`.
pub(crate) fn ok() -> Frame {
    simple("OK")
}

/// A short text, such as `+PONG`.
pub(crate) fn simple(text: &'static str) -> Frame {
    Frame::SimpleString(Bytes::from_static(text.as_bytes()))
}

/// An error, such as `-ERR syntax error`. A line break would end the reply early, so it becomes a
/// space.
pub(crate) fn error(text: impl Into<String>) -> Frame {
    let text: String = text.into();
    Frame::Error(text.replace(['\r', '\n'], " ").into())
}

/// Appends the frame to `output` as it goes over the wire.
pub(crate) fn encode(frame: &Frame, output: &mut BytesMut) {
    redis_protocol::resp2::encode::extend_encode(output, frame, false)
        .expect("the buffer grows to the frame's length");
}

/// A request that cannot be read. What follows it cannot be read either.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError(String);

impl ProtocolError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The last reply of the connection.
    pub(crate) fn to_frame(&self) -> Frame {
        error(format!("ERR Protocol error: {}", self.0))
    }
}

/// Cuts what a client sends into requests.
///
/// It remembers the arguments it has seen, so a request that comes in many pieces is read once.
#[derive(Debug, Default)]
pub(crate) struct RequestReader {
    /// What was received and not yet cut.
    pub(crate) input: BytesMut,
    /// The arguments of the request under way.
    arguments: Vec<Bytes>,
    /// How many arguments it still misses.
    missing: usize,
    /// The bytes of the arguments so far.
    size: usize,
}

impl RequestReader {
    /// The next request: the command's name and its arguments, never empty. `None` until more is
    /// received.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        while self.missing == 0 {
            let Some(line) = self.line("too big inline request")? else {
                return Ok(None);
            };
            if let [b'*', count @ ..] = line.as_ref() {
                self.missing = array_length(count)?;
                self.size = 0;
            } else {
                let words = split_words(&line)?;
                if !words.is_empty() {
                    return Ok(Some(words));
                }
            }
        }
        while self.missing > 0 {
            let Some(argument) = self.bulk_string()? else {
                return Ok(None);
            };
            self.arguments.push(argument);
            self.missing -= 1;
        }
        Ok(Some(std::mem::take(&mut self.arguments)))
    }

    /// Takes the next line off the input, without its end.
    fn line(&mut self, too_long: &str) -> Result<Option<Bytes>, ProtocolError> {
        let Some(end) = self.line_end(too_long)? else {
            return Ok(None);
        };
        let mut line = self.input.split_to(end + 1).freeze();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line))
    }

    /// Where the line feed of the next line is.
    fn line_end(&self, too_long: &str) -> Result<Option<usize>, ProtocolError> {
        let seen = &self.input[..self.input.len().min(MAX_LINE)];
        match seen.iter().position(|&byte| byte == b'\n') {
            None if seen.len() == MAX_LINE => Err(ProtocolError::new(too_long)),
            end => Ok(end),
        }
    }

    /// Takes `$3\r\nfoo\r\n` off the input, if all of it is there.
    fn bulk_string(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        if let Some(&first) = self.input.first()
            && first != b'$'
        {
            let got = char::from(first).escape_default();
            return Err(ProtocolError::new(format!("expected '$', got '{got}'")));
        }
        let Some(end) = self.line_end("too big bulk count string")? else {
            return Ok(None);
        };
        let length = number(&self.input[1..end])
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| self.size + length <= MAX_REQUEST)
            .ok_or_else(|| ProtocolError::new("invalid bulk length"))?;
        let missing = (end + 1 + length + 2).saturating_sub(self.input.len());
        if missing > 0 {
            self.input.reserve(missing);
            return Ok(None);
        }
        self.input.advance(end + 1);
        let argument = self.input.split_to(length).freeze();
        if self.input.split_to(2) != "\r\n" {
            return Err(ProtocolError::new("expected CRLF after bulk"));
        }
        self.size += length;
        Ok(Some(argument))
    }
}

/// The number of arguments in `*3`. A negative one is an empty request, which has no reply.
fn array_length(digits: &[u8]) -> Result<usize, ProtocolError> {
    match number(digits) {
        Some(..=0) => Ok(0),
        Some(count) if count as u64 <= MAX_ARGUMENTS as u64 => Ok(count as usize),
        _ => Err(ProtocolError::new("invalid multibulk length")),
    }
}

/// A whole number as the protocol writes it, with or without the carriage return after it.
fn number(digits: &[u8]) -> Option<i64> {
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    crate::command::parse_integer(digits)
}

/// The words of an inline request, such as `SET greeting "hello world"`.
fn split_words(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    let unbalanced = || ProtocolError::new("unbalanced quotes in request");
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(&first) = rest.first() {
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            rest = &rest[1..];
            loop {
                match *rest {
                    [] => return Err(unbalanced()),
                    [quote, ref after @ ..] if quote == first => {
                        rest = after;
                        break;
                    }
                    [b'\\', escaped, ref after @ ..] if first == b'"' => {
                        word.push(unescape(escaped));
                        rest = after;
                    }
                    [byte, ref after @ ..] => {
                        word.push(byte);
                        rest = after;
                    }
                }
            }
            if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return Err(unbalanced());
            }
        } else {
            let end = rest
                .iter()
                .position(u8::is_ascii_whitespace)
                .unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(Bytes::from(word));
        rest = rest.trim_ascii_start();
    }
    Ok(words)
}

/// What a backslash and this letter stand for inside double quotes.
fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
        let mut reader = RequestReader {
            input: BytesMut::from(input),
            ..Default::default()
        };
        let mut requests = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => return (requests, None),
                Err(error) => return (requests, Some(error)),
            }
        }
    }

    #[test]
    fn whole_requests_are_cut() {
        let cases: &[(&str, &[&[&str]])] = &[
            ("", &[]),
            ("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", &[&["GET", "k"]]),
            (
                "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
                &[&["PING"], &["PING"]],
            ),
            ("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&["ECHO", ""]]),
            ("*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n", &[&["ECHO", "\r\n"]]),
            ("*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", &[&["PING"]]),
            ("PING\r\n", &[&["PING"]]),
            ("\r\n  \r\nSET  a 'b c'\n", &[&["SET", "a", "b c"]]),
            ("ECHO \"a\\\"b\\n\" ''\r\n", &[&["ECHO", "a\"b\n", ""]]),
            ("*2\r\n$3\r\nGET\r\n$1\r\nk", &[]),
        ];
        for (input, expected) in cases {
            let (requests, error) = read(input.as_bytes());
            assert_eq!(
                (requests, error),
                (
                    expected.iter().map(|words| to_request(words)).collect(),
                    None
                ),
                "{input:?}"
            );
        }
    }

    fn to_request(words: &[&str]) -> Vec<Bytes> {
        words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    #[test]
    fn malformed_requests_are_named() {
        let long_line = "x".repeat(MAX_LINE);
        let long_count = format!("*1\r\n${long_line}");
        let cases: &[(&str, &str)] = &[
            ("*x\r\n", "invalid multibulk length"),
            ("*1048577\r\n", "invalid multibulk length"),
            ("*1\r\n*1\r\n", "expected '$', got '*'"),
            ("*1\r\n\r\n", "expected '$', got '\\r'"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$\r\n", "invalid bulk length"),
            ("*1\r\n$67108865\r\n", "invalid bulk length"),
            ("*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
            ("*1\r\n$4\r\nPINGPONG\r\n", "expected CRLF after bulk"),
            ("ECHO \"a\r\n", "unbalanced quotes in request"),
            ("ECHO 'a'b\r\n", "unbalanced quotes in request"),
            (&long_line, "too big inline request"),
            (&long_count, "too big bulk count string"),
        ];
        for (input, expected) in cases {
            let (_, error) = read(input.as_bytes());
            assert_eq!(
                error,
                Some(ProtocolError::new(*expected)),
                "{:?}",
                &input[..input.len().min(40)]
            );
        }
    }

    #[test]
    fn a_request_may_come_byte_by_byte() {
        let mut reader = RequestReader::default();
        let mut requests = Vec::new();
        for byte in b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n" {
            reader.input.extend_from_slice(&[*byte]);
            requests.extend(reader.next().expect("well formed"));
        }
        assert_eq!(requests, [to_request(&["GET", "k"]), to_request(&["PING"])]);
    }

    #[test]
    fn an_error_stays_on_its_line() {
        let mut output = BytesMut::new();
        encode(&error("ERR a\r\n+OK"), &mut output);
        assert_eq!(output, "-ERR a  +OK\r\n");
    }
}
