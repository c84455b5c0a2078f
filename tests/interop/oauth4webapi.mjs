// The whole of a client's part with npm's oauth4webapi, call by call. It also plays a resource server: it checks our access token
// as a JWT of RFC 9068, with keys from our jwks_uri.
import * as oauth from 'oauth4webapi'
import { browse, fetchData, finish, job, mutualTls } from './exchange.mjs'

const issuer = new URL(job.issuer)
const client = { client_id: job.client.client_id, use_mtls_endpoint_aliases: true }
const clientAuth = oauth.TlsClientAuth()
const options = { [oauth.customFetch]: mutualTls }

const as = await oauth
  .discoveryRequest(issuer, { algorithm: 'oauth2', ...options })
  .then((response) => oauth.processDiscoveryResponse(issuer, response))

const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const pushed = await oauth
  .pushedAuthorizationRequest(
    as,
    client,
    clientAuth,
    {
      response_type: 'code',
      redirect_uri: job.redirect_uri,
      scope: job.license,
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    },
    options,
  )
  .then((response) => oauth.processPushedAuthorizationResponse(as, client, response))

const authorization = new URL(as.authorization_endpoint)
authorization.searchParams.set('client_id', client.client_id)
authorization.searchParams.set('request_uri', pushed.request_uri)
const callback = oauth.validateAuthResponse(as, client, await browse(authorization), state)

const tokens = await oauth
  .authorizationCodeGrantRequest(as, client, clientAuth, callback, job.redirect_uri, verifier, options)
  .then((response) => oauth.processAuthorizationCodeResponse(as, client, response))

const refresh = () =>
  oauth
    .refreshTokenGrantRequest(as, client, clientAuth, tokens.refresh_token, options)
    .then((response) => oauth.processRefreshTokenResponse(as, client, response))
const refreshed = await refresh()

const headers = new Headers({ authorization: `Bearer ${refreshed.access_token}` })
const claims = await oauth.validateJwtAccessToken(as, new Request(job.audience, { headers }), job.audience, options)

const data = await fetchData((url) =>
  oauth.protectedResourceRequest(refreshed.access_token, 'GET', url, undefined, undefined, options),
)

await oauth
  .revocationRequest(as, client, clientAuth, tokens.refresh_token, options)
  .then((response) => oauth.processRevocationResponse(response))
const afterwards = await refresh().then(
  () => 'refreshed all the same',
  (error) => error.error,
)

await finish({
  issuer: as.issuer,
  scope: tokens.scope,
  token_type: tokens.token_type,
  expires_in: tokens.expires_in,
  refreshed: refreshed.access_token !== tokens.access_token,
  data,
  afterwards,
  claims: { client_id: claims.client_id, scope: claims.scope, iss: claims.iss },
})
