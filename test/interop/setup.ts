import type { TestProject } from 'vitest/node';
import { findClients } from './clients.ts';
import { buildCosign, buildGoTools, type GoTools } from './go-tools.ts';
import { installSchemathesis } from './schemathesis.ts';

/** What the suites may use; what this machine does not have is absent, and its suite skips. */
export interface Tools {
  /** The real Wave command line. */
  wave?: string | undefined;
  /** A real Nextflow that has its nf-wave plugin already: nothing is downloaded here. */
  nextflow?: string | undefined;
  /** A registry server that no package registry has. */
  olareg?: string | undefined;
  /** Other releases of Skopeo than the system's. */
  skopeos: string[];
  go?: GoTools | undefined;
  cosign?: string | undefined;
  schemathesis?: string | undefined;
}

declare module 'vitest' {
  export interface ProvidedContext {
    tools: Tools;
  }
}

/** Finds or builds the clients once, before any suite runs, and says what is left out. */
export default async function setup(project: TestProject): Promise<void> {
  const say = (text: string) => void process.stdout.write(`interop: ${text}\n`);
  const clients = findClients(say);
  const [go, cosign, schemathesis] = await Promise.all([
    buildGoTools(say),
    buildCosign(say),
    installSchemathesis(say),
  ]);
  project.provide('tools', { ...clients, go, cosign, schemathesis });
}
