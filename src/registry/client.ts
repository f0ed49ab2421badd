import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { algorithmOf, type Digest, digestOf, isDigest } from '../core/digest.ts';
import { asMirrorError, loginRefused, MirrorError } from '../core/errors.ts';
import { formatReference, formatRepository, type Reference, type Repository } from '../core/reference.ts';
import { classifyAnswer, classifyNetworkError, type Doing } from './errors.ts';
import { nextPage, readDescriptors } from './listing.ts';
import type { Access, Descriptor, Registry } from './registry.ts';
import {
  type Answer,
  type Call,
  createTransport,
  discard,
  readBytes,
  readText,
  type TransportOptions,
} from './transport.ts';

/** Every kind of manifest, in one Accept: a registry answers 404 for a kind that is not named. */
const manifestTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  // Asked for only to be told apart from a missing image: Skopeo can't copy schema 1 under its digest.
  'application/vnd.docker.distribution.manifest.v1+prettyjws',
  'application/vnd.docker.distribution.manifest.v1+json',
];
const accept = manifestTypes.join(', ');
const indexType = 'application/vnd.oci.image.index.v1+json';

/** Milliseconds that cancelling an upload may take. */
const cancelLimit = 2000;

/** Pages of one list of referrers: more is a registry that goes in circles. All of them have no more bytes than one may have. */
const pageLimit = 100;

/** OCI distribution-spec, "Pushing Manifests": registries take at least this much; containers/image no more. */
const manifestLimit = 4 * 1024 * 1024;

