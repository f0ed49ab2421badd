import { expect, it } from 'vitest';
import { isSubnet, subnetOf } from './subnet.ts';

it.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['::FFFF:c000:207', '192.0.2.7'],
  ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::9', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8::1:2:3:4:5', '2001:db8:0:1::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
])('%s stands for %s', (address, subnet) => {
  expect(subnetOf(address)).toBe(subnet);
});

it.each(['', 'unknown', '1.2.3', '1.2.3.4:80', '[::1]', '::1::', '_hidden', '1.2.3.4.5'])(
  '"%s" is no address',
  (text) => {
    expect(subnetOf(text)).toBeUndefined();
  },
);

it('knows addresses and ranges', () => {
  for (const text of ['10.0.0.1', '10.0.0.0/8', '::1', 'fd00::/8', '::ffff:10.0.0.0/104'])
    expect([text, isSubnet(text)]).toEqual([text, true]);
  for (const text of [
    '',
    'loopback',
    '10.0.0.0/',
    '10.0.0.0/33',
    '0.0.0.0/0',
    '10.0.0/8',
    'fd00::/129',
    '1.2.3.4/8/9',
    '10.0.0.0/255.0.0.0',
    'fe80::1%eth0',
  ])
    expect([text, isSubnet(text)]).toEqual([text, false]);
});
