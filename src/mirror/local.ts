import { randomBytes } from 'node:crypto';
import { asMirrorError } from '../core/errors.ts';
import { type Mirror, noProgress } from '../core/mirror.ts';
import type { Looks } from './look.ts';
import { planRoute } from './plan.ts';
import { routeOf } from './target.ts';
import { createTracker } from './tracker.ts';
import type { Worker } from './worker.ts';

export interface LocalOptions {
  looks: Looks;
  worker: Worker;
}

export interface LocalRequest {
  image: string;
  /** The target: host, or host and path. */
  repository: string;
  dryRun: boolean;
  signal: AbortSignal;
  /** Hears of every change; the last one is what is returned. */
  onChange: (mirror: Mirror) => void;
  onLog: (line: string) => void;
}

export interface LocalMirror {
  /**
   * Mirrors one image in this process, without a record. Nothing is thrown for a failed image: the returned
   * mirror is `done`, `failed` or (dry run of something that is missing) `queued`.
   * @throws MirrorError when the request itself is wrong, or its registries can't be looked at.
   */
  mirror(request: LocalRequest): Promise<Mirror>;
}

export function createLocalMirror({ looks, worker }: LocalOptions): LocalMirror {
  return {
    async mirror({ image, repository, dryRun, signal, onChange, onLog }) {
      const plan = await planRoute(routeOf(image, repository), looks);
      let mirror: Mirror = {
        id: `mr-${randomBytes(16).toString('hex')}`,
        source: plan.source,
        target: plan.target,
        digest: plan.digest,
        state: plan.present ? 'done' : 'queued',
        progress: noProgress,
        attempts: 0,
        createdAt: new Date(),
      };
      const change = (values: Partial<Mirror>) => {
        mirror = { ...mirror, ...values };
        onChange(mirror);
        return mirror;
      };
      if (plan.present || dryRun) return change({});
      const tracker = createTracker();
      const progressed = () => change({ progress: tracker.progress() });
      change({ state: 'copying', startedAt: new Date(), attempts: 1 });
      try {
        await worker.run(
          mirror,
          {
            phase: (phase) => change({ phase }),
            tree: (tree) => {
              tracker.expect(tree);
              progressed();
            },
            event: (event) => {
              if (event.type === 'exit') change({ exitCode: event.code });
              else if (event.type === 'log') onLog(event.line);
              else {
                tracker.see(event);
                progressed();
              }
            },
            note: onLog,
          },
          signal,
        );
        tracker.finish();
        return change({ state: 'done', progress: tracker.progress(), finishedAt: new Date() });
      } catch (error) {
        const failure = asMirrorError(error).toFailure();
        return change({ state: signal.aborted ? 'cancelled' : 'failed', failure, finishedAt: new Date() });
      }
    },
  };
}
