import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { formatBytes } from '../../core/bytes.ts';
import { asMirrorError, MirrorError } from '../../core/errors.ts';
import { type VerifyLevel, verifyLevels } from '../../core/mirror.ts';
import { formatReference } from '../../core/reference.ts';
import { parseJson } from '../../lib/json.ts';
import { readReceiptKeys } from '../../mirror/receipt.ts';
import type { Evidence, Inspection } from '../../mirror/inspection.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatFailure, indent, paint } from '../format.ts';
import type { ReceiptKeysView } from '../../wire/receipt.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';
import { type ChoiceOptions, choiceOf, choiceOptions } from '../choice.ts';

interface VerifyOptions extends ChoiceOptions, ServiceOptions {
  at: string[];
  level?: VerifyLevel;
  receipt?: string;
  receipts?: true;
  receiptKeys?: string;
  json?: true;
}

export function verifyCommand(context: Context, done: (status: ExitStatus) => void): Command {
  const command = new Command('verify')
    .summary('look whether a target holds what it should')
    .description(
      'Reads images back from a registry and compares them: every manifest, the blobs, and what refers to them. ' +
        'Uses the logins of this machine, and changes nothing.\nExit status 0: all is there and right, 1: something is not.',
    )
    .argument(
      '<image...>',
      'the source, as Docker writes it; with a digest, the target alone says what it is',
    )
    .requiredOption(
      '--at <target>',
      'registry host, or host and path, that it was mirrored to; repeatable',
      (target: string, before?: string[]) => [...(before ?? []), target],
    )
    .addOption(
      new Option(
        '--level <level>',
        'manifests, blobs (and their sizes), full (and every byte); default: `verify` in dray.yaml',
      ).choices([...verifyLevels]),
    )
    .option('--receipts', 'check that a receipt of it was left at the target, and is good')
    .option('--receipt <file>', 'check this receipt of it, which `dray receipt` has printed')
    .option(
      '--receipt-keys <file>',
      'public keys that receipts may be signed with, as `dray receipt-keys` prints them; default: those of the service',
    )
    .option('--json', 'print one JSON document an image')
    .addOption(serviceOption());
  for (const option of choiceOptions()) command.addOption(option);
  return command.action(async (images: string[], options: VerifyOptions) =>
    done(await verify(context, images, options)),
  );
}

async function verify(context: Context, images: string[], options: VerifyOptions): Promise<ExitStatus> {
  const { createInspector } = await import('../../compose/local.ts');
  const evidence = await readEvidence(context, options);
  const inspector = createInspector(context.config());
  const { stdout, stderr, signal } = context;
  let good = true;
  try {
    for (const [image, repository] of images.flatMap((each) => options.at.map((at) => [each, at] as const))) {
      try {
        const found = await inspector.inspect(
          { image, repository, choice: choiceOf(options), level: options.level, evidence },
          signal,
        );
        good &&= found.faults.length === 0;
        if (options.json) printJson(context, toJson(image, found));
        else stdout.write(describe(image, found, stdout));
      } catch (error) {
        if (signal.aborted) return exitStatus.interrupted;
        good = false;
        const failure = asMirrorError(error).toFailure();
        if (options.json) printJson(context, { image, at: repository, ok: false, failure });
        else
          stderr.write(
            `${paint(stderr, 'red', '✗')} ${image} at ${repository}\n${indent(formatFailure(failure))}\n`,
          );
      }
    }
  } finally {
    await inspector.close();
  }
  return good ? exitStatus.ok : exitStatus.failed;
}

/** @throws MirrorError `invalid_request` for a file that is none of those, or where there is nothing to get keys from. */
async function readEvidence(context: Context, options: VerifyOptions): Promise<Evidence | undefined> {
  const { receipt, receipts, receiptKeys } = options;
  if (receipt === undefined && !receipts && receiptKeys === undefined) return undefined;
  const published =
    receiptKeys === undefined
      ? readReceiptKeys(await (await requireService(context, options)).receiptKeys())
      : readKeyFile(await readText(receiptKeys), receiptKeys);
  if (receipt === undefined) return { keys: published };
  return { keys: published, receipt: parseJson(Buffer.from(await readText(receipt))) ?? '' };
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new MirrorError(
      'invalid_request',
      `${path} can't be read (${(error as NodeJS.ErrnoException).code}).`,
      {
        remedy: 'Name a file that is there and may be read.',
      },
    );
  });
}

/** PEM, one key after another, or a JWK set. */
function readKeyFile(text: string, path: string): KeyObject[] {
  try {
    const set = parseJson(Buffer.from(text));
    if (set !== undefined) return readReceiptKeys(set as ReceiptKeysView);
    const pems = text.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g) ?? [];
    if (pems.length > 0) return pems.map((pem) => createPublicKey(pem));
  } catch {
    // Falls through: it holds no keys.
  }
  throw new MirrorError('invalid_request', `${path} holds no public keys.`, {
    remedy: 'Write into it what `dray receipt-keys` prints.',
  });
}

function describe(
  image: string,
  { target, digest, arrival, faults, receipts = [] }: Inspection,
  stream: NodeJS.WriteStream,
) {
  const { manifests, blobs, bytes, foreign, referrers, level } = arrival;
  const ok = faults.length === 0;
  const looked = {
    manifests: 'manifests read and hashed, blobs not looked for',
    blobs: 'manifests read and hashed, blobs there in their size',
    full: 'every byte read and hashed',
  };
  const lines = [
    `${paint(stream, ok ? 'green' : 'red', ok ? '✓' : '✗')} ${image} → ${formatReference(target)}`,
    `  digest     ${digest}`,
    `  manifests  ${manifests}`,
    `  blobs      ${blobs}, ${formatBytes(bytes)}`,
    `  referrers  ${referrers.length}`,
    `  level      ${level}: ${looked[level]}`,
    ...foreign.map((layer) => `  foreign    ${layer} has URLs of its own and was not looked for`),
    ...receipts.map(
      ({ predicate: { source, finishedAt, tenant } }) =>
        `  receipt    of ${source.reference}, ${finishedAt}, for ${tenant}: the signature is good`,
    ),
    ...faults.map((fault) => `  ${paint(stream, 'red', 'wrong')}      ${fault}`),
  ];
  return `${lines.join('\n')}\n`;
}

function toJson(image: string, { target, digest, arrival, faults, receipts }: Inspection): object {
  const ok = faults.length === 0;
  return { image, ok, target: formatReference(target), digest, ...arrival, receipts, faults };
}
