// An OpenID provider that nobody here wrote, npm's oidc-provider, with the customers of an energy data provider.
//
// It reads one JSON document to a line and confirms each: the first says where to listen, the others change what happens from then
// on: {"clients"} sets the clients, {"rotate"} makes new keys, {"days"} sets what goes wrong (see `days`).
import { createServer } from 'node:https';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { SignJWT, decodeJwt, importJWK } from 'jose';
import Provider from 'oidc-provider';

// slow: seconds that the token endpoint takes; code: seconds that a code lives; ask: changes to the authorization request;
// back: changes to what the browser brings back; claims, algorithm: changes to the ID token; acr: how the customer logs in.
let days = {}, keys = [], clients = [], job, handle;

function makeKeys() {
  const jwk = (pair, alg) => ({ ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() });
  const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys = [jwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256'), jwk(rsa(), 'RS256'), jwk(rsa(), 'PS256')];
}

async function resign(token) {
  const algorithm = days.algorithm ?? 'ES256';
  const claims = { ...decodeJwt(token), ...days.claims };
  for (const name of Object.keys(claims)) if (claims[name] === null) delete claims[name];
  if (algorithm === 'none') {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part({ alg: 'none' })}.${part(claims)}.`;
  }
  if (algorithm === 'HS256') return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from('secret of the edp'));
  const key = keys.find((each) => each.alg === algorithm);
  return new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid: days.kid ?? key.kid }).sign(await importJWK(key, algorithm));
}

function page(body) {
  return `<!doctype html><html lang="en"><title>Customers</title><h1>Customers</h1>${body}</html>`;
}

async function interaction(ctx, provider) {
  const details = await provider.interactionDetails(ctx.req, ctx.res);
  if (ctx.method === 'GET') {
    ctx.type = 'html';
    ctx.body = page(`<form method="post" action="${ctx.path}"><label>Customer <input id="customer" name="customer"></label>
      <button id="go">Log in</button></form><a id="stop" href="${ctx.path}/stop">Stop</a>`);
    return;
  }
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  const customer = new URLSearchParams(Buffer.concat(chunks).toString()).get('customer');
  const login = { accountId: customer, acr: days.acr, remember: true, ...(days.ts ? { ts: days.ts } : {}) };
  ctx.respond = false;
  await provider.interactionFinished(ctx.req, ctx.res, { login }, { mergeWithLastSubmission: false });
  void details;
}

function start() {
  const provider = new Provider(job.issuer, {
    clients,
    jwks: { keys },
    acrValues: ['password', 'two-factors'],
    claims: { openid: ['sub', 'customer_number'], acr: null, auth_time: null, iss: null, sid: null },
    conformIdTokenClaims: false,
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256', 'PS256'] },
    cookies: { keys: ['a test'] },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        logoutSource: (ctx, form) => { ctx.body = page(`${form}<button id="out" form="op.logoutForm" name="logout" value="yes">Log out</button>`); },
      },
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, customer_number: `number-${id}` }) }),
    interactions: { url: (ctx, it) => `/interaction/${it.uid}` },
    ttl: { AuthorizationCode: () => days.code ?? 60 },
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid');
      await grant.save();
      return grant;
    },
  });
  provider.use(async (ctx, next) => {
    if (ctx.path.startsWith('/interaction/')) {
      if (ctx.path.endsWith('/stop')) {
        ctx.respond = false;
        await provider.interactionFinished(ctx.req, ctx.res, { error: 'access_denied', error_description: 'stopped' });
        return;
      }
      await interaction(ctx, provider);
      return;
    }
    if (ctx.path === '/auth' && days.ask) ctx.query = { ...ctx.query, ...days.ask };
    if (ctx.path === '/token' && days.slow) await new Promise((resolve) => setTimeout(resolve, days.slow * 1000));
    if (ctx.path === '/.well-known/openid-configuration' && days.discovery) await new Promise((resolve) => setTimeout(resolve, days.discovery * 1000));
    await next();
    const location = ctx.response.get('Location') ?? '';
    if (days.back && location.includes('/return?')) {
      const changed = new URL(location);
      for (const [name, value] of Object.entries(days.back)) {
        if (value === null) changed.searchParams.delete(name);
        else changed.searchParams.set(name, value);
      }
      ctx.response.set('Location', changed.href);
    }
    if (ctx.path === '/token' && ctx.body?.id_token && (days.claims || days.algorithm || days.kid)) {
      ctx.body = { ...ctx.body, id_token: await resign(ctx.body.id_token) };
    }
  });
  handle = provider.callback();
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = JSON.parse(line);
  if (said.issuer) {
    job = said;
    makeKeys();
    const tls = { cert: readFileSync(job.certificate), key: readFileSync(job.key) };
    createServer(tls, (request, response) => handle(request, response)).listen(job.port, '127.0.0.1');
  }
  if (said.clients) clients = said.clients;
  if (said.rotate) makeKeys();
  if (said.days) days = said.days;
  if (said.clients || said.rotate || said.issuer) start();
  process.stdout.write('{"done": true}\n');
}
