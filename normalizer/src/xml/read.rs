//! The one pass over a body. It refuses what is not well-formed, and what is well-formed but dangerous. It is stricter than the
//! check of the ingress, which does not check prefixes and characters.

use std::borrow::Cow;

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{
        BytesDecl, BytesRef, Event,
        attributes::{Attribute as Written, Attributes},
    },
};
use schemas::{
    limit::{ATTRIBUTES_MAX, DEPTH_MAX},
    rejection::Reason,
};

use super::{
    namespace::{Name, Scope},
    tree::{Node, Tree},
};
use crate::refusal::{Refused, refused};

const MALFORMED: Refused = refused(Reason::Malformed, "the body is not well-formed XML");
const ENTITY: Refused = refused(
    Reason::Malformed,
    "a reference is neither to one of XML's five entities nor to a character that XML allows",
);
const LONG_NAME: Refused = refused(Reason::TooLarge, "an element's name is longer than 64 KiB");
const TOO_LARGE: Refused = refused(Reason::TooLarge, "the body is larger than 4 GiB");

/// Parses a body. If a namespace is given, all that elements of any other namespace contain is left out.
pub(crate) fn read<'a>(body: &'a [u8], namespace: Option<&str>) -> Result<Tree<'a>, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| refused(Reason::Malformed, "the body is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.bytes().all(|byte| byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'))
        || text.contains('\u{fffe}')
        || text.contains('\u{ffff}')
    {
        return Err(refused(Reason::Malformed, "the body has a character that XML does not allow"));
    }
    // Reserved at once, because a growing vector takes up to twice what it needs. `<a/>` is the shortest element.
    let tags = text.bytes().filter(|byte| *byte == b'<').count().min(text.len() / 4);
    let tree = Tree { text, nodes: Vec::with_capacity(tags) };
    let mut builder = Builder { tree, namespace, open: Vec::new(), scope: Scope::default(), roots: 0 };
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    loop {
        let from = reader.buffer_position();
        let event = reader.read_event().map_err(|_| MALFORMED)?;
        let (from, to) = (offset(from)?, offset(reader.buffer_position())?);
        match event {
            Event::Start(_) => builder.start(from, to)?,
            Event::Empty(_) => {
                builder.start(from, to)?;
                builder.end(to)?;
            }
            Event::End(_) => builder.end(to)?,
            Event::Text(run) if builder.open.is_empty() && !run.trim_ascii().is_empty() => return Err(MALFORMED),
            // `]]>` may not occur in text (XML 1.0, section 2.4).
            Event::Text(run) if run.contains("]]>") => return Err(MALFORMED),
            Event::CData(_) | Event::GeneralRef(_) if builder.open.is_empty() => return Err(MALFORMED),
            Event::GeneralRef(reference) => known(&reference)?,
            Event::Decl(declaration) => encoding(&declaration, from)?,
            Event::DocType(_) => {
                return Err(refused(
                    Reason::Malformed,
                    "the body has a document type declaration, which is not accepted",
                ));
            }
            Event::PI(instruction) if instruction.target().eq_ignore_ascii_case("xml") => return Err(MALFORMED),
            Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof if builder.open.is_empty() && builder.roots == 1 => return Ok(builder.tree),
            Event::Eof => return Err(MALFORMED),
        }
    }
}

/// An element whose end tag has not been read.
struct Open {
    /// The index of its node; `None` if the element is of another namespace or inside such an element.
    node: Option<usize>,
    /// The number of declarations in scope before this element.
    declarations: usize,
}

struct Builder<'a, 'n> {
    tree: Tree<'a>,
    namespace: Option<&'n str>,
    open: Vec<Open>,
    scope: Scope<'a>,
    roots: u32,
}

