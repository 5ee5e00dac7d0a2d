//! A map from nodes to what is known about them, whose clones share everything that does not change afterwards.

use std::collections::{BTreeMap, btree_map};
use std::ops::Index;
use std::sync::Arc;

use crate::id::NodeId;

/// A map sorted by node. A clone costs nothing; a change copies the value that it changes, and of the others references.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeMap<T>(Arc<BTreeMap<NodeId, Arc<T>>>);

impl<T> Default for NodeMap<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> NodeMap<T> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known about `id`.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&T> {
        self.0.get(id).map(Arc::as_ref)
    }

    /// Whether something is known about `id`.
    #[must_use]
    pub fn contains_key(&self, id: &NodeId) -> bool {
        self.0.contains_key(id)
    }

    /// Every node and what is known about it.
    #[must_use]
    pub fn iter(&self) -> NodeMapIter<'_, T> {
        NodeMapIter(self.0.iter())
    }

    /// Every node.
    pub fn keys(&self) -> btree_map::Keys<'_, NodeId, Arc<T>> {
        self.0.keys()
    }

    /// What is known about every node, in their order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(Arc::as_ref)
    }

    /// The number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces what is known about `id`.
    pub fn insert(&mut self, id: NodeId, value: T) {
        Arc::make_mut(&mut self.0).insert(id, Arc::new(value));
    }

    /// Removes `id`. A map without it is not copied.
    pub fn remove(&mut self, id: &NodeId) {
        if self.contains_key(id) {
            Arc::make_mut(&mut self.0).remove(id);
        }
    }

    /// Removes every node.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<T: Clone> NodeMap<T> {
    /// What is known about `id`, to be changed.
    pub fn get_mut(&mut self, id: &NodeId) -> Option<&mut T> {
        if !self.contains_key(id) {
            return None;
        }
        Arc::make_mut(&mut self.0).get_mut(id).map(Arc::make_mut)
    }

    /// What is known about every node, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        Arc::make_mut(&mut self.0).values_mut().map(Arc::make_mut)
    }

    /// The place of `id`, which may be empty.
    pub fn entry(&mut self, id: NodeId) -> NodeEntry<'_, T> {
        NodeEntry(Arc::make_mut(&mut self.0).entry(id))
    }
}

impl<T> Index<&NodeId> for NodeMap<T> {
    type Output = T;

    fn index(&self, id: &NodeId) -> &T {
        &self.0[id]
    }
}

/// The place of a node in a map.
#[derive(Debug)]
pub struct NodeEntry<'a, T>(btree_map::Entry<'a, NodeId, Arc<T>>);

impl<'a, T: Clone + Default> NodeEntry<'a, T> {
    /// What is known about the node, to be changed; its default if nothing is.
    pub fn or_default(self) -> &'a mut T {
        Arc::make_mut(self.0.or_default())
    }
}

/// See [`NodeMap::iter`].
#[derive(Debug)]
pub struct NodeMapIter<'a, T>(btree_map::Iter<'a, NodeId, Arc<T>>);

impl<'a, T> Iterator for NodeMapIter<'a, T> {
    type Item = (&'a NodeId, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(id, value)| (id, value.as_ref()))
    }
}

impl<'a, T> IntoIterator for &'a NodeMap<T> {
    type Item = (&'a NodeId, &'a T);
    type IntoIter = NodeMapIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> FromIterator<(NodeId, T)> for NodeMap<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(nodes: I) -> Self {
        let shared = nodes.into_iter().map(|(id, value)| (id, Arc::new(value)));
        Self(Arc::new(shared.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn a_change_copies_the_value_that_it_changes_and_no_other() {
        let mut map: NodeMap<String> = ["db1", "db2"]
            .into_iter()
            .map(|name| (id(name), name.to_owned()))
            .collect();
        let before = map.clone();
        assert!(Arc::ptr_eq(&map.0, &before.0), "a clone shares the map");
        map.entry(id("db1")).or_default().push('!');
        map.entry(id("db3")).or_default().push('?');
        assert_eq!(before.get(&id("db1")).unwrap(), "db1");
        assert_eq!(map.get(&id("db1")).unwrap(), "db1!");
        assert!(Arc::ptr_eq(&map.0[&id("db2")], &before.0[&id("db2")]));
        assert_eq!((map.len(), before.len()), (3, 2));
        map.get_mut(&id("db2")).unwrap().push('+');
        map.values_mut().for_each(|value| value.push('.'));
        let values: Vec<_> = map.values().map(String::as_str).collect();
        assert_eq!(values, ["db1!.", "db2+.", "?."]);
        map.remove(&id("db3"));
        map.insert(id("db1"), "db1".to_owned());
        map.insert(id("db2"), "db2".to_owned());
        assert_eq!(map, before);
    }

    #[test]
    fn removing_or_seeking_what_is_not_there_copies_nothing() {
        let mut map = NodeMap::from_iter([(id("db1"), 1)]);
        let before = map.clone();
        map.remove(&id("db9"));
        assert_eq!(map.get_mut(&id("db9")), None);
        assert!(Arc::ptr_eq(&map.0, &before.0));
        map.clear();
        assert!(map.is_empty() && !before.is_empty());
    }
}
