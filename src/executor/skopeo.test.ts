import { describe, expect, it } from 'vitest';
import type { CopyEvent, CopyJob, Endpoint } from './executor.ts';
import { authFile, classifyFailure, createOutputReader, skopeoArguments } from './skopeo.ts';

const digest = 'sha256:a4621ab7d1ed1a5d987da35735bd8506dea959df76a4ceebd81b8b067700d163';
const layer = 'sha256:7038e464ec2d09ae104a6014b1201c2de64081e2d1b0f431cb2b2ac0678b4944';
const config = 'sha256:b3ec779a5f045ef7176edbc4692ce6147248b35862202a05ef16d3c8575667c6';
const login = { username: 'admin', password: 's3cr3t' };

function job(source: Partial<Endpoint> = {}, target: Partial<Endpoint> = {}): CopyJob {
  return {
    id: 'mr-0',
    digest,
    source: { registry: '127.0.0.1:5001', path: 'app', insecure: false, ...source },
    target: { registry: '127.0.0.1:5002', path: 'app', insecure: false, ...target },
    timeLimit: 60,
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

// Lines that Skopeo 1.9.3 wrote when it copied a small image between two docker-registries.
describe('createOutputReader', () => {
  const debug = (message: string) => `time="2026-11-24T19:27:36Z" level=debug msg="${message}"`;
  const readAll = (...lines: string[]): CopyEvent[] => {
    const reader = createOutputReader();
    return lines.flatMap((line) => reader.read(line));
  };
  const blob = (of: string, state: string) => ({ type: 'blob', digest: of, state });

  it('tells the start and the end of an upload', () => {
    expect(
      readAll(
        debug(`Checking /v2/app/blobs/${layer}`),
        debug('... not present'),
        debug(`Downloading /v2/app/blobs/${layer}`),
        debug('Uploading /v2/app/blobs/uploads/'),
        debug(`Upload of layer ${layer} complete`),
      ),
    ).toEqual([blob(layer, 'started'), blob(layer, 'done')]);
  });

  it('tells a blob that is there from one that was mounted', () => {
    const mount = 'from=app&mount=sha256%3A7038e464ec2d09ae104a6014b1201c2de64081e2d1b0f431cb2b2ac0678b4944';
    expect(
      readAll(
        debug(`Trying to mount /v2/other/blobs/uploads/?${mount}`),
        debug('... mount OK'),
        debug(`Skipping blob ${layer} (already present):`),
        debug(`Skipping blob ${config} (already present):`),
      ),
    ).toEqual([blob(layer, 'mounted'), blob(config, 'skipped')]);
  });

  it('logs what a user would see, and not what is for debugging', () => {
    expect(
      readAll(
        'Getting image source signatures',
        debug('IsRunningImageAllowed for image docker:127.0.0.1:5001/app'),
        `Copying config ${config}`,
        '',
        'time="2026-11-24T19:27:36Z" level=warning msg="Failed, retrying in 1s ... (1/3)"',
      ),
    ).toEqual([
      { type: 'log', line: 'Getting image source signatures' },
      { type: 'log', line: `Copying config ${config}` },
      { type: 'log', line: 'warning: Failed, retrying in 1s ... (1/3)' },
    ]);
  });

  it('keeps the fatal message without its frame, and logs it', () => {
    const reader = createOutputReader();
    const said = reader.read(
      `time="2026-11-24T19:25:35Z" level=fatal msg="reading blob ${layer}: Get \\"http://127.0.0.1:5001/v2/\\": EOF"`,
    );
    expect(reader.fatal()).toBe(`reading blob ${layer}: Get "http://127.0.0.1:5001/v2/": EOF`);
    expect(said).toEqual([{ type: 'log', line: `fatal: ${reader.fatal()}` }]);
  });

  it('shows neither signatures nor logins of URLs', () => {
    const reader = createOutputReader();
    const events = [
      reader.read('Copying from https://user:s3cr3t@store.example/blob?X-Signature=s1gned done'),
      reader.read(
        'time="2026-11-24T19:25:35Z" level=fatal msg="writing blob: Patch \\"http://127.0.0.1:5002/v2/app/blobs/uploads/1?_state=s1gned\\": EOF"',
      ),
    ];
    expect(JSON.stringify(events) + reader.fatal()).not.toMatch(/s3cr3t|s1gned/);
    expect(events[0]).toEqual([{ type: 'log', line: 'Copying from https://store.example/blob done' }]);
  });

  // Provoked with 403 for the PUT of the index: Skopeo then tries to convert it, which it may not.
  it('gives the target’s answer to an index instead of the attempt to convert it', () => {
    const reader = createOutputReader();
    reader.read(
      debug(
        `Upload of manifest list type application/vnd.oci.image.index.v1+json failed: uploading manifest ${digest} to 127.0.0.1:5002/app: StatusCode: 403, `,
      ),
    );
    reader.read(
      'time="2026-11-24T19:27:36Z" level=fatal msg="Manifest list must be converted to type \\"application/vnd.docker.distribution.manifest.list.v2+json\\" to be written to destination, but we cannot modify it: \\"Instructed to preserve digests\\""',
    );
    expect(reader.fatal()).toBe(`uploading manifest ${digest} to 127.0.0.1:5002/app: StatusCode: 403, `);
    expect(classifyFailure(reader.fatal(), job(), '')).toMatchObject({ code: 'denied', side: 'target' });
  });
});

describe('what the guard has refused', () => {
  const said = (host: string) =>
    `initializing source docker://${host}/app@${digest}: pinging container registry ${host}: invalid status code from registry 403 (Forbidden)`;
  const refused = '10.1.2.3 is a private address that this service does not go to';

  it('is named instead of what Skopeo made of it, with the side', () => {
    const error = classifyFailure(said('127.0.0.1:5001'), job(), '', refused);
    expect(error).toMatchObject({ code: 'address_refused', side: 'source', retryable: false });
    expect(error.message).toContain(refused);
    const writing = `writing blob: Patch "https://10.1.2.3/x": ${refused}`;
    expect(classifyFailure(writing, job(), '', refused).side).toBe('target');
  });

  // Provoked with a redirect, see test/e2e/egress.test.ts.
  it('is named when it was the way from HTTPS to plain HTTP', () => {
    const words = 'refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy';
    const error = classifyFailure(
      `reading blob ${layer}: Get "http://127.0.0.1:6379/x": ${words}`,
      job(),
      '',
    );
    expect(error).toMatchObject({ code: 'protocol', side: 'source' });
    expect(error.message).toContain('plain HTTP at 127.0.0.1:6379;');
  });
});
