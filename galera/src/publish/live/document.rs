//! The document of a topic, and what differs between two of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::merge_patch;
use crate::view::{ClusterView, NodeView};

/// Members that change with every commit or every report. [`ClusterView::has_same_states`] ignores the same ones.
const NUMBERS: [&str; 10] = [
    "behind",
    "cached_from",
    "commit_rate",
    "flow_control_paused",
    "observed_at",
    "recent_rates",
    "recv_queue",
    "revision",
    "send_queue",
    "seqno",
];
/// The keys of the rows in the order of display.
const ORDER: &str = "order";

/// The value of a topic: members of its own, and rows that are shared between versions and between topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicDocument {
    head: Map<String, Value>,
    /// The member that holds the rows.
    rows_name: &'static str,
    rows: BTreeMap<String, Arc<Map<String, Value>>>,
    /// Whether the rows are chosen and sorted by numbers.
    ranked_by_numbers: bool,
}

/// What differs between two documents.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentChange {
    /// A JSON merge patch; an empty object if nothing differs.
    pub patch: Value,
    /// Whether more than numbers and times differs.
    pub states: bool,
}

impl TopicDocument {
    pub(super) fn new(
        head: Map<String, Value>,
        rows_name: &'static str,
        rows: impl IntoIterator<Item = (String, Arc<Map<String, Value>>)>,
    ) -> Self {
        let rows = rows.into_iter().collect();
        Self {
            head,
            rows_name,
            rows,
            ranked_by_numbers: false,
        }
    }

    pub(super) fn ranked_by_numbers(mut self, ranked: bool) -> Self {
        self.ranked_by_numbers = ranked;
        self
    }

    /// The document of `cluster/NAME`.
    #[must_use]
    pub fn of_cluster(view: &ClusterView) -> Self {
        let mut head = object_of(view);
        head.remove("nodes");
        let ids = view.nodes.iter().map(|node| node.id.to_string());
        head.insert(ORDER.to_owned(), ids.collect());
        let rows = view
            .nodes
            .iter()
            .map(|node| (node.id.to_string(), Arc::new(node_row(node))));
        Self::new(head, "nodes", rows)
    }

    /// The view of a document of `cluster/NAME`; `None` if it is none. The inverse of [`Self::of_cluster`].
    #[must_use]
    pub fn cluster_view(mut document: Map<String, Value>) -> Option<ClusterView> {
        let order = document.remove(ORDER)?;
        let Some(Value::Object(mut rows)) = document.remove("nodes") else {
            return None;
        };
        let mut nodes = Vec::new();
        for id in order.as_array()? {
            let mut row = rows.remove(id.as_str()?)?;
            if let Some(Value::Object(named)) = row.get_mut("sources").map(Value::take) {
                // In the order of `SourceKind`, as in a view.
                let sources = ["sql", "registry"].into_iter().filter_map(|kind| {
                    let mut source = named.get(kind)?.clone();
                    source
                        .as_object_mut()?
                        .insert("kind".to_owned(), kind.into());
                    Some(source)
                });
                row["sources"] = sources.collect();
            }
            nodes.push(row);
        }
        document.insert("nodes".to_owned(), nodes.into());
        serde_json::from_value(Value::Object(document)).ok()
    }

    /// The document of `actions`: each action with its key, newest first.
    #[must_use]
    pub fn of_actions<T: Serialize>(actions: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut order = Vec::new();
        let rows: Vec<_> = actions
            .into_iter()
            .map(|(id, action)| {
                order.push(id.clone());
                (id, Arc::new(object_of(&action)))
            })
            .collect();
        let mut head = Map::new();
        head.insert(ORDER.to_owned(), order.into());
        Self::new(head, "actions", rows)
    }

    /// The whole document.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut whole = self.head.clone();
        let rows = self.rows.iter();
        let rows = rows.map(|(key, row)| (key.clone(), Value::Object(Map::clone(row))));
        whole.insert(self.rows_name.to_owned(), rows.collect());
        Value::Object(whole)
    }

    /// What has changed since `base`, a document of the same topic.
    #[must_use]
    pub fn change_since(&self, base: &Self) -> DocumentChange {
        let mut patch = merge_patch::between(&base.head, &self.head);
        let ranks = |name: &str| self.ranked_by_numbers && name == ORDER;
        let mut states = patch
            .iter()
            .any(|(name, value)| !ranks(name) && is_state(name, value));
        let mut rows = Map::new();
        for key in base.rows.keys() {
            if !self.rows.contains_key(key) {
                states |= !self.ranked_by_numbers;
                rows.insert(key.clone(), Value::Null);
            }
        }
        for (key, row) in &self.rows {
            match base.rows.get(key) {
                Some(before) if Arc::ptr_eq(before, row) => {}
                Some(before) => {
                    let change = merge_patch::between(before, row);
                    states |= change.iter().any(|(name, value)| is_state(name, value));
                    if !change.is_empty() {
                        rows.insert(key.clone(), Value::Object(change));
                    }
                }
                None => {
                    states |= !self.ranked_by_numbers;
                    rows.insert(key.clone(), Value::Object(Map::clone(row)));
                }
            }
        }
        if !rows.is_empty() {
            patch.insert(self.rows_name.to_owned(), Value::Object(rows));
        }
        DocumentChange {
            patch: Value::Object(patch),
            states,
        }
    }
}

/// Whether a member of a patch changes more than numbers and times.
fn is_state(name: &str, value: &Value) -> bool {
    match value {
        // Objects first: a node may have the name of a number.
        Value::Object(nested) => nested.iter().any(|(name, value)| is_state(name, value)),
        _ => !NUMBERS.contains(&name),
    }
}

/// `value` as an object without `null` members.
pub(super) fn object_of(value: &impl Serialize) -> Map<String, Value> {
    // Views are structs with string keys, which always serialize to an object.
    match serde_json::to_value(value) {
        Ok(Value::Object(mut object)) => {
            merge_patch::remove_nulls(&mut object);
            object
        }
        _ => Map::new(),
    }
}

/// A node as in the API, except that its sources are members named by their kind, so that each field changes alone.
fn node_row(node: &NodeView) -> Map<String, Value> {
    let mut row = object_of(node);
    if let Some(Value::Array(sources)) = row.remove("sources") {
        let named = sources.into_iter().filter_map(|source| {
            let Value::Object(mut source) = source else {
                return None;
            };
            let kind = source.remove("kind")?.as_str()?.to_owned();
            merge_patch::remove_nulls(&mut source);
            Some((kind, Value::Object(source)))
        });
        row.insert("sources".to_owned(), named.collect());
    }
    row
}
