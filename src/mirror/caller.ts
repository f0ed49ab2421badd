import type { Grant } from '../core/grant.ts';

/** Who asks. */
export interface Caller {
  /**
   * Whom mirrors, and the rights to list them and to read their logs, belong to: `key:<id>` for a key of this
   * installation, `<endpoint>#workspace:<id>` or `<endpoint>#user:<id>` for a caller of Seqera Platform.
   */
  tenant: string;
  admin: boolean;
  /** Gets the logins of a caller of Seqera Platform; absent: this installation's logins are used. */
  grant?: Grant;
}

/** Who shares logins, as a LIKE pattern of tenants: all keys of this installation, or one tenant of Seqera Platform. */
export function poolOf(tenant: string): string {
  return tenant.startsWith('key:') ? 'key:%' : tenant.replace(/[\\%_]/g, '\\$&');
}
