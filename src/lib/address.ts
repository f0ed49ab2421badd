import { lookup as systemLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { BlockList, isIP, isIPv4, isIPv6, type LookupFunction } from 'node:net';

/** What an address is used for, as far as it matters to who may lead us there. */
export type AddressKind =
  | 'public'
  | 'private'
  | 'reserved'
  | 'loopback'
  | 'link-local'
  | 'metadata'
  | 'multicast'
  | 'broadcast'
  | 'unspecified';

/**
 * What clouds give machines their secrets from. Some are in ranges that are otherwise harmless or public:
 * AWS (EC2, ECS, EKS), Google, Oracle, Alibaba, Azure.
 */
const metadata = [
  ...['169.254.169.254', '169.254.170.2', '169.254.170.23', 'fd00:ec2::254', 'fd00:ec2::23'],
  ...['fd20:ce::254', '192.0.0.192', '100.100.100.200', '168.63.129.16'],
];

/** In this order: the first that fits wins. IANA's registries of special-purpose addresses, RFC 6890 and later. */
const kinds: [AddressKind, string[]][] = [
  ['metadata', metadata],
  ['unspecified', ['0.0.0.0/8', '::']],
  ['loopback', ['127.0.0.0/8', '::1']],
  ['link-local', ['169.254.0.0/16', 'fe80::/10']],
  ['multicast', ['224.0.0.0/4', 'ff00::/8']],
  ['broadcast', ['255.255.255.255']],
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7', 'fec0::/10']],
  [
    'reserved',
    [
      ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '198.18.0.0/15', '198.51.100.0/24'],
      // Teredo is in 2001::/23: what it leads to can't be told.
      ...['203.0.113.0/24', '240.0.0.0/4', '2001::/23', '2001:db8::/32', '3fff::/20'],
    ],
  ],
];
const lists = kinds.map(([kind, ranges]) => [kind, listOf(ranges)] as const);

/** Names what an address is; undefined when it is no address. An IPv6 address that stands for an IPv4 one counts as that. */
export function classify(address: string): AddressKind | undefined {
  const plain = canonical(address);
  if (plain === undefined) return undefined;
  const found = lists.find(([, list]) => isIn(list, plain))?.[0];
  // Only 2000::/3 is given to anybody (RFC 4291, section 2.4).
  return found ?? (isIPv4(plain) || /^[23]...:/.test(plain) ? 'public' : 'reserved');
}

/** The same address in one notation: IPv4 where it is wrapped in IPv6, else eight groups of four digits. */
export function canonical(address: string): string | undefined {
  if (isIPv4(address)) return address;
  const [bare = ''] = address.replace(/^\[|\]$/g, '').split('%');
  if (isIPv4(bare)) return bare;
  if (!isIPv6(bare)) return undefined;
  const groups = groupsOf(bare.toLowerCase());
  const whole = groups.join('');
  // Mapped (RFC 4291), translated (RFC 2765), compatible (RFC 4291), NAT64 (RFC 6052): the last 32 bits; 6to4: those after 2002.
  const wrapped =
    /^(?:0{20}ffff|0{16}ffff0000|0{24}(?!0{7}[01]$)|0064ff9b0{16})(.{8})$/.exec(whole) ??
    /^2002(.{8})/.exec(whole);
  if (!wrapped?.[1]) return groups.join(':');
  return Array.from(Buffer.from(wrapped[1], 'hex')).join('.');
}

/** The eight groups of an IPv6 address (RFC 4291, section 2.2), of four digits each. */
function groupsOf(address: string): string[] {
  const [head = [], tail] = address.split('::').map((half) =>
    half
      .split(':')
      .filter((part) => part !== '')
      .flatMap((part) => (part.includes('.') ? dotted(part) : part.padStart(4, '0'))),
  );
  if (!tail) return head;
  return [...head, ...Array<string>(8 - head.length - tail.length).fill('0000'), ...tail];
}

/** The two groups that an address in the notation of IPv4 stands for. */
function dotted(end: string): string[] {
  const digits = Buffer.from(end.split('.').map(Number)).toString('hex');
  return [digits.slice(0, 4), digits.slice(4)];
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) add(list, range);
  return list;
}

function add(list: BlockList, range: string): void {
  const [address = '', bits] = range.split('/');
  const family = isIPv4(address) ? 'ipv4' : 'ipv6';
  list.addSubnet(address, Number(bits ?? (family === 'ipv4' ? 32 : 128)), family);
}

function isIn(list: BlockList, plain: string): boolean {
  return list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6');
}

/** Tells whether one of the ranges has the address. */
export function isWithin(address: string, ranges: readonly string[]): boolean {
  const plain = canonical(address);
  return plain !== undefined && isIn(listOf(ranges), plain);
}

