import type { Credential } from '../core/credential.ts';
import { formatReference } from '../core/reference.ts';
import type { CopyJob, Endpoint } from './executor.ts';

/** Where a job's files are. */
export interface JobFiles {
  sourceAuth: string;
  targetAuth: string;
  sourceCerts: string;
  targetCerts: string;
}

/**
 * Arguments for one copy, digest to digest. No `--format`: with preserved digests it fails on an OCI index.
 * No `--retry-times`: it repeats single requests, slowly; the queue repeats the copy, and finished blobs are
 * skipped. `--debug` tells uploads, skips and mounts apart, which the normal output does not. Nothing secret is
 * here: logins are in the auth files.
 */
export function skopeoArguments(job: CopyJob, files: JobFiles): string[] {
  const { source, target, digest } = job;
  return [
    ...['--debug', 'copy', '--all', '--preserve-digests'],
    ...endpointArguments('src', source, files.sourceAuth, files.sourceCerts),
    ...endpointArguments('dest', target, files.targetAuth, files.targetCerts),
    `docker://${formatReference({ registry: source.registry, path: source.path, digest })}`,
    `docker://${formatReference({ registry: target.registry, path: target.path, digest })}`,
  ];
}

function endpointArguments(side: 'src' | 'dest', end: Endpoint, auth: string, certs: string): string[] {
  return [
    // Skopeo 1.9.3 goes on to the user's own Docker logins when the given file has none for the host.
    ...(end.credential ? [`--${side}-authfile`, auth] : [`--${side}-no-creds`]),
    ...(end.insecure ? [`--${side}-tls-verify=false`] : []),
    ...(end.caFile === undefined ? [] : [`--${side}-cert-dir`, certs]),
  ];
}

/** The auth file (containers-auth.json(5)) for one host. */
export function authFile(registry: string, credential: Credential): string {
  const username = credential.username ?? '<token>';
  const password = 'password' in credential ? credential.password : '';
  const entry = {
    auth: Buffer.from(`${username}:${password}`).toString('base64'),
    ...('identityToken' in credential && { identitytoken: credential.identityToken }),
  };
  return JSON.stringify({ auths: { [registry]: entry } });
}
