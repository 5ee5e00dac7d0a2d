//! The web interface of Galera Console: rendered on the server, hydrated in the browser.
//!
//! Feature `ssr` renders pages inside the gateway; feature `hydrate` hydrates them in the browser. Views are pure
//! functions of their data and of the server's clock, so that both sides produce the same markup; code that needs a
//! window or a timer runs in effects.

mod app;
#[cfg(feature = "hydrate")]
mod browser;
mod chrome;
mod data;
mod format;
#[cfg(feature = "ssr")]
pub mod fragments;
mod live;
mod marks;
mod markup;
mod pages;
mod reactive;
mod shell;
mod sides;
mod sparkline;
#[cfg(feature = "ssr")]
pub mod status_page;
mod topology;

pub use app::App;
#[cfg(feature = "ssr")]
pub use data::InProcessApi;
#[cfg(feature = "ssr")]
pub use pages::tab_segments as cluster_tabs;
#[cfg(feature = "ssr")]
pub use pages::{sign_in_error, sign_in_html};
#[cfg(feature = "ssr")]
pub use shell::THEME_COOKIE;
pub use shell::{SiteAssets, shell};

#[cfg(test)]
mod fixtures;
