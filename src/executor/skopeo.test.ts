import { describe, expect, it } from 'vitest';
import type { CopyJob, Endpoint } from './executor.ts';
import { authFile, skopeoArguments } from './skopeo.ts';

const digest = 'sha256:a4621ab7d1ed1a5d987da35735bd8506dea959df76a4ceebd81b8b067700d163';
const login = { username: 'admin', password: 's3cr3t' };

function job(source: Partial<Endpoint> = {}, target: Partial<Endpoint> = {}): CopyJob {
  return {
    id: 'mr-0',
    digest,
    source: { registry: '127.0.0.1:5001', path: 'app', insecure: false, ...source },
    target: { registry: '127.0.0.1:5002', path: 'app', insecure: false, ...target },
    timeLimit: 60,
    stallLimit: 60,
  };
}

describe('skopeoArguments', () => {
  const files = { sourceAuth: '/s.json', targetAuth: '/t.json', sourceCerts: '/s', targetCerts: '/t' };
  const options = (of: CopyJob) => skopeoArguments(of, files).filter((one) => /^--(?:src|dest)-/.test(one));

  it('copies the whole index by its digest, to the same digest', () => {
    const args = skopeoArguments(job({ path: 'a/b' }, { path: 'mirrors/a/b' }), files);
    expect(args.slice(0, 4)).toEqual(['--debug', 'copy', '--all', '--preserve-digests']);
    expect(args.slice(-2)).toEqual([
      `docker://127.0.0.1:5001/a/b@${digest}`,
      `docker://127.0.0.1:5002/mirrors/a/b@${digest}`,
    ]);
  });

  it('keeps the user’s own logins out where a side has none', () => {
    expect(options(job())).toEqual(['--src-no-creds', '--dest-no-creds']);
  });

  it('sets every option for its own side only', () => {
    const special = { credential: login, insecure: true, caFile: '/ca.pem' };
    expect(options(job(special))).toEqual([
      '--src-authfile',
      '--src-tls-verify=false',
      '--src-cert-dir',
      '--dest-no-creds',
    ]);
    const args = skopeoArguments(job({}, special), files);
    expect(args.slice(4, -2)).toEqual([
      ...['--src-no-creds', '--dest-authfile', '/t.json'],
      ...['--dest-tls-verify=false', '--dest-cert-dir', '/t'],
    ]);
  });

  it('puts nothing secret on the command line', () => {
    const token = { identityToken: 't0k3n' };
    const line = skopeoArguments(job({ credential: login }, { credential: token }), files).join(' ');
    expect(line).not.toMatch(/admin|s3cr3t|t0k3n/);
    expect(line).not.toContain(Buffer.from('admin:s3cr3t').toString('base64'));
  });
});

describe('authFile', () => {
  const read = (text: string) => JSON.parse(text) as unknown;

  it('holds one password, for one host', () => {
    expect(read(authFile('quay.io', login))).toEqual({
      auths: { 'quay.io': { auth: Buffer.from('admin:s3cr3t').toString('base64') } },
    });
  });

  it('holds an identity token as Docker writes it', () => {
    const auth = Buffer.from('<token>:').toString('base64');
    expect(read(authFile('acr.io', { identityToken: 'refresh' }))).toEqual({
      auths: { 'acr.io': { auth, identitytoken: 'refresh' } },
    });
  });
});