/** Tells whether a text is an address or a range such as 10.1.0.0/16. */
export function isRange(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0 || address.includes('%')) return false;
  return bits === undefined || (/^[0-9]{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

/** Tells whether a text is a host name or `*.suffix`. What ends in a number is an address with a part missing. */
export function isHostPattern(text: string): boolean {
  return (
    /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i.test(text) &&
    !/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/i.test(text)
  );
}

/** Tells whether who listens on this host is reached from this machine only. */
export function isLoopbackHost(host: string): boolean {
  return host.toLowerCase() === 'localhost' || classify(host) === 'loopback';
}

/** Decides where connections may go. */
export interface AddressPolicy {
  /**
   * Says why there must be no connection.
   * @param host `name:port` as somebody named it, in lower case
   * @param address what it resolved to, or the same address
   */
  check(host: string, address: string): Refusal | undefined;
}

export interface Refusal {
  host: string;
  address: string;
  kind: AddressKind;
}

export interface AddressRules {
  /** Addresses, ranges, host names and `*.suffixes` beside the public ones. */
  allow: readonly string[];
  /** `name` or `name:port` of hosts that may be on private and loopback addresses. */
  named: readonly string[];
  /** Loopback addresses are allowed under any name. */
  loopback: boolean;
}

/** For who may reach all of this anyway, without us. */
export const allowAll: AddressPolicy = { check: () => undefined };

export function createAddressPolicy({ allow, named, loopback }: AddressRules): AddressPolicy {
  const ranges = listOf(allow.filter(isRange));
  const single = new Set(allow.filter((entry) => isIP(entry) !== 0).map(canonical));
  const names = allow.filter((entry) => !isRange(entry)).map((entry) => entry.toLowerCase());
  const known = new Set(named.flatMap((host) => withPort(host.toLowerCase())));

  const isNamed = (host: string) => {
    const name = nameOf(host);
    return (
      known.has(host) ||
      names.some((entry) => (entry.startsWith('*.') ? name.endsWith(entry.slice(1)) : name === entry))
    );
  };

  return {
    check(host, address) {
      const kind = classify(address) ?? 'reserved';
      const plain = canonical(address) ?? '';
      if (kind === 'public' || single.has(plain)) return undefined;
      // A wide range is never meant to hold the one address that gives our own secrets away.
      if (kind !== 'metadata' && plain !== '' && isIn(ranges, plain)) return undefined;
      if (kind === 'loopback' && loopback) return undefined;
      const mayBe = kind === 'private' || kind === 'reserved' || kind === 'loopback';
      return mayBe && isNamed(host) ? undefined : { host, address, kind };
    },
  };
}

/** Tells whether `localhost` or any loopback address, written as such, may be allowed. */
export function allowsLoopback({ allow, named, loopback }: AddressRules): boolean {
  const ranges = allow.filter(isRange);
  // A range is within loopback's, or has all of them.
  const inside = [...ranges.map((range) => range.replace(/\/.*/, '')), ...allow, ...named.map(nameOf)];
  return loopback || inside.some(isLoopbackHost) || ['127.0.0.1', '::1'].some((it) => isWithin(it, ranges));
}

/** As URLs write it, so that every notation of an address is the same. */
function withPort(host: string): string[] {
  const ports = /(?<=:)[0-9]+$/.exec(host) ?? ['443', '80'];
  const url = `http://${nameOf(host)}`;
  return URL.canParse(url) ? ports.map((port) => `${new URL(url).hostname}:${port}`) : [];
}

/** The name in `name:port`. */
function nameOf(host: string): string {
  return host.replace(/:[0-9]+$/, '');
}

/** `name:port` of a URL, the port always there. */
export function hostOf(url: URL): string {
  return `${url.hostname}:${url.port || (url.protocol === 'https:' ? '443' : '80')}`;
}

/** A connection that the policy forbids; nothing was sent. */
export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';
  readonly code = 'ADDRESS_REFUSED';

  constructor({ host, address, kind }: Refusal) {
    const name = nameOf(host);
    const what = `${kind === 'unspecified' ? 'an' : 'a'} ${kind} address that this service does not go to`;
    super(
      name.replace(/^\[|\]$/g, '') === address ? `${name} is ${what}` : `${name} is at ${address}, ${what}`,
    );
  }
}

/** @throws AddressRefused when the URL's host is itself an address, and one that is refused: no name is looked up for it. */
export function checkLiteral(policy: AddressPolicy, url: URL): void {
  const address = url.hostname.replace(/^\[|\]$/g, '');
  const refusal = isIP(address) === 0 ? undefined : policy.check(hostOf(url), address);
  if (refusal) throw new AddressRefused(refusal);
}

/** The part of node:dns that is needed here. */
export type Lookup = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * For the `lookup` of net.connect: resolves once and gives the addresses that are allowed, so that what was checked
 * is what is connected to, whatever the next answer of the DNS would be.
 */
export function checkedLookup(
  policy: AddressPolicy,
  host: string,
  lookup: Lookup = systemLookup,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, '');
      const refusals = found.map(({ address }) => policy.check(host, address));
      const allowed = found.filter((_, index) => refusals[index] === undefined);
      const [first] = allowed;
      const [refusal] = refusals;
      if (first) return options.all ? callback(null, allowed) : callback(null, first.address, first.family);
      return callback(
        refusal
          ? new AddressRefused(refusal)
          : Object.assign(new Error(`${hostname} has no address`), { code: 'ENOTFOUND' }),
        '',
      );
    });
  };
}
