import { describe, expect, it } from 'vitest';
import { readRealm, type RegistrySettings } from './realm.ts';

const credential = { username: 'robot', password: 'secret' };
const doing = { what: 'reading', host: 'the registry', loggedIn: true };
function outcome(registry: string, realm: string, settings: RegistrySettings = {}, login = true): string {
  try {
    return readRealm(realm, { registry, settings, credential: login ? credential : undefined }, doing).href;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('a login', () => {
  it.each([
    ['quay.io', 'https://quay.io/v2/auth'],
    ['quay.io:443', 'https://quay.io/v2/auth'],
    ['quay.io', 'https://QUAY.io:443/v2/auth'],
    ['registry.corp:5000', 'https://registry.corp:5000/token'],
    ['docker.io', 'https://auth.docker.io/token'],
    ['registry.gitlab.com', 'https://gitlab.com/jwt/auth'],
    ['registry.redhat.io', 'https://sso.redhat.com/auth/realms/rhcc/protocol/redhat-docker-v2/auth'],
    ['registry.access.redhat.com', 'https://registry.redhat.io/auth'],
    ['registry.suse.com', 'https://scc.suse.com/api/registry/authorize'],
    ['registry.digitalocean.com', 'https://api.digitalocean.com/v2/registry/auth'],
    ['docker.elastic.co', 'https://docker-auth.elastic.co/auth'],
    ['registry.cn-hangzhou.aliyuncs.com', 'https://dockerauth.cn-hangzhou.aliyuncs.com/auth'],
    ['corp.cn-hangzhou.cr.aliyuncs.com', 'https://dockerauth-ee.cn-hangzhou.aliyuncs.com/auth'],
  ])('of %s goes to %s', (registry, realm) => {
    expect(outcome(registry, realm)).toMatch(/^https:/);
  });

  it.each([
    ['quay.io', 'https://auth.quay.io/token'],
    ['quay.io', 'https://quay.io.evil.example/token'],
    ['quay.io', 'https://quay.io@evil.example/token'],
    ['quay.io', 'https://quay.io:8443/token'],
    ['quay.io', 'https://auth.docker.io/token'],
    ['docker.io', 'https://auth.docker.io.evil.example/token'],
    ['docker.io', 'https://auth.docker.io:8443/token'],
    ['registry.gitlab.com.evil.example', 'https://gitlab.com/jwt/auth'],
    ['registry.cn-hangzhou.aliyuncs.com', 'https://dockerauth.oss-cn-hangzhou.aliyuncs.com/auth'],
  ])('of %s does not go to %s, from where a token without a login may come', (registry, realm) => {
    expect(outcome(registry, realm)).toBe('token_server_refused');
    expect(outcome(registry, realm, {}, false)).toMatch(/^https:/);
  });

  it('goes where it is configured to, by name and port', () => {
    const settings = { tokenServers: ['Auth.corp', 'auth.corp:8443'] };
    expect(outcome('registry.corp', 'https://auth.corp/token', settings)).toMatch(/^https:/);
    expect(outcome('registry.corp', 'https://auth.corp:8443/token', settings)).toMatch(/^https:/);
    expect(outcome('registry.corp', 'https://auth.corp:9443/token', settings)).toBe('token_server_refused');
    expect(outcome('registry.corp', 'https://x.auth.corp/token', settings)).toBe('token_server_refused');
  });
});

it.each<[string, string, RegistrySettings]>([
  ['quay.io', 'http://quay.io/token', {}],
  ['quay.io', 'http://auth.example/token', { tokenServers: ['auth.example'] }],
  ['registry.corp', 'http://auth.corp/token', { insecure: true, tokenServers: ['auth.corp'] }],
  ['quay.io', 'https://127.0.0.1/token', { tokenServers: ['127.0.0.1'] }],
  ['quay.io', 'https://localhost:8443/token', {}],
])('%s sends nobody to %s', (registry, realm, settings) => {
  expect(outcome(registry, realm, settings, false)).toBe('tls');
});

it.each<[string, string, RegistrySettings]>([
  ['registry.corp:5000', 'http://registry.corp:5000/token', { insecure: true }],
  ['localhost:5000', 'http://localhost:5000/token', {}],
  ['localhost:5000', 'http://127.0.0.1:5001/token', { tokenServers: ['127.0.0.1:5001'] }],
])('%s has its token server at %s, in clear as itself', (registry, realm, settings) => {
  expect(outcome(registry, realm, settings)).toBe(realm);
});
