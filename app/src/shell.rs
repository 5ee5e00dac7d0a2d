//! The HTML document around the interface.

use leptos::prelude::*;
use leptos_meta::MetaTags;

use crate::App;

/// Where the built site's files are, as the page names them; a context of every page request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteAssets {
    /// URL of wasm-bindgen's glue, a JavaScript module.
    pub js: String,
    /// URL of the WebAssembly.
    pub wasm: String,
    /// URL of the style sheet.
    pub css: String,
}

/// The button of the footer. The address says exactly what is shown. Browsers have no clipboard for pages without https;
/// then it is shown to be copied by hand.
const COPY_LINK_SCRIPT: &str = "onclick=e=>{let b=e.target,u=location.href;if(b.id!='copy')return;\
    let c=navigator.clipboard;if(!c)return void prompt('The address of this page',u);\
    let t=b.textContent;c.writeText(u).then(()=>{b.textContent='Copied';setTimeout(()=>b.textContent=t,2e3)})}";

/// The document of every page. Takes [`SiteAssets`] and the nonce from the context; without assets (while the list of
/// routes is made) the document has none.
#[must_use]
pub fn shell() -> impl IntoView {
    let SiteAssets { js, wasm, css } = use_context().unwrap_or_default();
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                // The browser counts ages by this clock until the live channel tells it better.
                <meta name="server-time" content=server_time() />
                <link rel="stylesheet" href=css />
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                <link rel="preload" href=wasm.clone() r#as="fetch" type="application/wasm" crossorigin="" />
                <link rel="modulepreload" href=js.clone() />
                <script type="module" nonce=nonce()>
                    {format!(
                        "import init,{{hydrate}} from {js:?};init({{module_or_path:{wasm:?}}}).then(()=>hydrate());{COPY_LINK_SCRIPT}",
                    )}
                </script>
                <MetaTags />
            </head>
            <body>
                {App()}
            </body>
        </html>
    }
}

/// The clock of the machine that renders the page; the document around the interface is never hydrated.
fn server_time() -> Option<String> {
    #[cfg(feature = "ssr")]
    {
        let since_1970 = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?;
        let millis = i64::try_from(since_1970.as_millis()).ok()?;
        Some(galera::Timestamp::from_unix_millis(millis).to_string())
    }
    #[cfg(not(feature = "ssr"))]
    None
}

#[cfg(feature = "ssr")]
fn nonce() -> Option<leptos::nonce::Nonce> {
    leptos::nonce::use_nonce()
}

#[cfg(not(feature = "ssr"))]
fn nonce() -> Option<String> {
    None
}
