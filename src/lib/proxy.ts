import { isIP } from 'node:net';
import { hostOf, isRange, isWithin } from './address.ts';
import type { ProxySettings } from './http.ts';

/** The proxy that a URL is reached through, if any. */
export function proxyFor(url: URL, { http, https, no = '' }: ProxySettings): string | undefined {
  const named = url.protocol === 'https:' ? https : http;
  if (!named || isExempt(url, no)) return undefined;
  return /^[a-z]+:\/\//i.test(named) ? named : `http://${named}`;
}

/** NO_PROXY as Go reads it (golang.org/x/net/http/httpproxy), whose rules Skopeo follows. */
function isExempt(url: URL, no: string): boolean {
  const [, port] = /:([0-9]+)$/.exec(hostOf(url)) ?? [];
  const address = url.hostname.replace(/^\[|\]$/g, '');
  return no
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .some((entry) => {
      if (entry === '*') return true;
      if (isRange(entry)) return isIP(address) !== 0 && isWithin(address, [entry]);
      const [, name = entry, only] = /^(.*?)(?::([0-9]+))?$/.exec(entry) ?? [];
      if (only !== undefined && only !== port) return false;
      const suffix = name.replace(/^\*?\./, '.');
      return url.hostname === name || url.hostname.endsWith(suffix.startsWith('.') ? suffix : `.${suffix}`);
    });
}
