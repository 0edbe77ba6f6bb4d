// Calls Scalekit's SDK for Node. Reads calls from standard input, one JSON array
// [name, arguments] a line, and responds to each with a line: {"ok": …} or {"error": …}.
import { createInterface } from 'node:readline';
import { ScalekitClient } from '@scalekit-sdk/node';

const { SCALEKIT_ENVIRONMENT_URL, SCALEKIT_CLIENT_ID, SCALEKIT_CLIENT_SECRET } = process.env;
const client = new ScalekitClient(
  SCALEKIT_ENVIRONMENT_URL, SCALEKIT_CLIENT_ID, SCALEKIT_CLIENT_SECRET,
);

const calls = {
  authorizationUrl: ({ redirectUri, ...options }) =>
    client.getAuthorizationUrl(redirectUri, options),
  exchange: ({ code, redirectUri, codeVerifier }) =>
    client.authenticateWithCode(code, redirectUri, { codeVerifier }),
  claims: ({ token, ...options }) => client.validateToken(token, options),
  isValid: ({ token, ...options }) => client.validateAccessToken(token, options),
  refresh: ({ refreshToken }) => client.refreshAccessToken(refreshToken),
  loginClaims: ({ token, ...options }) => client.getIdpInitiatedLoginClaims(token, options),
  logoutUrl: (options) => client.getLogoutUrl(options),
  clientToken: () => client.getClientAccessToken(),
  proxy: async (call) => {
    // The SDK requests its token with the first gRPC call, which the sandbox does not support.
    await client.coreClient.authenticateClient();
    const { status, data } = await client.actions.request(call);
    return { status, data };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, args] = JSON.parse(line);
  let answer;
  try {
    answer = { ok: await calls[name](args) };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