impl<'a> Builder<'a, '_> {
    /// Handles the start tag from offset `from` to `to`.
    fn start(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        if self.open.len() >= DEPTH_MAX {
            return Err(refused(Reason::TooLarge, "the body is nested deeper than 64 levels"));
        }
        self.roots += u32::from(self.open.is_empty());
        let tag = self.tree.slice(from, to).strip_prefix('<').and_then(|tag| tag.strip_suffix('>')).ok_or(MALFORMED)?;
        let tag = tag.strip_suffix('/').unwrap_or(tag);
        let length = tag.find([' ', '\t', '\n', '\r']).unwrap_or(tag.len());
        let name = tag.get(..length).and_then(Name::of).ok_or(MALFORMED)?;
        let declarations = self.scope.len();
        self.attributes(Attributes::new(tag, length))?;
        let namespace = self.scope.resolve(name.prefix)?;
        let is_inside = self.open.last().is_none_or(|outer| outer.node.is_some());
        let is_kept = is_inside && self.namespace.is_none_or(|wanted| self.scope.is(namespace, wanted));
        let node = is_kept.then_some(self.tree.nodes.len());
        // The node of an element of another namespace is never closed, by which it is known.
        if is_inside {
            let short = |bytes: usize| u16::try_from(bytes).map_err(|_| LONG_NAME);
            let (name, name_bytes) = (short(1 + length - name.local.len())?, short(name.local.len())?);
            self.tree.nodes.push(Node { start: from, name, name_bytes, content: to, end: to, next: 0 });
        }
        self.open.push(Open { node, declarations });
        Ok(())
    }

    fn attributes(&mut self, written: Attributes<'a>) -> Result<(), Refused> {
        let mut prefixed: Vec<Name<'a>> = Vec::new();
        for (number, attribute) in written.enumerate() {
            if number >= ATTRIBUTES_MAX {
                return Err(refused(Reason::TooLarge, "an element has more than 128 attributes"));
            }
            let attribute = attribute.map_err(|_| MALFORMED)?;
            let name = Name::of(attribute.key.into_inner()).ok_or(MALFORMED)?;
            let value = value(&attribute)?;
            match (name.prefix, name.local) {
                ("", "xmlns") => self.scope.declare("", value)?,
                ("xmlns", prefix) => self.scope.declare(prefix, value)?,
                ("", _) => {}
                _ => prefixed.push(name),
            }
        }
        let mut names = Vec::with_capacity(prefixed.len());
        for Name { prefix, local } in prefixed {
            let name = (self.scope.resolve(prefix)?, local);
            // Two prefixes may be bound to the same namespace (Namespaces in XML, section 6.3).
            if names.contains(&name) {
                return Err(MALFORMED);
            }
            names.push(name);
        }
        Ok(())
    }

    /// Handles an end tag that ends at offset `to`.
    fn end(&mut self, to: u32) -> Result<(), Refused> {
        let ended = self.open.pop().ok_or(MALFORMED)?;
        self.scope.truncate(ended.declarations);
        let next = offset(self.tree.nodes.len() as u64)?;
        if let Some(node) = ended.node.and_then(|node| self.tree.nodes.get_mut(node)) {
            (node.end, node.next) = (to, next);
        }
        Ok(())
    }
}

fn offset(at: u64) -> Result<u32, Refused> {
    u32::try_from(at).map_err(|_| TOO_LARGE)
}

fn value<'a>(attribute: &Written<'a>) -> Result<Cow<'a, str>, Refused> {
    if attribute.value.contains('<') {
        return Err(MALFORMED);
    }
    let value = attribute.normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity).map_err(|_| ENTITY)?;
    // A value that is still borrowed contains no reference.
    match &value {
        Cow::Owned(text) if !text.chars().all(is_allowed) => Err(ENTITY),
        Cow::Owned(_) | Cow::Borrowed(_) => Ok(value),
    }
}

fn known(reference: &BytesRef<'_>) -> Result<(), Refused> {
    match reference.resolve_char_ref() {
        Ok(Some(char)) if is_allowed(char) => Ok(()),
        Ok(None) if resolve_xml_entity(reference).is_some() => Ok(()),
        Ok(_) | Err(_) => Err(ENTITY),
    }
}

/// Whether a character matches `Char` (XML 1.0, section 2.2).
fn is_allowed(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Checks the XML declaration, which must be at the very start of the body. US-ASCII is accepted because it is a subset of
/// UTF-8 and the ingress accepts it.
fn encoding(declaration: &BytesDecl<'_>, from: u32) -> Result<(), Refused> {
    let is_utf8 = |name: &str| ["utf-8", "utf8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known));
    match declaration.encoding() {
        _ if from > 0 => Err(MALFORMED),
        None => Ok(()),
        Some(Ok(name)) if is_utf8(&name) => Ok(()),
        Some(Ok(_)) => Err(refused(Reason::Malformed, "the XML declares an encoding other than UTF-8")),
        Some(Err(_)) => Err(MALFORMED),
    }
}
