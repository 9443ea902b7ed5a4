//! Just enough of Rust's grammar for text checks: what is code, what is comment, what is test.
//!
//! A [`Source`] keeps two masks of the text, both with the lines and columns of the original: `code` has
//! comments and the contents of strings blanked out, `notes` has everything but comments blanked out. A search
//! in `code` therefore never trips over a word in a comment, and offsets in one mean the same place in the other.

use std::ops::Range;

/// One file of Rust.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) code: String,
    pub(crate) notes: String,
    /// Items under `#[cfg(test)]` and the like.
    tests: Vec<Range<usize>>,
    /// Start of each line.
    starts: Vec<usize>,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let (code, notes) = mask(text);
        let tests = test_items(&code);
        let starts = std::iter::once(0)
            .chain(code.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            code,
            notes,
            tests,
            starts,
        }
    }

    /// Number of the line, from one, that holds this place.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// Where this line (from one) begins and ends.
    pub(crate) fn span(&self, line: usize) -> Range<usize> {
        let end = self
            .starts
            .get(line)
            .map_or(self.code.len(), |next| next - 1);
        self.starts[line - 1]..end
    }

    pub(crate) fn lines(&self) -> usize {
        self.starts.len()
    }

    pub(crate) fn in_test(&self, at: usize) -> bool {
        self.tests.iter().any(|item| item.contains(&at))
    }

    /// Names of the modules that exist for tests only and have a file of their own.
    pub(crate) fn test_modules(&self) -> Vec<&str> {
        self.tests
            .iter()
            .filter_map(|item| {
                let text = self.code[item.clone()].strip_suffix(';')?;
                let mut words = text.split_whitespace().rev();
                let name = words.next()?;
                (words.next() == Some("mod")).then_some(name)
            })
            .collect()
    }

    /// Every place where `path` stands as whole words, like `thread::sleep` but not `mythread::sleep`.
    pub(crate) fn find<'a>(&'a self, path: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code
            .match_indices(path)
            .map(|(at, _)| at)
            .filter(move |at| is_whole(&self.code, *at, path))
    }

    /// Every `use`, with its tree written out as single paths.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for at in self.find("use") {
            let before = self.code[..at].trim_end();
            let public = ends_with_word(before, "pub");
            let restricted = before.ends_with(')');
            if !(public
                || restricted
                || before.is_empty()
                || before.ends_with([';', '{', '}', ']']))
            {
                continue;
            }
            let Some(length) = self.code[at..].find(';') else {
                continue;
            };
            let mut paths = Vec::new();
            expand("", &self.code[at + 3..at + length], &mut paths);
            uses.push(Use {
                span: at..at + length,
                public,
                paths,
            });
        }
        uses
    }

    /// Every function: where its `fn` stands, and its name.
    pub(crate) fn functions(&self) -> Vec<(usize, &str)> {
        self.find("fn")
            .filter_map(|at| {
                let rest = self.code[at + 2..].trim_start();
                let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
                (!name.is_empty()).then_some((at, name))
            })
            .collect()
    }

    /// The attributes of the item whose keyword stands here, without their brackets, last one first.
    pub(crate) fn attributes(&self, at: usize) -> Vec<&str> {
        let mut before = self.code[..at].trim_end();
        let mut found = Vec::new();
        loop {
            before = trim_qualifiers(before);
            let Some(open) = before.ends_with(']').then(|| opening(before)).flatten() else {
                return found;
            };
            let inner = &before[open + 1..before.len() - 1];
            let Some(rest) = before[..open].trim_end().strip_suffix('#') else {
                return found;
            };
            found.push(inner.trim());
            before = rest.trim_end();
        }
    }

    /// Whether this place lies in the body of a macro, defined or called.
    pub(crate) fn in_macro(&self, at: usize) -> bool {
        self.code[..at].match_indices('!').any(|(bang, _)| {
            let called = self.code[..bang].ends_with(is_word);
            let rest = self.code[bang + 1..].trim_start();
            // `macro_rules! name {`
            let rest = rest.trim_start_matches(is_word).trim_start();
            let open = self.code.len() - rest.len();
            called && open < at && closing(&self.code, open).is_some_and(|close| at < close)
        })
    }
}

/// A `use` statement.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) span: Range<usize>,
    /// Whether it is a plain `pub use`.
    pub(crate) public: bool,
    pub(crate) paths: Vec<String>,
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether what stands at `at` is not a part of a longer word. Only ends that are words themselves can be.
fn is_whole(code: &str, at: usize, path: &str) -> bool {
    let free_before = !path.starts_with(is_word) || !code[..at].ends_with(is_word);
    let free_after = !path.ends_with(is_word) || !code[at + path.len()..].starts_with(is_word);
    free_before && free_after
}

fn ends_with_word(text: &str, word: &str) -> bool {
    text.ends_with(word) && is_whole(text, text.len() - word.len(), word)
}

/// Takes `pub(crate) const unsafe` and the like off the end.
fn trim_qualifiers(mut text: &str) -> &str {
    loop {
        text = text.trim_end();
        let shorter = ["pub", "const", "async", "unsafe"]
            .iter()
            .find(|word| ends_with_word(text, word))
            .map(|word| &text[..text.len() - word.len()])
            .or_else(|| {
                let inner = text.strip_suffix(')')?;
                let open = inner.rfind('(')?;
                ends_with_word(inner[..open].trim_end(), "pub").then_some(&text[..open])
            });
        match shorter {
            Some(shorter) => text = shorter,
            None => return text,
        }
    }
}

