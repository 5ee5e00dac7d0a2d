//! Markup mounted in a page: created, hydrated from the server's HTML, and patched in place.

use std::future::{Future, ready};
use std::sync::Arc;

use leptos::attr::Attribute;
use leptos::attr::any_attribute::AnyAttribute;
use leptos::tachys::hydration::Cursor;
use leptos::tachys::renderer::types::{self, Element};
use leptos::tachys::renderer::{CastFrom, RemoveEventHandler, Rndr};
use leptos::tachys::view::add_attr::AddAnyAttr;
use leptos::tachys::view::{Mountable, Position, PositionState, Render, RenderHtml};
use leptos::wasm_bindgen::JsCast;

use super::{ChildNode, El, ElementData, EventHandler, Text};

const SVG_NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// An element in the page with the markup it was created from.
pub(crate) struct MountedElement {
    element: Element,
    tag: &'static str,
    key: Option<String>,
    attributes: Vec<(&'static str, Text)>,
    children: Vec<MountedNode>,
    inner_html: Option<Arc<str>>,
    svg: bool,
    /// Event listeners, removed with the element.
    listeners: Vec<RemoveEventHandler<Element>>,
}

enum MountedNode {
    El(MountedElement),
    Text(types::Text, Text),
}

impl MountedNode {
    fn node(&self) -> &types::Node {
        match self {
            Self::El(mounted) => mounted.element.as_ref(),
            Self::Text(node, _) => node.as_ref(),
        }
    }

    fn can_patch(&self, next: &ChildNode) -> bool {
        match (self, next) {
            (Self::El(mounted), ChildNode::El(el)) => mounted.is_same_element(el),
            (Self::Text(..), ChildNode::Text(_)) => true,
            _ => false,
        }
    }

    fn patch(&mut self, next: ChildNode) {
        match (self, next) {
            (Self::El(mounted), ChildNode::El(el)) => mounted.patch(el),
            (Self::Text(node, text), ChildNode::Text(next)) if *text != next => {
                Rndr::set_text(node, &next);
                *text = next;
            }
            _ => {}
        }
    }
}

fn create_node(node: ChildNode, svg: bool) -> MountedNode {
    match node {
        ChildNode::Text(text) => MountedNode::Text(Rndr::create_text_node(&text), text),
        ChildNode::El(el) => MountedNode::El(create_element(el, svg)),
    }
}

fn create_element(el: El, within_svg: bool) -> MountedElement {
    let svg = within_svg || el.0.tag == "svg";
    let element = Rndr::create_element(el.0.tag, svg.then_some(SVG_NAMESPACE));
    for (name, value) in &el.0.attributes {
        Rndr::set_attribute(&element, name, value);
    }
    let ElementData {
        tag,
        key,
        attributes,
        handlers,
        children,
        inner_html: served,
    } = *el.0;
    let mut mounted = MountedElement {
        element,
        tag,
        key,
        attributes,
        children: Vec::with_capacity(children.len()),
        inner_html: served,
        svg,
        listeners: Vec::new(),
    };
    if let Some(html) = &mounted.inner_html {
        set_inner_html(&mounted.element, html);
    }
    for child in children {
        let child = create_node(child, svg);
        Rndr::insert_node(&mounted.element, child.node(), None);
        mounted.children.push(child);
    }
    mounted.attach_handlers(handlers);
    mounted
}

/// Hydrates an element of the server's HTML. Children that differ are replaced.
fn hydrate_element(el: El, element: Element, within_svg: bool) -> MountedElement {
    let ElementData {
        tag,
        key,
        attributes,
        handlers,
        children,
        inner_html: served,
    } = *el.0;
    let svg = within_svg || tag == "svg";
    let mut mounted = MountedElement {
        element,
        tag,
        key,
        attributes,
        children: Vec::with_capacity(children.len()),
        inner_html: served,
        svg,
        listeners: Vec::new(),
    };
    let mut next = Rndr::first_child(mounted.element.as_ref());
    for child in children {
        let found = next.take();
        next = found.as_ref().and_then(Rndr::next_sibling);
        let child = mounted.hydrate_child(child, found.as_ref());
        mounted.children.push(child);
    }
    mounted.attach_handlers(handlers);
    mounted
}

#[cfg(feature = "hydrate")]
fn set_inner_html(element: &Element, html: &str) {
    element.set_inner_html(html);
}

/// Only browsers have elements.
#[cfg(not(feature = "hydrate"))]
fn set_inner_html(_element: &Element, _html: &str) {}

impl MountedElement {
    /// Whether `el` is a later version of this element.
    fn is_same_element(&self, el: &El) -> bool {
        self.tag == el.0.tag && self.key == el.0.key
    }

    fn hydrate_child(&self, child: ChildNode, found: Option<&types::Node>) -> MountedNode {
        let child = match (child, found.cloned()) {
            (ChildNode::El(el), Some(node)) => match Element::cast_from(node) {
                Some(element) if element.tag_name().eq_ignore_ascii_case(el.0.tag) => {
                    return MountedNode::El(hydrate_element(el, element, self.svg));
                }
                _ => ChildNode::El(el),
            },
            (ChildNode::Text(text), Some(node)) => match types::Text::cast_from(node) {
                Some(node) => return MountedNode::Text(node, text),
                None => ChildNode::Text(text),
            },
            (child, None) => child,
        };
        let created = create_node(child, self.svg);
        Rndr::insert_node(&self.element, created.node(), found);
        found.inspect(|found| Rndr::remove(found));
        leptos::logging::warn!(
            "hydration mismatch: replaced a node that differs from the server's HTML"
        );
        created
    }

