// Version 2 of the WebSocket protocol for the module (docs/live-protocol-2.md): keeps the document of each topic, applies
// patches, and returns whole values as version 1 sends them, which the module reads.

const VERSION = 2;
let documents = {};

const isObject = (value) => value?.constructor == Object;

/** Applies a JSON merge patch (RFC 7396). */
const patched = (target, patch) => {
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete target[name];
    else if (isObject(value)) target[name] = patched(isObject(target[name]) ? target[name] : {}, value);
    else target[name] = value;
  }
  return target;
};

const listed = (rows, order) => order.map((id) => ({ id, ...rows[id] }));

/** What the topic `head` does not have of a cluster, and no page reads from it. */
const UNKNOWN = { revision: 0, expected: 0, synced: 0, registry_reachable: true };

/** The members of version 1 for a document. */
const valueOf = ({ clusters, nodes, actions, order, ...head }) => {
  if (nodes) {
    const whole = listed(nodes, order).map((node) => ({
      ...node,
      sources: Object.entries(node.sources).map(([kind, source]) => ({ kind, ...source })),
    }));
    return { type: 'cluster', cluster: { ...head, nodes: whole } };
  }
  if (actions) return { type: 'actions', pending: order.filter((id) => actions[id].state == 'pending').length };
  return {
    type: 'overview',
    notices: head.notices,
    clusters: listed(clusters, order).map((cluster) => ({
      ...UNKNOWN,
      observed_at: cluster.verdict.since,
      ...cluster,
      nodes: listed(cluster.nodes, cluster.order ?? []),
    })),
  };
};

/** The text of a message as the module reads it. A patch that does not fit is left out: its topic is then requested again. */
globalThis.liveText = (text) => {
  const message = JSON.parse(text);
  const { type, topic, revision, base, rows } = message;
  if (type == 'hello') {
    documents = {};
    // An older replica, during an update.
    if (!message.versions?.includes(VERSION)) message.version = 0;
    return JSON.stringify(message);
  }
  if (!rows) return text;
  const known = documents[topic];
  if (type == 'patch' && known?.revision != base) return;
  documents[topic] = { revision, rows: type == 'full' ? rows : patched(known.rows, rows) };
  return JSON.stringify({ topic, revision, ...valueOf(documents[topic].rows) });
};
