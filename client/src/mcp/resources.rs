//! What can be read by its address: clusters, and the rules that the console follows.

use rmcp::ErrorData;
use rmcp::model::{Resource, ResourceContents, ResourceTemplate};
use serde_json::Value;

use crate::command::GivenArguments;
use crate::command::find;
use crate::connection::ApiClient;
use crate::ctl;
use crate::error::ClientError;

const SCHEME: &str = "galera-console://";
const CLUSTERS: &str = "galera-console://clusters/";
const INVARIANTS: &str = "galera-console://invariants";
const INVARIANTS_TEXT: &str = include_str!("../../../docs/invariants.md");

/// The resources that exist now.
pub(super) async fn list(client: &ApiClient) -> Result<Vec<Resource>, ClientError> {
    let mut resources = vec![
        Resource::new(INVARIANTS, "invariants")
            .with_description("The numbered rules that no decision or action of the console breaks")
            .with_mime_type("text/markdown"),
    ];
    let overview = request(client, &["clusters", "list"], GivenArguments::new()).await?;
    let clusters = overview.get("clusters").and_then(Value::as_array);
    for cluster in clusters.into_iter().flatten() {
        let name = cluster
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // A name as the API specifies it has no character that could be anything but a name.
        if let Ok(name) = name.parse::<galera::ClusterName>() {
            let name = name.as_str();
            resources.push(
                Resource::new(format!("{CLUSTERS}{name}"), name)
                    .with_description("The present view of a cluster")
                    .with_mime_type("application/json"),
            );
        }
    }
    Ok(resources)
}

/// How the addresses of clusters are made.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(format!("{CLUSTERS}{{name}}"), "cluster")
            .with_description("The present view of the cluster NAME")
            .with_mime_type("application/json"),
    ]
}

/// The content of `uri`.
pub(super) async fn read(client: &ApiClient, uri: &str) -> Result<ResourceContents, ErrorData> {
    if uri == INVARIANTS {
        return Ok(ResourceContents::text(INVARIANTS_TEXT, uri).with_mime_type("text/markdown"));
    }
    let name = uri.strip_prefix(CLUSTERS).unwrap_or_default();
    if name.is_empty() || name.contains('/') {
        return Err(ErrorData::resource_not_found(
            format!("there is no such resource; there are {INVARIANTS} and {CLUSTERS}NAME"),
            None,
        ));
    }
    let given = GivenArguments::from([("cluster", vec![name.to_owned()])]);
    match request(client, &["clusters", "show"], given).await {
        Ok(view) => {
            Ok(ResourceContents::text(view.to_string(), uri).with_mime_type("application/json"))
        }
        Err(ClientError::Refused(refusal)) if refusal.status == 404 => {
            Err(ErrorData::resource_not_found(refusal.to_string(), None))
        }
        Err(error) => Err(unavailable(&error)),
    }
}

/// An error of a resource, which the protocol has no other place for.
pub(super) fn unavailable(error: &ClientError) -> ErrorData {
    ErrorData::internal_error(format!("{SCHEME}: {error}"), None)
}

async fn request(
    client: &ApiClient,
    words: &[&str],
    given: GivenArguments,
) -> Result<Value, ClientError> {
    let command = find(words)
        .ok_or_else(|| ClientError::Internal(format!("there is no command {words:?}")))?;
    ctl::request(client, command, &given).await
}
