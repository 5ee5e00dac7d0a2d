// An identity provider on this machine (node's oidc-provider), and a console that people sign in to with it.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createSocket } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

import Provider from 'oidc-provider';

const GROUPS: Record<string, string[]> = {
  dora: ['dba', 'staff'],
  vera: ['everyone'],
  nobody: ['staff'],
};

const ROLES = `
[[rule]]
group = "dba"
roles = ["operator"]
clusters = ["prod-*"]

[[rule]]
group = "everyone"
roles = ["viewer"]
`;

/** A port that is free now. */
async function freePort(): Promise<number> {
  const socket = createSocket();
  await new Promise<void>((resolve) => socket.listen(0, '127.0.0.1', resolve));
  const { port } = socket.address() as AddressInfo;
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

export class IdentityProvider {
  readonly issuer: string;
  readonly #port: number;
  readonly #handler: (request: unknown, response: unknown) => void;
  #server: Server | undefined;

  constructor(port: number, consoleUrl: string) {
    this.#port = port;
    this.issuer = `http://127.0.0.1:${port}`;
    const provider = new Provider(this.issuer, {
      clients: [
        {
          client_id: 'console',
          client_secret: 'secret-of-the-console',
          redirect_uris: [`${consoleUrl}/oidc/callback`],
          post_logout_redirect_uris: [`${consoleUrl}/sign-in`],
          backchannel_logout_uri: `${consoleUrl}/oidc/back-channel-logout`,
          backchannel_logout_session_required: true,
        },
      ],
      claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
      // Claims of scopes are in the ID token, as Keycloak and Dex send them.
      conformIdTokenClaims: false,
      cookies: { keys: ['key of a test'] },
      features: { backchannelLogout: { enabled: true } },
      // Its dispatcher refuses loopback addresses, where the console of a test is.
      fetch: (url: string, { dispatcher: _, ...options }: any) => globalThis.fetch(url, options),
      async findAccount(_context: unknown, id: string) {
        return { accountId: id, claims: async () => ({ sub: id, preferred_username: id, groups: GROUPS[id] ?? [] }) };
      },
      // Nobody is asked for consent.
      async loadExistingGrant(context: any) {
        const grant = new context.oidc.provider.Grant({
          clientId: context.oidc.client.clientId,
          accountId: context.oidc.session.accountId,
        });
        grant.addOIDCScope('openid profile email groups');
        await grant.save();
        return grant;
      },
    } as any);
    this.#handler = provider.callback() as any;
  }

  async start(): Promise<void> {
    this.#server = createServer(this.#handler as any);
    await new Promise<void>((resolve) => this.#server?.listen(this.#port, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }
}

export interface SignOnConsole {
  url: string;
  provider: IdentityProvider;
  stop(): Promise<void>;
}

function program(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  return join(process.env.CARGO_TARGET_DIR ?? join(cache, 'galera-console', 'target'), 'debug');
}

function exited(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    child.once('exit', () => resolve());
  });
}

/** Starts a provider, and a console with an embedded etcd whose people sign in there. */
export async function startSignOn(): Promise<SignOnConsole> {
  const directory = mkdtempSync(join(tmpdir(), 'console-sign-on-'));
  const [consolePort, providerPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${consolePort}`;
  const provider = new IdentityProvider(providerPort, url);
  await provider.start();
  const files = { roles: join(directory, 'roles.toml'), secret: join(directory, 'secret') };
  writeFileSync(files.roles, ROLES);
  writeFileSync(files.secret, 'secret-of-the-console\n', { mode: 0o600 });
  const settings = [
    'serve',
    ...['--listen', `127.0.0.1:${consolePort}`, '--public-url', url, '--site-root', join(program(), 'site')],
    ...['--data-dir', directory, '--cluster', 'prod-1=127.0.0.1:1', '--cluster', 'test-1=127.0.0.2:1'],
    ...['--oidc-issuer', provider.issuer, '--oidc-client-id', 'console', '--oidc-client-secret-file', files.secret],
    ...['--oidc-roles', files.roles, '--oidc-name', 'Company'],
  ];
  const child = spawn(join(program(), 'galera-console'), settings, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (data: Buffer) => {
    log += data.toString();
    if (process.env.DEMO_VERBOSE) process.stderr.write(data);
  });
  const deadline = Date.now() + 60_000;
  for (;;) {
    const ready = await fetch(`${url}/readyz`).then((response) => response.ok, () => false);
    if (ready) break;
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`the console does not start:\n${log}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    provider,
    async stop() {
      child.kill('SIGINT');
      await exited(child);
      await provider.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
