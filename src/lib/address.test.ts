import { createServer, type AddressInfo, connect } from 'node:net';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  AddressRefused,
  type AddressRules,
  checkedLookup,
  checkLiteral,
  classify,
  createAddressPolicy,
  hostOf,
  isHostPattern,
  isLoopbackHost,
  isRange,
  type Lookup,
} from './address.ts';

describe('classify', () => {
  it.each([
    ['1.1.1.1', 'public'],
    ['172.15.255.255', 'public'],
    ['172.32.0.1', 'public'],
    ['2606:4700::6810:84e5', 'public'],
    ['64:ff9b::101:101', 'public'],
    ['10.1.2.3', 'private'],
    ['172.16.0.1', 'private'],
    ['192.168.0.1', 'private'],
    ['100.64.0.1', 'private'],
    ['fd12:3456::1', 'private'],
    ['fec0::1', 'private'],
    ['192.0.0.1', 'reserved'],
    ['192.0.2.1', 'reserved'],
    ['198.19.0.1', 'reserved'],
    ['240.0.0.1', 'reserved'],
    ['2001:db8::1', 'reserved'],
    ['2001:0:4136:e378::1', 'reserved'],
    ['64:ff9b:1::a00:1', 'reserved'],
    ['4000::1', 'reserved'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.254', 'loopback'],
    ['::1', 'loopback'],
    ['[::1]', 'loopback'],
    ['0:0:0:0:0:0:0:1', 'loopback'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['::', 'unspecified'],
    ['169.254.1.1', 'link-local'],
    ['fe80::1', 'link-local'],
    ['fe80::1%eth0', 'link-local'],
    ['febf::1', 'link-local'],
    ['169.254.169.254', 'metadata'],
    ['100.100.100.200', 'metadata'],
    ['168.63.129.16', 'metadata'],
    ['fd00:ec2::254', 'metadata'],
    ['224.0.0.1', 'multicast'],
    ['ff02::1', 'multicast'],
    ['255.255.255.255', 'broadcast'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:7f00:1', 'loopback'],
    ['::ffff:169.254.169.254', 'metadata'],
    ['::ffff:0:10.0.0.1', 'private'],
    ['::10.0.0.1', 'private'],
    ['64:ff9b::169.254.169.254', 'metadata'],
    ['2002:a00:1::1', 'private'],
    ['2002:7f00:1::', 'loopback'],
    ['localhost', undefined],
    ['0x7f.1', undefined],
    ['', undefined],
  ])('calls %s %s', (address, kind) => {
    expect(classify(address)).toBe(kind);
  });
});

describe('a policy', () => {
  const ask = (host: string, address: string, rules: Partial<AddressRules> = {}) =>
    createAddressPolicy({ allow: [], named: [], loopback: false, ...rules }).check(host, address)?.kind;

  it('lets public addresses through and nothing else', () => {
    expect(ask('quay.io:443', '1.1.1.1')).toBeUndefined();
    expect(ask('quay.io:443', '10.0.0.1')).toBe('private');
    expect(ask('quay.io:443', '127.0.0.1')).toBe('loopback');
    expect(ask('quay.io:443', 'no address')).toBe('reserved');
  });

  it('trusts a named host under its port alone, to be private or on loopback and nothing worse', () => {
    const rules = { named: ['registry.corp:5000', 'Plain.corp', '[0::1]:5000'] };
    expect(ask('registry.corp:5000', '10.0.0.1', rules)).toBeUndefined();
    expect(ask('registry.corp:5000', '127.0.0.1', rules)).toBeUndefined();
    expect(ask('registry.corp:5001', '10.0.0.1', rules)).toBe('private');
    expect(ask('eu.registry.corp:5000', '10.0.0.1', rules)).toBe('private');
    expect(ask('plain.corp:443', '10.0.0.1', rules)).toBeUndefined();
    expect(ask('plain.corp:5000', '10.0.0.1', rules)).toBe('private');
    expect(ask('[::1]:5000', '::1', rules)).toBeUndefined();
    for (const address of ['169.254.1.1', '169.254.169.254', '224.0.0.1', '0.0.0.0', '255.255.255.255'])
      expect(ask('registry.corp:5000', address, rules)).toBe(classify(address));
  });

  it('allows names and suffixes, under every port', () => {
    const rules = { allow: ['Minio.corp', '*.lab.corp'] };
    expect(ask('minio.corp:9000', '10.0.0.1', rules)).toBeUndefined();
    expect(ask('a.b.lab.corp:1', '10.0.0.1', rules)).toBeUndefined();
    expect(ask('lab.corp:1', '10.0.0.1', rules)).toBe('private');
    expect(ask('evil-lab.corp:1', '10.0.0.1', rules)).toBe('private');
    expect(ask('minio.corp.evil.example:1', '10.0.0.1', rules)).toBe('private');
    expect(ask('minio.corp:9000', '169.254.169.254', rules)).toBe('metadata');
  });

  it('allows addresses and ranges, under every name and in every notation', () => {
    const rules = { allow: ['10.1.0.0/16', '169.254.7.7', 'fd00::/8', '224.0.0.0/24'] };
    expect(ask('x:1', '10.1.2.3', rules)).toBeUndefined();
    expect(ask('x:1', '::ffff:10.1.2.3', rules)).toBeUndefined();
    expect(ask('x:1', '10.2.2.3', rules)).toBe('private');
    expect(ask('x:1', '169.254.7.7', rules)).toBeUndefined();
    expect(ask('x:1', '169.254.7.8', rules)).toBe('link-local');
    expect(ask('x:1', 'fd00::1', rules)).toBeUndefined();
    expect(ask('x:1', '224.0.0.5', rules)).toBeUndefined();
  });

  it('takes no wide range for a metadata service', () => {
    expect(ask('x:1', '169.254.169.254', { allow: ['0.0.0.0/0'] })).toBe('metadata');
    expect(ask('x:1', 'fd00:ec2::254', { allow: ['::/0'] })).toBe('metadata');
    expect(ask('x:1', '169.254.169.254', { allow: ['169.254.169.254'] })).toBeUndefined();
  });

  it('lets loopback through where it is told so', () => {
    expect(ask('x:1', '127.0.0.1', { loopback: true })).toBeUndefined();
    expect(ask('[::1]:1', '::1', { loopback: true })).toBeUndefined();
    expect(ask('x:1', '0.0.0.0', { loopback: true })).toBe('unspecified');
    expect(ask('x:1', '10.0.0.1', { loopback: true })).toBe('private');
  });
});

it.each([
  ['localhost', true],
  ['LOCALHOST', true],
  ['127.0.0.1', true],
  ['127.9.9.9', true],
  ['::1', true],
  ['0.0.0.0', false],
  ['::', false],
  ['10.0.0.1', false],
  ['dray.example.com', false],
])('listening on %s is on loopback: %s', (host, loopback) => {
  expect(isLoopbackHost(host)).toBe(loopback);
});

describe('checkLiteral', () => {
  const policy = createAddressPolicy({ allow: [], named: [], loopback: false });

  it.each([
    ['http://127.0.0.1/', '127.0.0.1 is a loopback address'],
    ['http://2130706433/', '127.0.0.1 is a loopback address'],
    ['https://0x7f.1:5000/', '127.0.0.1 is a loopback address'],
    ['http://0177.0.0.1/', '127.0.0.1 is a loopback address'],
    ['http://[::ffff:127.0.0.1]/', '[::ffff:7f00:1] is a loopback address'],
    ['http://0/', '0.0.0.0 is an unspecified address'],
    ['http://169.254.169.254/latest', '169.254.169.254 is a metadata address'],
  ])('refuses %s', (url, message) => {
    const refused = () => checkLiteral(policy, new URL(url));
    expect(refused).toThrow(AddressRefused);
    expect(refused).toThrow(`${message} that this service does not go to`);
  });

  it.each(['https://1.1.1.1/', 'http://localhost/', 'https://quay.io/'])('has no say in %s', (url) => {
    expect(() => checkLiteral(policy, new URL(url))).not.toThrow();
  });
});

describe('checkedLookup', () => {
  const policy = createAddressPolicy({ allow: ['127.0.0.1'], named: [], loopback: false });
  /** A DNS that gives these addresses, one list after the other. */
  const dns = (...answers: string[][]) => {
    let asked = 0;
    const lookup: Lookup = (_, __, callback) => {
      const addresses = answers[Math.min(asked++, answers.length - 1)] ?? [];
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    };
    return { lookup, asked: () => asked };
  };
  const resolve = (lookup: Lookup, all: boolean) =>
    new Promise((settle, reject) => {
      checkedLookup(policy, 'x.test:80', lookup)('x.test', { all }, (error, address) =>
        error ? reject(error) : settle(address),
      );
    });

  it('drops what is refused and keeps the rest', async () => {
    const { lookup } = dns(['10.0.0.1', '1.1.1.1', '::1', '2606:4700::1']);
    expect(await resolve(lookup, true)).toEqual([
      { address: '1.1.1.1', family: 4 },
      { address: '2606:4700::1', family: 6 },
    ]);
    expect(await resolve(lookup, false)).toBe('1.1.1.1');
  });

  it('says where a name leads when nothing is left', async () => {
    await expect(resolve(dns(['10.0.0.1', '::1']).lookup, true)).rejects.toThrow(
      'x.test is at 10.0.0.1, a private address that this service does not go to',
    );
    await expect(resolve(dns([]).lookup, true)).rejects.toMatchObject({ code: 'ENOTFOUND' });
  });

  it('hands on that the name has no address', async () => {
    const error = Object.assign(new Error(), { code: 'EAI_AGAIN' });
    const lookup: Lookup = (_, __, callback) => callback(error, []);
    await expect(resolve(lookup, true)).rejects.toBe(error);
  });

  it('leaves a name that changes its address no second answer', async () => {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { lookup, asked } = dns(['127.0.0.1'], ['10.0.0.1']);
    const { port } = server.address() as AddressInfo;
    const host = `rebinds.test:${port}`;
    const socket = connect({ host: 'rebinds.test', port, lookup: checkedLookup(policy, host, lookup) });
    await once(socket, 'connect');
    expect(socket.remoteAddress).toBe('127.0.0.1');
    expect(asked()).toBe(1);
    socket.destroy();
    const again = connect({ host: 'rebinds.test', port, lookup: checkedLookup(policy, host, lookup) });
    expect(await once(again, 'error')).toMatchObject([{ code: 'ADDRESS_REFUSED' }]);
    server.close();
  });
});

it.each([
  ['10.0.0.1', true, false],
  ['10.0.0.0/8', true, false],
  ['fd00::/8', true, false],
  ['10.0.0.0/33', false, false],
  ['10.0.0.0/', false, false],
  ['10.0.0.0/8/8', false, false],
  ['fe80::1%eth0', false, false],
  ['10.1.2', false, false],
  ['0x7f.1', false, false],
  ['*', false, false],
  ['*.corp.example', false, true],
  ['corp.*', false, false],
  ['minio', false, true],
  ['minio.corp:9000', false, false],
  ['https://minio', false, false],
  ['a..b', false, false],
  ['', false, false],
])('%s is a range: %s, a host: %s', (text, range, host) => {
  expect([isRange(text), isHostPattern(text)]).toEqual([range, host]);
});

it('gives a URL its port', () => {
  expect(
    ['https://A.test/', 'http://a.test', 'http://[::1]:5000'].map((url) => hostOf(new URL(url))),
  ).toEqual(['a.test:443', 'a.test:80', '[::1]:5000']);
});
