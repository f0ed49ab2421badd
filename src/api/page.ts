import { hash } from 'node:crypto';
import type { FastifyReply } from 'fastify';

/** HTML that needs no more escaping. */
export interface Html {
  html: string;
}

/** Fills a template; every value is escaped unless it is {@link Html} itself. */
export function html(parts: TemplateStringsArray, ...values: (string | number | Html | Html[])[]): Html {
  const filled = values.map((value, n) => render(value) + (parts[n + 1] ?? ''));
  return { html: (parts[0] ?? '') + filled.join('') };
}

function render(value: string | number | Html | Html[]): string {
  if (Array.isArray(value)) return value.map((each) => each.html).join('');
  if (typeof value === 'object') return value.html;
  return String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const style = `
:root { color-scheme: light dark; --text: #1b2230; --dim: #5c6675; --line: #dfe3ea; --page: #f5f6f9; --card: #fff;
  --blue: #2f5fd0; --green: #1b7f4d; --red: #b3261e; --amber: #8a5a00; --bar: #e6eaf2; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ef; --dim: #9aa4b5; --line: #2c3442; --page: #12151b;
  --card: #1a1f28; --blue: #7ea4ff; --green: #58c48c; --red: #ff8a80; --amber: #e2b253; --bar: #2a3240; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 2rem 1rem }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; margin-bottom: 1rem; color: var(--dim) }
header a { color: inherit; font-weight: 700; letter-spacing: .02em; text-decoration: none }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.25rem 1.5rem; margin-bottom: 1rem }
h1 { font-size: 1.25rem; line-height: 1.35; margin: 0 0 .25rem; overflow-wrap: anywhere }
h2 { font-size: 1rem; margin: 0 0 .5rem }
p { margin: .35rem 0; overflow-wrap: anywhere } .dim { color: var(--dim) }
.state { display: inline-block; font-weight: 650; border: 1.5px solid; border-radius: 99px; padding: .05rem .7rem; margin-bottom: .6rem }
.done { color: var(--green) } .failed, .cancelled { color: var(--red) } .copying { color: var(--blue) } .queued { color: var(--amber) }
progress { appearance: none; width: 100%; height: .6rem; border: 0; border-radius: 99px; overflow: hidden; background: var(--bar); margin-top: .8rem }
progress::-webkit-progress-bar { background: var(--bar) }
progress::-webkit-progress-value { background: var(--blue) }
progress::-moz-progress-bar { background: var(--blue) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .45rem 1.25rem; margin: 0 }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere }
code { font: .92em ui-monospace, monospace } pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; margin: .5rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .6rem } .card { padding: 1rem } }
`;
// The policy's hash is of exactly these bytes, so the element is not left to the formatter of templates.
const styleElement: Html = { html: `<style>${style}</style>` };
const styleHash = hash('sha256', style, 'base64');

export interface Page {
  title: string;
  body: Html;
  /** Seconds after which the page loads itself again. */
  refresh?: number;
}

/** Sends a page that loads nothing from anywhere and runs no script. */
export function sendPage(reply: FastifyReply, status: number, { title, body, refresh }: Page): FastifyReply {
  const text = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        ${refresh === undefined ? '' : html`<meta http-equiv="refresh" content="${refresh}" />`}
        <title>${title} · Dray</title>
        ${styleElement}
      </head>
      <body>
        <main>${body}</main>
      </body>
    </html> `;
  return reply
    .code(status)
    .header(
      'content-security-policy',
      `default-src 'none'; style-src 'sha256-${styleHash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
    )
    .header('referrer-policy', 'no-referrer')
    .header('cache-control', 'no-store')
    .type('text/html; charset=utf-8')
    .send(text.html);
}
