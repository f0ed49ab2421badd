import { oci } from '../fixtures/image.ts';
import type { Call } from './calls.ts';

interface Named {
  digest: string;
}

/**
 * Removes from a registry what a call has just put there, or a blob under it.
 * @param host of the registry, past any proxy.
 */
export async function loseAt(host: string, call: Call, blob: boolean): Promise<void> {
  const repository = `http://${host}/v2/${call.repository}`;
  const digest = new URL(call.path, 'http://x').searchParams.get('digest') ?? call.name ?? '';
  const place = call.kind === 'upload-put' ? 'blobs' : 'manifests';
  const lost = blob ? await blobUnder(repository, digest) : `${place}/${digest}`;
  if (lost !== undefined) await fetch(`${repository}/${lost}`, { method: 'DELETE' });
}

/** The first layer under a manifest. */
async function blobUnder(repository: string, name: string): Promise<string | undefined> {
  const accept = [oci.index, oci.manifest].join(', ');
  const answer = await fetch(`${repository}/manifests/${name}`, { headers: { accept } });
  const body = (await answer.json()) as { manifests?: Named[]; layers?: Named[] };
  const [child] = body.manifests ?? [];
  if (child) return blobUnder(repository, child.digest);
  const [layer] = body.layers ?? [];
  return layer && `blobs/${layer.digest}`;
}

/** Removes something of an image that has arrived. @param name its tag or digest. */
export async function damage(
  host: string,
  repository: string,
  name: string,
  what: 'blob' | 'manifest' | 'tag',
): Promise<void> {
  const url = `http://${host}/v2/${repository}`;
  const accept = [oci.index, oci.manifest].join(', ');
  const answer = await fetch(`${url}/manifests/${name}`, { headers: { accept } });
  const body = (await answer.json()) as { manifests?: Named[] };
  const root = answer.headers.get('docker-content-digest') ?? '';
  // Its tag is gone with a manifest, too.
  const manifest = what === 'manifest' ? (body.manifests?.at(-1)?.digest ?? root) : root;
  const lost = what === 'blob' ? await blobUnder(url, name) : `manifests/${manifest}`;
  const gone = await fetch(`${url}/${lost}`, { method: 'DELETE' });
  if (gone.status !== 202) throw new Error(`${lost} can't be removed: ${gone.status}`);
}
