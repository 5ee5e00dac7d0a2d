//! The part of a page that only the server renders: plans, actions, the audit trail.
//!
//! It changes rarely and has few readers; as HTML it adds nothing to the WebAssembly module. `app/browser/served-part.js`
//! fetches it again after changes and `forms.js` submits its forms. Without scripts pages are ordinary, with ordinary forms.

use leptos::prelude::*;

use crate::data::set_status;
use crate::live::use_live;
use crate::live_region::MarkupView;
use crate::loading::{ApiResponse, join_views, loaded, problem_page, title_view};
use crate::markup::{El, el};

/// Where the window title comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ServedTitle {
    /// The part is the page.
    OfPart,
    /// From what is beside the part.
    OfPage,
}

/// The server-rendered part of the page in the URL.
pub(super) fn served_part(title: ServedTitle) -> AnyView {
    let path = use_live().url.with_untracked(|url| {
        let mark = if url.query.is_empty() { "" } else { "?" };
        ["/fragments", &url.path, mark, &url.query].concat()
    });
    loaded(&path, move |response| {
        // A part of a page has a notice in its place instead.
        if title == ServedTitle::OfPart
            && let Err(problem) = response.title_and_html()
        {
            return problem_page(&problem);
        }
        // A response that the request is at fault for, such as a malformed parameter.
        if let Err(problem) = response.title_and_html()
            && problem.status < 500
        {
            set_status(problem.status);
        }
        let heading = match (title, response.title_and_html()) {
            (ServedTitle::OfPart, Ok((title, _))) => Some(title_view(title)),
            _ => None,
        };
        let part = MarkupView::from(part_markup(&response, title)).into_any();
        join_views(heading.into_iter().chain([part]).collect())
    })
}

/// `data-part` marks what the browser fetches again, and whether the window title comes with it.
fn part_markup(response: &ApiResponse, title: ServedTitle) -> El {
    let title = match title {
        ServedTitle::OfPart => "titled",
        ServedTitle::OfPage => "",
    };
    let part = el("div")
        .class("page")
        .attr("id", "served")
        .attr("data-part", title);
    match response.title_and_html() {
        Ok((_, html)) => part.inner_html(html.into()),
        Err(problem) => {
            let text = [&problem.title, ". ", &problem.detail].concat();
            part.child(el("p").class("notice").child(text))
        }
    }
}
