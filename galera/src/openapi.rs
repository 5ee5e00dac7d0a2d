//! Schemas of values that are written as one text, for the console's OpenAPI document. Other types derive theirs.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::access::{ClusterScope, GroupName};
use crate::id::{CLUSTER_NAME_MAX, ClusterName, NodeId};
use crate::timestamp::Timestamp;

fn text(description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .examples([example])
}

impl ToSchema for Timestamp {}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        text("A time in UTC (RFC 3339).", "2026-11-23T08:00:00.123Z")
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for ClusterName {}

impl PartialSchema for ClusterName {
    fn schema() -> RefOr<Schema> {
        text(
            "A cluster's name: `wsrep_cluster_name`, with `~` and two hexadecimal digits for every byte but letters, digits, `.`, `_` and `-`.",
            "lab",
        )
        .pattern(Some("^(?:[A-Za-z0-9._-]|~[0-9A-F]{2})+$"))
        .max_length(Some(CLUSTER_NAME_MAX))
        .into()
    }
}

impl ToSchema for ClusterScope {}

impl PartialSchema for ClusterScope {
    fn schema() -> RefOr<Schema> {
        let pattern = text(
            "A cluster's name, in which `*` matches any characters, or a label, `KEY=VALUE`.",
            "prod-*",
        );
        ArrayBuilder::new()
            .description(Some("Names, patterns or labels of clusters; none for all."))
            .items(pattern)
            .into()
    }
}

impl ToSchema for GroupName {}

impl PartialSchema for GroupName {
    fn schema() -> RefOr<Schema> {
        text("The name of a group of accounts.", "dba")
            .pattern(Some("^[A-Za-z0-9 ._/@-]+$"))
            .max_length(Some(100))
            .into()
    }
}

impl ToSchema for NodeId {}

impl PartialSchema for NodeId {
    fn schema() -> RefOr<Schema> {
        text(
            "A node's registry key: `host`, or `host:port` if the port is not the console's `--mysql-port`; an IPv6 address with a port is in brackets.",
            "10.0.0.1:3306",
        )
        .pattern(Some(
            r"^(?:[A-Za-z0-9._-]+(?::[0-9]{1,5})?|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?)$",
        ))
        .into()
    }
}
