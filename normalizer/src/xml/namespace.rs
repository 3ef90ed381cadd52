//! Which namespace a prefix stands for (Namespaces in XML 1.0).

use std::borrow::Cow;

use schemas::rejection::Reason;

use crate::refusal::{Refused, refused};

/// More declarations than this are not kept in sight: each name is looked up among them.
const DECLARATIONS_MAX: usize = 128;
const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// What holds without a declaration.
const UNDECLARED: [(&str, &str); 2] = [("", ""), ("xml", XML)];
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// A name in its two parts; the prefix is empty where there is none.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) prefix: &'a str,
    pub(super) local: &'a str,
}

impl<'a> Name<'a> {
    /// Parts a qualified name (section 4). Of the letters of other scripts none is looked at.
    pub(super) fn of(name: &'a str) -> Option<Self> {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let is_name = |part: &str| {
            let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii();
            part.bytes().next().is_some_and(letter)
                && part.bytes().all(|byte| letter(byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        };
        (is_name(local) && (name.len() == local.len() || is_name(prefix))).then_some(Self { prefix, local })
    }
}

/// The declarations in sight, the innermost last; the default namespace has the empty prefix.
pub(super) struct Scope<'a>(Vec<Declaration<'a>>);

struct Declaration<'a> {
    prefix: &'a str,
    uri: Cow<'a, str>,
    /// The first declaration in sight of the same namespace, by which long names are compared only once.
    first: usize,
}

impl Default for Scope<'_> {
    fn default() -> Self {
        let undeclared = UNDECLARED.into_iter().enumerate();
        Self(undeclared.map(|(first, (prefix, uri))| Declaration { prefix, uri: Cow::Borrowed(uri), first }).collect())
    }
}

impl<'a> Scope<'a> {
    /// How many declarations are in sight.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets the declarations of an element that ends.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Adds a declaration: `xmlns="uri"` has the empty prefix.
    pub(super) fn declare(&mut self, prefix: &'a str, uri: Cow<'a, str>) -> Result<(), Refused> {
        // Section 3, "Reserved Prefixes and Namespace Names"; section 5, "No Prefix Undeclaring".
        let is_reserved = prefix == "xmlns" || uri == XMLNS || ((prefix == "xml") != (uri == XML));
        if is_reserved || (uri.is_empty() && !prefix.is_empty()) {
            return Err(refused(Reason::Malformed, "a namespace is declared that may not be declared so"));
        }
        if self.len() >= DECLARATIONS_MAX + UNDECLARED.len() {
            return Err(refused(Reason::TooLarge, "more than 128 declarations of namespaces hold at one place"));
        }
        let first = self.0.iter().position(|known| known.uri == uri).unwrap_or(self.len());
        self.0.push(Declaration { prefix, uri, first });
        Ok(())
    }

    /// The number of the namespace that a prefix stands for: the same while its declaration is in sight.
    pub(super) fn resolve(&self, prefix: &str) -> Result<usize, Refused> {
        let declaration = self.0.iter().rfind(|known| known.prefix == prefix);
        declaration.map(|found| found.first).ok_or(refused(Reason::Malformed, "a prefix is not declared"))
    }

    /// Whether the number is that of a namespace.
    pub(super) fn is(&self, number: usize, uri: &str) -> bool {
        self.0.get(number).is_some_and(|found| found.uri == uri)
    }
}
