// Runs one of the repository's tasks after setting up what it needs. Plain JavaScript, since nothing is
// installed yet when it starts: Node 20, which has no TypeScript, must be able to run it.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = join(root, 'node_modules/.bin');
const path = [bin, process.env.PATH, '/usr/sbin', '/sbin'].join(delimiter);

/** What comes from Debian: the package, and how to see that it is there, from wherever it came. */
const tools = {
  skopeo: { package: 'skopeo', isThere: () => hasCommand('skopeo') },
  registry: { package: 'docker-registry', isThere: () => hasCommand('docker-registry') },
  openssl: { package: 'openssl', isThere: () => hasCommand('openssl') },
  busybox: { package: 'busybox-static', isThere: () => isStatic('/bin/busybox') },
  chromium: { package: 'chromium', isThere: () => hasCommand('chromium') },
  postgres: { package: 'postgresql', isThere: hasPostgres },
};
const registries = ['skopeo', 'registry', 'openssl', 'busybox'];

const tasks = {
  demo: { needs: ['skopeo', 'registry', 'busybox'], commands: [['node', 'scripts/demo.ts']] },
  test: { needs: [...registries, 'chromium', 'postgres'], commands: [['vitest', 'run']] },
  check: {
    needs: [],
    commands: [
      ['prettier', '--check', '--log-level', 'warn', '.'],
      ['eslint', '.'],
      ['tsc', '-p', '.'],
      ['vitest', 'run', 'test/floor-plan.test.ts'],
    ],
  },
  bench: { needs: registries, commands: [['node', 'bench/run.ts']] },
  faults: { needs: registries, commands: [['node', 'test/faults/main.ts']] },
  interop: { needs: registries, commands: [['vitest', 'run', '--config', 'test/interop/vitest.config.ts']] },
};

const [name, ...args] = process.argv.slice(2);
const task = tasks[name];
if (!task) fail(`There is no task "${name}". Tasks: ${Object.keys(tasks).join(', ')}.`);
installPackages();
installTools(task.needs.map((need) => tools[need]));
for (const [n, [command, ...words]] of task.commands.entries()) {
  const last = n === task.commands.length - 1;
  const status = await runTask(command, [...words, ...(last ? args : [])]);
  if (status !== 0) process.exit(status);
}

/** Whoever ends us means what we run: it hears the same signal, and we wait for its end. */
function runTask(command, words) {
  const child = spawn(command, words, { cwd: root, env: { ...process.env, PATH: path }, stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // A terminal has told the child of Ctrl-C already; twice would mean impatience.
  process.on('SIGINT', () => undefined);
  return new Promise((resolve) => {
    child.on('error', (error) => fail(`${command} can't be run: ${error.message}`));
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** `npm ci`, when what is installed is not what the lock file says. */
function installPackages() {
  const stamp = join(root, 'node_modules/.installed');
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('Installing Node packages (npm ci) …');
  // Quiet: the system's Node may be older than what the packages ask for; they run on the one that comes with them.
  if (run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']) !== 0)
    fail('npm ci failed; see above.');
  writeFileSync(stamp, wanted);
}

/** Installs what is missing with apt, as root or through sudo, and says so. */
function installTools(wanted) {
  const missing = wanted.filter(({ isThere }) => !isThere()).map((tool) => tool.package);
  if (missing.length === 0) return;
  const list = missing.join(' ');
  if (!hasCommand('apt-get'))
    fail(`These are missing: ${list} (names of Debian's packages). Install them and run this again.`);
  const isRoot = process.getuid() === 0;
  if (!isRoot && !hasCommand('sudo'))
    fail(`These are missing: ${list}. Run this as root: apt-get update && apt-get install -y ${list}`);
  say(`Installing from Debian${isRoot ? '' : ', through sudo'}: ${list} (their services are not started) …`);
  // Some of these packages start a service of their own: policy-rc.d tells Debian not to, for this one install.
  const script = `
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      trap 'rm -f $policy' EXIT
      printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update || true # An old list may still do; the install tells.
    apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends ${list}`;
  const shell = ['sh', '-c', script];
  const [command, ...words] = isRoot ? shell : ['sudo', ...shell];
  // Only a failure is worth reading; sudo asks on the terminal itself.
  const { status, stdout, stderr } = spawnSync(command, words, {
    env: { ...process.env, PATH: path },
    stdio: ['inherit', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) fail(`apt-get could not install ${list}:\n${stdout}${stderr}`);
}

function run(command, words) {
  const child = spawnSync(command, words, {
    cwd: root,
    env: { ...process.env, PATH: path },
    stdio: 'inherit',
  });
  if (child.error) fail(`${command} can't be run: ${child.error.message}`);
  return child.status ?? 1;
}

function hasCommand(command) {
  return path.split(delimiter).some((folder) => existsSync(join(folder, command)));
}

/** Debian's plain busybox has the same path and would not run in an empty image. */
function isStatic(file) {
  // A dynamic program names its loader (/lib64/ld-linux-….so) right after its headers.
  return existsSync(file) && !readFileSync(file).subarray(0, 4096).includes('/ld-');
}

function hasPostgres() {
  const base = '/usr/lib/postgresql';
  return (
    existsSync(base) && readdirSync(base).some((version) => existsSync(join(base, version, 'bin/initdb')))
  );
}

function say(text) {
  console.log(`> ${text}`);
}

function fail(text) {
  console.error(`! ${text}`);
  process.exit(1);
}
