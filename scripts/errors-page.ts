import { statusOf } from '../src/api/errors.ts';
import { catalogue, type ErrorCode, MirrorError } from '../src/core/errors.ts';

/** docs/errors.md: every code with what it answers, whether it passes by itself, and its remedy. */
export function errorsPage(): string {
  const rows = (Object.keys(catalogue) as ErrorCode[]).map((code) => {
    const error = new MirrorError(code, '');
    const retried = error.retryable ? 'yes' : 'no';
    return `| \`${code}\` | ${statusOf(error)} | ${retried} | ${error.remedy.replaceAll('|', '\\|')} |`;
  });
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

## What clients of Wave show of it

- Nextflow shows the message, for a failed copy also the link to its page. Up to 25.04 it has a text of its own for 401.
- The Wave command line prints the whole answer of a 4xx. It tries a 503 again for some four seconds and then says only
  that it can't connect, so look into the service's log. With \`--await\` it exits with 0 also when the copy failed:
  scripts must read \`succeeded\`.

This page is made by \`node scripts/generate.ts\`.
`;
}
