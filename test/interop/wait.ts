import { setTimeout } from 'node:timers/promises';
import { key, type Mirror } from './service.ts';

/** Looks at a mirror, every 50 ms as no event crosses HTTP, until it is done or failed. */
export async function settled(url: string, id: string): Promise<{ last: Mirror; looks: Mirror[] }> {
  const looks: Mirror[] = [];
  for (;;) {
    const answer = await fetch(`${url}/v1/mirrors/${id}`, { headers: { authorization: `Bearer ${key}` } });
    const look = (await answer.json()) as Mirror;
    if (answer.status !== 200) throw new Error(`${id}: ${answer.status} ${JSON.stringify(look)}`);
    looks.push(look);
    if (['done', 'failed', 'cancelled'].includes(look.state)) return { last: look, looks };
    await setTimeout(50);
  }
}
