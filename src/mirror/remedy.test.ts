import { describe, expect, it } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { advise, placeOf, somebodysPlace } from './remedy.ts';
import { routeOf } from './target.ts';

const route = routeOf('ghcr.io/acme/tool:1', 'quay.io');
const place = placeOf({ endpoint: 'https://seqera.example/api', workspaceId: 7, accessToken: 'x' });

describe('what a caller of Seqera Platform is advised', () => {
  it.each([
    ['login_required', 'source', 'Add a container registry credential for ghcr.io to workspace 7 on'],
    ['login_required', 'target', 'Add a container registry credential for quay.io to workspace 7 on'],
    ['credentials_rejected', 'target', 'Check the credential for quay.io in workspace 7 on'],
    ['denied', 'source', 'the credential for ghcr.io the right'],
    ['insufficient_scope', 'target', 'the token, of the credential for quay.io the right'],
    ['manifest_unknown', 'source', 'a container registry credential for ghcr.io that may read it'],
  ] as const)('of %s at the %s names the credential', (code, side, remedy) => {
    expect(advise(new MirrorError(code, 'It failed.', { side }), route, place).remedy).toContain(remedy);
  });

  it('is the usual where no credential helps, or a key of the installation asks', () => {
    for (const [error, where] of [
      [new MirrorError('tls', 'It failed.', { side: 'source' }), place],
      [new MirrorError('credentials_rejected', 'It failed.', { side: 'target' }), undefined],
      [new MirrorError('platform_unavailable', 'It failed.'), place],
    ] as const)
      expect(advise(error, route, where)).toBe(error);
  });

  it('says of a source that asks for a login that it may be private, whoever asks', () => {
    const error = new MirrorError('login_required', 'ghcr.io answered 401.', { side: 'source' });
    for (const where of [place, undefined])
      expect(advise(error, route, where).message).toBe(
        'ghcr.io/acme/tool:1 does not exist, or it is private and there is no login for ghcr.io. ghcr.io answered 401.',
      );
  });

  it('names no workspace on a record', () => {
    const error = new MirrorError('denied', 'It failed.', { side: 'target' });
    expect(advise(error, route, somebodysPlace).remedy).not.toMatch(/[0-9]|seqera\.example/);
    const speaking = [
      new MirrorError('forbidden', 'The caller is no member of workspace 7 on https://seqera.example/api.'),
      new MirrorError('credential_unreadable', 'Credential c-7 can not be read.', { side: 'source' }),
    ];
    for (const each of speaking) {
      const { code, side, message } = advise(each, route, somebodysPlace);
      expect([code, side]).toEqual([each.code, each.side]);
      expect(message).not.toMatch(/[0-9]|seqera\.example/);
      expect(advise(each, route, place)).toBe(each);
    }
  });

  it('keeps what else the error says', () => {
    const error = new MirrorError('denied', 'It failed.', { side: 'target', retryAfter: 7, retryable: true });
    expect(advise(error, route, place)).toMatchObject({ retryAfter: 7, retryable: true, side: 'target' });
  });
});
