// Writes keys into the lab's registry, as agents of nodes elsewhere do.
import { execFileSync } from 'node:child_process';

import { currentLab } from './lab';

/** Requests of one transaction: etcd takes 128. */
const REQUESTS_MAX = 120;

function etcdctl(args: string[], input = ''): void {
  const { directory, etcd } = currentLab();
  const access = [`--endpoints=${etcd[0].endpoint}`, `--cacert=${directory}/etcd-authority.pem`, '--user=root:root-of-the-lab'];
  const env = { ...process.env, ETCDCTL_API: '3' };
  execFileSync('etcdctl', [...access, ...args], { input, stdio: ['pipe', 'ignore', 'inherit'], env });
}

/** Puts every key below `/galera/` with its value, without a lease. */
export function putKeys(keys: Record<string, string | number>): void {
  const puts = Object.entries(keys).map(([key, value]) => `put ${JSON.stringify(`/galera/${key}`)} ${JSON.stringify(String(value))}`);
  for (let at = 0; at < puts.length; at += REQUESTS_MAX) {
    // No comparisons, these requests, nothing otherwise.
    etcdctl(['txn'], `\n${puts.slice(at, at + REQUESTS_MAX).join('\n')}\n\n\n`);
  }
}

/** Deletes every key of the cluster, or of all clusters whose names begin so. */
export function deleteCluster(name: string, isPrefix = false): void {
  etcdctl(['del', '--prefix', `/galera/${name}${isPrefix ? '' : '/'}`]);
}
