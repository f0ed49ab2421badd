import { everything } from '../core/selection.ts';
import { randomBytes } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { MirrorError, type MirrorErrorOptions } from '../core/errors.ts';
import { type Arrival, type Mirror, noProgress } from '../core/mirror.ts';
import type { Claim, MirrorStore, Settlement } from '../db/mirrors.ts';
import { createSealer } from '../lib/seal.ts';
import type { PushReceipt } from './receipt-push.ts';
import { createRunner, type Outcome } from './runner.ts';
import type { Worker } from './worker.ts';

const id = `mr-${'0'.repeat(32)}`;

/** Of two tries, the first is kept. */
const receipts = {
  sign: (_: Mirror, __: Arrival, at: Date) => Promise.resolve(`signed ${at.getTime() > 0}`),
  keep: () => Promise.resolve('kept'),
};

/** A runner of one mirror that is on record as given, and what is settled of it. */
function runnerOf(
  work: Worker['run'],
  values: Partial<Mirror> = {},
  sealedGrant?: string,
  pushReceipt?: PushReceipt,
) {
  const mirror: Mirror = {
    id,
    tenant: 'key:a',
    source: { registry: 'src.io', path: 'a', tag: '1' },
    target: { registry: 'dst.io', path: 'a', tag: '1' },
    digest: `sha256:${'a'.repeat(64)}`,
    selection: everything,
    state: 'copying',
    progress: noProgress,
    attempts: 1,
    createdAt: new Date(),
    ...values,
  };
  const claim: Claim = { mirror, number: 7, ...(sealedGrant !== undefined && { sealedGrant }) };
  const settled: ({ to: string } & Omit<Settlement, 'at'>)[] = [];
  const outcomes: Outcome[] = [];
  const store = { held: true, settles: true, writes: 0 };
  const mirrors: Partial<MirrorStore> = {
    claim: () => Promise.resolve(claim),
    progress: () => Promise.resolve((store.writes++, store.held)),
    appendLog: () => Promise.resolve(),
    settle: (_, to, { at, ...settlement }) => {
      expect(at).toBeInstanceOf(Date);
      if (store.settles) settled.push({ to, ...settlement });
      return Promise.resolve(store.settles);
    },
  };
  const runner = createRunner({
    mirrors: mirrors as MirrorStore,
    worker: { run: work },
    receipts,
    ...(pushReceipt && { pushReceipt }),
    keychainOf: () => ({ resolve: () => Promise.resolve(undefined) }),
    sealer: createSealer([randomBytes(32)]),
    retry: { tries: 3, firstPause: 1, longestPause: 60 },
    patience: 3600,
    onOutcome: (_, outcome) => outcomes.push(outcome),
    onError: () => undefined,
  });
  const shutdown = new AbortController();
  return { runner, settled, outcomes, store, shutdown, run: () => runner.run(id, shutdown.signal) };
}

const arrival: Arrival = {
  ...{ manifests: 1, blobs: 2, bytes: 300, foreign: [], referrers: [] },
  level: 'blobs',
  moved: { blobs: 2, bytes: 300, referrers: 0 },
};

const failing = (code: MirrorError['code'], options: MirrorErrorOptions = {}) => {
  return () => Promise.reject(new MirrorError(code, 'x', options));
};
const untilAborted: Worker['run'] = (_mirror, _keychain, _listener, signal) =>
  new Promise((_, reject) => {
    const stopped = () => reject(new MirrorError('cancelled', 'x'));
    if (signal.aborted) stopped();
    signal.addEventListener('abort', stopped);
  });

