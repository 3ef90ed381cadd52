//! A JSON validator for the grammar of RFC 8259. It is not recursive and builds no values: the nesting is a fixed stack with
//! one bit for each level.
//!
//! Escapes of unpaired surrogates are refused, because they cannot be represented in UTF-8: the normalizer could not parse the
//! body.

mod token;

use std::borrow::Cow;

use schemas::limit::DEPTH_MAX;

use super::malformed::Malformed;
use token::Scanner;

/// The stack of open brackets: a set bit is an object, a clear bit an array.
#[derive(Default)]
struct Nesting {
    objects: u64,
    depth: usize,
}

const _: () = assert!(DEPTH_MAX <= 64, "one bit for each depth");

impl Nesting {
    fn open(&mut self, object: bool) -> Result<(), Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        self.objects = (self.objects << 1) | u64::from(object);
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// What the validator reports about the top level.
pub(crate) struct Top {
    /// The first byte of the body after white space.
    pub(crate) first: u8,
    /// The number of elements of a top-level array; `None` if the top level is not an array.
    pub(crate) array_items: Option<usize>,
}

/// Validates the text and counts the elements of a top-level array. Calls `member` for each member of a top-level object with
/// its name and the first byte of its value.
pub(crate) fn check(text: &str, items_max: usize, member: &mut dyn FnMut(&str, u8)) -> Result<Top, Malformed> {
    let mut scanner = Scanner::new(text);
    let mut nesting = Nesting::default();
    let mut items = None;
    scanner.skip_space();
    let first = scanner.peek().unwrap_or_default();
    loop {
        // A value must begin here. `opened` means that a bracket was opened, which may be closed immediately.
        let opened = scanner.value(&mut nesting)?;
        if opened && nesting.depth == 1 && !nesting.in_object() {
            items = Some(0);
        }
        if opened && !scanner.closes(&mut nesting) {
            scanner.key(&nesting, member)?;
            items = counted(items, &nesting, items_max)?;
            continue;
        }
        // A value has ended here.
        if !scanner.next_member(&mut nesting)? {
            return Ok(Top { first, array_items: items });
        }
        scanner.key(&nesting, member)?;
        items = counted(items, &nesting, items_max)?;
    }
}

/// Counts an element that is about to begin if it is in a top-level array.
fn counted(items: Option<usize>, nesting: &Nesting, items_max: usize) -> Result<Option<usize>, Malformed> {
    match items {
        Some(count) if nesting.depth == 1 && count == items_max => Err(Malformed::TooManyItems),
        Some(count) if nesting.depth == 1 => Ok(Some(count + 1)),
        Some(_) | None => Ok(items),
    }
}

impl Scanner<'_> {
    /// Consumes a scalar, or opens a bracket. Returns whether a bracket was opened.
    fn value(&mut self, nesting: &mut Nesting) -> Result<bool, Malformed> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(bracket @ (b'{' | b'[')) => {
                nesting.open(bracket == b'{')?;
                self.at += 1;
                return Ok(true);
            }
            Some(_) | None => return self.fault(),
        }
        Ok(false)
    }

    /// Consumes the closing bracket of the current level if it comes next. Returns whether it did.
    fn closes(&mut self, nesting: &mut Nesting) -> bool {
        self.skip_space();
        let bracket = if nesting.in_object() { b'}' } else { b']' };
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
            nesting.close();
        }
        closes
    }

    /// Called after a value: closes all levels that end here and returns whether another member or element follows. Nothing may
    /// follow the top level.
    fn next_member(&mut self, nesting: &mut Nesting) -> Result<bool, Malformed> {
        loop {
            self.skip_space();
            if nesting.depth == 0 {
                return if self.peek().is_none() { Ok(false) } else { self.fault() };
            }
            if self.peek() == Some(b',') {
                self.at += 1;
                return Ok(true);
            }
            if !self.closes(nesting) {
                return self.fault();
            }
        }
    }

    /// In an object, consumes a member's name and colon. Calls `member` if the object is at the top level.
    fn key(&mut self, nesting: &Nesting, member: &mut dyn FnMut(&str, u8)) -> Result<(), Malformed> {
        if !nesting.in_object() {
            return Ok(());
        }
        self.skip_space();
        let start = self.at;
        self.string()?;
        let end = self.at;
        self.skip_space();
        self.expect(b':')?;
        if nesting.depth == 1 {
            self.skip_space();
            let quoted = self.bytes.get(start..end).unwrap_or_default();
            // The name may contain escapes.
            let name: Cow<'_, str> = serde_json::from_slice(quoted).unwrap_or_default();
            member(&name, self.peek().unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str, items_max: usize) -> Result<Option<usize>, Malformed> {
        check(text, items_max, &mut |_, _| {}).map(|top| top.array_items)
    }

    fn well(text: &str) -> bool {
        items(text, usize::MAX).is_ok()
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json() {
        let texts = [
            "0",
            "-0",
            "-",
            "01",
            "1.",
            "1.0",
            ".5",
            "1e",
            "1e5",
            "1E+05",
            "-1.5e-3",
            "+1",
            "NaN",
            "true",
            "tru",
            "null",
            "nul",
            "\"\"",
            "\"a",
            "\"\\n\"",
            "\"\\x\"",
            "\"\\u00e9\"",
            "\"\\u00g0\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\n\"",
            "\"\t\"",
            "[]",
            "[",
            "]",
            "[,]",
            "[1,]",
            "[1]",
            "[1 2]",
            "[[],{}]",
            "{}",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":1]",
            "[1}",
            "{} {}",
            " {} ",
            "// c\n{}",
            "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}",
            "",
            " ",
            "\u{feff}{}",
            "[1,\n2]",
            "{\"a\" : 1 , \"b\":2}",
        ];
        for text in texts {
            let theirs = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(well(text), theirs, "{text:?}");
        }
    }

    #[test]
    fn every_truncated_document_is_refused() {
        let text = "{\"a\":[1.5e3,{\"b\":null}],\"c\":\"d\\u00e9\",\"e\":[],\"f\":{}}";
        assert!(well(text));
        for cut in 0..text.len() {
            assert!(!well(&text[..cut]), "{cut}");
        }
    }

    #[test]
    fn counts_only_the_elements_of_the_top_level() {
        assert_eq!(items("[]", 9), Ok(Some(0)));
        assert_eq!(items("[1]", 9), Ok(Some(1)));
        assert_eq!(items("[[1,2],{\"a\":[3]},4]", 9), Ok(Some(3)));
        assert_eq!(items("{\"a\":[1,2]}", 9), Ok(None));
        assert_eq!(items("[1,2,3]", 3), Ok(Some(3)));
        assert_eq!(items("[1,2,3,4]", 3), Err(Malformed::TooManyItems));
    }

    #[test]
    fn reports_only_the_members_of_the_top_level() {
        let mut found = Vec::new();
        let text = " { \"a\" : {\"b\":1} , \"\\u0063\":[{\"d\":2}],\"e\": null}";
        let top = check(text, 9, &mut |name, value| found.push((name.to_owned(), value))).ok().unwrap();
        assert_eq!((top.first, top.array_items), (b'{', None));
        assert_eq!(found, [("a".to_owned(), b'{'), ("c".to_owned(), b'['), ("e".to_owned(), b'n')]);
        check("[{\"a\":1}]", 9, &mut |name, _| panic!("{name} is not a member of the top level")).ok().unwrap();
    }

    #[test]
    fn depth_is_limited_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(well(&nested(DEPTH_MAX)));
        assert_eq!(items(&nested(DEPTH_MAX + 1), 9), Err(Malformed::TooDeep));
        assert_eq!(items(&nested(100_000), 9), Err(Malformed::TooDeep));
        let objects = format!("{}1{}", "{\"a\":".repeat(DEPTH_MAX), "}".repeat(DEPTH_MAX));
        assert!(well(&objects));
    }
}
