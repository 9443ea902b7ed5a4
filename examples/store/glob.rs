//! The patterns of `KEYS`.

/// Whether `text` is what `pattern` describes, as in Redis: `*` is any run of bytes, `?` is one
/// byte, `[a-cx]` and `[^a-cx]` are one byte in or not in a set, and a backslash takes what
/// follows literally.
///
/// When the text stops matching, the last `*` takes one byte more. Going back further is never
/// needed, so the time is at most the product of the two lengths.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, text);
    let mut star = None;
    loop {
        if let [b'*', after @ ..] = rest {
            rest = after;
            star = Some((after, left));
            continue;
        }
        match (match_one(rest, left.first()), star) {
            (Step::End, _) => return true,
            (Step::Next(after), _) => (rest, left) = (after, &left[1..]),
            (Step::Mismatch, Some((after, [_, from @ ..]))) => {
                star = Some((after, from));
                (rest, left) = (after, from);
            }
            (Step::Mismatch, _) => return false,
        }
    }
}

/// What came of matching the first element of a pattern with one byte.
enum Step<'a> {
    /// Both the pattern and the text are at their end.
    End,
    /// The byte matches; this is the pattern after it.
    Next(&'a [u8]),
    Mismatch,
}

fn match_one<'a>(pattern: &'a [u8], byte: Option<&u8>) -> Step<'a> {
    let (matched, after) = match (pattern, byte) {
        ([], None) => return Step::End,
        ([], _) | (_, None) => return Step::Mismatch,
        ([b'?', after @ ..], _) => (true, after),
        ([b'[', set @ ..], Some(&byte)) => match_set(set, byte),
        ([b'\\', literal, after @ ..], Some(byte)) | ([literal, after @ ..], Some(byte)) => {
            (literal == byte, after)
        }
    };
    if matched {
        Step::Next(after)
    } else {
        Step::Mismatch
    }
}

/// Matches the byte with a set, given without its `[`. Also returns the pattern after the `]`.
fn match_set(set: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    loop {
        rest = match *rest {
            // As in Redis, a set that is not closed ends with the pattern.
            [] => return (found != negated, rest),
            [b']', ref after @ ..] => return (found != negated, after),
            [b'\\', literal, ref after @ ..] => {
                found |= byte == literal;
                after
            }
            [low, b'-', high, ref after @ ..] => {
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                after
            }
            [literal, ref after @ ..] => {
                found |= byte == literal;
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeello", true),
            ("h*llo", "hell", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("a**", "a", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("[a-c]", "b", true),
            ("[c-a]", "b", true),
            ("[a-c]", "d", false),
            ("[\\]]", "]", true),
            ("[]", "a", false),
            ("[a", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("user:*:name", "user:1:name", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn many_stars_take_little_time() {
        assert!(!matches(
            "a*".repeat(50).as_bytes(),
            "b".repeat(10_000).as_bytes()
        ));
        assert!(!matches(
            format!("{}b", "*a".repeat(50)).as_bytes(),
            "a".repeat(10_000).as_bytes()
        ));
    }
}
