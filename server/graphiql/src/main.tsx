// The page: the bar, and GraphiQL below it, connected anew whenever another session begins.

import "./nonce";
import "./workers";
import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import "./page.css";
import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN, GraphiQL } from "graphiql";
import { useEffect, useMemo } from "react";
import { createRoot } from "react-dom/client";
import { Bar, useSession } from "./bar";
import { connect } from "./connection";

const WELCOME = `# Welcome to Quartermaster.
#
# 1. Sign in above, by e-mail
#    or with a token.
# 2. Run this query: Ctrl-Enter,
#    or the button on the right.
# 3. Tick fields in the explorer,
#    or press Ctrl-Space here
#    to see what fits.
#
# A subscription runs until you
# stop it with the same button.

{
  viewer {
    __typename
  }
}
`;

const explorer = explorerPlugin();
const plugins = [HISTORY_PLUGIN, explorer];

function Page() {
  const id = useSession()?.id;
  // A new fetcher makes GraphiQL introspect again: what the schema shows may depend on who asks.
  const connection = useMemo(connect, [id]);
  useEffect(() => () => connection.close(), [connection]);
  return (
    <>
      <Bar />
      <main className="qm-main">
        <GraphiQL
          fetcher={connection.fetcher}
          plugins={plugins}
          visiblePlugin={explorer}
          defaultQuery={WELCOME}
          inputValueDeprecation
          // Headers may hold a token, and GraphiQL would keep them in localStorage.
          shouldPersistHeaders={false}
        >
          <GraphiQL.Logo>
            <span className="qm-graphiql">GraphiQL</span>
          </GraphiQL.Logo>
        </GraphiQL>
      </main>
    </>
  );
}

createRoot(document.getElementById("root")!).render(<Page />);
