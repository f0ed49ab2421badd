import type { FastifyReply } from 'fastify';
import { formatBytes } from '../../core/bytes.ts';
import { isFinal, type Mirror } from '../../core/mirror.ts';
import { formatReference } from '../../core/reference.ts';
import { idParams } from '../../wire/id.ts';
import type { App, Dependencies } from '../app.ts';
import { type Html, html, sendPage } from '../page.ts';
import type { RequestRecord } from '../../mirror/service.ts';

/** Seconds between two looks of an open page. */
const refresh = 2;
const schema = { hide: true, params: idParams };

/** Pages for people. Whoever holds the unguessable id may look, so there are no names and no logs here. */
export function registerViews(app: App, { service, version }: Dependencies): void {
  app.get('/view/mirrors/:id', { schema }, async ({ params }, reply) => {
    const mirror = await service.mirror(params.id);
    return mirror ? sendMirror(reply, mirror) : sendNothing(reply, 'mirror');
  });

  app.get('/view/containers/:id', { schema }, async ({ params }, reply) => {
    const record = await service.request(params.id);
    if (!record) return sendNothing(reply, 'request');
    return record.mirror ? sendMirror(reply, record.mirror, record) : sendRequest(reply, record);
  });

  app.get('/', { schema: { hide: true } }, (_, reply) =>
    sendPage(reply, 200, {
      title: 'Container mirroring',
      body: html`${top('')}
        <div class="card">
          <h1>Container mirroring</h1>
          <p>
            This service copies container images, on demand, into a registry that you control. Tag and digest
            stay the same.
          </p>
          <p>
            Ask for an image with <code>dray mirror IMAGE --to REGISTRY</code>, with Nextflow, with the Wave
            command line, or with any HTTP client.
          </p>
          <p>
            <a href="/docs">API documentation</a> · <a href="/openapi.json">OpenAPI</a> ·
            <a href="/health">Health</a>
          </p>
          <p class="dim">Version ${version.version}</p>
        </div>`,
    }),
  );
}

const top = (text: string) => html`<header><a href="/">dray</a><span>${text}</span></header>`;

function sendNothing(reply: FastifyReply, what: string): FastifyReply {
  return sendPage(reply, 404, {
    title: 'Not found',
    body: html`${top('')}
      <div class="card">
        <h1>There is no ${what} with this id</h1>
        <p class="dim">Check the link.</p>
      </div>`,
  });
}

function sendRequest(
  reply: FastifyReply,
  { id, image, target, digest, createdAt, dryRun, cached }: RequestRecord,
): FastifyReply {
  const state = cached
    ? html`<span class="state done">✓ there already</span>`
    : html`<span class="state queued">${dryRun ? 'dry run: nothing was started' : 'unknown'}</span>`;
  const body = html`${top('Request')}
    <div class="card">
      ${state}
      <h1>${target}</h1>
      ${pull(target)}
    </div>
    ${facts([
      ['Source', image],
      ['Digest', digest],
      ['Request', id],
      ['Asked for', utc(createdAt)],
    ])}`;
  return sendPage(reply, 200, { title: target, body });
}

function sendMirror(reply: FastifyReply, mirror: Mirror, request?: RequestRecord): FastifyReply {
  const { id, state, digest, attempts, createdAt, startedAt, finishedAt } = mirror;
  const target = formatReference(mirror.target);
  const final = isFinal(state);
  const body = html`${top('Mirror')}
    <div class="card">
      <span class="state ${state}">${label(mirror)}</span>
      <h1>${target}</h1>
      <p class="dim">from ${formatReference(mirror.source)}</p>
      ${final ? '' : bar(mirror)}${state === 'done' ? pull(target) : ''}
    </div>
    ${reason(mirror)}
    ${facts([
      ['Digest', digest],
      ['Layers', layers(mirror)],
      ['Size', formatBytes(mirror.progress.bytesTotal)],
      ...wantedOf(mirror),
      ...arrived(mirror),
      ['Asked for', utc(request?.createdAt ?? createdAt)],
      ...(startedAt ? [['Started', utc(startedAt)] as [string, string]] : []),
      ...(finishedAt
        ? [['Ended', `${utc(finishedAt)}, after ${seconds(createdAt, finishedAt)}`] as [string, string]]
        : []),
      ['Tries', String(attempts)],
      ['Mirror', id],
    ])}`;
  return sendPage(reply, 200, { title: `${state}: ${target}`, body, ...(!final && { refresh }) });
}

