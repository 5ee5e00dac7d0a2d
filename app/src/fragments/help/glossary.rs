//! The terms that the pages use, defined for a reader who knows databases but not Galera.

/// Term and definition, in alphabetical order. `docs/glossary.md` is written from this table.
pub(super) const TERMS: [(&str, &str); 34] = [
    (
        "Agent",
        "galera-agent: runs beside a database server, registers it in etcd, reports its position while it is stopped, and carries out signed orders.",
    ),
    (
        "Arbitrator",
        "garbd: a member of the group that votes and relays write-sets, but holds no data.",
    ),
    (
        "Bootstrap",
        "Making one node, or one component, Primary without the votes of the others. Transactions that only the others have may be lost, so a second person must approve it.",
    ),
    (
        "Certification",
        "The check that each node makes in the same order: a write-set that conflicts with an earlier one is rolled back everywhere.",
    ),
    (
        "Component",
        "Nodes that see each other. At most one component should be Primary.",
    ),
    (
        "Confirmed as stopped",
        "A user's recorded statement that a node that the console cannot reach is stopped and stays down.",
    ),
    (
        "Decommission",
        "Removing a member from the expected ones and its keys from the registry, after approval.",
    ),
    (
        "Diverged",
        "Histories that share a past and then differ. Nodes of different histories can be joined again only by a full state transfer, which discards one of them.",
    ),
    ("Donor", "The node that sends a state transfer to a joiner."),
    (
        "Expected members",
        "The nodes that should be in the cluster: those of the settings, or those that the registry has known. Quorum and missing nodes are judged by them.",
    ),
    (
        "Finding",
        "A risk that does not affect the status, such as differing settings or a small gcache, with its evidence and remedy.",
    ),
    (
        "Flow control",
        "A node whose receive queue is too long asks all members to pause commits until it has caught up.",
    ),
    (
        "Fork",
        "The position at which a bootstrap continued the history. Transactions above it that only a node outside the bootstrap has are not in the new history.",
    ),
    (
        "Gcache",
        "The ring buffer of recent write-sets on each node. An IST is possible while it reaches back to the position of the joiner.",
    ),
    (
        "Held back",
        "A node that waits, because its data has transactions that the cluster continued without. An approved rejoin sets that data aside and lets the node join empty.",
    ),
    (
        "History",
        "The sequence of transactions with one state UUID. Positions of different histories cannot be compared.",
    ),
    (
        "IST",
        "Incremental state transfer: only the missing write-sets are sent, from the gcache of the donor.",
    ),
    (
        "Last committed",
        "wsrep_last_committed: the sequence number of the newest transaction that the node has committed.",
    ),
    (
        "Lease",
        "A registration in etcd that disappears unless its owner renews it. An expired lease means that nothing has been reported, not that the server is stopped.",
    ),
    (
        "Order",
        "An instruction to a stopped node, signed by the console and carried out by its agent once.",
    ),
    (
        "Plan",
        "What an action would do, computed from current evidence: checks, commands, possible loss. It is computed again before execution; if it differs, nothing is executed.",
    ),
    (
        "Position",
        "State UUID and sequence number: how far a node is in a history.",
    ),
    (
        "Primary component",
        "The component with quorum. Only its members accept reads and writes.",
    ),
    (
        "Quorum",
        "More than half of the votes of the last Primary component. Without it a component becomes non-Primary and stops.",
    ),
    (
        "Registry",
        "The keys in etcd by which nodes register and find each other.",
    ),
    (
        "Runway",
        "How long a node can be away and still return by IST, at the present rate of writes.",
    ),
    (
        "Segment",
        "gmcast.segment: nodes of one site. Write-sets are sent once to each other segment and relayed there.",
    ),
    (
        "Seqno",
        "The sequence number of a transaction. −1 in grastate.dat means that the server did not stop cleanly and the position must be recovered.",
    ),
    (
        "Source",
        "Where a fact comes from, SQL or the registry, with its age. A fact whose source is older than permitted is stale and decides nothing.",
    ),
    (
        "Split brain",
        "Two Primary components at the same time. Both may accept writes, and every write makes the later repair lose more. It persists after the network is repaired, because each component has dropped the addresses of the other.",
    ),
    (
        "SST",
        "State snapshot transfer: all data is copied from a donor. The data of the joiner is replaced.",
    ),
    (
        "Unconfirmed node",
        "A node that is only registered in etcd. It has no effect on status or plans until a member lists it, a setting names it, or an operator admits it.",
    ),
    (
        "Verdict",
        "The status of a cluster in one word, computed from current evidence, with its reasons. The API, settings and the audit trail call the status by this name.",
    ),
    (
        "Weight",
        "pc.weight: the number of votes of a node, 1 unless set otherwise.",
    ),
];
