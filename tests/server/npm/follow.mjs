// Follows one subscription with the client of a protocol and prints each result as a line of JSON:
// node follow.mjs ws|sse URL TOKEN QUERY VARIABLES

import * as sse from "graphql-sse";
import * as ws from "graphql-ws";
import WebSocket from "ws";

const [transport, url, token, query, variables] = process.argv.slice(2);
const authorization = `Bearer ${token}`;
const client =
  transport === "ws"
    ? ws.createClient({
        url: url.replace(/^http/, "ws"),
        webSocketImpl: WebSocket,
        connectionParams: { authorization },
        retryAttempts: 0,
      })
    : sse.createClient({ url, headers: { authorization }, retryAttempts: 0 });

try {
  for await (const result of client.iterate({ query, variables: JSON.parse(variables) })) {
    console.log(JSON.stringify(result));
  }
  console.log(JSON.stringify("complete"));
} catch (failure) {
  console.log(JSON.stringify({ failure: failure.code ?? failure }));
}
process.exit();
