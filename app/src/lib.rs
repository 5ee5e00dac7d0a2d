//! The web interface of Galera Console: rendered on the server, with islands that the browser keeps current.
//!
//! Feature `ssr` renders pages inside the gateway; feature `hydrate` compiles the islands into WebAssembly. The markup of
//! an island is a pure function of the page's state, the same on both sides.

#[cfg(feature = "ssr")]
mod app;
#[cfg(feature = "hydrate")]
mod browser;
#[cfg(feature = "hydrate")]
pub mod browser_app;
mod chrome;
mod data;
mod format;
#[cfg(feature = "ssr")]
pub mod fragments;
pub mod islands;
mod links;
mod live;
mod live_region;
#[cfg(feature = "ssr")]
mod loading;
mod marks;
mod markup;
mod overview_window;
mod page_url;
mod pages;
#[cfg(feature = "ssr")]
mod server_pages;
#[cfg(feature = "ssr")]
mod shell;
mod sides;
mod sparkline;
#[cfg(feature = "ssr")]
pub mod status_page;
mod topology;

#[cfg(feature = "ssr")]
pub use app::App;
#[cfg(feature = "ssr")]
pub use data::InProcessApi;
#[cfg(feature = "ssr")]
pub use pages::tab_segments as cluster_tabs;
#[cfg(feature = "ssr")]
pub use pages::{sign_in_error, sign_in_html};
#[cfg(feature = "ssr")]
pub use shell::{SiteAssets, THEME_COOKIE, TIME_COOKIE, shell};

#[cfg(test)]
mod fixtures;
