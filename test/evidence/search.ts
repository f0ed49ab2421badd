import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import type { Secret } from '../fixtures/secrets.ts';

/** A secret that was found. Its label, never its value. */
export interface Finding {
  label: string;
  /** Relative to the folder that was searched. */
  file: string;
}

/**
 * Every form in which a secret might be written down: plain, in a URL or a form, in JSON, in hexadecimal, and inside
 * of base64, plain and for URLs.
 */
export function formsOf(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const ascii = json.replace(
    /[\u0080-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  const inUrl = encodeURIComponent(secret);
  const forms = [
    ...[secret, json, ascii, inUrl, inUrl.replace(/%../g, (code) => code.toLowerCase())],
    new URLSearchParams({ '': secret }).toString().slice(1),
    Buffer.from(secret).toString('hex'),
    ...base64Forms(secret),
  ];
  return [...new Set(forms)];
}

/**
 * What base64 makes of the secret wherever it stands in the text that is encoded, such as `user:secret`: three bytes
 * become four characters, so there are three ways. Characters that also depend on what stands before or after are
 * left out, and with them the padding.
 */
function base64Forms(secret: string): string[] {
  return [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(secret)]);
    const own = [Math.ceil((before * 8) / 6), Math.floor((bytes.length * 8) / 6)] as const;
    return [bytes.toString('base64').slice(...own), bytes.toString('base64url').slice(...own)];
  });
}

/**
 * Searches every file below a folder, binary ones too, for every form of every secret.
 * @param scratch a folder for the list of what is searched for, which must not be below the first.
 */
export async function searchFolder(
  folder: string,
  secrets: readonly Secret[],
  scratch: string,
): Promise<Finding[]> {
  const labels = new Map(secrets.flatMap(({ value, label }) => formsOf(value).map((form) => [form, label])));
  if (labels.size === 0) return [];
  const patterns = join(scratch, 'patterns');
  await writeFile(patterns, `${[...labels.keys()].join('\n')}\n`, { mode: 0o600 });
  // In the C locale bytes are bytes. With -Z a NUL ends the file's name.
  const args = ['-r', '-a', '-o', '-Z', '-F', '-f', patterns, '--', folder];
  const { stdout } = await promisify(execFile)('grep', args, {
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    maxBuffer: 256 * 1024 * 1024,
  }).catch((error: unknown) => {
    // 1 means that nothing was found.
    if ((error as { code?: number }).code === 1) return { stdout: '' };
    throw new Error('grep could not search the evidence', { cause: error });
  });
  const findings = new Map<string, Finding>();
  for (const line of stdout.split('\n').filter(Boolean)) {
    const [file = '', form = ''] = line.split('\0');
    const finding = { label: labels.get(form) ?? 'a secret', file: relative(folder, file) };
    findings.set(JSON.stringify(finding), finding);
  }
  return [...findings.values()];
}
