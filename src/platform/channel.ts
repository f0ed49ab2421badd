import { MirrorError } from '../core/errors.ts';
import type { ProxyAnswer, ProxyRequest } from './frames.ts';
import { createLane, type EndpointState, type Lane, stoppable } from './lane.ts';
import { createLine, type Fault, type LineTimings, type PairedSocket } from './line.ts';
import type { Pairings } from './pairing.ts';

/** A request as the caller of a channel writes it. */
export interface ChannelRequest extends Omit<ProxyRequest, 'uri'> {
  /** A function where it depends on the pair that the used socket's Platform was sent. */
  uri: string | ((pairingId: string) => string);
}

export interface ChannelAnswer extends ProxyAnswer {
  /** The pair that the used socket's Platform was sent. */
  pairingId: string;
}

/** The live sockets of all endpoints, and what goes through them. */
export interface Channel {
  /** @throws MirrorError `unpaired_endpoint` for one that is not configured. */
  check(endpoint: string): void;
  /** Takes a socket that was let in (`Pairings.admit`), sends it its pair, and keeps it until it closes. */
  open(endpoint: string, socket: PairedSocket): Promise<void>;
  /**
   * Sends a request through the newest live socket of an endpoint and waits for its answer. Where there is none it
   * waits for one. GETs are tried again, through another socket where there is one.
   * @throws MirrorError `platform_unavailable`, at the latest when the signal or the channel's own limit says stop;
   * `unpaired_endpoint`.
   */
  request(endpoint: string, request: ChannelRequest, signal: AbortSignal): Promise<ChannelAnswer>;
  /** Why an answer of this endpoint is not there yet. */
  excuse(endpoint: string): MirrorError;
  /** Keeps what went wrong with an endpoint for its state. */
  note(endpoint: string, error: string): void;
  /** In the order of the configuration. */
  states(): EndpointState[];
  /** Closes all sockets and refuses all requests. */
  close(): void;
}

/** Milliseconds. */
export interface ChannelTimings extends LineTimings {
  /** Before a second try; doubled for each further one, with jitter. */
  pause: number;
  /** How long a request waits for an endpoint to connect. */
  connect: number;
  /** How long it takes altogether at most. */
  total: number;
}

const usual: ChannelTimings = {
  answer: 5000,
  ping: 30_000,
  silence: 75_000,
  closing: 1000,
  pause: 200,
  connect: 10_000,
  total: 30_000,
};

export interface ChannelOptions {
  pairings: Pick<Pairings, 'endpoints' | 'present' | 'isGood'>;
  onError: (error: unknown) => void;
  /** An endpoint has lost a socket. */
  onGone?: (endpoint: string, why: string) => void;
  timings?: Partial<ChannelTimings>;
}

/** Characters; a frame holds 1 MB of them as JSON, where one can take six bytes. */
const requestLimit = 128 * 1024;
const socketLimit = 16;
const tryLimit = 4;

export function createChannel({ pairings, onError, onGone, timings: over }: ChannelOptions): Channel {
  const timings = { ...usual, ...over };
  const lanes = new Map(pairings.endpoints.map((endpoint) => [endpoint, createLane(endpoint)]));
  let closed = false;

  function laneOf(endpoint: string): Lane {
    const lane = lanes.get(endpoint);
    if (lane) return lane;
    // It comes from a caller: a short printable form of it.
    const shown = endpoint.replace(/[^\x21-\x7e]/g, '').slice(0, 100);
    throw new MirrorError('unpaired_endpoint', `${shown} is not paired with this service.`);
  }

  function failure({ endpoint }: Lane, fault: Fault | 'absent'): MirrorError {
    const said = {
      slow: `${endpoint} did not answer within ${timings.answer / 1000} s.`,
      closed: `${endpoint} closed its connection in the middle of a call.`,
      nonsense: `${endpoint} gave an answer that makes no sense.`,
      stopped: `${endpoint} did not answer in time.`,
      absent: `${endpoint} is not connected to this service.`,
    };
    return new MirrorError('platform_unavailable', closed ? 'This service is stopping.' : said[fault]);
  }

  async function deliver(lane: Lane, request: ChannelRequest, stop: AbortSignal, until: number) {
    const tried = new Set<object>();
    let fault: Fault | undefined;
    for (let count = 1; ; count++) {
      const line = closed ? undefined : await lane.line(tried, stop, until);
      if (line?.pairingId === undefined) throw failure(lane, fault ?? (stop.aborted ? 'stopped' : 'absent'));
      const { pairingId } = line;
      const uri = typeof request.uri === 'string' ? request.uri : request.uri(pairingId);
      const sent = { ...request, uri };
      if (uri.length + (sent.auth?.length ?? 0) + (sent.body?.length ?? 0) > requestLimit)
        throw new MirrorError('invalid_request', `The request is too large for ${lane.endpoint}.`);
      const outcome = await line.exchange(sent, stop);
      if (typeof outcome === 'object') return { ...outcome, pairingId };
      // A try that the caller cuts off says nothing about Platform; the one before it does.
      if (outcome !== 'stopped' || !fault) fault = outcome;
      const error = failure(lane, fault);
      // Why a line closed, it says better itself.
      if (outcome === 'slow' || outcome === 'nonsense') lane.note(error.message);
      // What is no GET may have been done already.
      if (request.method !== 'GET' || stop.aborted || count === tryLimit) throw error;
      tried.add(line);
      if (outcome !== 'closed') await lane.pause(timings.pause * 2 ** (count - 1), stop);
    }
  }

  return {
    check: (endpoint) => void laneOf(endpoint),
    async open(endpoint, socket) {
      const lane = laneOf(endpoint);
      const line = createLine({
        socket,
        timings,
        isGood: pairings.isGood,
        onGone: (why) => {
          lane.remove(line, why);
          onGone?.(endpoint, why);
        },
        onError,
      });
      if (closed || lane.count >= socketLimit) return line.close(1013, 'There are too many sockets.');
      lane.reserve(line);
      try {
        const pair = await pairings.present(endpoint);
        if (line.gone) return;
        line.start(pair);
        lane.add(line);
      } catch (error) {
        onError(error);
        lane.note('A key pair for it could not be had.');
        line.close(1013, 'The key pair can not be had; try again.');
      }
    },
    async request(endpoint, request, signal) {
      const lane = laneOf(endpoint);
      const until = performance.now() + timings.connect;
      const { stop, release } = stoppable(signal, timings.total);
      try {
        if (!(await lane.enter(stop))) throw failure(lane, lane.connected ? 'stopped' : 'absent');
        try {
          return await deliver(lane, request, stop, until);
        } finally {
          lane.leave();
        }
      } finally {
        release();
      }
    },
    excuse: (endpoint) => {
      const lane = laneOf(endpoint);
      return failure(lane, lane.connected ? 'stopped' : 'absent');
    },
    note: (endpoint, error) => lanes.get(endpoint)?.note(error),
    states: () => [...lanes.values()].map((lane) => lane.state()),
    close() {
      closed = true;
      for (const lane of lanes.values()) lane.close();
    },
  };
}
