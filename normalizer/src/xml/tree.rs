//! The elements of a parsed XML body, as the mappings of the formats see them.

use std::borrow::Cow;

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{Event, attributes::Attributes},
};

/// A well-formed document. `nodes` contains the elements in document order, each before its descendants.
pub(crate) struct Tree<'a> {
    pub(super) text: &'a str,
    pub(super) nodes: Vec<Node>,
}

/// An element, as byte offsets into the text. A node is kept small, because a body may contain an element for every four bytes;
/// attributes and text are parsed again when they are needed.
pub(super) struct Node {
    /// The offset of the `<` of the start tag.
    pub(super) start: u32,
    /// The offset of the name without its prefix, relative to `start`; `name_bytes` is its length.
    pub(super) name: u16,
    pub(super) name_bytes: u16,
    /// The offset after the start tag.
    pub(super) content: u32,
    /// The offset after the end tag.
    pub(super) end: u32,
    /// The index of the first node after all descendants of this one; 0 if the element belongs to another namespace than the one
    /// that was read. Such an element has no descendants in the tree.
    pub(super) next: u32,
}

impl<'a> Tree<'a> {
    /// The root element; `None` if it belongs to another namespace than the one that was read.
    pub(crate) fn root(&self) -> Option<Element<'_, 'a>> {
        self.element(0).filter(|root| !root.is_foreign())
    }

    fn element(&self, at: u32) -> Option<Element<'_, 'a>> {
        self.nodes.get(at as usize).map(|node| Element { tree: self, node, at })
    }

    pub(super) fn slice(&self, from: u32, to: u32) -> &'a str {
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// An element of a tree.
#[derive(Clone, Copy)]
pub(crate) struct Element<'t, 'a> {
    tree: &'t Tree<'a>,
    node: &'t Node,
    at: u32,
}

impl<'t, 'a> Element<'t, 'a> {
    /// The name of the element without its prefix.
    pub(crate) fn name(self) -> &'a str {
        let from = self.node.start + u32::from(self.node.name);
        self.tree.slice(from, from + u32::from(self.node.name_bytes))
    }

    /// The index of the element in the document. [`Element::numbered`] returns the element of an index.
    pub(crate) fn number(self) -> u32 {
        self.at
    }

    /// The element of the same document with this index.
    pub(crate) fn numbered(self, number: u32) -> Option<Self> {
        self.tree.element(number)
    }

    /// The element as it is written in the body, including its tags.
    pub(crate) fn outer(self) -> &'a str {
        self.tree.slice(self.node.start, self.node.end)
    }

    /// The number of elements in this subtree, including this one.
    pub(crate) fn elements(self) -> u32 {
        self.next() - self.at
    }

    /// The child elements of the namespace that was read.
    pub(crate) fn children(self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        self.all_children().filter(|child| !child.is_foreign())
    }

    /// The child elements, including those of other namespaces ([`Self::is_foreign`]).
    pub(crate) fn all_children(self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        let below = move |at: u32| self.tree.element(at).filter(|_| at < self.next());
        std::iter::successors(below(self.at + 1), move |child| below(child.next()))
    }

    /// Whether the element belongs to another namespace than the one that was read. Only its name can be read.
    pub(crate) fn is_foreign(self) -> bool {
        self.node.next == 0
    }

    fn next(self) -> u32 {
        if self.is_foreign() { self.at + 1 } else { self.node.next }
    }

    /// The attributes without a prefix, except namespace declarations. Their values are normalized (XML 1.0, section 3.3.3).
    pub(crate) fn attributes(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'t, 'a> {
        let tag = self.tree.slice(self.node.start, self.node.content).trim_end_matches(['/', '>']);
        let mut written = Attributes::new(tag, usize::from(self.node.name) + usize::from(self.node.name_bytes));
        // The pass that built the tree has already refused duplicate names.
        written.with_checks(false);
        written.filter_map(Result::ok).filter_map(|attribute| {
            let name = attribute.key.into_inner();
            let value = || attribute.normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity).ok();
            if name == "xmlns" || name.contains(':') { None } else { Some((name, value()?)) }
        })
    }

    /// The value of an attribute.
    pub(crate) fn attribute(self, name: &str) -> Option<Cow<'a, str>> {
        self.attributes().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The text directly inside the element, outside of its child elements, without comments and processing instructions.
    pub(crate) fn text(self) -> Cow<'a, str> {
        let inner = self.tree.slice(self.node.content, self.node.end);
        // `<` occurs only at the start of markup, and the last markup is the end tag.
        let content = inner.rfind('<').and_then(|end| inner.get(..end)).unwrap_or_default();
        let (mut from, mut all) = (0, Cow::Borrowed(""));
        let within = |at: u32| (at - self.node.content) as usize;
        let ends = self.children().map(|child| (within(child.node.start), within(child.node.end)));
        for (until, next) in ends.chain([(content.len(), 0)]) {
            let piece = resolved(content.get(from..until).unwrap_or_default());
            if all.is_empty() {
                all = piece;
            } else {
                all.to_mut().push_str(&piece);
            }
            from = next;
        }
        all
    }
}

/// The text of a piece without elements, with references and CDATA sections replaced. [`super::read()`] has checked that the
/// piece is well-formed.
fn resolved(piece: &str) -> Cow<'_, str> {
    if !piece.contains(['<', '&', '\r']) {
        return Cow::Borrowed(piece);
    }
    let mut reader = Reader::from_str(piece);
    let mut text = String::with_capacity(piece.len());
    loop {
        match reader.read_event() {
            Ok(Event::Text(run)) => text.push_str(&run.xml10_content()),
            Ok(Event::CData(run)) => text.push_str(&run.xml10_content()),
            Ok(Event::GeneralRef(reference)) => match reference.resolve_char_ref() {
                Ok(Some(char)) => text.push(char),
                Ok(None) | Err(_) => text.push_str(resolve_xml_entity(&reference).unwrap_or_default()),
            },
            Ok(Event::Eof) | Err(_) => return Cow::Owned(text),
            Ok(_) => {}
        }
    }
}
