//! Resolves prefixes to namespaces (Namespaces in XML 1.0).

use std::borrow::Cow;

use schemas::rejection::Reason;

use crate::refusal::{Refused, refused};

/// At most this many declarations may be in scope at once, because each prefix is searched for among them.
const DECLARATIONS_MAX: usize = 128;
const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The prefixes that are bound without a declaration.
const UNDECLARED: [(&str, &str); 2] = [("", ""), ("xml", XML)];
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// A qualified name in its two parts; the prefix is empty if there is none.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) prefix: &'a str,
    pub(super) local: &'a str,
}

impl<'a> Name<'a> {
    /// Splits a qualified name (section 4). Non-ASCII characters are accepted without a check.
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

/// The declarations in scope, the innermost last. The default namespace has the empty prefix.
pub(super) struct Scope<'a>(Vec<Declaration<'a>>);

struct Declaration<'a> {
    prefix: &'a str,
    uri: Cow<'a, str>,
    /// The index of the first declaration in scope of the same namespace. Namespaces are compared by it, so that long names are
    /// compared only once.
    first: usize,
}

impl Default for Scope<'_> {
    fn default() -> Self {
        let undeclared = UNDECLARED.into_iter().enumerate();
        Self(undeclared.map(|(first, (prefix, uri))| Declaration { prefix, uri: Cow::Borrowed(uri), first }).collect())
    }
}

impl<'a> Scope<'a> {
    /// The number of declarations in scope.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes the declarations of an element that ends, down to a length that [`Self::len`] returned before it.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Adds a declaration. The prefix is empty for `xmlns="uri"`.
    pub(super) fn declare(&mut self, prefix: &'a str, uri: Cow<'a, str>) -> Result<(), Refused> {
        // Section 3, "Reserved Prefixes and Namespace Names"; section 5, "No Prefix Undeclaring".
        let is_reserved = prefix == "xmlns" || uri == XMLNS || ((prefix == "xml") != (uri == XML));
        if is_reserved || (uri.is_empty() && !prefix.is_empty()) {
            return Err(refused(Reason::Malformed, "a namespace is declared in a way that XML does not allow"));
        }
        if self.len() >= DECLARATIONS_MAX + UNDECLARED.len() {
            return Err(refused(Reason::TooLarge, "more than 128 namespace declarations are in scope"));
        }
        let first = self.0.iter().position(|known| known.uri == uri).unwrap_or(self.len());
        self.0.push(Declaration { prefix, uri, first });
        Ok(())
    }

    /// Returns the number of the namespace that a prefix is bound to. The number stays the same while the declaration is in
    /// scope.
    pub(super) fn resolve(&self, prefix: &str) -> Result<usize, Refused> {
        let declaration = self.0.iter().rfind(|known| known.prefix == prefix);
        declaration.map(|found| found.first).ok_or(refused(Reason::Malformed, "a namespace prefix is not declared"))
    }

    /// Whether a number from [`Self::resolve`] is that of the namespace `uri`.
    pub(super) fn is(&self, number: usize, uri: &str) -> bool {
        self.0.get(number).is_some_and(|found| found.uri == uri)
    }
}
