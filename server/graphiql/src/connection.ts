// How GraphiQL reaches the API: queries and mutations by HTTP, subscriptions by WebSocket, both with the
// token of the session. One connection serves one session.

import { createGraphiQLFetcher, type Fetcher } from "@graphiql/toolkit";
import { createClient, type Client, type Sink } from "graphql-ws";
import { ENDPOINT, accessToken, onRenewal, requireJson } from "./session";

const FORBIDDEN = 4403;

export interface Connection {
  fetcher: Fetcher;
  close(): void;
}

export function connect(): Connection {
  const client = createClient({
    url: () => new URL(ENDPOINT, window.location.href).href.replace(/^http/, "ws"),
    connectionParams: async () => {
      const token = await accessToken();
      return token ? { authorization: `Bearer ${token}` } : {};
    },
    retryAttempts: 8,
    // At once the first time (a renewed token), then slower and slower.
    retryWait: (retries) => wait(retries && Math.min(500 * 2 ** retries, 15_000) * (0.75 + Math.random() / 2)),
    shouldRetry: (reason) => (reason as CloseEvent).code !== FORBIDDEN,
  });
  // The server ends a socket whose token expired. Ours reconnects with the new token before that happens, and
  // graphql-ws subscribes again to whatever was running.
  const stop = onRenewal(() => client.terminate());
  return {
    fetcher: createGraphiQLFetcher({
      url: ENDPOINT,
      fetch: authorised,
      wsClient: readable(client),
      // The server has no @defer or @stream.
      enableIncrementalDelivery: false,
    }),
    close() {
      stop();
      void client.dispose();
    },
  };
}

/** A header typed into GraphiQL's own header editor wins over the session's. */
async function authorised(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const token = await accessToken();
  if (token && !headers.has("authorization")) headers.set("authorization", `Bearer ${token}`);
  return requireJson(await fetch(input, { ...init, headers }));
}

/** A socket that cannot be opened reports a bare Event, which would be shown as {"isTrusted": true}. */
function readable(client: Client): Client {
  const subscribe: Client["subscribe"] = (payload, sink) => {
    const error = (reason: unknown) => {
      const unopened = reason instanceof Event && !(reason instanceof CloseEvent);
      sink.error(unopened ? new Error("The WebSocket could not be opened.") : reason);
    };
    return client.subscribe(payload, { ...sink, error } as Sink<any>);
  };
  return { ...client, subscribe };
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => window.setTimeout(resolve, milliseconds));
}
