import { createPublicKey } from 'node:crypto';
import { MirrorError } from '../../core/errors.ts';
import type { ReceiptKey } from '../../mirror/signing.ts';
import { errorAnswer } from '../../wire/error.ts';
import { idParams } from '../../wire/id.ts';
import {
  envelope,
  envelopeType,
  receiptKey,
  receiptKeys,
  type ReceiptKeysView,
  type ReceiptKeyView,
} from '../../wire/receipt.ts';
import type { App, Dependencies } from '../app.ts';
import { findMirror } from './mirrors.ts';

const errors = { '4xx': errorAnswer, '5xx': errorAnswer };
const security = [{ key: [] }];
const tags = ['Receipts'];

/** Seconds for which a proxy may keep the public keys: a new one signs nothing that anybody has yet. */
const keysGoodFor = 60;

/** What was copied, signed, and the keys to check it with. See docs/receipts.md. */
export function registerReceipts(app: App, { service, receipts, auth }: Dependencies): void {
  app.get(
    '/v1/mirrors/:id/receipt',
    {
      schema: {
        tags,
        security,
        summary: 'What was copied, signed',
        description:
          'The receipt of a mirror that is done: a DSSE envelope with an in-toto statement (`Receipt`). Only who has asked for the mirror, and administrators, may have it.',
        params: idParams,
        response: {
          200: { description: 'The envelope', content: { [envelopeType]: { schema: envelope } } },
          ...errors,
        },
      },
    },
    async (request, reply) => {
      const caller = await auth.byHeader(request);
      const { id, state } = await findMirror(service, request.params.id);
      if (!(await service.mayReadLog(id, caller)))
        throw new MirrorError('forbidden', 'Only who has asked for this mirror may have its receipt.');
      if (state !== 'done')
        throw new MirrorError('unknown_id', `This mirror has no receipt: it is ${state}.`, {
          remedy: 'A mirror has one as soon as it is done.',
        });
      const signed = await receipts.find(id);
      if (!signed)
        throw new MirrorError(
          'unknown_id',
          'This mirror has no receipt: it is of a release that gave none.',
          {
            remedy: 'Look at what is there with `dray verify`.',
          },
        );
      void reply.type(envelopeType);
      return signed;
    },
  );

  app.get(
    '/.well-known/dray-receipt-keys.json',
    {
      schema: {
        tags,
        summary: 'The public keys of receipts',
        description:
          'A JWK set with every key that has ever signed receipts here, the newest first. Open to everybody.',
        response: {
          200: {
            description: 'The keys',
            content: { 'application/jwk-set+json': { schema: receiptKeys } },
          },
          ...errors,
        },
      },
    },
    async (_, reply): Promise<ReceiptKeysView> => {
      const keys = await receipts.keys();
      void reply.type('application/jwk-set+json').header('cache-control', `public, max-age=${keysGoodFor}`);
      return { keys: keys.map(toView) };
    },
  );

  app.post(
    '/v1/receipt-keys',
    {
      schema: {
        tags,
        security,
        summary: 'Sign with a new key from now on',
        description: 'For administrators. What was signed before can still be checked.',
        response: { 201: receiptKey, ...errors },
      },
    },
    async (request, reply) => {
      await auth.adminByHeader(request);
      void reply.code(201);
      return toView(await receipts.rotate());
    },
  );
}

function toView({ id, publicKey, createdAt, retiredAt }: ReceiptKey): ReceiptKeyView {
  const { x = '', y = '' } = createPublicKey(publicKey).export({ format: 'jwk' });
  return {
    ...{ kty: 'EC', crv: 'P-256', x, y },
    use: 'sig',
    kid: id,
    pem: publicKey,
    createdAt: createdAt.toISOString(),
    ...(retiredAt && { retiredAt: retiredAt.toISOString() }),
  };
}
