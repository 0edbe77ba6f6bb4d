// An MCP client of the official TypeScript SDK. Reads the server's address as a line of JSON, prints
// `{ready}` once, and then one line for each line: the result of a call, or `{authorize}` when
// the user has to consent in a browser first; the next line is the redirect after that.
import { createInterface } from 'node:readline';

// Version 1 is a single package, version 2 has one for clients.
const name = process.env.MCP_PACKAGE;
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = name.endsWith('/sdk')
  ? {
      ...await import(`${name}/client/index.js`),
      ...await import(`${name}/client/streamableHttp.js`),
      ...await import(`${name}/client/auth.js`),
    }
  : await import(name);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => JSON.parse((await lines.next()).value);
const say = (answer) => console.log(JSON.stringify(answer));
const { url, redirectUri } = await read();

const kept = {};
let wanted;
const provider = {
  redirectUrl: redirectUri,
  clientMetadata: {
    client_name: 'A client of the TypeScript SDK',
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  state: () => (kept.state = crypto.randomUUID()),
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  redirectToAuthorization: (address) => { wanted = address; },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
  saveDiscoveryState: (discovered) => { kept.discovered = discovered; },
  discoveryState: () => kept.discovered,
};

let client;
let transport;
async function connect() {
  transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  client = new Client({ name: 'interop', version: '1' });
  await client.connect(transport);
}

// Runs an operation, with the user's consent if the server requires it.
async function allowed(act) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      if (!wanted || attempt > 1) throw error;
      say({ authorize: String(wanted), error: error.constructor.name });
      wanted = undefined;
      const callback = new URL((await read()).callback).searchParams;
      if (callback.get('state') !== kept.state) throw new Error('another state came back');
      await transport.finishAuth(name.endsWith('/sdk') ? callback.get('code') : callback);
      await connect();
    }
  }
}

await allowed(connect);
say({ ready: true, client_id: kept.client.client_id, scope: kept.tokens.scope });
for await (const line of lines) {
  const { tool, ...args } = JSON.parse(line);
  try {
    const answer = await allowed(() => (tool
      ? client.callTool({ name: tool, arguments: args })
      : client.listTools()));
    say({ ...answer, scope: kept.tokens.scope });
  } catch (error) {
    say({ failed: String(error) });
  }
}