function label({ state, phase, failure, wait }: Mirror): string {
  if (state === 'copying') return `● ${phase ?? state}`;
  if (state === 'queued' && wait) {
    const { until, host } = wait;
    return host === undefined ? `◌ next try at ${utc(until)}` : `◌ waiting for ${host} until ${utc(until)}`;
  }
  if (state === 'queued') return failure ? '◌ waiting for the next try' : '◌ queued';
  return state === 'done' ? '✓ done' : `✗ ${state}`;
}

function bar({ progress }: Mirror): Html {
  const { bytesDone, bytesTotal } = progress;
  if (bytesTotal === 0)
    return html`<progress></progress>
      <p class="dim">Not counted yet</p>`;
  const percent = Math.floor((bytesDone / bytesTotal) * 100);
  return html`<progress max="${bytesTotal}" value="${bytesDone}"></progress>
    <p class="dim">
      ${percent} % · ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)} · ${progress.layersDone} of
      ${progress.layersTotal} layers
    </p>`;
}

function reason({ state, failure }: Mirror): Html {
  if (!failure || state === 'done') return html``;
  const where = failure.side ? ` at the ${failure.side}` : '';
  return html`<div class="card">
    <h2 class="failed">${state === 'queued' ? 'The last try failed' : 'It failed'}${where}</h2>
    <p>${failure.message}</p>
    <p><strong>What to do:</strong> ${coded(failure.remedy)}</p>
    <p class="dim">Code <code>${failure.code}</code></p>
  </div>`;
}

/** Text with names of settings and commands in backticks. */
function coded(text: string): Html[] {
  return text.split('`').map((part, n) => (n % 2 === 1 ? html`<code>${part}</code>` : html`${part}`));
}

function pull(target: string): Html {
  return html`<pre><code>docker pull ${target}</code></pre>`;
}

function facts(rows: [string, string][]): Html {
  return html`<div class="card">
    <dl>
      ${rows.map(
        ([name, value]) =>
          html`<dt>${name}</dt>
            <dd>${value}</dd>`,
      )}
    </dl>
  </div>`;
}

function wantedOf({ selection: { platforms, referrers } }: Mirror): [string, string][] {
  return [
    ...(platforms ? [['Only', platforms.join(', ')] as [string, string]] : []),
    ...(referrers === 'all' ? [] : [['Referrers', [referrers].flat().join(', ')] as [string, string]]),
  ];
}

function arrived({ arrival }: Mirror): [string, string][] {
  if (!arrival) return [];
  const { bytes, referrers, moved, level, foreign } = arrival;
  const { length } = referrers;
  const others =
    length === 0 ? '' : `, ${moved.referrers} of ${length} ${length === 1 ? 'referrer' : 'referrers'}`;
  return [
    ['Copied', `${formatBytes(moved.bytes)} of ${formatBytes(bytes)}${others}`],
    ['Verified', looked[level]],
    ...(foreign.length > 0 ? [['Foreign layers', foreign.join(', ')] as [string, string]] : []),
  ];
}

/** How deep a target was read back. */
const looked = {
  manifests: 'every manifest',
  blobs: 'every manifest, and the size of every blob',
  full: 'every byte',
};

function layers({ progress }: Mirror): string {
  return progress.layersTotal === 0 ? 'not counted' : `${progress.layersDone} of ${progress.layersTotal}`;
}

function utc(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

function seconds(from: Date, to: Date): string {
  return `${((to.getTime() - from.getTime()) / 1000).toFixed(1)} s`;
}
