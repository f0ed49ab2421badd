import { MirrorError } from '../../core/errors.ts';
import type { Key } from '../../core/key.ts';
import { errorAnswer } from '../../wire/error.ts';
import { idParams } from '../../wire/id.ts';
import { createdKey, key as keySchema, keyList, type KeyView, newKeyRequest } from '../../wire/key.ts';
import type { App, Dependencies } from '../app.ts';

const errors = { '4xx': errorAnswer, '5xx': errorAnswer };
const security = [{ key: [] }];
const tags = ['Keys'];

/** The keys of this installation; for administrators. */
export function registerKeys(app: App, { keys, auth }: Dependencies): void {
  app.post(
    '/v1/keys',
    {
      schema: {
        tags,
        security,
        summary: 'Make a key',
        body: newKeyRequest,
        response: { 201: createdKey, ...errors },
      },
    },
    async (request, reply) => {
      await auth.adminByHeader(request);
      const { record, key } = await keys.create(request.body.name, request.body.admin);
      auth.forget();
      void reply.code(201);
      return { ...toView(record), key };
    },
  );

  app.get(
    '/v1/keys',
    { schema: { tags, security, summary: 'All keys', response: { 200: keyList, ...errors } } },
    async (request) => {
      await auth.adminByHeader(request);
      return { keys: (await keys.list()).map((record) => toView(record)) };
    },
  );

  app.delete(
    '/v1/keys/:id',
    {
      schema: {
        tags,
        security,
        summary: 'Revoke a key',
        params: idParams,
        response: { 200: keySchema, ...errors },
      },
    },
    async (request) => {
      await auth.adminByHeader(request);
      const record = await keys.revoke(request.params.id);
      if (!record) throw new MirrorError('unknown_id', 'There is no key with this id.');
      auth.forget();
      return toView(record);
    },
  );
}

function toView({ id, name, admin, createdAt, lastUsedAt, revokedAt }: Key): KeyView {
  return {
    id,
    name,
    admin,
    createdAt: createdAt.toISOString(),
    ...(lastUsedAt && { lastUsedAt: lastUsedAt.toISOString() }),
    ...(revokedAt && { revokedAt: revokedAt.toISOString() }),
  };
}
