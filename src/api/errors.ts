import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { asMirrorError, type ErrorCode, MirrorError } from '../core/errors.ts';
import type { ErrorAnswer } from '../wire/error.ts';

/** Statuses of the codes that are neither the caller's to mend (400) nor passing (503). */
const statuses: Partial<Record<ErrorCode, number>> = {
  unauthenticated: 401,
  forbidden: 403,
  policy_denied: 403,
  unknown_id: 404,
  manifest_unknown: 404,
  platform_unknown: 404,
  already_ended: 409,
  too_many_requests: 429,
  internal: 500,
};

/** Seconds after which a client may try again, where nobody named a time. */
const defaultRetryAfter = 5;

/** What the caller must change is 4xx, what passes by itself is 503: clients of Wave retry on that. */
export function statusOf(error: MirrorError): number {
  return statuses[error.code] ?? (error.retryable ? 503 : 400);
}

export function toAnswer(error: MirrorError): ErrorAnswer {
  const { code, message, side, remedy } = error;
  return { message: `${message} ${remedy}`, code, ...(side && { side }), remedy };
}

/** Answers any failure. Only a fault of ours is logged: everything else is told to the caller in full. */
export function handleError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const status = error.statusCode ?? 500;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const part = error.validationContext === 'querystring' ? 'the query' : 'the body';
    const faults = error.validation.map(({ instancePath, message }) => {
      const field = instancePath.slice(1).replaceAll('/', '.');
      return `${field ? `"${field}"` : part}: ${message ?? 'is wrong'}`;
    });
    return send(
      reply,
      400,
      new MirrorError('invalid_request', `The request is wrong: ${faults.join('; ')}.`),
    );
  }
  // Fastify's own refusals: no JSON, too large, wrong media type.
  if (!(error instanceof MirrorError) && status >= 400 && status < 500) {
    // It would close the connection of who is still sending, and who then can't read why.
    if (status === 413) void reply.removeHeader('connection');
    return send(reply, status, new MirrorError('invalid_request', `${error.message.replace(/\.$/, '')}.`));
  }
  const known = asMirrorError(error);
  const answer = statusOf(known);
  noteFailure(request, known);
  if (answer === 503 || answer === 429)
    void reply.header('retry-after', Math.ceil(known.retryAfter ?? defaultRetryAfter));
  if (answer === 401) void reply.header('www-authenticate', 'Bearer realm="dray"');
  return send(reply, answer, known);
}

function send(reply: FastifyReply, status: number, error: MirrorError): void {
  void reply.code(status).type('application/json; charset=utf-8').send(toAnswer(error));
}

/** Slips of the pen, which may come in any number and interest nobody but who made them. */
const unnoted = new Set<ErrorCode>([
  'internal',
  'invalid_request',
  'invalid_reference',
  'not_a_mirror_request',
  'same_registry',
  'unknown_id',
  'already_ended',
  'too_many_requests',
]);

/** What callers hear, for who runs the service and is asked about it. */
export function noteFailure(request: FastifyRequest, error: MirrorError): void {
  const { code, side, message } = error;
  if (code === 'internal') request.log.error({ err: error.cause ?? error }, 'A request failed inside Dray');
  if (unnoted.has(code)) return;
  const status = statusOf(error);
  const { method, ip: address, routeOptions } = request;
  const about = { status, code, ...(side && { side }), method, route: routeOptions.url, address };
  if (status >= 500) request.log.warn(about, message);
  // Anybody can have these by the thousand.
  else if (status === 401) request.log.debug(about, message);
  else request.log.info(about, message);
}
