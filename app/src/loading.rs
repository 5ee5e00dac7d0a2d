//! Loading of pages on the server: responses of the API, titles, views.

use std::sync::Arc;

use galera::publish::api::ProblemDetails;
use leptos::prelude::*;
use leptos_meta::Title;

use crate::data;
use crate::live::use_live;
use crate::live_region::MarkupView;
use crate::pages::problem_markup;

/// Sets the window title.
pub(crate) fn title_view(text: &str) -> AnyView {
    let text = [&use_live().title_prefix(text), text, " · Galera Console"].concat();
    view! { <Title text=text /> }.into_any()
}

/// Concatenates views.
pub(crate) fn join_views(views: Vec<AnyView>) -> AnyView {
    views.into_any()
}

/// An undecoded response of the API: the body, or the body of a problem.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiResponse {
    is_problem: bool,
    body: Arc<str>,
}

impl ApiResponse {
    /// Decodes a JSON body.
    pub(crate) fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, ProblemDetails> {
        if self.is_problem {
            return Err(
                serde_json::from_str(&self.body).unwrap_or_else(|_| data::unreadable_response())
            );
        }
        serde_json::from_str(&self.body).map_err(|_| data::unreadable_response())
    }
}

impl ApiResponse {
    /// Splits a fragment into its first line, the title, and the HTML that follows.
    pub(crate) fn title_and_html(&self) -> Result<(&str, &str), ProblemDetails> {
        if self.is_problem {
            return self.decode::<()>().map(|()| ("", ""));
        }
        Ok(self.body.split_once('\n').unwrap_or((&self.body, "")))
    }
}

impl From<Result<String, ProblemDetails>> for ApiResponse {
    fn from(result: Result<String, ProblemDetails>) -> Self {
        match result {
            Ok(body) => Self {
                is_problem: false,
                body: body.into(),
            },
            Err(problem) => Self {
                is_problem: true,
                body: data::problem_json(&problem).into(),
            },
        }
    }
}

/// Shows the response of the API at `path`.
pub(crate) fn loaded(
    path: &str,
    show: impl FnOnce(ApiResponse) -> AnyView + Send + 'static,
) -> AnyView {
    let response = data::get_text(path);
    Suspend::new(async move { show(ApiResponse::from(response.await)) }).into_any()
}

/// Shows the decoded response, or the problem in its place.
pub(crate) fn loaded_page<T: serde::de::DeserializeOwned>(
    path: &str,
    show: impl FnOnce(T) -> AnyView + Send + 'static,
) -> AnyView {
    loaded(path, move |response| match response.decode() {
        Ok(value) => show(value),
        Err(problem) => problem_page(&problem),
    })
}

/// Replaces a page by a problem of the API.
pub(crate) fn problem_page(problem: &ProblemDetails) -> AnyView {
    data::set_status(problem.status);
    join_views(vec![
        title_view(&problem.title),
        MarkupView::from(problem_markup(problem)).into_any(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_decoded_as_errors() {
        let response = ApiResponse::from(Err(data::local_problem("gone", "Gone", "It is gone.")));
        let problem = response.decode::<Vec<u8>>().unwrap_err();
        assert_eq!(
            (problem.code.as_str(), problem.title.as_str()),
            ("gone", "Gone")
        );
    }

    #[test]
    fn unreadable_bodies_are_problems() {
        let response = ApiResponse::from(Ok("<html>".to_owned()));
        assert_eq!(
            response.decode::<Vec<u8>>().unwrap_err().code,
            "unreadable_answer"
        );
    }
}
