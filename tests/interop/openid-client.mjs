// The whole of a client's part with npm's openid-client, as its documentation shows it for a profile of mutual TLS and PAR.
import * as client from 'openid-client'
import { browse, fetchData, finish, job, mutualTls } from './exchange.mjs'

const config = await client.discovery(
  new URL(job.issuer),
  job.client.client_id,
  { use_mtls_endpoint_aliases: true },
  client.TlsClientAuth(),
  { algorithm: 'oauth2', [client.customFetch]: mutualTls },
)
const server = config.serverMetadata()

const pkceCodeVerifier = client.randomPKCECodeVerifier()
const expectedState = client.randomState()
const callback = await browse(
  await client.buildAuthorizationUrlWithPAR(config, {
    redirect_uri: job.redirect_uri,
    scope: job.license,
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  }),
)

const tokens = await client.authorizationCodeGrant(config, callback, { pkceCodeVerifier, expectedState })
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)

const data = await fetchData((url) => client.fetchProtectedResource(config, refreshed.access_token, url, 'GET'))

await client.tokenRevocation(config, tokens.refresh_token)
const afterwards = await client.refreshTokenGrant(config, tokens.refresh_token).then(
  () => 'refreshed all the same',
  (error) => error.error,
)

await finish({
  issuer: server.issuer,
  scope: tokens.scope,
  token_type: tokens.token_type,
  expires_in: tokens.expiresIn(),
  refreshed: refreshed.access_token !== tokens.access_token,
  data,
  afterwards,
})
