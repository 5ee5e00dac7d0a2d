//! Where the pages of clusters and nodes are, and what a link to them is called.

use galera::view::NodeView;

use crate::data::encode_segment;

/// Path of the page of a cluster.
pub(crate) fn cluster_href(name: &galera::ClusterName) -> String {
    ["/clusters/", name.as_str()].concat()
}

/// What people call a cluster.
pub(crate) fn cluster_label(name: &galera::ClusterName) -> String {
    #[cfg(feature = "hydrate")]
    return crate::browser::cluster_label(name.as_str());
    #[cfg(not(feature = "hydrate"))]
    name.display_name().into_owned()
}

/// Path of the page of a node.
pub(crate) fn node_href(cluster: &galera::ClusterName, node: &galera::NodeId) -> String {
    [
        "/clusters/",
        cluster.as_str(),
        "/nodes/",
        &encode_segment(&node.to_string()),
    ]
    .concat()
}

/// The name of a node, or else its id.
pub(crate) fn node_label(node: &NodeView) -> String {
    node.name.clone().unwrap_or_else(|| node.id.to_string())
}
