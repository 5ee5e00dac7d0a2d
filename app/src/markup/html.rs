//! Markup as HTML text, for server-side rendering.

use super::{ChildNode, El};

/// Elements without an end tag.
const VOID_ELEMENTS: [&str; 6] = ["br", "hr", "img", "input", "link", "meta"];

impl El {
    pub(crate) fn html(&self) -> String {
        let mut html = String::new();
        self.write_html(&mut html);
        html
    }

    /// Replaces the target of every link, or removes it.
    #[cfg(feature = "ssr")]
    pub(crate) fn map_links(&mut self, target: &dyn Fn(&str) -> Option<String>) {
        self.0.attributes.retain_mut(|(name, value)| {
            if *name != "href" {
                return true;
            }
            let mapped = target(value);
            if let Some(mapped) = &mapped {
                *value = mapped.clone().into();
            }
            mapped.is_some()
        });
        for child in &mut self.0.children {
            if let ChildNode::El(el) = child {
                el.map_links(target);
            }
        }
    }

    /// Keeps ages as they are: they are of another time than now.
    #[cfg(feature = "ssr")]
    pub(crate) fn without_ticking_ages(mut self) -> Self {
        self.0.attributes.retain(|(name, _)| *name != "data-age");
        let children = std::mem::take(&mut self.0.children).into_iter();
        self.0.children = children
            .map(|child| match child {
                ChildNode::El(el) => ChildNode::El(el.without_ticking_ages()),
                text @ ChildNode::Text(_) => text,
            })
            .collect();
        self
    }

    /// Appends the element as HTML with texts and attribute values escaped.
    pub(crate) fn write_html(&self, html: &mut String) {
        html.push('<');
        html.push_str(self.0.tag);
        for (name, value) in &self.0.attributes {
            html.push(' ');
            html.push_str(name);
            html.push_str("=\"");
            escape(value, html);
            html.push('"');
        }
        html.push('>');
        if VOID_ELEMENTS.contains(&self.0.tag) {
            return;
        }
        if let Some(served) = &self.0.inner_html {
            html.push_str(served);
        }
        for child in &self.0.children {
            match child {
                ChildNode::El(el) => el.write_html(html),
                ChildNode::Text(text) => escape(text, html),
            }
        }
        html.push_str("</");
        html.push_str(self.0.tag);
        html.push('>');
    }
}

fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            // HTML parsers change these characters, which would cause hydration mismatches.
            '\r' => html.push_str("&#13;"),
            '\0' => html.push('\u{fffd}'),
            _ => html.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::el;

    #[test]
    fn renders_nested_elements() {
        let el = el("p")
            .class("a")
            .child("x")
            .child(el("br"))
            .child(el("b").child("y"));
        assert_eq!(el.html(), "<p class=\"a\">x<br><b>y</b></p>");
    }

    #[test]
    fn escapes_texts_and_attributes() {
        let el = el("p")
            .attr("title", "\"><script>")
            .child("<script>&amp;</script>");
        let expected =
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;script&gt;&amp;amp;&lt;/script&gt;</p>";
        assert_eq!(el.html(), expected);
    }
}
