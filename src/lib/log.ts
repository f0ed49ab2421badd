import { destination, type Logger, pino } from 'pino';

export type { Logger };

/**
 * One JSON object a line on standard error. What looks like a secret is cut out by its field's name; nothing
 * that holds one is logged in the first place.
 */
export function createLogger(level: string): Logger {
  const secret = [
    'authorization',
    'password',
    'token',
    'towerAccessToken',
    'towerRefreshToken',
    'identityToken',
    'key',
  ];
  const paths = secret.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]);
  return pino(
    { level, base: null, redact: { paths, censor: '[secret]' } },
    destination({ dest: 2, sync: false }),
  );
}
