import { Command } from 'commander';
import { checkReceipt, readReceiptKeys } from '../../mirror/receipt.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';

interface ReceiptOptions extends ServiceOptions {
  statement?: true;
}

interface KeysOptions extends ServiceOptions {
  rotate?: true;
  json?: true;
}

export function receiptCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('receipt')
    .summary('print what was copied, signed')
    .description(
      'Prints the receipt of a mirror that is done: a DSSE envelope. What is in it is shown by --statement, once its signature was checked with the keys that the service publishes.',
    )
    .argument('<id>', "a mirror's id (mr-…) or a request's")
    .option('--statement', 'check the signature and print what was signed')
    .addOption(serviceOption())
    .action(async (id: string, options: ReceiptOptions) => done(await printReceipt(context, id, options)));
}

async function printReceipt(context: Context, id: string, options: ReceiptOptions): Promise<ExitStatus> {
  const service = await requireService(context, options);
  const envelope = await service.receipt(id);
  if (!options.statement) {
    printJson(context, envelope);
    return exitStatus.ok;
  }
  const statement = checkReceipt(envelope, readReceiptKeys(await service.receiptKeys()));
  context.stdout.write(`${JSON.stringify(statement, undefined, 2)}\n`);
  return exitStatus.ok;
}

export function receiptKeysCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('receipt-keys')
    .summary('print the public keys of receipts')
    .description('Prints every public key that has ever signed receipts, the present one first.')
    .option('--rotate', 'sign with a new key from now on; for administrators')
    .option('--json', 'print JSON (a JWK set)')
    .addOption(serviceOption())
    .action(async (options: KeysOptions) => done(await printKeys(context, options)));
}

async function printKeys(context: Context, { rotate, json, ...options }: KeysOptions): Promise<ExitStatus> {
  const service = await requireService(context, options);
  if (rotate) await service.rotateReceiptKey();
  const published = await service.receiptKeys();
  if (json) printJson(context, published);
  else
    for (const { kid, pem, createdAt, retiredAt } of published.keys)
      // Text between keys is no part of them (RFC 7468, section 2).
      context.stdout.write(`# ${kid}, from ${createdAt}${retiredAt ? ` until ${retiredAt}` : ' on'}\n${pem}`);
  return exitStatus.ok;
}