    fn attach_handlers(&mut self, handlers: Vec<(&'static str, EventHandler)>) {
        let element = &self.element;
        let listen = |(event, handler): (_, EventHandler)| {
            Rndr::add_event_listener(
                element,
                event,
                Box::new(move |event| handler(event.unchecked_into())),
            )
        };
        self.listeners = handlers.into_iter().map(listen).collect();
    }

    /// Updates this element to `el`, which has the same tag and key.
    fn patch(&mut self, el: El) {
        self.patch_attributes(el.0.attributes);
        self.patch_inner_html(el.0.inner_html);
        let mut old = std::mem::take(&mut self.children);
        for next in el.0.children {
            let found = old.iter().position(|child| child.can_patch(&next));
            let child = match found {
                Some(index) => {
                    let mut child = old.remove(index);
                    child.patch(next);
                    if index > 0 {
                        self.insert_before(&child, &old);
                    }
                    child
                }
                None => {
                    let child = create_node(next, self.svg);
                    self.insert_before(&child, &old);
                    child
                }
            };
            self.children.push(child);
        }
        for child in old {
            Rndr::remove(child.node());
        }
    }

    fn patch_inner_html(&mut self, next: Option<Arc<str>>) {
        if self.inner_html == next {
            return;
        }
        #[cfg(feature = "hydrate")]
        if let Some(html) = &next {
            super::morph::morph(&self.element, html);
        }
        self.inner_html = next;
    }

    /// Inserts a child before those that are not placed yet.
    fn insert_before(&self, child: &MountedNode, rest: &[MountedNode]) {
        Rndr::insert_node(
            &self.element,
            child.node(),
            rest.first().map(MountedNode::node),
        );
    }

    fn patch_attributes(&mut self, next: Vec<(&'static str, Text)>) {
        for (name, value) in &next {
            let old = self.attributes.iter().find(|(old, _)| old == name);
            if old.is_none_or(|(_, old)| old != value) {
                Rndr::set_attribute(&self.element, name, value);
            }
        }
        for (name, _) in &self.attributes {
            if !next.iter().any(|(next, _)| next == name) {
                Rndr::remove_attribute(&self.element, name);
            }
        }
        self.attributes = next;
    }
}

impl Mountable for MountedElement {
    fn unmount(&mut self) {
        Rndr::remove(self.element.as_ref());
    }

    fn mount(&mut self, parent: &Element, marker: Option<&types::Node>) {
        Rndr::insert_node(parent, self.element.as_ref(), marker);
    }

    fn insert_before_this(&self, child: &mut dyn Mountable) -> bool {
        let Some(parent) = Rndr::get_parent(self.element.as_ref()).and_then(Element::cast_from)
        else {
            return false;
        };
        child.mount(&parent, Some(self.element.as_ref()));
        true
    }

    fn elements(&self) -> Vec<Element> {
        vec![self.element.clone()]
    }
}

impl Render for El {
    type State = MountedElement;

    fn build(self) -> MountedElement {
        create_element(self, false)
    }

    fn rebuild(self, state: &mut MountedElement) {
        if state.is_same_element(&self) {
            state.patch(self);
            return;
        }
        let mut fresh = self.build();
        state.insert_before_this(&mut fresh);
        state.unmount();
        *state = fresh;
    }
}

impl AddAnyAttr for El {
    type Output<NewAttr: Attribute> = Self;

    // Attributes are never spread onto views here.
    fn add_any_attr<NewAttr: Attribute>(self, _attribute: NewAttr) -> Self {
        self
    }
}

impl RenderHtml for El {
    type AsyncOutput = Self;
    type Owned = Self;

    const MIN_LENGTH: usize = 0;

    fn dry_resolve(&mut self) {}

    fn resolve(self) -> impl Future<Output = Self> + Send {
        ready(self)
    }

    fn to_html_with_buf(
        self,
        html: &mut String,
        position: &mut Position,
        _escape: bool,
        _mark_branches: bool,
        _extra_attributes: Vec<AnyAttribute>,
    ) {
        self.write_html(html);
        *position = Position::NextChild;
    }

    fn hydrate<const FROM_SERVER: bool>(
        self,
        cursor: &Cursor,
        position: &PositionState,
    ) -> MountedElement {
        match position.get() {
            Position::Current => {}
            Position::FirstChild => cursor.child(),
            _ => cursor.sibling(),
        }
        position.set(Position::NextChild);
        let node = cursor.current();
        match Element::cast_from(node.clone()) {
            Some(element) if element.tag_name().eq_ignore_ascii_case(self.0.tag) => {
                hydrate_element(self, element, false)
            }
            _ => {
                let mounted = self.build();
                if let Some(parent) = Rndr::get_parent(&node).and_then(Element::cast_from) {
                    Rndr::insert_node(&parent, mounted.element.as_ref(), Some(&node));
                }
                Rndr::remove(&node);
                cursor.set(AsRef::<types::Node>::as_ref(&mounted.element).clone());
                leptos::logging::warn!(
                    "hydration mismatch: replaced a node that differs from the server's HTML"
                );
                mounted
            }
        }
    }

    fn into_owned(self) -> Self {
        self
    }
}
