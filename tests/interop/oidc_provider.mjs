// The OpenID provider of the npm package oidc-provider, with the paths and behavior of a Scalekit
// environment. Prints its address, reads the settings of its one client as a line of JSON, and
// then responds to each further line with a line of the events so far.
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

// Standard output is for responses.
console.info = console.error;
// Used by the provider, and available since Node 22.
URL.parse ??= (text) => { try { return new URL(text); } catch { return null; } };

const API = 'urn:example:api';
const SCOPES = 'openid profile email offline_access';
const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
console.log(JSON.stringify({ issuer }));
const { accessTokenSeconds, ...client } = JSON.parse((await lines.next()).value);

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const profile = (email) => ({
  sub: `usr_${email.split('@')[0]}`, email, email_verified: true, name: 'Jane Roe',
  given_name: 'Jane', family_name: 'Roe',
});
const accounts = new Map();

const provider = new Provider(issuer, {
  clients: [client],
  clientAuthMethods: ['client_secret_post'],
  conformIdTokenClaims: false,
  claims: {
    openid: ['sub', 'sid'],
    email: ['email', 'email_verified'],
    profile: ['name', 'given_name', 'family_name'],
  },
  cookies: { keys: ['only for tests'] },
  // Scalekit issues refresh tokens without prompt=consent, and they outlive its own session.
  expiresWithSession: () => false,
  issueRefreshToken: () => true,
  extraTokenClaims: (_ctx, token) => ({
    oid: 'org_acme', sid: token.sid, roles: ['admin'], permissions: ['workspace_data:write'],
  }),
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => API,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: '',
        accessTokenTTL: accessTokenSeconds,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  // The provider's own `fetch` rejects loopback addresses, where the application is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (_ctx, sub) =>
    accounts.has(sub) && { accountId: sub, claims: () => accounts.get(sub) },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  routes: {
    authorization: '/oauth/authorize', token: '/oauth/token', jwks: '/keys',
    end_session: '/oidc/logout',
  },
  scopes: SCOPES.split(' '),
});

// Optional in this flow and omitted by this provider; Scalekit's ID tokens have it.
const signed = new WeakMap();
const { save } = provider.AccessToken.prototype;
provider.AccessToken.prototype.save = async function saveAndRemember(...args) {
  const token = await save.apply(this, args);
  signed.set(this, token);
  return token;
};
const { issue } = provider.IdToken.prototype;
provider.IdToken.prototype.issue = function issueWithHash(options) {
  if (options.use === 'idtoken') this.set('at_hash', signed.get(this.ctx.oidc.entities.AccessToken));
  return issue.call(this, options);
};

// Any address is signed in and consents to everything.
async function interact(req, res) {
  if (req.method === 'GET') {
    res.setHeader('content-type', 'text/html');
    return res.end(`<form method="post" action="${req.url}"><input name="email"></form>`);
  }
  const body = Buffer.concat(await req.toArray()).toString();
  const account = profile(new URLSearchParams(body).get('email'));
  accounts.set(account.sub, account);
  const grant = new provider.Grant({ accountId: account.sub, clientId: client.client_id });
  grant.addOIDCScope(SCOPES);
  grant.addResourceScope(API, SCOPES);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(req, res, { login: { accountId: account.sub }, consent });
}

const events = [];
provider.on('grant.success', ({ oidc, body }) => {
  events.push({ event: 'granted', grant: oidc.params.grant_type, ...body });
});
provider.on('grant.error', (_ctx, error) => {
  events.push({ event: 'refused', error: error.message, detail: error.error_detail });
});
provider.on('end_session.success', () => events.push({ event: 'signed out' }));
provider.on('backchannel.success', () => events.push({ event: 'application notified' }));
provider.on('backchannel.error', (_ctx, error) => {
  events.push({ event: 'application not notified', error: error.message });
});
provider.on('server_error', (_ctx, error) => console.error(error));

const answer = provider.callback();
server.on('request', (req, res) => {
  if (!req.url.startsWith('/interaction/')) return answer(req, res);
  return interact(req, res).catch((error) => { console.error(error); res.destroy(); });
});
console.log(JSON.stringify({ ready: true }));
for await (const _ of lines) console.log(JSON.stringify(events));
