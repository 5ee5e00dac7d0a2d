//! The order in which people look for names: `db2` before `db10`.

use std::cmp::Ordering;

use crate::id::{ClusterName, NodeId};

impl ClusterName {
    /// The order for people; equal only for equal names.
    #[must_use]
    pub fn natural_cmp(&self, other: &Self) -> Ordering {
        alphanumeric_sort::compare_str(self.as_str(), other.as_str()).then_with(|| self.cmp(other))
    }
}

impl NodeId {
    /// The order for people, by host and then by port; equal only for equal ids.
    #[must_use]
    pub fn natural_cmp(&self, other: &Self) -> Ordering {
        alphanumeric_sort::compare_str(self.host(), other.host()).then_with(|| self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let sorted = [
            "10.0.0.2",
            "10.0.0.2:3307",
            "10.0.0.10",
            "192.168.0.1",
            "db-1",
            "db-02",
            "db-10.example.com",
        ];
        let mut ids: Vec<NodeId> = sorted.iter().rev().map(|id| id.parse().unwrap()).collect();
        ids.sort_by(NodeId::natural_cmp);
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(texts, sorted);
    }

    proptest! {
        /// Sorting panics with anything else than a total order.
        #[test]
        fn the_order_is_total(names in prop::collection::vec("[ab0-2][ab0-2.-]{0,6}", 3)) {
            let names: Vec<ClusterName> = names.iter().filter_map(|name| name.parse().ok()).collect();
            prop_assume!(names.len() == 3);
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(a.natural_cmp(b), b.natural_cmp(a).reverse());
            prop_assert_eq!(a.natural_cmp(b).is_eq(), a == b);
            if a.natural_cmp(b).is_le() && b.natural_cmp(c).is_le() {
                prop_assert!(a.natural_cmp(c).is_le());
            }
        }
    }
}
