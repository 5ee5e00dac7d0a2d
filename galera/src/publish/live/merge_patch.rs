//! JSON merge patches (RFC 7396) between documents without `null` members.

use serde_json::{Map, Value};

/// Removes `null` members, also those of nested objects. Elements of arrays stay as they are: arrays are replaced whole.
pub fn remove_nulls(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    for value in object.values_mut() {
        if let Value::Object(nested) = value {
            remove_nulls(nested);
        }
    }
}

/// The patch that makes `to` of `from`; empty if they are equal. Neither may have `null` members.
#[must_use]
pub fn between(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for name in from.keys() {
        if !to.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    for (name, value) in to {
        match (from.get(name), value) {
            (Some(Value::Object(from)), Value::Object(to)) => {
                let nested = between(from, to);
                if !nested.is_empty() {
                    patch.insert(name.clone(), Value::Object(nested));
                }
            }
            (Some(before), _) if before == value => {}
            _ => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    patch
}

/// Applies a patch.
pub fn apply(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            Value::Object(nested) => {
                let member = target.entry(name.clone()).or_insert(Value::Null);
                if let Value::Object(member) = member {
                    apply(member, nested);
                } else {
                    let mut fresh = Map::new();
                    apply(&mut fresh, nested);
                    *member = Value::Object(fresh);
                }
            }
            _ => drop(target.insert(name.clone(), value.clone())),
        }
    }
}
