//! Markup as data: what a view shows, without a type of its own for every view.
//!
//! Leptos compiles each `view!` into a type with its own code for rendering, hydrating and updating. Here a view is a
//! plain function that returns an [`El`], one type for all, patched into the page by one piece of code: a fraction of
//! the bytes for the browser, and testable without one. Only what Leptos itself manages (routes, loading, the title)
//! is written with its macro.

mod html;
#[cfg(feature = "hydrate")]
mod morph;
mod mounted;

use std::borrow::Cow;
use std::sync::Arc;

use leptos::web_sys::Event;

/// Text that is mostly known at compile time.
pub(crate) type Text = Cow<'static, str>;

/// What happens upon an event.
type EventHandler = Arc<dyn Fn(Event) + Send + Sync>;

/// An element with its attributes and children. Boxed, because views hand elements around a lot.
#[derive(Clone)]
pub(crate) struct El(Box<ElementData>);

#[derive(Clone)]
struct ElementData {
    tag: &'static str,
    /// Tells siblings apart when they change places.
    key: Option<String>,
    attributes: Vec<(&'static str, Text)>,
    /// Attached once, when the element appears.
    handlers: Vec<(&'static str, EventHandler)>,
    children: Vec<ChildNode>,
    /// HTML of the server in place of children.
    inner_html: Option<Arc<str>>,
}

/// A child of an element: another one, or text that is neither empty nor beside other text.
#[derive(Clone)]
enum ChildNode {
    El(El),
    Text(Text),
}

/// What can be put into an element.
pub(crate) enum Content {
    /// Nothing.
    None,
    /// Text.
    Text(Text),
    /// An element.
    El(El),
    /// One after the other.
    Many(Vec<Content>),
}

/// An element without anything yet.
#[inline(never)]
pub(crate) fn el(tag: &'static str) -> El {
    El(Box::new(ElementData {
        tag,
        key: None,
        attributes: Vec::new(),
        handlers: Vec::new(),
        children: Vec::new(),
        inner_html: None,
    }))
}

impl El {
    /// With an attribute.
    pub(crate) fn attr(mut self, name: &'static str, value: impl Into<Text>) -> Self {
        self.push_attribute(name, value.into());
        self
    }

    /// With an attribute if there is a value.
    pub(crate) fn optional_attr(self, name: &'static str, value: Option<impl Into<Text>>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// With a class.
    pub(crate) fn class(self, value: impl Into<Text>) -> Self {
        self.attr("class", value)
    }

    /// Recognised by `key` among its siblings.
    pub(crate) fn key(mut self, key: String) -> Self {
        self.0.key = Some(key);
        self
    }

    /// With children.
    pub(crate) fn child(mut self, child: impl Into<Content>) -> Self {
        self.push(child.into());
        self
    }

    /// With a handler, which stays the first one for as long as the element is there.
    pub(crate) fn on(
        mut self,
        event: &'static str,
        handler: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        self.0.handlers.push((event, Arc::new(handler)));
        self
    }

    /// With HTML that the server made in place of children. It must come from [`El::html`], which escapes.
    pub(crate) fn inner_html(mut self, html: Arc<str>) -> Self {
        self.0.inner_html = Some(html);
        self
    }

    // Never inlined: these are called from everywhere, and every byte of them would be there.
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

    /// A browser reads adjacent texts of a page as one, so they are one here too; and it reads no empty ones.
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
    fn texts_beside_each_other_are_one() {
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
    fn nothing_leaves_no_trace() {
        let el = el("p")
            .child(Content::None)
            .child(None::<El>)
            .child(Vec::<El>::new())
            .child("");
        assert!(el.0.children.is_empty());
    }
}
