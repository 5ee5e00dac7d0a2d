//! Markup of problems.

use galera::publish::api::ProblemDetails;

use crate::format::{code, link};
use crate::markup::{El, el};

/// A problem with its code and request ID, for finding it in the log.
pub(crate) fn problem_markup(problem: &ProblemDetails) -> El {
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
