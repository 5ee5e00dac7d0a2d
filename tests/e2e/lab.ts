// Starts one demo lab per worker and provides its addresses and accounts to the tests.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Lab {
  url: string;
  control: string;
  cluster: string;
  directory: string;
  etcd: { endpoint: string; pid: number }[];
  users: Record<string, { name: string; password: string }>;
  nodes: { name: string; id: string; pid: number }[];
}

/** Labels of clusters with certain names; only tests of labels have such clusters. */
export const LABELS = {
  long: `${'k'.repeat(63)}=${'v'.repeat(63)}`,
  rules: ['labelled-alpha:env=production,team=web', 'labelled-beta:env=test,team=web', 'fleet-*:env=production,team=payments,site=rotterdam-2'],
};

/** The worker's running lab. */
export function currentLab(): Lab {
  const text = process.env.DEMO_LAB;
  if (!text) throw new Error('the demo is not running; start the tests with: npx playwright test');
  return JSON.parse(text) as Lab;
}

/** Sends a command such as `kill n2` or `etcd kill` to the demo. Fails if the command does. */
export async function command(line: string): Promise<string> {
  const response = await fetch(currentLab().control, { method: 'POST', body: line });
  const text = await response.text();
  if (!response.ok) throw new Error(`${line}: ${text}`);
  return text;
}

function demoPath(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const target = process.env.CARGO_TARGET_DIR ?? join(cache, 'galera-console', 'target');
  const path = process.env.DEMO ?? join(target, 'debug', 'demo');
  if (!existsSync(path)) throw new Error(`${path} is missing; build it with: make test`);
  return path;
}

function exited(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    child.once('exit', () => resolve());
  });
}

/** Starts a demo. The returned function stops it and fails unless it exits cleanly. */
export async function startLab(): Promise<() => Promise<void>> {
  const port = process.env.DEMO_PORT ?? '0';
  const child = spawn(demoPath(), ['--json', '--control', '--port', port, '--revive-after', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, GALERA_CONSOLE_CLUSTER_LABEL: [...LABELS.rules, `labelled-long:${LABELS.long}`].join(',') },
  });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
    if (process.env.DEMO_VERBOSE) process.stderr.write(data);
  });
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the demo exited with ${code}:\n${stderr}`)));
  });
  process.env.DEMO_LAB = line;
  return async () => {
    child.removeAllListeners('exit');
    child.kill('SIGINT');
    await exited(child);
    if (child.exitCode !== 0) throw new Error(`the demo exited with ${child.exitCode ?? child.signalCode}:\n${stderr}`);
  };
}
