import { isIPv4 } from 'node:net';
import { canonical } from './address.ts';

/**
 * Whom an address stands for: an IPv4 address for itself, also where it is wrapped in IPv6; an IPv6 address for its /64,
 * since that is the least that one customer gets.
 * @returns undefined for what is no address.
 */
export function subnetOf(address: string): string | undefined {
  const plain = canonical(address);
  if (plain === undefined || isIPv4(plain)) return plain;
  const prefix = plain.split(':', 4).map((group) => group.replace(/^0{1,3}/, ''));
  return `${prefix.join(':')}::/64`;
}
