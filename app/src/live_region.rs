//! Live regions of a page: markup as a Leptos view, written by the server and adopted as it is in the browser.

use std::future::{Future, ready};

use leptos::attr::Attribute;
use leptos::attr::any_attribute::AnyAttribute;
use leptos::tachys::hydration::Cursor;
use leptos::tachys::renderer::types::Element;
use leptos::tachys::view::add_attr::AddAnyAttr;
use leptos::tachys::view::{Mountable, Position, PositionState, Render, RenderHtml};

#[cfg(feature = "hydrate")]
use crate::live::boxed_effect;
use crate::live::{LiveState, use_live};
use crate::markup::{El, el};

/// Markup of a live region from the state of the page. `None` while what it shows is not known; the region then stays as
/// it is. Runs again whenever a signal it reads changes.
pub(crate) type RegionMarkup = fn(LiveState) -> Option<El>;

/// One element of a page.
pub(crate) enum MarkupView {
    /// Rendered by the server and never changed.
    Served(El),
    /// Kept current in the browser.
    Region(RegionMarkup),
}

/// A live region. Its server-rendered element stays until something newer is known, so that nothing is transferred twice.
pub(crate) fn live_region(markup: RegionMarkup) -> MarkupView {
    MarkupView::Region(markup)
}

/// The view in a page, which is never removed.
pub(crate) struct AdoptedElement;

impl Mountable for AdoptedElement {
    fn unmount(&mut self) {}

    fn mount(
        &mut self,
        _parent: &Element,
        _marker: Option<&leptos::tachys::renderer::types::Node>,
    ) {
    }

    fn insert_before_this(&self, _child: &mut dyn Mountable) -> bool {
        false
    }

    fn elements(&self) -> Vec<Element> {
        Vec::new()
    }
}

impl Render for MarkupView {
    type State = AdoptedElement;

    /// Only servers create elements.
    fn build(self) -> AdoptedElement {
        AdoptedElement
    }

    fn rebuild(self, _state: &mut AdoptedElement) {}
}

impl AddAnyAttr for MarkupView {
    type Output<NewAttr: Attribute> = Self;

    // Attributes are never spread onto views here.
    fn add_any_attr<NewAttr: Attribute>(self, _attribute: NewAttr) -> Self {
        self
    }
}

impl RenderHtml for MarkupView {
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
        let markup = match self {
            Self::Served(el) => Some(el),
            Self::Region(markup) => markup(use_live()),
        };
        // A region needs an element to be adopted.
        markup.unwrap_or_else(|| el("div")).write_html(html);
        *position = Position::NextChild;
    }

    fn hydrate<const FROM_SERVER: bool>(
        self,
        cursor: &Cursor,
        _position: &PositionState,
    ) -> AdoptedElement {
        #[cfg(feature = "hydrate")]
        if let Self::Region(markup) = self {
            use leptos::tachys::renderer::CastFrom;
            cursor.child();
            if let Some(element) = Element::cast_from(cursor.current()) {
                keep_current(element, markup);
            }
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = cursor;
        AdoptedElement
    }

    fn into_owned(self) -> Self {
        self
    }
}

/// Replaces the content of `element` whenever the region's markup changes.
#[cfg(feature = "hydrate")]
fn keep_current(element: Element, markup: RegionMarkup) {
    let live = use_live();
    let mut shown = String::new();
    boxed_effect(Box::new(move || {
        let html = markup(live).map(|el| el.html());
        if let Some(html) = html.filter(|html| *html != shown) {
            crate::browser::morph(&element, &html);
            shown = html;
        }
    }));
}

impl From<El> for MarkupView {
    fn from(el: El) -> Self {
        Self::Served(el)
    }
}