export function createRegistry(options: TransportOptions): Registry {
  const transport = createTransport(options);

  async function send(call: Omit<Call, 'credential' | 'signal'>, { credential, signal }: Access) {
    const doing: Doing = { what: call.what, host: call.registry, loggedIn: credential !== undefined };
    const answer = await transport.send({ ...call, credential, signal });
    return { answer, doing };
  }

  /** One that is left open costs its registry a little; it expires there, also where this fails. */
  async function cancelUpload(
    call: Omit<Call, 'credential' | 'signal' | 'method' | 'path'>,
    path: string,
    { credential }: Access,
  ): Promise<void> {
    // Whoever has given up has no time left for it either.
    const access = { credential, signal: AbortSignal.timeout(cancelLimit) };
    await send({ ...call, method: 'DELETE', path }, access).then(
      (gone) => discard(gone.answer),
      () => undefined,
    );
  }

  const reading = (reference: Reference): Omit<Call, 'credential' | 'signal'> => ({
    registry: reference.registry,
    method: 'GET',
    path: `${reference.path}/manifests/${reference.digest ?? reference.tag ?? 'latest'}`,
    scope: `repository:${reference.path}:pull`,
    what: `reading ${formatReference(reference)}`,
    headers: { accept },
  });

  const blobCall = (method: 'GET' | 'HEAD', repository: Repository, digest: Digest) => ({
    registry: repository.registry,
    method,
    path: `${repository.path}/blobs/${digest}`,
    scope: `repository:${repository.path}:pull`,
    what: `reading the blob ${digest} of ${formatRepository(repository)}`,
  });

  const registry: Registry = {
    async resolve(reference, access) {
      const { answer, doing } = await send({ ...reading(reference), method: 'HEAD' }, access);
      await discard(answer);
      if (answer.statusCode === 404) return undefined;
      // A registry without HEAD, or one that names no digest, is asked for the bytes.
      if (answer.statusCode === 405) return registry.manifest(reference, access);
      if (answer.statusCode !== 200) throw await refusal(answer, doing);
      const told = header(answer, 'docker-content-digest') ?? reference.digest;
      if (told === undefined || !isDigest(told)) return registry.manifest(reference, access);
      checkDigest(told, reference.digest, doing);
      const mediaType = mediaTypeOf(answer, doing);
      return { mediaType, digest: told, size: Number(header(answer, 'content-length') ?? 0) };
    },

    async manifest(reference, access) {
      const { answer, doing } = await send(reading(reference), access);
      if (answer.statusCode === 404) {
        await discard(answer);
        return undefined;
      }
      if (answer.statusCode !== 200) throw await refusal(answer, doing);
      const mediaType = mediaTypeOf(answer, doing);
      const bytes = await readBytes(answer, manifestLimit, doing);
      const digest = digestOf(bytes, reference.digest);
      checkDigest(digest, reference.digest, doing);
      return { mediaType, digest, size: bytes.length, bytes };
    },

    async lookForBlob(repository, { digest, size }, access) {
      const { answer, doing } = await send(blobCall('HEAD', repository, digest), access);
      await discard(answer);
      if (answer.statusCode === 404) return 'missing';
      if (answer.statusCode !== 200) throw await refusal(answer, doing);
      return Number(header(answer, 'content-length') ?? size) === size ? 'there' : 'size';
    },

    async blob(repository, digest, access) {
      const { answer, doing } = await send(blobCall('GET', repository, digest), access);
      if (answer.statusCode === 200) return classified(answer, doing);
      const error = await refusal(answer, doing);
      throw answer.statusCode === 404 ? new MirrorError('blob_unknown', error.message) : error;
    },

    async referrers(repository, digest, access) {
      const call = {
        registry: repository.registry,
        method: 'GET' as const,
        path: `${repository.path}/referrers/${digest}`,
        scope: `repository:${repository.path}:pull`,
        what: `reading what refers to ${formatRepository(repository)}@${digest}`,
        headers: { accept: indexType },
        // GHCR leads to a page of its website.
        stays: true as const,
      };
      const found: Descriptor[] = [];
      let path: string | undefined = call.path;
      let size = 0;
      for (let page = 0; page < pageLimit; page++) {
        const sent = await send({ ...call, path }, access).catch((error: unknown) => {
          // What registries without a list answer beside 404 (Harbor 2.7: 401).
          if (loginRefused.has(asMirrorError(error).code)) return undefined;
          throw error;
        });
        const status = sent?.answer.statusCode ?? 404;
        if (sent && (status === 429 || status >= 500)) throw await refusal(sent.answer, sent.doing);
        if (!sent || status !== 200 || !isIndex(sent.answer)) {
          if (sent) await discard(sent.answer);
          if (page === 0) return undefined;
          throw new MirrorError('protocol', `${call.registry} broke off in the middle, when ${call.what}.`);
        }
        const { answer, doing } = sent;
        const bytes = await readBytes(answer, manifestLimit, doing);
        size += bytes.length;
        if (size > manifestLimit) break;
        for (const descriptor of readDescriptors(bytes, doing)) found.push(descriptor);
        path = nextPage(header(answer, 'link'), call.path);
        if (path === undefined) return found;
      }
      throw new MirrorError('protocol', `${call.registry} has no end of pages, when ${call.what}.`);
    },

    async putBlob(repository, { digest, size }, open, access) {
      if ((await registry.lookForBlob(repository, { digest, size }, access)) === 'there') return;
      const call = {
        registry: repository.registry,
        scope: `repository:${repository.path}:pull,push`,
        what: `pushing the blob ${digest} to ${formatRepository(repository)}`,
      };
      const path = `${repository.path}/blobs/uploads/`;
      const started = await send({ ...call, method: 'POST', path }, access);
      if (started.answer.statusCode !== 202)
        throw await refusal(started.answer, { ...started.doing, pushes: true });
      await discard(started.answer);
      const upload = uploadPath(header(started.answer, 'location'));
      if (upload === undefined)
        throw new MirrorError('protocol', `${call.registry} does not say where to, when ${call.what}.`);
      try {
        const body = Readable.from(checked(await open(), { digest, size }), { objectMode: false });
        const { answer, doing } = await send(
          {
            ...{ ...call, method: 'PUT' as const, body },
            path: `${upload}${upload.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`,
            headers: { 'content-type': 'application/octet-stream', 'content-length': `${size}` },
          },
          access,
        );
        if (answer.statusCode !== 201) throw await refusal(answer, { ...doing, pushes: true });
        await discard(answer);
      } catch (error) {
        await cancelUpload(call, upload, access);
        throw error;
      }
    },

    async putManifest(repository, under, manifest, access) {
      const target = `${formatRepository(repository)}${isDigest(under) ? '@' : ':'}${under}`;
      const call = {
        registry: repository.registry,
        method: 'PUT' as const,
        path: `${repository.path}/manifests/${under}`,
        scope: `repository:${repository.path}:pull,push`,
        what: `setting ${target}`,
        headers: { 'content-type': manifest.mediaType },
        body: manifest.bytes,
      };
      const { answer, doing } = await send(call, access);
      if (answer.statusCode < 200 || answer.statusCode > 299)
        throw await refusal(answer, { ...doing, pushes: true });
      await discard(answer);
      const told = header(answer, 'docker-content-digest');
      if (told !== undefined && isDigest(told)) checkDigest(told, manifest.digest, doing);
      return { listed: header(answer, 'oci-subject') !== undefined };
    },

    async checkPush(repository, access) {
      const call = {
        registry: repository.registry,
        method: 'POST' as const,
        path: `${repository.path}/blobs/uploads/`,
        scope: `repository:${repository.path}:pull,push`,
        what: `asking whether ${formatRepository(repository)} may be pushed to`,
      };
      const { answer, doing } = await send(call, access);
      if (answer.statusCode !== 202 && answer.statusCode !== 404)
        throw await refusal(answer, { ...doing, pushes: true });
      await discard(answer);
      const upload = uploadPath(header(answer, 'location'));
      if (upload !== undefined) await cancelUpload(call, upload, access);
      return answer.statusCode === 202;
    },

    async ping(host, access) {
      const call = {
        registry: host,
        method: 'GET' as const,
        path: '',
        scope: undefined,
        what: 'asking for /v2/',
      };
      const { answer, doing } = await send(call, access);
      if (answer.statusCode !== 200) throw await refusal(answer, doing);
      await discard(answer);
      const time = Date.parse(header(answer, 'date') ?? '');
      return Number.isNaN(time) ? undefined : new Date(time);
    },

    close: () => transport.close(),
  };
  return registry;
}

