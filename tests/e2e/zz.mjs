import { chromium } from 'playwright';
import fs from 'fs';
const d = JSON.parse(fs.readFileSync('/tmp/demo.json'));
const b = await chromium.launch({ executablePath: '/usr/bin/chromium-headless-shell', args: ['--no-sandbox'] });
const c = await b.newContext({ viewport: { width: 1440, height: 900 } });
const p = await c.newPage();
p.on('console', m => console.log('console', m.type(), m.text()));
p.on('pageerror', e => console.log('error', e.message, e.stack));
await p.goto(d.url + '/clusters/lab');
await p.getByLabel('Name').fill('viewer'); await p.getByLabel('Password').fill(d.users.viewer.password);
await p.getByRole('button', { name: 'Sign in' }).click();
await p.waitForTimeout(3000);
console.log(await p.title(), (await p.content()).length);
await p.screenshot({ path: '/tmp/i-cluster.png' });
for (const path of ['/', '/clusters/lab/nodes/127.0.0.1', '/actions', '/clusters/lab/events?x=1','/nope']) {
  const t = Date.now();
  await p.goto(d.url + path); await p.waitForTimeout(1500);
  console.log(path, await p.title(), await p.locator('.link').textContent(), (await p.content()).length);
}
await p.goto(d.url + '/'); await p.waitForTimeout(1500);
await p.screenshot({ path: '/tmp/i-over.png' });
const size = await p.evaluate(async () => (await (await fetch('/clusters/lab')).text()).length);
console.log('page', size);
await b.close();