/// Writes the tree of a `use` out as single paths, without `as` names.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    if let (Some(open), Some(inner)) = (tree.find('{'), tree.strip_suffix('}')) {
        let prefix = format!("{prefix}{}", tree[..open].trim());
        let (mut depth, mut start) = (0, open + 1);
        for (at, c) in inner.char_indices().skip_while(|(at, _)| *at <= open) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&prefix, &inner[start..at], paths);
                    start = at + 1;
                }
                _ => {}
            }
        }
        expand(&prefix, &inner[start..], paths);
    } else if let Some(path) = tree.split(" as ").next().filter(|path| !path.is_empty()) {
        paths.push(format!("{prefix}{}", path.trim()));
    }
}

/// The items that an attribute such as `#[cfg(test)]` keeps out of the program.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    for (at, _) in code
        .match_indices("#[cfg(")
        .chain(code.match_indices("#![cfg("))
    {
        let open = at + code[at..].find('[').expect("it was matched");
        let Some(close) = closing(code, open) else {
            continue;
        };
        if !for_tests(&code[open..close]) {
            continue;
        }
        if code[at..].starts_with("#!") {
            items.push(0..code.len());
        } else {
            items.push(at..item_end(code, close + 1));
        }
    }
    items
}

/// Whether the condition of a `cfg` holds in tests only. (`any(test, ...)` does not make it so.)
fn for_tests(attribute: &str) -> bool {
    attribute.match_indices("test").any(|(at, word)| {
        let before = &attribute[..at];
        is_whole(attribute, at, word) && !before.ends_with("not(") && !before.contains("any(")
    })
}

/// Where the item ends that begins here, perhaps with more attributes.
fn item_end(code: &str, mut from: usize) -> usize {
    loop {
        let rest = code[from..].trim_start();
        from = code.len() - rest.len();
        if !rest.starts_with("#[") {
            break;
        }
        match closing(code, from + 1) {
            Some(close) => from = close + 1,
            None => return code.len(),
        }
    }
    let first: String = code[from..].chars().take_while(|c| is_word(*c)).collect();
    let is_field = code[from + first.len()..].trim_start().starts_with(':');
    let mut depth = 0_i32;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '{' if depth == 0 => return closing(code, from + at).map_or(code.len(), |end| end + 1),
            '{' => depth += 1,
            ';' if depth == 0 => return from + at + 1,
            ',' if depth == 0 && is_field => return from + at + 1,
            _ => {}
        }
        if depth < 0 {
            return from + at;
        }
    }
    code.len()
}

/// The bracket that closes the one standing at `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    if !code[open..].starts_with(['(', '[', '{']) {
        return None;
    }
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + at);
        }
    }
    None
}

/// The bracket that opens the one that ends this text.
fn opening(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code.char_indices().rev() {
        match c {
            ')' | ']' | '}' => depth += 1,
            '(' | '[' | '{' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// What a stretch of text is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Splits a text into its code and its comments.
fn mask(text: &str) -> (String, String) {
    let (mut code, mut notes) = (String::new(), String::new());
    let mut rest = text;
    let mut last = ' ';
    while let Some(first) = rest.chars().next() {
        let (kind, length) = piece(rest, last);
        let (now, later) = rest.split_at(length.max(first.len_utf8()).min(rest.len()));
        for (at, c) in now.char_indices() {
            let edge = at == 0 || at + c.len_utf8() == now.len();
            put(
                &mut code,
                c,
                kind == Kind::Code || kind == Kind::Literal && edge,
            );
            put(&mut notes, c, kind == Kind::Comment);
            last = c;
        }
        rest = later;
    }
    (code, notes)
}

/// Adds a letter to a mask, or as many blanks as it has bytes, so that offsets agree.
fn put(mask: &mut String, c: char, shown: bool) {
    if shown || c == '\n' {
        mask.push(c);
    } else {
        mask.extend(std::iter::repeat_n(' ', c.len_utf8()));
    }
}

/// What begins here and how long it is; `last` is the character before.
fn piece(rest: &str, last: char) -> (Kind, usize) {
    let until = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Kind::Comment, block_comment(rest))
    } else if let Some(hashes) = raw_string(rest).filter(|_| !is_word(last)) {
        let open = rest.find('"').expect("a raw string has a quote") + 1;
        (
            Kind::Literal,
            until(&format!("\"{}", "#".repeat(hashes)), open),
        )
    } else if rest.starts_with('"') {
        (Kind::Literal, quoted(rest, '"'))
    } else if rest.starts_with("'\\") {
        (Kind::Literal, quoted(rest, '\''))
    } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        (
            Kind::Literal,
            until("'", 1 + rest.chars().nth(1).map_or(0, char::len_utf8)),
        )
    } else {
        (Kind::Code, 0)
    }
}

/// Length of the block comment that begins here; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Number of hashes of the raw string that begins here, if one does.
fn raw_string(rest: &str) -> Option<usize> {
    let rest = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Length of the literal that begins here and ends at the next such mark that no backslash escapes.
fn quoted(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == mark {
            return at + c.len_utf8();
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests;
