import { MirrorError } from './errors.ts';

/** Which of the things that refer to an image come along; a list names artifact types (OCI image-spec, "artifactType"). */
export type Referrers = 'all' | 'none' | readonly string[];

/** What of an image is wanted at the target. */
export interface Selection {
  /** Canonical, sorted: `linux/amd64`, `linux/arm/v7`. Absent: every platform. */
  platforms?: readonly string[];
  referrers: Referrers;
}

/** What a submission says of it; what it leaves out is as the installation has it. */
export type Choice = Partial<Selection>;

/** The whole image with all that refers to it. */
export const everything: Selection = { referrers: 'all' };

/** A platform as an image index names it (OCI image-spec, image-index.md). */
export interface Platform {
  os: string;
  architecture: string;
  variant?: string | undefined;
}

// What `uname -m` says, and what Go and therefore the OCI specs say (containerd/platforms, database.go).
const architectures: Record<string, string> = {
  x86_64: 'amd64',
  aarch64: 'arm64',
  armhf: 'arm',
  i386: '386',
};
const part = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/**
 * Reads `os/architecture[/variant]` and returns its canonical form. 64-bit ARM has one variant that matters, v8, which is
 * left out.
 * @throws MirrorError `invalid_request`.
 */
export function parsePlatform(text: string): string {
  const [os = '', architecture = '', variant, ...more] = text.split('/');
  const parts = [os, architecture, ...(variant === undefined ? [] : [variant])];
  if (more.length > 0 || parts.some((each) => !part.test(each)))
    throw new MirrorError(
      'invalid_request',
      `${JSON.stringify(text.slice(0, 100))} is no platform; write it like linux/amd64 or linux/arm/v7.`,
    );
  return formatPlatform({ os, architecture, variant });
}

/** The canonical form of a platform. */
export function formatPlatform({ os, architecture, variant = '' }: Platform): string {
  const lower = architecture.toLowerCase();
  const name = architectures[lower] ?? lower;
  const version = variant.toLowerCase();
  const shown = version === '' || (name === 'arm64' && version === 'v8') ? '' : `/${version}`;
  return `${os.toLowerCase()}/${name}${shown}`;
}

/** Whether a platform is the wanted one; one that is wanted without a variant is any of them. */
export function isPlatform(wanted: string, platform: Platform): boolean {
  const found = formatPlatform(platform);
  return found === wanted || (wanted.split('/').length === 2 && found.startsWith(`${wanted}/`));
}

/**
 * Completes a choice by what the installation wants where it says nothing, in canonical form: two that want the same are
 * the same text in {@link formatSelection}.
 * @throws MirrorError `invalid_request` for what is no platform.
 */
export function select({ platforms, referrers }: Choice, fallback: Selection): Selection {
  const named = platforms ?? fallback.platforms;
  const wanted = referrers ?? fallback.referrers;
  return {
    ...(named && named.length > 0 && { platforms: [...new Set(named.map(parsePlatform))].sort() }),
    referrers:
      typeof wanted === 'string' ? wanted : wanted.length === 0 ? 'none' : [...new Set(wanted)].sort(),
  };
}

/** A canonical selection as text, to compare and to keep; empty for {@link everything}. */
export function formatSelection({ platforms, referrers }: Selection): string {
  return platforms || referrers !== 'all' ? JSON.stringify({ platforms, referrers }) : '';
}

/** Reads what {@link formatSelection} wrote. */
export function readSelection(text: string): Selection {
  return text === '' ? everything : (JSON.parse(text) as Selection);
}
