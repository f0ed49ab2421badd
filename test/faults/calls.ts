/** Which registry a proxy stands in front of. */
export type Side = 'source' | 'target';

/** What a call wants of a registry. A manifest that is put under its digest is no tag that is set. */
export const callKinds = [
  'ping',
  'token',
  'manifest-head',
  'manifest-get',
  'manifest-put',
  'tag-put',
  'blob-head',
  'blob-get',
  'upload-post',
  'upload-patch',
  'upload-put',
  'upload-delete',
  'other',
] as const;
export type CallKind = (typeof callKinds)[number];

export interface Call {
  kind: CallKind;
  method: string;
  /** With the query. */
  path: string;
  repository?: string;
  /** The digest, tag or upload that it names. */
  name?: string;
}

const upload: Record<string, CallKind> = {
  POST: 'upload-post',
  PATCH: 'upload-patch',
  PUT: 'upload-put',
  DELETE: 'upload-delete',
};

/** Tells what a request is (OCI distribution-spec, "Endpoints"). */
export function readCall(method: string, path: string): Call {
  const [plain = ''] = path.split('?');
  const call = { method, path };
  if (plain === '/v2/' || plain === '/v2') return { ...call, kind: 'ping' };
  if (plain === '/token') return { ...call, kind: 'token' };
  const [, repository = '', what, name = ''] =
    /^\/v2\/(.+)\/(manifests|blobs\/uploads|blobs)\/([^/]*)$/.exec(plain) ?? [];
  const named = { ...call, repository, name };
  switch (what) {
    case 'blobs/uploads':
      return { ...named, kind: upload[method] ?? 'other' };
    case 'blobs':
      return { ...named, kind: method === 'HEAD' ? 'blob-head' : method === 'GET' ? 'blob-get' : 'other' };
    case 'manifests':
      if (method === 'HEAD') return { ...named, kind: 'manifest-head' };
      if (method === 'GET') return { ...named, kind: 'manifest-get' };
      if (method === 'PUT') return { ...named, kind: name.includes(':') ? 'manifest-put' : 'tag-put' };
      return { ...named, kind: 'other' };
    default:
      return { ...call, kind: 'other' };
  }
}
