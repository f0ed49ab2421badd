/** Seconds from a Retry-After of either form (RFC 9110, section 10.2.3); undefined when it is neither. */
export function parseRetryAfter(value: string): number | undefined {
  const text = value.trim();
  // Date.parse takes "-5" for a month of some year.
  const seconds = /^[0-9]{1,9}$/.test(text)
    ? Number(text)
    : /^[A-Za-z]/.test(text)
      ? (Date.parse(text) - Date.now()) / 1000
      : NaN;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}
