import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { platformsIndex, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
let browser: Browser;
let page: Page;
/** Whatever the browser complained of: a blocked style, a script that failed. */
const complaints: string[] = [];
beforeAll(async () => {
  world = await createWorld();
  gate = await startGate(world.source.host);
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-sync',
    ],
  });
  page = await browser.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
});
afterAll(async () => {
  await browser.close();
  await gate.stop();
  await world.stop();
});

const text = () => page.locator('main').innerText();
const open = (path: string) => page.goto(world.service.url + path);

describe('the page of a mirror', () => {
  it('shows a copy as it goes on, by itself, until it is done', async () => {
    const image = await push(world.source.url, 'page', '1', platformsIndex(1));
    const layer = [...image.contents.values()].findLast(({ mediaType }) => mediaType.includes('layer'));
    const rule = gate.add(new RegExp(`blobs/${layer?.digest}`), { kind: 'hold' });
    const { body } = await world.submit(`${gate.host}/page:1`);
    await rule.met;
    await open(`/view/mirrors/${body.buildId}`);
    await page.getByText('8 of 9', { exact: true }).waitFor();
    expect(await page.locator('progress').getAttribute('value')).not.toBe('0');
    expect(await text()).toContain('copying');
    rule.release();
    // The page loads itself again.
    await page.getByText('✓ done').waitFor();
    expect(await text()).toContain(`docker pull ${body.targetImage}`);
    expect(await text()).toContain(image.digest);
    expect(await page.locator('progress').count()).toBe(0);
    await open(`/view/containers/${body.requestId}`);
    expect(await text()).toContain('✓ done');
  });

  it('is dressed: its own style is applied, and the browser blocks nothing', async () => {
    const { body } = await world.submit(`${gate.host}/page:1`);
    await open(`/view/mirrors/${body.buildId}`);
    const card = page.locator('.card').first();
    await card.waitFor();
    expect(await page.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius")).toBe(
      '12px',
    );
    expect(complaints).toEqual([]);
  });

  it('shows a failure with its remedy, and neither names nor logs', async () => {
    const image = await push(world.source.url, 'broken', '1', platformsIndex(2));
    const layer = [...image.contents.values()].find(({ mediaType }) => mediaType.includes('layer'));
    await fetch(`${world.source.url}/v2/broken/blobs/${layer?.digest}`, { method: 'DELETE' });
    const { body } = await world.submit(`${world.source.host}/broken:1`);
    const { detailsUri = '' } = await world.finished(body.requestId);
    await page.goto(detailsUri);
    expect(await text()).toContain('It failed at the source');
    expect(await text()).toContain('What to do:');
    expect(await text()).toContain('blob_unknown');
    expect(await text()).not.toContain('Getting image source');
    expect(await text()).not.toContain('first start');
  });

  it('of an unknown id says so', async () => {
    const answer = await open('/view/mirrors/mr-0');
    expect(answer?.status()).toBe(404);
    expect(await text()).toContain('There is no mirror with this id');
    complaints.length = 0; // The browser notes the 404 itself.
  });

  it('has room on a telephone', async () => {
    await page.setViewportSize({ width: 360, height: 700 });
    const { body } = await world.submit(`${gate.host}/page:1`);
    await open(`/view/mirrors/${body.buildId}`);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
  });
});

it('a request for what is there without a record has a page too', async () => {
  await push(world.target.url, 'page-theirs', '1', platformsIndex(3));
  await push(world.source.url, 'page-theirs', '1', platformsIndex(3));
  const { body } = await world.submit(`${world.source.host}/page-theirs:1`);
  await open(`/view/containers/${body.requestId}`);
  expect(await text()).toContain('there already');
});

it('the API has a page that shows its calls', async () => {
  await open('/docs');
  await page.getByText('/v1alpha2/container', { exact: true }).waitFor();
  expect(complaints).toEqual([]);
});
