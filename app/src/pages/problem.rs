//! Pages that say what went wrong.

use galera::publish::api::Problem;
use leptos::prelude::*;

use crate::data::set_status;
use crate::format::{code, link};
use crate::markup::{El, el};
use crate::reactive::{all, live, title};

/// A problem of the API in place of a page.
pub(crate) fn problem_page(problem: Problem) -> AnyView {
    set_status(problem.status);
    let heading = problem.title.clone();
    all(vec![
        title(move || heading.clone()),
        live(move || problem_markup(&problem)),
    ])
}

/// A problem, with what helps to find it in the log.
pub(super) fn problem_markup(problem: &Problem) -> El {
    let status =
        (problem.status > 0).then(|| ["HTTP ", &problem.status.to_string(), ", "].concat());
    let request = (!problem.request_id.is_empty()).then(|| {
        el("span")
            .with(", request ")
            .with(code(problem.request_id.clone()))
    });
    el("section")
        .class("problem")
        .with(el("h1").with(problem.title.clone()))
        .with(el("p").with(problem.detail.clone()))
        .with(
            el("p")
                .class("quiet")
                .with(status)
                .with(code(problem.code.clone()))
                .with(request),
        )
        .with(
            el("p")
                .with(link(String::new(), "Try again").at("rel", "external"))
                .with(" or go to ")
                .with(link("/".to_owned(), "all clusters"))
                .with("."),
        )
}

/// No route leads here.
pub(crate) fn missing_page() -> AnyView {
    set_status(404);
    let markup = || {
        el("section").class("problem").with(el("h1").with("There is no such page")).with(
            el("p")
                .with("The address leads nowhere. It may be mistyped, or the page may have moved. Go to ")
                .with(link("/".to_owned(), "all clusters"))
                .with("."),
        )
    };
    all(vec![title(|| "Not found".to_owned()), live(markup)])
}
