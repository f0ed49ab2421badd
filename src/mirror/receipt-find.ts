import type { Digest } from '../core/digest.ts';
import { parseJson } from '../lib/json.ts';
import type { Descriptor } from '../registry/registry.ts';
import { readBlob, unlessBroken } from './blob.ts';
import type { Place } from './place.ts';
import { referrersOf } from './referrers.ts';
import { layersOf } from './signature.ts';
import { onSide } from './side.ts';

/** The type of receipts among what refers to an image. */
export const receiptType = 'application/vnd.dray.receipt.v1+json';

/** Bytes that an envelope may have: it names every referrer. */
const receiptLimit = 4 * 1024 * 1024;
/** Receipts of one image that are read; whoever may push could else have us read for hours. */
const countLimit = 500;

/**
 * What was left beside an image as its receipts, read one after the other. Anybody who may push can have left it: what it is
 * worth, `checkReceipt` tells. What is broken is passed over, since it must not hide a good one.
 * @param chosen which entries of the list to read.
 */
export async function* receiptsAt(
  place: Place,
  digest: Digest,
  chosen: (entry: Descriptor) => boolean = () => true,
): AsyncGenerator {
  const { registry, repository, access, side } = place;
  const { entries } = await referrersOf(place, digest);
  const listed = entries.filter((entry) => entry.artifactType === receiptType && chosen(entry));
  for (const entry of listed.slice(0, countLimit)) {
    const bytes = await onSide(side, () =>
      unlessBroken(async () => {
        const manifest = await registry.manifest({ ...repository, digest: entry.digest }, access);
        const [layer] = layersOf(manifest);
        return layer && readBlob(registry, repository, layer, receiptLimit, access);
      }),
    );
    if (bytes) yield parseJson(bytes);
  }
}
