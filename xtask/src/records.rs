//! What the benchmark prints: one flat JSON object per line, each with the same eight fields.

/// The fields, in their order.
const FIELDS: [&str; 8] = [
    "workload",
    "system",
    "runtime",
    "metric",
    "unit",
    "median",
    "min",
    "ratio_to_tokio",
];

/// Checks a whole output; returns how many records it holds.
pub(crate) fn check(text: &str) -> Result<usize, String> {
    let mut count = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match fields(line) {
            None => return Err(format!("not one flat JSON object: {line}")),
            Some(found) if found != FIELDS => {
                return Err(format!("not the fields {}: {line}", FIELDS.join(", ")));
            }
            Some(_) => count += 1,
        }
    }
    match count {
        0 => Err("no record was printed".to_owned()),
        _ => Ok(count),
    }
}

/// Names of the fields of a flat JSON object, or nothing if the text is not one.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut rest = line.trim().strip_prefix('{')?.trim_start();
    let mut names = Vec::new();
    loop {
        let (name, after) = string(rest)?;
        names.push(name.to_owned());
        rest = value(after.trim_start().strip_prefix(':')?.trim_start())?.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return (rest == "}").then_some(names),
        }
    }
}

/// Takes a string off the front: what is between its quotes, and what follows.
fn string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            '"' if !escaped => return Some((&inner[..at], &inner[at + 1..])),
            '\\' => escaped = !escaped,
            '\0'..='\x1f' => return None,
            _ => escaped = false,
        }
    }
    None
}

/// Takes a string, a number, `true`, `false` or `null` off the front: what follows.
fn value(text: &str) -> Option<&str> {
    if text.starts_with('"') {
        return string(text).map(|(_, after)| after);
    }
    let end = text.find([',', '}', ' ']).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    // JSON has neither `inf` nor `NaN`, which Rust would read.
    let number =
        word.parse::<f64>().is_ok() && word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    (number && !word.contains("inf") || matches!(word, "true" | "false" | "null")).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"workload":"a \" b","system":"hikyaku","runtime":"mt","metric":"hop","unit":"ns","median":1.25,"min":-2e3,"ratio_to_tokio":null}"#;

    #[test]
    fn records_with_the_eight_fields_are_counted() {
        assert_eq!(check(&format!("{GOOD}\n\n{GOOD}\n")), Ok(2));
    }

    #[test]
    fn anything_else_is_refused() {
        let seven = GOOD.replace(r#""unit":"ns","#, "");
        let other = GOOD.replace("unit", "units");
        let more = GOOD.replace("null}", "1,\"x\":1}");
        for bad in ["", "text", "{}", &seven, &other, &more, &format!("{GOOD}x")] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for value in ["inf", "NaN", "-inf", "[1]", "", "tru"] {
            assert!(check(&GOOD.replace("1.25", value)).is_err(), "{value}");
        }
    }
}
