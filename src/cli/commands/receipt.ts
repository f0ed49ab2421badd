import { Command } from 'commander';
import { checkReceipt, readReceiptKeys } from '../../mirror/receipt.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';

interface ReceiptOptions extends ServiceOptions {
  statement?: true;
}

export function receiptCommand(context: Context, done: (status: ExitStatus) => void): Command {
  const receipt = new Command('receipt')
    .summary('print what was copied, signed')
    .description(
      'Prints the receipt of a mirror that is done: a DSSE envelope. What is in it is shown by --statement, once the signature was checked with the keys that the service publishes.',
    )
    .argument('<id>', "a mirror's id (mr-…) or a request's")
    .option('--statement', 'print what was signed')
    .addOption(serviceOption())
    .action(async (id: string, options: ReceiptOptions) => done(await show(context, id, options)));
  receipt
    .command('rotate-key')
    .summary('sign with a new key from now on')
    .description(
      'Signs with a new key from now on; what was signed before can still be checked. For administrators.',
    )
    .addOption(serviceOption())
    .action(async (options: ServiceOptions) => {
      const service = await requireService(context, options);
      const { kid, pem } = await service.rotateReceiptKey();
      context.stdout.write(pem);
      context.stderr.write(`This is key ${kid}. It signs receipts from now on.\n`);
      done(exitStatus.ok);
    });
  return receipt;
}

async function show(context: Context, id: string, options: ReceiptOptions): Promise<ExitStatus> {
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
