import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLine, type Line, type PairedSocket } from './line.ts';

/** A socket whose other side is in the hands of the test. */
class Socket extends EventEmitter implements PairedSocket {
  bufferedAmount = 0;
  readonly done: string[] = [];
  readonly sent: string[] = [];
  send(text: string, sent: () => void): void {
    this.sent.push(text);
    sent();
  }
  ping(): void {
    this.done.push('ping');
  }
  close(code: number): void {
    this.done.push(`close ${code}`);
  }
  terminate(): void {
    this.done.push('terminate');
  }
}

describe('a line', () => {
  let socket: Socket;
  let line: Line;
  const onGone = vi.fn();
  const onError = vi.fn();
  let isGood: () => Promise<boolean>;
  beforeEach(() => {
    vi.useFakeTimers();
    onGone.mockReset();
    onError.mockReset();
    isGood = async () => true;
    socket = new Socket();
    const timings = { answer: 5000, ping: 30_000, silence: 75_000, closing: 1000 };
    line = createLine({ socket, timings, isGood: () => isGood(), onGone, onError });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const seconds = (count: number) => vi.advanceTimersByTime(count * 1000);

  it('pings every 30 s, and is gone after 75 s of silence', () => {
    seconds(74.9);
    expect([socket.done, line.gone]).toEqual([['ping', 'ping'], false]);
    seconds(0.1);
    expect([socket.done, line.gone]).toEqual([['ping', 'ping', 'terminate'], true]);
    expect(onGone.mock.calls).toEqual([['It fell silent.']]);
    socket.emit('close', 1006);
    seconds(1000);
    expect([socket.done.length, onGone.mock.calls.length]).toEqual([3, 1]);
  });

  it.each([
    ['a pong', 'pong', []],
    ['a ping', 'ping', []],
    ['a frame', 'message', [Buffer.from('{"@type":"pairing-new"}'), false]],
  ])('lives on with %s', (_, event, given) => {
    for (let i = 0; i < 10; i++) {
      seconds(70);
      socket.emit(event, ...given);
    }
    expect(line.gone).toBe(false);
  });

  it('does not wait for ever for the other side to close', () => {
    line.close(1001, 'bye');
    seconds(0.9);
    expect([socket.done, line.gone]).toEqual([['close 1001'], true]);
    seconds(0.1);
    expect(socket.done).toEqual(['close 1001', 'terminate']);
  });

  it('speaks first, and answers no heartbeat before', () => {
    const heartbeat = Buffer.from('{"@type":"pairing-heartbeat","msgId":"a"}');
    socket.emit('message', heartbeat, false);
    line.start({ id: 'pair1', publicKey: 'key' });
    socket.emit('message', heartbeat, false);
    expect(socket.sent.map((text) => (JSON.parse(text) as Record<string, unknown>)['@type'])).toEqual([
      'pairing-response',
      'pairing-heartbeat',
    ]);
  });

  it('stays when the database can not tell whether its pair is good', async () => {
    isGood = () => Promise.reject(new Error('away'));
    line.start({ id: 'pair1', publicKey: 'key' });
    socket.emit('message', Buffer.from('{"@type":"pairing-heartbeat","msgId":"a"}'), false);
    await vi.waitFor(() => expect(onError).toHaveBeenCalledOnce());
    expect(line.gone).toBe(false);
  });

  it.each([
    ['no JSON', '{', false],
    ['a list', '[]', false],
    ['null', 'null', false],
    ['no type', '{"msgId":"a"}', false],
    ['a heartbeat without id', '{"@type":"pairing-heartbeat"}', false],
    ['an answer without status', '{"@type":"proxy-http-response","msgId":"x"}', false],
    ['a binary frame', '{"@type":"pairing-new"}', true],
  ])('closes a socket that sends nonsense five times in a row: %s', (_, text, isBinary) => {
    const nonsense = () => socket.emit('message', Buffer.from(text), isBinary);
    for (let i = 0; i < 4; i++) nonsense();
    socket.emit('message', Buffer.from('{"@type":"pairing-new"}'), false);
    for (let i = 0; i < 4; i++) nonsense();
    expect(socket.done).toEqual([]);
    nonsense();
    expect(socket.done).toEqual(['close 1007']);
  });

  it('closes a socket that sends too much', () => {
    socket.emit('message', Buffer.alloc(1024 * 1024 + 1, 'x'), false);
    expect(socket.done).toEqual(['close 1009']);
  });

  it('never ends on an error of the socket', () => {
    socket.emit('error', new Error('reset'));
    expect(line.gone).toBe(false);
    socket.emit('close', 1006);
    expect(line.gone).toBe(true);
  });
});
