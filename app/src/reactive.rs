//! Bridge between markup and Leptos: reactive views, resources loaded from the API, titles.
//!
//! Generics end here: generic functions only box their closures and pass them to non-generic ones. A closure inside a
//! generic function would be compiled once per caller.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use galera::publish::api::ProblemDetails;
use leptos::prelude::*;
use leptos_meta::Title;

use crate::data;
use crate::live::use_live;
use crate::markup::{El, el};
use crate::pages::problem_page;

/// Markup that is re-rendered whenever a signal it reads changes.
pub(crate) fn dynamic_view(markup: impl Fn() -> El + Send + Sync + 'static) -> AnyView {
    boxed_view(Arc::new(markup))
}

fn boxed_view(markup: Arc<dyn Fn() -> El + Send + Sync>) -> AnyView {
    (move || markup()).into_any()
}

/// Runs now and whenever a signal it reads changes; in the browser only.
pub(crate) fn effect(act: impl FnMut() + 'static) {
    boxed_effect(Box::new(act));
}

fn boxed_effect(mut act: Box<dyn FnMut()>) {
    Effect::new(move |_| act());
}

/// Sets the window title.
pub(crate) fn page_title(text: impl Fn() -> String + Send + Sync + 'static) -> AnyView {
    boxed_title(Box::new(text))
}

fn boxed_title(text: Box<dyn Fn() -> String + Send + Sync>) -> AnyView {
    let live = use_live();
    let text = move || {
        let text = text();
        [&live.title_prefix(&text), &text, " · Galera Console"].concat()
    };
    // The server reads the title after the page is rendered. Suspense also runs views only to find what they load, and the
    // signals of such a run may have been disposed by then.
    #[cfg(not(feature = "hydrate"))]
    let text = text();
    view! { <Title text=text /> }.into_any()
}

/// Concatenates views.
pub(crate) fn join_views(views: Vec<AnyView>) -> AnyView {
    views.into_any()
}

/// An undecoded response of the API: the body, or the body of a problem. Transferred to the browser within the page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiResponse {
    is_problem: bool,
    body: Arc<str>,
}

pub(crate) type ApiResource =
    Resource<ApiResponse, leptos::server::codee::string::FromToStringCodec>;

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

impl fmt::Display for ApiResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_problem { "!" } else { "=" })?;
        f.write_str(&self.body)
    }
}

impl FromStr for ApiResponse {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self {
            is_problem: text.starts_with('!'),
            body: text.get(1..).unwrap_or_default().into(),
        })
    }
}

/// Loads an API path, again whenever the path changes. Nothing is requested for an empty path.
pub(crate) fn load(path: impl Fn() -> String + Send + Sync + 'static) -> ApiResource {
    boxed_load(Box::new(path))
}

fn boxed_load(path: Box<dyn Fn() -> String + Send + Sync>) -> ApiResource {
    ApiResource::new_str_blocking(path, |path| {
        let nothing = path.is_empty();
        let text = data::get_text(path, true);
        async move {
            if nothing {
                return ApiResponse::from(Err(data::local_problem("no_request", "", "")));
            }
            ApiResponse::from(text.await)
        }
    })
}

/// Shows a response. While another one is loading, the previous view stays.
pub(crate) fn loaded(
    loading: ApiResource,
    show: impl Fn(ApiResponse) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    boxed_loaded(loading, Arc::new(show))
}

fn boxed_loaded(
    loading: ApiResource,
    show: Arc<dyn Fn(ApiResponse) -> AnyView + Send + Sync>,
) -> AnyView {
    view! {
        <Transition fallback=|| dynamic_view(|| el("p").class("quiet").child("Loading…"))>
            {move || {
                let show = Arc::clone(&show);
                Suspend::new(async move { show(loading.await) })
            }}
        </Transition>
    }
    .into_any()
}

/// Shows a decoded response, or the problem in its place.
pub(crate) fn loaded_page<T: serde::de::DeserializeOwned>(
    loading: ApiResource,
    show: impl Fn(T) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    loaded(loading, move |response| match response.decode() {
        Ok(value) => show(value),
        Err(problem) => problem_page(problem),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_survive_the_transfer_within_a_page() {
        for response in [
            ApiResponse::from(Ok("{\"a\":1}".to_owned())),
            ApiResponse::from(Err(data::local_problem("c", "t", "d"))),
        ] {
            assert_eq!(response.to_string().parse(), Ok(response));
        }
    }

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
