//! XML bodies (XML 1.0, Namespaces in XML 1.0): checked and read in one pass into a tree that borrows from them. `read`
//! builds it; here is what the formats see of it.
//!
//! No type here has `Debug`: they hold health data.

mod namespace;
mod read;

use std::borrow::Cow;

use quick_xml::{Reader, escape::resolve_xml_entity, events::Event};

pub(crate) use read::read;

/// A well-formed document. Its elements stand in the order of the document, each before what it holds.
pub(crate) struct Tree<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    attributes: Vec<Attribute<'a>>,
}

/// An element: where its parts stand in the text. Small, as a body may hold an element for every four bytes.
struct Node {
    /// Where `<` stands.
    start: u32,
    name: u32,
    name_end: u32,
    content: u32,
    content_end: u32,
    /// Behind the end tag.
    end: u32,
    /// The node behind all that this one holds.
    next: u32,
    /// The first of its attributes; they end where those of the next node begin.
    attributes: u32,
}

/// An attribute without a prefix, its value normalized (XML 1.0, section 3.3.3).
struct Attribute<'a> {
    name: &'a str,
    value: Cow<'a, str>,
}

impl<'a> Tree<'a> {
    /// The root; none where it is of another namespace than the one that was read.
    pub(crate) fn root(&self) -> Option<Element<'_, 'a>> {
        self.element(0)
    }

    fn element(&self, at: usize) -> Option<Element<'_, 'a>> {
        self.nodes.get(at).map(|node| Element { tree: self, node, at })
    }

    fn slice(&self, from: u32, to: u32) -> &'a str {
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// An element of a tree.
#[derive(Clone, Copy)]
pub(crate) struct Element<'t, 'a> {
    tree: &'t Tree<'a>,
    node: &'t Node,
    at: usize,
}

impl<'t, 'a> Element<'t, 'a> {
    /// Its name without the prefix.
    pub(crate) fn name(self) -> &'a str {
        self.tree.slice(self.node.name, self.node.name_end)
    }

    /// The element as it stands in the body, with its tags.
    pub(crate) fn outer(self) -> &'a str {
        self.tree.slice(self.node.start, self.node.end)
    }

    /// The elements right below it.
    pub(crate) fn children(self) -> impl Iterator<Item = Self> + use<'t, 'a> {
        let below = |at: usize| self.tree.element(at).filter(|_| at < self.node.next as usize);
        std::iter::successors(below(self.at + 1), move |child| below(child.node.next as usize))
    }

    /// Its attributes without a prefix, but for the declarations of namespaces.
    pub(crate) fn attributes(self) -> impl Iterator<Item = (&'a str, &'t Cow<'a, str>)> {
        let until =
            self.tree.nodes.get(self.at + 1).map_or(self.tree.attributes.len(), |next| next.attributes as usize);
        let own = self.tree.attributes.get(self.node.attributes as usize..until).unwrap_or_default();
        own.iter().map(|attribute| (attribute.name, &attribute.value))
    }

    /// The value of an attribute.
    pub(crate) fn attribute(self, name: &str) -> Option<Cow<'a, str>> {
        self.attributes().find(|(found, _)| *found == name).map(|(_, value)| value.clone())
    }

    /// The text right inside it, around its elements, without comments and processing instructions.
    pub(crate) fn text(self) -> Cow<'a, str> {
        let (mut from, mut all) = (self.node.content, Cow::Borrowed(""));
        let ends = self.children().map(|child| (child.node.start, child.node.end));
        for (until, next) in ends.chain([(self.node.content_end, 0)]) {
            let piece = resolved(self.tree.slice(from, until));
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

/// The characters that a piece without elements stands for; [`read()`] has seen that it is well-formed.
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
