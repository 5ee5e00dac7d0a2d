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
type Handler = Arc<dyn Fn(Event) + Send + Sync>;

/// An element with its attributes and children. Boxed, because views hand elements around a lot.
#[derive(Clone)]
pub(crate) struct El(Box<Parts>);

#[derive(Clone)]
struct Parts {
    tag: &'static str,
    /// Tells siblings apart when they change places.
    key: Option<String>,
    attributes: Vec<(&'static str, Text)>,
    /// Attached once, when the element appears.
    handlers: Vec<(&'static str, Handler)>,
    children: Vec<Node>,
    /// HTML of the server in place of children.
    served: Option<Arc<str>>,
}

/// A child of an element: another one, or text that is neither empty nor beside other text.
#[derive(Clone)]
enum Node {
    El(El),
    Text(Text),
}

/// What can be put into an element.
pub(crate) enum Child {
    /// Nothing.
    None,
    /// Text.
    Text(Text),
    /// An element.
    El(El),
    /// One after the other.
    Many(Vec<Child>),
}

/// An element without anything yet.
#[inline(never)]
pub(crate) fn el(tag: &'static str) -> El {
    El(Box::new(Parts {
        tag,
        key: None,
        attributes: Vec::new(),
        handlers: Vec::new(),
        children: Vec::new(),
        served: None,
    }))
}

impl El {
    /// With an attribute.
    pub(crate) fn at(mut self, name: &'static str, value: impl Into<Text>) -> Self {
        self.attribute(name, value.into());
        self
    }

    /// With an attribute if there is a value.
    pub(crate) fn maybe(self, name: &'static str, value: Option<impl Into<Text>>) -> Self {
        match value {
            Some(value) => self.at(name, value),
            None => self,
        }
    }

    /// With a class.
    pub(crate) fn class(self, value: impl Into<Text>) -> Self {
        self.at("class", value)
    }

    /// Recognised by `key` among its siblings.
    pub(crate) fn key(mut self, key: String) -> Self {
        self.0.key = Some(key);
        self
    }

    /// With children.
    pub(crate) fn with(mut self, child: impl Into<Child>) -> Self {
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
    pub(crate) fn served(mut self, html: Arc<str>) -> Self {
        self.0.served = Some(html);
        self
    }

    // Never inlined: these are called from everywhere, and every byte of them would be there.
    #[inline(never)]
    fn attribute(&mut self, name: &'static str, value: Text) {
        self.0.attributes.push((name, value));
    }

    #[inline(never)]
    fn push(&mut self, child: Child) {
        match child {
            Child::None => {}
            Child::El(el) => self.0.children.push(Node::El(el)),
            Child::Many(children) => children.into_iter().for_each(|child| self.push(child)),
            Child::Text(text) => self.push_text(text),
        }
    }

    /// A browser reads adjacent texts of a page as one, so they are one here too; and it reads no empty ones.
    fn push_text(&mut self, text: Text) {
        if let Some(Node::Text(last)) = self.0.children.last_mut() {
            last.to_mut().push_str(&text);
        } else if !text.is_empty() {
            self.0.children.push(Node::Text(text));
        }
    }
}

impl From<El> for Child {
    fn from(el: El) -> Self {
        Self::El(el)
    }
}

impl From<&'static str> for Child {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Child {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<T: Into<Child>> From<Option<T>> for Child {
    fn from(child: Option<T>) -> Self {
        child.map_or(Self::None, Into::into)
    }
}

impl<T: Into<Child>> From<Vec<T>> for Child {
    fn from(children: Vec<T>) -> Self {
        Self::Many(children.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Child>, const N: usize> From<[T; N]> for Child {
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
            .with("a")
            .with(String::new())
            .with("b")
            .with(self::el("b"))
            .with("")
            .with("c");
        let shape: Vec<&str> =
            el.0.children
                .iter()
                .map(|child| match child {
                    Node::El(el) => el.0.tag,
                    Node::Text(text) => text,
                })
                .collect();
        assert_eq!(shape, ["ab", "b", "c"]);
    }

    #[test]
    fn nothing_leaves_no_trace() {
        let el = el("p")
            .with(Child::None)
            .with(None::<El>)
            .with(Vec::<El>::new())
            .with("");
        assert!(el.0.children.is_empty());
    }
}
