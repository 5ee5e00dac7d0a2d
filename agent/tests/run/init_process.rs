//! The first process of a container inherits every orphaned process.

use std::fs::File;

use crate::node::{AgentNode, children};
use crate::until;

/// The server leaves an orphaned process behind.
const SERVER: &str = r#"#!/bin/sh
case "$*" in *--help*) exec mariadbd "$@" ;; esac
here=$(dirname "$0")
( ( while [ ! -e "$here/go" ]; do sleep 0.05; done; exit 7 ) & )
while [ ! -e "$here/end" ]; do sleep 0.05; done
exit 3
"#;

#[tokio::test]
async fn orphans_are_reaped_and_only_the_server_exit_ends_the_agent() {
    let mut node = AgentNode::new("127.0.0.1", "")
        .with_variable("CLUSTER_JOIN", "127.0.0.9")
        .with_script(SERVER)
        .with_init_process();
    node.start();
    node.wait_for_log("Server started to join").await;
    let agent = node.agent_pid();
    let (server, orphan) = until("an orphan", async || match *children(agent) {
        [server, orphan] => Some((server, orphan)),
        _ => None,
    })
    .await;
    File::create(node.path("go")).unwrap();
    until("the orphan to be reaped", async || {
        (children(agent) == [server]).then_some(())
    })
    .await;
    assert!(!std::path::Path::new(&format!("/proc/{orphan}")).exists());
    assert!(!node.log().contains("Server exited"), "{}", node.log());
    File::create(node.path("end")).unwrap();
    assert_eq!(node.wait().await, 3);
    assert!(node.log().contains("exit code 3"), "{}", node.log());
}
