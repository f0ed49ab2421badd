import { Command, Option } from 'commander';
import { formatBytes } from '../../core/bytes.ts';
import { asMirrorError } from '../../core/errors.ts';
import { type VerifyLevel, verifyLevels } from '../../core/mirror.ts';
import { formatReference } from '../../core/reference.ts';
import type { Inspection } from '../../mirror/inspection.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatFailure, indent, paint } from '../format.ts';
import { type ChoiceOptions, choiceOf, choiceOptions } from '../choice.ts';

interface VerifyOptions extends ChoiceOptions {
  at: string;
  level?: VerifyLevel;
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
    .requiredOption('--at <target>', 'registry host, or host and path, that it was mirrored to')
    .addOption(
      new Option(
        '--level <level>',
        'manifests, blobs (and their sizes), full (and every byte); default: `verify` in dray.yaml',
      ).choices([...verifyLevels]),
    )
    .option('--json', 'print one JSON document an image');
  for (const option of choiceOptions()) command.addOption(option);
  return command.action(async (images: string[], options: VerifyOptions) =>
    done(await verify(context, images, options)),
  );
}

async function verify(context: Context, images: string[], options: VerifyOptions): Promise<ExitStatus> {
  const { createInspector } = await import('../../compose/local.ts');
  const inspector = createInspector(context.config());
  const { stdout, stderr, signal } = context;
  let good = true;
  try {
    for (const image of images) {
      try {
        const found = await inspector.inspect(
          { image, repository: options.at, choice: choiceOf(options), level: options.level },
          signal,
        );
        good &&= found.faults.length === 0;
        if (options.json) printJson(context, toJson(image, found));
        else stdout.write(describe(image, found, stdout));
      } catch (error) {
        if (signal.aborted) return exitStatus.interrupted;
        good = false;
        const failure = asMirrorError(error).toFailure();
        if (options.json) printJson(context, { image, ok: false, failure });
        else stderr.write(`${paint(stderr, 'red', '✗')} ${image}\n${indent(formatFailure(failure))}\n`);
      }
    }
  } finally {
    await inspector.close();
  }
  return good ? exitStatus.ok : exitStatus.failed;
}

function describe(
  image: string,
  { target, digest, arrival, faults }: Inspection,
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
    ...faults.map((fault) => `  ${paint(stream, 'red', 'wrong')}      ${fault}`),
  ];
  return `${lines.join('\n')}\n`;
}

function toJson(image: string, { target, digest, arrival, faults }: Inspection): object {
  return { image, ok: faults.length === 0, target: formatReference(target), digest, ...arrival, faults };
}