async function refusal(answer: Answer, doing: Doing): Promise<MirrorError> {
  const body = await readText(answer, doing).catch(() => '');
  return classifyAnswer({ status: answer.statusCode, headers: answer.headers, body }, doing);
}

function header(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Where an upload goes on, below `/v2/` of the registry itself, whatever host the answer names. */
function uploadPath(location: string | undefined): string | undefined {
  const base = 'https://registry.invalid';
  if (location === undefined || !URL.canParse(location, base)) return undefined;
  const { pathname, search } = new URL(location, base);
  return pathname.startsWith('/v2/') ? `${pathname.slice('/v2/'.length)}${search}` : undefined;
}

async function* classified(answer: Answer, doing: Doing): AsyncGenerator<Uint8Array> {
  try {
    yield* answer.body as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw classifyNetworkError(error, doing);
  }
}

/** Passes bytes on that are what their descriptor says, and fails at their end where they are not. */
async function* checked(
  bytes: AsyncIterable<Uint8Array>,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
): AsyncGenerator<Uint8Array> {
  const hash = createHash(algorithmOf(digest));
  let passed = 0;
  for await (const chunk of bytes) {
    passed += chunk.length;
    if (passed > size) break;
    hash.update(chunk);
    yield chunk;
  }
  if (passed !== size || !digest.endsWith(`:${hash.digest('hex')}`))
    throw new MirrorError('digest_mismatch', `What was sent as the blob ${digest} is something else.`);
}

function isIndex(answer: Answer): boolean {
  return (header(answer, 'content-type') ?? '').split(';')[0]?.trim().toLowerCase() === indexType;
}

function mediaTypeOf(answer: Answer, doing: Doing): string {
  const type = (header(answer, 'content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (/docker\.distribution\.manifest\.v1\+/.test(type))
    throw new MirrorError(
      'unsupported_manifest',
      `${doing.host} has a schema 1 image, from before 2017, when ${doing.what}.`,
    );
  if (!manifestTypes.includes(type))
    throw new MirrorError(
      'protocol',
      `${doing.host} sent ${/^[\w.+/-]{1,100}$/.test(type) ? type : 'no media type'} instead of a manifest, when ${doing.what}.`,
    );
  return type;
}

function checkDigest(found: Digest, wanted: Digest | undefined, doing: Doing): void {
  if (wanted !== undefined && found !== wanted)
    throw new MirrorError(
      'digest_mismatch',
      `${doing.host} sent ${found} instead of ${wanted}, when ${doing.what}.`,
    );
}
