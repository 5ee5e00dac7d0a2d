//! Markup as data.
//!
//! Leptos compiles each `view!` into its own type with its own code for rendering, hydrating and updating. Here a view
//! is a plain function that returns an [`El`], a single type that is written as HTML in the server and in the browser, where
//! a library makes the page equal to it: a fraction of the WebAssembly size, and testable without a browser
//! (`docs/adr/0048-islands.md`). Only what Leptos itself manages (routes, loading, islands) uses its macros.

mod html;

use std::borrow::Cow;
use std::sync::Arc;

/// Text that is usually known at compile time.
pub(crate) type Text = Cow<'static, str>;

/// An element with attributes and children. Boxed, because views move elements around a lot.
#[derive(Clone)]
pub(crate) struct El(Box<ElementData>);

#[derive(Clone)]
struct ElementData {
    tag: &'static str,
    attributes: Vec<(&'static str, Text)>,
    children: Vec<ChildNode>,
    /// Server-rendered HTML in place of children.
    inner_html: Option<Arc<str>>,
}

/// A child node. Texts are neither empty nor adjacent to other texts.
#[derive(Clone)]
enum ChildNode {
    El(El),
    Text(Text),
}

/// What can be added to an element.
pub(crate) enum Content {
    None,
    Text(Text),
    El(El),
    /// A sequence.
    Many(Vec<Content>),
}

/// An element without attributes and children.
#[inline(never)]
pub(crate) fn el(tag: &'static str) -> El {
    El(Box::new(ElementData {
        tag,
        attributes: Vec::new(),
        children: Vec::new(),
        inner_html: None,
    }))
}

impl El {
    /// Adds an attribute.
    pub(crate) fn attr(mut self, name: &'static str, value: impl Into<Text>) -> Self {
        self.push_attribute(name, value.into());
        self
    }

    /// Adds an attribute if there is a value.
    pub(crate) fn optional_attr(self, name: &'static str, value: Option<impl Into<Text>>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    pub(crate) fn class(self, value: impl Into<Text>) -> Self {
        self.attr("class", value)
    }

    /// Adds content.
    pub(crate) fn child(mut self, child: impl Into<Content>) -> Self {
        self.push(child.into());
        self
    }

    /// Sets server-rendered HTML in place of children. It must come from [`El::html`], which escapes.
    #[cfg(feature = "ssr")]
    pub(crate) fn inner_html(mut self, html: Arc<str>) -> Self {
        self.0.inner_html = Some(html);
        self
    }

    // Not inlined, because these are called everywhere and would be duplicated at every call.
    #[inline(never)]
    fn push_attribute(&mut self, name: &'static str, value: Text) {
        self.0.attributes.push((name, value));
    }

    #[inline(never)]
    fn push(&mut self, child: Content) {
        match child {
            Content::None => {}
            Content::El(el) => self.0.children.push(ChildNode::El(el)),
            Content::Many(children) => children.into_iter().for_each(|child| self.push(child)),
            Content::Text(text) => self.push_text(text),
        }
    }

    /// The HTML parser merges adjacent texts and drops empty ones; so do we.
    fn push_text(&mut self, text: Text) {
        if let Some(ChildNode::Text(last)) = self.0.children.last_mut() {
            last.to_mut().push_str(&text);
        } else if !text.is_empty() {
            self.0.children.push(ChildNode::Text(text));
        }
    }
}

impl From<El> for Content {
    fn from(el: El) -> Self {
        Self::El(el)
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<T: Into<Content>> From<Option<T>> for Content {
    fn from(child: Option<T>) -> Self {
        child.map_or(Self::None, Into::into)
    }
}

impl<T: Into<Content>> From<Vec<T>> for Content {
    fn from(children: Vec<T>) -> Self {
        Self::Many(children.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Content>, const N: usize> From<[T; N]> for Content {
    fn from(children: [T; N]) -> Self {
        Self::Many(children.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_adjacent_texts() {
        let el = el("p")
            .child("a")
            .child(String::new())
            .child("b")
            .child(self::el("b"))
            .child("")
            .child("c");
        let shape: Vec<&str> =
            el.0.children
                .iter()
                .map(|child| match child {
                    ChildNode::El(el) => el.0.tag,
                    ChildNode::Text(text) => text,
                })
                .collect();
        assert_eq!(shape, ["ab", "b", "c"]);
    }

    #[test]
    fn empty_content_adds_no_child() {
        let el = el("p")
            .child(Content::None)
            .child(None::<El>)
            .child(Vec::<El>::new())
            .child("");
        assert!(el.0.children.is_empty());
    }
}
