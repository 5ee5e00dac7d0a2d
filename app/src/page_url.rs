//! The URL of the page.

use percent_encoding::percent_decode_str;

/// Path and query of the page, from the request on the server and from the location in the browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageUrl {
    pub(crate) path: String,
    /// Without its question mark.
    pub(crate) query: String,
}

impl PageUrl {
    /// The decoded segments of the path.
    fn segments(&self) -> impl Iterator<Item = String> {
        let segments = self.path.split('/').filter(|segment| !segment.is_empty());
        segments.map(decode)
    }

    /// The cluster that the page is about.
    pub(crate) fn cluster(&self) -> Option<String> {
        let mut segments = self.segments();
        (segments.next()? == "clusters").then_some(())?;
        segments.next()
    }

    /// The segment after the cluster's name: a tab, or `nodes`.
    pub(crate) fn tab(&self) -> Option<String> {
        self.cluster()?;
        self.segments().nth(2)
    }

    /// The node that the page is about.
    pub(crate) fn node(&self) -> Option<String> {
        (self.tab()? == "nodes").then_some(())?;
        self.segments().nth(3)
    }

    /// The first value of a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&');
        let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(decode(&value.replace('+', " ")))
    }
}

/// Percent-decodes a segment or a value.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(path: &str, query: &str) -> PageUrl {
        PageUrl {
            path: path.to_owned(),
            query: query.to_owned(),
        }
    }

    #[test]
    fn the_path_names_cluster_tab_and_node() {
        let node = url("/clusters/my%20lab/nodes/%5B::1%5D:3306", "");
        assert_eq!(node.cluster().as_deref(), Some("my lab"));
        assert_eq!(node.node().as_deref(), Some("[::1]:3306"));
        let tab = url("/clusters/lab/registry", "");
        assert_eq!((tab.tab().as_deref(), tab.node()), (Some("registry"), None));
        for path in ["/", "/actions/1", "/clusters"] {
            assert_eq!(url(path, "").cluster(), None, "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let query = url("/", "sort=name&q=a+b%26%C3%A9&qq=x");
        assert_eq!(query.parameter("q").as_deref(), Some("a b&é"));
        assert_eq!(query.parameter("sort").as_deref(), Some("name"));
        assert_eq!(query.parameter("verdict"), None);
    }
}