describe('a claim', () => {
  it('that ends well is settled as done and never comes again', async () => {
    const { run, settled, outcomes } = runnerOf(() => Promise.resolve(arrival));
    expect(await run()).toBeUndefined();
    expect([settled, outcomes]).toEqual([[{ to: 'done', arrival, receipt: 'signed true' }], [{}]]);
  });

  it('that ends well shows the receipt that is kept, and comes again when it can not be left there now', async () => {
    const shown: string[] = [];
    let fault: MirrorError | undefined = new MirrorError('reset', 'x', { side: 'target' });
    const push: PushReceipt = (_, envelope) => {
      shown.push(envelope);
      return fault ? Promise.reject(fault) : Promise.resolve();
    };
    const well = () => Promise.resolve(arrival);
    const first = runnerOf(well, {}, undefined, push);
    expect(await first.run()).toBeGreaterThan(0);
    expect(first.settled).toMatchObject([{ to: 'queued', failure: { code: 'reset', side: 'target' } }]);
    // The image is there: in the end that is what counts.
    const last = runnerOf(well, { attempts: 3 }, undefined, push);
    expect(await last.run()).toBeUndefined();
    expect(last.settled).toEqual([{ to: 'done', arrival, receipt: 'kept' }]);
    expect(last.outcomes).toEqual([{ unreceipted: fault }]);
    fault = new MirrorError('push_refused', 'x', { side: 'target' });
    const refused = runnerOf(well, {}, undefined, push);
    await refused.run();
    expect(refused.outcomes).toEqual([{ unreceipted: fault }]);
    fault = undefined;
    const good = runnerOf(well, {}, undefined, push);
    await good.run();
    expect([good.settled, good.outcomes]).toEqual([[{ to: 'done', arrival, receipt: 'kept' }], [{}]]);
    expect(shown).toEqual(['kept', 'kept', 'kept', 'kept']);
  });

  it('that fails for good is not tried again', async () => {
    const { run, settled } = runnerOf(failing('denied', { side: 'source' }));
    expect(await run()).toBeUndefined();
    expect(settled).toMatchObject([{ to: 'failed', failure: { code: 'denied', side: 'source' } }]);
  });

  it('that fails for a reason that may pass comes again after a pause, until its tries are used up', async () => {
    const first = runnerOf(failing('reset'), { attempts: 2 });
    const pause = (await first.run()) ?? 0;
    expect(pause).toBeGreaterThan(2000);
    expect(pause).toBeLessThan(4000);
    expect(first.settled).toMatchObject([{ to: 'queued', failure: { code: 'reset' } }]);
    expect(first.settled[0]?.uncounted).toBeUndefined();
    const left = (first.settled[0]?.wait?.until.getTime() ?? 0) - Date.now();
    expect(Math.abs(left - pause)).toBeLessThan(1000);
    const last = runnerOf(failing('reset'), { attempts: 3 });
    expect(await last.run()).toBeUndefined();
    expect(last.settled).toMatchObject([{ to: 'failed' }]);
  });

  it('that a registry lets wait comes again when it said so, and uses up no try', async () => {
    const { run, settled } = runnerOf(failing('rate_limited', { side: 'target', retryAfter: 120 }), {
      attempts: 3,
    });
    const pause = (await run()) ?? 0;
    expect(pause).toBeGreaterThanOrEqual(120_000);
    expect(pause).toBeLessThan(125_000);
    expect(settled).toMatchObject([{ to: 'queued', uncounted: true, wait: { host: 'dst.io' } }]);
  });

  it.each([{}, { side: 'source' }, { retryAfter: 0 }, { side: 'source', retryAfter: 0 }] as const)(
    'that is rate limited with no more than %o waits, without spinning, and uses up no try',
    async (options) => {
      const young = runnerOf(failing('rate_limited', options), { attempts: 3 });
      expect(await young.run()).toBeGreaterThanOrEqual(1000);
      expect(young.settled).toMatchObject([{ to: 'queued', uncounted: true }]);
      const createdAt = new Date(Date.now() - 40_000);
      if (!('retryAfter' in options))
        expect(await runnerOf(failing('rate_limited', options), { createdAt }).run()).toBeGreaterThan(39_000);
    },
  );

  it('that would wait longer than patience allows fails at once', async () => {
    const createdAt = new Date(Date.now() - 3_500_000);
    const { run, settled } = runnerOf(failing('rate_limited', { side: 'source', retryAfter: 120 }), {
      createdAt,
    });
    expect(await run()).toBeUndefined();
    expect(settled).toMatchObject([{ to: 'failed', failure: { code: 'rate_limited' } }]);
  });

  it('whose service ends goes back to the queue at once, and its try does not count', async () => {
    const { run, settled, outcomes, shutdown } = runnerOf(untilAborted);
    const running = run();
    shutdown.abort();
    expect(await running).toBe(0);
    expect(settled).toEqual([{ to: 'queued', uncounted: true }]);
    expect(outcomes).toEqual([]);
  });

  it('that is stopped changes nothing, and does not come again', async () => {
    const { run, runner, settled } = runnerOf(untilAborted);
    const running = run();
    await Promise.resolve();
    await vi.waitFor(() => {
      runner.stop(id);
    });
    expect(await running).toBeUndefined();
    expect(settled).toEqual([]);
  });

  it('that another has by now stops, changes nothing, and gives nobody’s job back', async () => {
    const { run, store, outcomes } = runnerOf(untilAborted);
    const running = run();
    store.held = false;
    // Noticed although nothing happens.
    expect(await running).toBeUndefined();
    expect(outcomes).toEqual([]);
  });

  it.each(['shutdown', 'failure', 'success'])(
    'that is lost at its very end, a %s, gives no job back',
    async (end) => {
      const { run, store, shutdown, outcomes } = runnerOf(() => {
        if (end === 'shutdown') shutdown.abort();
        return end === 'success' ? Promise.resolve(arrival) : failing('reset')();
      });
      store.settles = false;
      expect(await run()).toBeUndefined();
      expect(outcomes).toEqual([]);
    },
  );

  it('with a grant that can not be opened any more fails', async () => {
    const { run, settled } = runnerOf(() => Promise.resolve(arrival), {}, 'sealed with another key');
    expect(await run()).toBeUndefined();
    expect(settled).toMatchObject([{ to: 'failed', failure: { code: 'grant_lost' } }]);
  });

  it('writes nothing any more once it has ended, though its reading goes on', async () => {
    let note: (line: string) => void = () => undefined;
    const { run, store } = runnerOf((_mirror, _keychain, listener) => {
      note = listener.note;
      return Promise.resolve(arrival);
    });
    await run();
    const before = store.writes;
    note('late');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(store.writes).toBe(before);
  });
});
