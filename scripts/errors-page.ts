import { statusOf } from '../src/api/errors.ts';
import { readCorpora } from '../test/vectors/skopeo/corpus.ts';
import { catalogue, type ErrorCode, MirrorError } from '../src/core/errors.ts';

/** Where the codes are provoked that no Skopeo meets. */
export const provokedIn: Partial<Record<ErrorCode, string>> = {
  invalid_request: 'test/e2e/wave.test.ts',
  invalid_reference: 'src/core/reference.test.ts',
  not_a_mirror_request: 'test/e2e/wave.test.ts',
  same_registry: 'test/e2e/wave.test.ts',
  origin_conflict: 'test/e2e/tenants.test.ts',
  policy_denied: 'test/e2e/policy.test.ts',
  unauthenticated: 'test/e2e/wave.test.ts',
  unpaired_endpoint: 'test/e2e/platform.test.ts',
  forbidden: 'test/e2e/platform.test.ts',
  unknown_id: 'src/api/limits.test.ts',
  platform_unknown: 'test/e2e/selection.test.ts',
  sparse_index_refused: 'test/e2e/selection.test.ts',
  already_ended: 'test/e2e/cancel.test.ts',
  too_many_requests: 'test/e2e/limits.test.ts',
  too_many_streams: 'src/api/streams.test.ts',
  timeout: 'test/conformance/executor.ts',
  unsupported_manifest: 'src/executor/failures.test.ts',
  address_refused: 'test/e2e/egress.test.ts',
  token_server_refused: 'test/e2e/egress.test.ts',
  platform_unavailable: 'test/e2e/platform.test.ts',
  credential_unreadable: 'test/e2e/platform.test.ts',
  skopeo_missing: 'src/executor/process.test.ts',
  time_limit: 'test/conformance/executor.ts',
  cancelled: 'test/conformance/executor.ts',
  bad_receipt: 'src/mirror/receipt.test.ts',
  logins_unreadable: 'src/keychain/keychain.test.ts',
  disk_full: 'test/e2e/disk.test.ts',
  database_unavailable: 'test/e2e/postgres.test.ts',
};

/** What both releases of Skopeo were made to meet, by code: sides, and what these did. */
function provoked(): Map<ErrorCode, { sides: Set<string>; hows: Set<string> }> {
  const codes = new Map<ErrorCode, { sides: Set<string>; hows: Set<string> }>();
  for (const { code, side, how } of readCorpora().flatMap(({ recorded }) => recorded)) {
    const of = codes.get(code) ?? { sides: new Set(), hows: new Set() };
    of.sides.add(side);
    of.hows.add(how.replace(/: .*/, ''));
    codes.set(code, of);
  }
  return codes;
}

/** How a code is provoked in which test; undefined: not at all. */
export function provocationOf(code: ErrorCode): string | undefined {
  const of = provoked().get(code);
  if (of) return `${[...of.sides].join(', ')}: ${[...of.hows].join('; ')}`;
  return provokedIn[code] && `[${provokedIn[code]}](../${provokedIn[code]})`;
}

/** docs/errors.md: every code with what it answers, whether it passes by itself, and its remedy. */
export function errorsPage(): string {
  const rows = (Object.keys(catalogue) as ErrorCode[]).map((code) => {
    const error = new MirrorError(code, '');
    const retried = error.retryable ? 'yes' : 'no';
    return `| \`${code}\` | ${statusOf(error)} | ${retried} | ${error.remedy.replaceAll('|', '\\|')} |`;
  });
  const provocations = (Object.keys(catalogue) as ErrorCode[]).map(
    (code) => `| \`${code}\` | ${provocationOf(code) ?? ''} |`,
  );
  return `# Errors

Every failure has a code, a message that says what failed, a remedy, and, where a registry is at fault, the side:
\`source\` or \`target\`. They stand in the answers of the API (\`{"message", "code", "side", "remedy"}\`; \`message\` ends with
the remedy, since Wave clients show nothing else), in \`failure\` of a mirror that did not arrive, on its page, and in what
the command line prints.

At submit, what passes by itself is tried again for \`submitBudget\` seconds (10) before it is answered with 503 and
Retry-After. A copy is tried up to five times. What does not pass by itself is told at once. "Passes" is the usual case of
a code; an error that knows better says so in \`retryable\`.

| code | HTTP status at submit | passes by itself | remedy |
| --- | --- | --- | --- |
${rows.join('\n')}

A \`time_limit\` passes when the copy had finished a layer: the next try does not move that again and gets further.

## How each is provoked

Both releases of Skopeo that Dray is tested with, 1.9.3 and a current one, were made to meet these faults, of an image and of an
index, and what they said is in [test/vectors/skopeo](../test/vectors/skopeo). \`npm test\` makes the Skopeo that is
installed meet them anew.

| code | provoked by |
| --- | --- |
${provocations.join('\n')}

## What clients of Wave show of it

- Nextflow shows the message, for a failed copy also the link to its page. Up to 25.04 it has a text of its own for 401.
- The Wave command line prints the whole answer of a 4xx. It tries a 503 again for some four seconds and then says only
  that it can't connect, so look into the service's log. With \`--await\` it exits with 0 also when the copy failed:
  scripts must read \`succeeded\`.

This page is made by \`node scripts/generate.ts\`.
`;
}
