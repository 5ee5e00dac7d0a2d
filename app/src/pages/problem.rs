//! Error pages.

use galera::publish::api::ProblemDetails;
#[cfg(feature = "ssr")]
use leptos::prelude::*;

#[cfg(feature = "ssr")]
use crate::data::set_status;
use crate::format::{code, link};
#[cfg(feature = "ssr")]
use crate::loading::{join_views, title_view};
#[cfg(feature = "ssr")]
use crate::markup::MarkupView;
use crate::markup::{El, el};

/// Replaces a page by a problem of the API.
#[cfg(feature = "ssr")]
pub(crate) fn problem_page(problem: ProblemDetails) -> AnyView {
    set_status(problem.status);
    join_views(vec![
        title_view(&problem.title),
        MarkupView::from(problem_markup(&problem)).into_any(),
    ])
}

/// A problem with its code and request ID, for finding it in the log.
pub(super) fn problem_markup(problem: &ProblemDetails) -> El {
    let status =
        (problem.status > 0).then(|| ["HTTP ", &problem.status.to_string(), ", "].concat());
    let request = (!problem.request_id.is_empty()).then(|| {
        el("span")
            .child(", request ")
            .child(code(problem.request_id.clone()))
    });
    // Not the request is at fault: the script loads the page again once it can.
    let temporary = problem.status == 0 || problem.status >= 500;
    el("section")
        .class("problem")
        .optional_attr("data-retry", temporary.then_some(""))
        .child(el("h1").child(problem.title.clone()))
        .child(el("p").child(problem.detail.clone()))
        .child(
            el("p")
                .class("quiet")
                .child(status)
                .child(code(problem.code.clone()))
                .child(request),
        )
        .child(
            el("p")
                .child(link(String::new(), "Try again"))
                .child(" or go to ")
                .child(link("/".to_owned(), "all clusters"))
                .child("."),
        )
}

/// The page for paths that lead nowhere.
#[cfg(feature = "ssr")]
pub(crate) fn not_found_page() -> AnyView {
    set_status(404);
    let hint = el("p")
        .child("The address may be mistyped, or the page may have moved. Go to ")
        .child(link("/".to_owned(), "all clusters"))
        .child(".");
    let markup = el("section")
        .class("problem")
        .child(el("h1").child("Page not found"))
        .child(hint);
    join_views(vec![
        title_view("Not found"),
        MarkupView::from(markup).into_any(),
    ])
}
