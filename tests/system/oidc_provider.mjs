// A real OpenID provider (npm's oidc-provider) for login_oauth2_test.cc and login_code_test.cc, on loopback, http and https:
//   node oidc_provider.mjs FOLDER-OF-NODE_MODULES HTTP-PORT HTTPS-PORT CERTIFICATE KEY
// People: user1 with pw1, user2 with pw2, through the clients "web" (secret "web-secret") and "spa" (no secret, PKCE). Clients that log in
// themselves: svc1 with pw1, svc2 with pw2. "api" (secret "api-secret") may introspect. Says {"ready":true,...} on stdout in one line.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createHmac, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, port, tlsPort, certificate, key] = process.argv.slice(2);
const { default: Provider, errors } = await import(pathToFileURL(join(folder, 'node_modules/oidc-provider/lib/index.js')).href);

const forgeryKey = randomBytes(32);
const passwords = { user1: 'pw1', user2: 'pw2' };
const callback = 'https://app.staging.example/callback';
const withSecret = (id, secret, more) => ({ client_id: id, client_secret: secret, redirect_uris: [], response_types: [], ...more });
const clients = [
  withSecret('web', 'web-secret', { grant_types: ['authorization_code', 'refresh_token', 'password'], redirect_uris: [callback], response_types: ['code'] }),
  { client_id: 'spa', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], redirect_uris: [callback], response_types: ['code'] },
  withSecret('svc1', 'pw1', { grant_types: ['client_credentials'] }),
  withSecret('svc2', 'pw2', { grant_types: ['client_credentials'] }),
  withSecret('api', 'api-secret', { grant_types: ['client_credentials'] }),
];

async function granted(provider, accountId, clientId) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope('openid offline_access');
  return grant.save();
}

// The password grant, which the package leaves to who wants it.
async function passwordGrant(ctx, next) {
  const { client, params, provider } = ctx.oidc;
  if (!Object.hasOwn(passwords, params.username) || passwords[params.username] !== params.password) throw new errors.InvalidGrant('wrong user or password');
  const about = { accountId: params.username, client, gty: 'password', scope: 'openid', grantId: await granted(provider, params.username, client.clientId) };
  const access = new provider.AccessToken(about);
  const refresh = new provider.RefreshToken(about);
  ctx.body = { access_token: await access.save(), expires_in: access.expiration, token_type: access.tokenType, scope: 'openid', refresh_token: await refresh.save() };
  await next();
}

// The login page, as a person's browser gets it: a form with a token against forgery, and its action written as HTML wants it.
async function interaction(provider, request, response) {
  const details = await provider.interactionDetails(request, response);
  const csrf = createHmac('sha256', forgeryKey).update(details.uid).digest('base64url');
  const page = (status) => {
    response.writeHead(status, { 'content-type': 'text/html' });
    response.end(`<!doctype html><title>Log in</title><form action="/search"><input name="q"></form>
<form id="login" method="post" action="/interaction/${details.uid}?step=login&amp;client=${details.params.client_id}">
<input type="hidden" name="csrf" value="${csrf}"><input name="login"><input type="password" name="password"><button>Log in</button></form>\n`);
  };
  if (request.method !== 'POST') return page(200);
  let body = '';
  for await (const bytes of request) body += bytes;
  const form = new URLSearchParams(body);
  if (form.get('csrf') !== csrf || !request.url.includes(`client=${details.params.client_id}`)) return page(400);
  const user = form.get('login');
  if (!Object.hasOwn(passwords, user) || passwords[user] !== form.get('password')) return page(401);
  return provider.interactionFinished(request, response, { login: { accountId: user } });
}

function provide(issuer, make, listenPort) {
  const provider = new Provider(issuer, {
    clients,
    cookies: { keys: ['not a secret'] },
    clockTolerance: 0,
    features: { clientCredentials: { enabled: true }, introspection: { enabled: true }, devInteractions: { enabled: false } },
    interactions: { url: (ctx, details) => `/interaction/${details.uid}` },
    findAccount: (ctx, id) => (Object.hasOwn(passwords, id) ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
    // A client of the house: nobody is asked for consent.
    loadExistingGrant: async (ctx) => {
      const id = await granted(provider, ctx.oidc.session.accountId, ctx.oidc.client.clientId);
      return provider.Grant.find(id);
    },
    ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 600, IdToken: 600, Interaction: 600, RefreshToken: 600, Session: 600 },
  });
  provider.registerGrantType('password', passwordGrant, ['username', 'password', 'scope']);
  const serve = provider.callback();
  const server = make((request, response) => {
    if (!request.url.startsWith('/interaction/')) return serve(request, response);
    return interaction(provider, request, response).catch((error) => {
      response.statusCode = error.statusCode ?? 500;
      response.end(`${error.message}\n`);
    });
  });
  provider.on('server_error', (ctx, error) => console.error(error));
  return new Promise((resolve) => { server.listen(Number(listenPort), '127.0.0.1', () => resolve(provider)); });
}

const plain = await provide(`http://127.0.0.1:${port}`, (serve) => createServer(serve), port);
await provide(`https://localhost:${tlsPort}`, (serve) => createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, serve), tlsPort);
// A token that is good for a second.
const client = await plain.Client.find('web');
const short = new plain.AccessToken({ accountId: 'user1', client, gty: 'password', scope: 'openid', expiresIn: 1, grantId: await granted(plain, 'user1', 'web') });
console.log(JSON.stringify({ ready: true, short_token: await short.save() }));
