// Starts the demo, the very lab that people see, one for each worker, and tells the tests where it is.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Stage {
  url: string;
  control: string;
  cluster: string;
  users: Record<string, { name: string; password: string }>;
  nodes: { name: string; id: string; pid: number }[];
}

/** What the running demo said of itself. */
export function stage(): Stage {
  const text = process.env.DEMO_STAGE;
  if (!text) throw new Error('the demo does not run; start the tests with: npx playwright test');
  return JSON.parse(text) as Stage;
}

/** Sends a command to the demo (`kill n2`, `etcd kill`, …); fails when the command does. */
export async function command(line: string): Promise<string> {
  const answer = await fetch(stage().control, { method: 'POST', body: line });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${line}: ${text}`);
  return text;
}

function demo(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const target = process.env.CARGO_TARGET_DIR ?? join(cache, 'galera-console', 'target');
  const path = process.env.DEMO ?? join(target, 'debug', 'demo');
  if (!existsSync(path)) throw new Error(`${path} is missing; build it with: make test`);
  return path;
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    child.once('exit', () => resolve());
  });
}

/** Starts a demo; the returned function ends it and fails when that does not go well. */
export async function start(): Promise<() => Promise<void>> {
  const port = process.env.DEMO_PORT ?? '0';
  const child = spawn(demo(), ['--json', '--control', '--port', port, '--revive-after', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (data: Buffer) => {
    said += data.toString();
    if (process.env.DEMO_VERBOSE) process.stderr.write(data);
  });
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the demo ended with ${code}:\n${said}`)));
  });
  process.env.DEMO_STAGE = line;
  return async () => {
    child.removeAllListeners('exit');
    child.kill('SIGINT');
    await ended(child);
    if (child.exitCode !== 0) throw new Error(`the demo ended with ${child.exitCode ?? child.signalCode}:\n${said}`);
  };
}
