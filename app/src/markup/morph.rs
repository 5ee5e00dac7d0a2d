//! Replaces server-rendered HTML by a newer version in place. Unchanged elements are kept, so that keyboard focus,
//! typed text, open `details` and the selection survive.

use leptos::wasm_bindgen::JsCast;
use web_sys::{Element, Node};

/// Makes the content of `element` equal to `html`.
pub(super) fn morph(element: &Element, html: &str) {
    let target = element
        .clone_node()
        .ok()
        .and_then(|node| node.dyn_into::<Element>().ok());
    let Some(target) = target else {
        return;
    };
    target.set_inner_html(html);
    morph_children(element, &target);
}

fn morph_children(old: &Node, target: &Node) {
    let mut cursor = old.first_child();
    let mut next = target.first_child();
    while let Some(new) = next {
        next = new.next_sibling();
        match find_match(cursor.clone(), &new) {
            Some(found) => {
                // Nodes before it are removed at the end, or moved when their turn comes.
                if cursor.as_ref() == Some(&found) {
                    cursor = found.next_sibling();
                } else {
                    insert_before(old, &found, cursor.as_ref());
                }
                morph_node(&found, &new);
            }
            None => insert_before(old, &new, cursor.as_ref()),
        }
    }
    while let Some(rest) = cursor {
        cursor = rest.next_sibling();
        // The refusal of a form is the script's.
        if element_id(&rest).as_deref() != Some("refusal") {
            // Fails only if the node is not a child.
            let _ = old.remove_child(&rest);
        }
    }
}

/// The first of `old` and its later siblings that has the same name and id as `new`.
fn find_match(mut old: Option<Node>, new: &Node) -> Option<Node> {
    while let Some(candidate) = old {
        if candidate.node_name() == new.node_name() && element_id(&candidate) == element_id(new) {
            return Some(candidate);
        }
        old = candidate.next_sibling();
    }
    None
}

fn element_id(node: &Node) -> Option<String> {
    node.dyn_ref::<Element>().map(Element::id)
}

fn insert_before(parent: &Node, child: &Node, before: Option<&Node>) {
    // Fails only for a node that would contain itself.
    let _ = parent.insert_before(child, before);
}

fn morph_node(old: &Node, new: &Node) {
    let (Some(element), Some(target)) = (old.dyn_ref::<Element>(), new.dyn_ref::<Element>()) else {
        let text = new.node_value();
        if old.node_value() != text {
            old.set_node_value(text.as_deref());
        }
        return;
    };
    for name in attribute_names(target) {
        let value = target.get_attribute(&name);
        if element.get_attribute(&name) != value {
            // Fails only for invalid names, which the parser would have rejected.
            let _ = element.set_attribute(&name, &value.unwrap_or_default());
        }
    }
    for name in attribute_names(element) {
        // Open `details` are the reader's choice, and refused fields are marked by the script.
        let kept = matches!(name.as_str(), "open" | "aria-invalid" | "aria-errormessage");
        if !kept && !target.has_attribute(&name) {
            let _ = element.remove_attribute(&name);
        }
    }
    morph_children(element, target);
}

fn attribute_names(element: &Element) -> Vec<String> {
    let names = element.get_attribute_names();
    names.iter().filter_map(|name| name.as_string()).collect()
}
