//! The tools, and the commands that they are.

use crate::command::{ApiCommand, find};

/// Whether a tool changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// It reads.
    Read,
    /// It requests something about which people decide, or withdraws such a request.
    Request,
}

/// One tool.
#[derive(Clone, Copy, Debug)]
pub struct McpTool {
    /// Its name in the protocol.
    pub name: &'static str,
    /// Whether it changes something.
    pub kind: ToolKind,
    /// The words of its command.
    words: &'static [&'static str],
    /// Arguments that are fixed.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Arguments of the command that the tool does not have.
    pub withheld: &'static [&'static str],
    /// What it does and what its answer means.
    pub description: &'static str,
}

impl McpTool {
    /// The command of the table that it is.
    #[must_use]
    pub fn command(&self) -> Option<&'static ApiCommand> {
        find(self.words)
    }
}

/// Every tool.
#[must_use]
pub fn tools() -> &'static [McpTool] {
    TOOLS
}

const fn read(
    name: &'static str,
    words: &'static [&'static str],
    description: &'static str,
) -> McpTool {
    McpTool {
        name,
        kind: ToolKind::Read,
        words,
        fixed: &[],
        withheld: &[],
        description,
    }
}

const fn plan(
    name: &'static str,
    fixed: &'static [(&'static str, &'static str)],
    description: &'static str,
) -> McpTool {
    McpTool {
        name,
        kind: ToolKind::Read,
        words: &["plan"],
        fixed,
        withheld: ATTESTATIONS,
        description,
    }
}

const fn request(
    name: &'static str,
    words: &'static [&'static str],
    description: &'static str,
) -> McpTool {
    McpTool {
        name,
        kind: ToolKind::Request,
        words,
        fixed: &[],
        withheld: ATTESTATIONS,
        description,
    }
}

/// Only a person can know that a member is stopped or fenced.
const ATTESTATIONS: &[&str] = &["attest"];

#[rustfmt::skip]
static TOOLS: &[McpTool] = &[
    read("list_clusters", &["clusters", "list"],
        "List clusters, worst verdict first. The verdict `unknown` means that the console lacks fresh evidence; it does not mean that a cluster is down."),
    read("get_cluster", &["clusters", "show"],
        "Show a cluster: components, nodes, verdict with reasons, now or as recorded at a time. A source with `stale: true` reports the past; `position_fresh: false` is a former position; `null` is unknown."),
    read("get_node", &["nodes", "show"],
        "Show a node of a cluster. The state `unreachable` or `unknown` is not `stopped`: an unreachable node may be running and Primary."),
    read("get_registry", &["clusters", "registry"],
        "Show a cluster's keys in etcd. They are hints of agents, never the verdict; a stale key is marked."),
    read("stop_check", &["clusters", "stop-check"],
        "Check whether nodes may be stopped together in order. `cannot_tell` is not yes: do not stop nodes on it."),
    read("get_rolling_restart", &["clusters", "rolling-restart"],
        "Show where a rolling restart is that began at a time."),
    read("get_runway", &["clusters", "runway"],
        "Show until when each member that is away, or would stop now, returns by an incremental state transfer (IST), and what a full one (SST) took. These are estimates."),
    read("list_findings", &["findings", "list"],
        "List what is risky or slow besides the verdict. `unseen` is what could not be looked at: no finding there does not mean that there is no risk."),
    read("list_events", &["events"],
        "List changes of a cluster's verdict and node states, newest first; continue with `before`."),
    read("get_series", &["series"],
        "Show recorded figures of a cluster's nodes. `null` is an interval without readings, not zero."),
    read("list_data_alarms", &["alarms", "list"],
        "Show whether recovery is paused for a cluster, and its alarms about data that no person has acknowledged."),
    read("list_actions", &["actions", "list"],
        "List actions: recovery that was requested, with approvals and outcome. `unverified` is an outcome that was not proven, neither success nor failure."),
    read("get_action", &["actions", "show"],
        "Show an action: plan, approvals, journal and outcome."),
    read("get_own_access", &["whoami"],
        "Show the account and the roles of the token that these tools use."),
    read("list_incidents", &["incidents", "list"],
        "List incidents of status pages."),
    read("list_maintenance", &["maintenance", "list"],
        "List maintenance windows."),
    plan("plan_bootstrap", &[("kind", "bootstrap")],
        "Compute what a bootstrap of a cluster without a Primary component would do now: every check with its evidence, each statement, and the transactions that could be lost (`null`: not known). Changes nothing. A check `unknown` is not passed."),
    plan("plan_rejoin", &[("kind", "rejoin")],
        "Compute what rejoining a node with other data would do now. Changes nothing."),
    plan("plan_cleanup", &[("kind", "cleanup")],
        "Compute which registrations of nodes that are gone could be removed now. Changes nothing."),
    plan("plan_positions", &[("kind", "positions")],
        "Compute which remembered positions could be forgotten now. Changes nothing."),
    plan("plan_decommission", &[("kind", "decommission")],
        "Compute what removing a whole cluster from the registry would do now. Changes nothing."),
    request("request_action", &["actions", "request"],
        "Request an action for people to decide about. `digest` is that of a plan you have just computed and shown; `confirm` is the cluster's name exactly; `reason` is what the approvers read. It executes only after other people approved it."),
    request("cancel_action", &["actions", "cancel"],
        "Cancel an action that this token's account requested."),
    request("comment_action", &["actions", "comment"],
        "Add a comment to an action, which its approvers read."),
];
