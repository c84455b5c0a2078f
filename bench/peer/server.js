// npm's oidc-provider in its FAPI 2.0 profile, as the peer of `python -m bench.acts --peer`: the same acts, on the same kind of
// database, over the same mutual TLS. DATABASE is a SQLite file or a PostgreSQL URL. Besides, POST /codes and /tokens on a
// plain port of their own make what the load needs, as the decision of a user would.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import Provider from 'oidc-provider';
import { adapterFor } from './adapter.js';

const given = JSON.parse(process.env.PEER);
const scope = 'energy offline_access';
const origin = `https://localhost:${given.port}`;

const client = (id, more) => ({
  client_id: id,
  token_endpoint_auth_method: 'tls_client_auth',
  tls_client_auth_san_uri: id,
  introspection_endpoint_auth_method: 'tls_client_auth',
  redirect_uris: [given.redirect],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  id_token_signed_response_alg: 'ES256',
  require_pushed_authorization_requests: true,
  tls_client_certificate_bound_access_tokens: true,
  scope,
  ...more,
});

const provider = new Provider(origin, {
  adapter: await adapterFor(given.database),
  clients: [client(given.cap), client(given.edp)],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  scopes: ['energy', 'offline_access'],
  jwks: { keys: [given.key] },
  enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
  clientAuthMethods: ['tls_client_auth'],
  issueRefreshToken: () => true,
  rotateRefreshToken: false,
  routes: { pushed_authorization_request: '/par', token: '/token', introspection: '/introspect' },
  ttl: { AuthorizationCode: 600, AccessToken: 600, RefreshToken: 31536000, Grant: 31536000, PushedAuthorizationRequest: 90 },
  features: {
    devInteractions: { enabled: false },
    fapi: { enabled: true, profile: '2.0' },
    pushedAuthorizationRequests: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, who) => who.clientId === given.edp },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate()?.toString(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        ctx.socket.getPeerX509Certificate().subjectAltName === `URI:${expected}`,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => given.resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
    },
  },
});
provider.on('server_error', (ctx, error) => console.error(error));

async function made(kind, more) {
  const cap = await provider.Client.find(given.cap);
  const accountId = randomBytes(16).toString('base64url');
  const grant = new provider.Grant({ accountId, clientId: given.cap });
  grant.addResourceScope(given.resource, scope);
  const grantId = await grant.save();
  return new kind({ client: cap, accountId, grantId, scope, resource: given.resource, gty: 'authorization_code', ...more }).save();
}

const codeChallenge = createHash('sha256').update(given.verifier).digest('base64url');
const makers = {
  '/codes': () => made(provider.AuthorizationCode, { redirectUri: given.redirect, codeChallenge, codeChallengeMethod: 'S256' }),
  '/tokens': () => made(provider.RefreshToken, { 'x5t#S256': given.thumbprint }),
};

http.createServer(async (request, response) => {
  const url = new URL(request.url, origin);
  const found = [];
  for (let n = Number(url.searchParams.get('n')); n > 0; n -= 1) found.push(await makers[url.pathname]());
  response.end(JSON.stringify(found));
}).listen(given.port + 1, '127.0.0.1');

https.createServer({
  key: readFileSync(given.tls.key), cert: readFileSync(given.tls.certificate), ca: readFileSync(given.tls.ca),
  requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3',
}, provider.callback()).listen(given.port, '127.0.0.1');
