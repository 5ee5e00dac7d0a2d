//! Where markup meets Leptos: shown again when a signal changes, loaded from the API, given a title.
//!
//! Everything generic ends here: closures are boxed, by functions that are generic, and reach Leptos in functions that
//! are not. A closure within a generic function would be compiled once for each of its callers.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use galera::publish::api::ProblemDetails;
use leptos::prelude::*;
use leptos_meta::Title;

use crate::data;
use crate::markup::{El, el};
use crate::pages::problem_page;

/// Markup that is made anew whenever a signal in it changes.
pub(crate) fn dynamic_view(markup: impl Fn() -> El + Send + Sync + 'static) -> AnyView {
    boxed_view(Arc::new(markup))
}

fn boxed_view(markup: Arc<dyn Fn() -> El + Send + Sync>) -> AnyView {
    (move || markup()).into_any()
}

/// Runs now and whenever a signal in it changes; in the browser only.
pub(crate) fn effect(act: impl FnMut() + 'static) {
    boxed_effect(Box::new(act));
}

fn boxed_effect(mut act: Box<dyn FnMut()>) {
    Effect::new(move |_| act());
}

/// The window's title.
pub(crate) fn page_title(text: impl Fn() -> String + Send + Sync + 'static) -> AnyView {
    boxed_title(Box::new(text))
}

fn boxed_title(text: Box<dyn Fn() -> String + Send + Sync>) -> AnyView {
    view! { <Title text=move || [&text(), " · Galera Console"].concat() /> }.into_any()
}

/// One view after the other.
pub(crate) fn join_views(views: Vec<AnyView>) -> AnyView {
    views.into_any()
}

/// An answer of the API as it came: the body, or the body of a problem. It travels within the server's page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiResponse {
    is_problem: bool,
    body: Arc<str>,
}

/// An answer that is on its way, or here.
pub(crate) type ApiResource =
    Resource<ApiResponse, leptos::server::codee::string::FromToStringCodec>;

impl ApiResponse {
    /// What the answer says.
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
    /// What the answer says where it is no JSON: one line, and all that follows.
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

/// Asks the API for a path, again whenever the path changes. An empty path asks for nothing.
pub(crate) fn load(path: impl Fn() -> String + Send + Sync + 'static) -> ApiResource {
    boxed_load(Box::new(path))
}

fn boxed_load(path: Box<dyn Fn() -> String + Send + Sync>) -> ApiResource {
    ApiResource::new_str_blocking(path, |path| {
        let nothing = path.is_empty();
        let text = data::get_text(path, true);
        async move {
            if nothing {
                return ApiResponse::from(Err(data::local_problem("nothing_asked", "", "")));
            }
            ApiResponse::from(text.await)
        }
    })
}

/// Shows what was loaded. While something is loaded again, the former view stays.
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

/// Shows what was loaded, or the problem in its place.
pub(crate) fn loaded_page<T: serde::de::DeserializeOwned>(
    loading: ApiResource,
    show: impl Fn(T) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    loaded(loading, move |answer| match answer.decode() {
        Ok(value) => show(value),
        Err(problem) => problem_page(problem),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_way_within_a_page() {
        for answer in [
            ApiResponse::from(Ok("{\"a\":1}".to_owned())),
            ApiResponse::from(Err(data::local_problem("c", "t", "d"))),
        ] {
            assert_eq!(answer.to_string().parse(), Ok(answer));
        }
    }

    #[test]
    fn problems_stay_problems() {
        let answer = ApiResponse::from(Err(data::local_problem("gone", "Gone", "It is gone.")));
        let problem = answer.decode::<Vec<u8>>().unwrap_err();
        assert_eq!(
            (problem.code.as_str(), problem.title.as_str()),
            ("gone", "Gone")
        );
    }

    #[test]
    fn unreadable_bodies_are_problems() {
        let answer = ApiResponse::from(Ok("<html>".to_owned()));
        assert_eq!(
            answer.decode::<Vec<u8>>().unwrap_err().code,
            "unreadable_answer"
        );
    }
}
