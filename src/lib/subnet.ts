import { isIPv4, isIPv6 } from 'node:net';

/**
 * Whom an address stands for: an IPv4 address for itself, also where it is mapped into IPv6; an IPv6 address for its /64,
 * since that is the least that one customer gets.
 * @returns undefined for what is no address.
 */
export function subnetOf(address: string): string | undefined {
  if (isIPv4(address)) return address;
  const [bare = ''] = address.split('%');
  if (!isIPv6(bare)) return undefined;
  const groups = groupsOf(bare);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff)
    return groups
      .slice(6)
      .flatMap((group) => [group >> 8, group & 0xff])
      .join('.');
  const prefix = groups.slice(0, 4).map((group) => group.toString(16));
  return `${prefix.join(':')}::/64`;
}

/** The eight groups of an IPv6 address (RFC 4291, section 2.2). */
function groupsOf(address: string): number[] {
  const [head = [], tail] = address.split('::').map((half) =>
    half
      .split(':')
      .filter((part) => part !== '')
      .flatMap((part) => {
        if (!part.includes('.')) return parseInt(part, 16);
        const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
        return [(a << 8) | b, (c << 8) | d];
      }),
  );
  if (!tail) return head;
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}
