// PostGraphile 5 as its documentation has it for production: one process, the Amber preset, nothing logged.
// argv: the database's URL, the port.
import { createServer } from "node:http";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { makePgService } from "postgraphile/adaptors/pg";
import { postgraphile } from "postgraphile";
import { grafserv } from "postgraphile/grafserv/node";

const [connectionString, port] = process.argv.slice(2);
const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString, schemas: ["public"], poolConfig: { max: 10 } })],
  grafserv: { graphqlPath: "/graphql", graphiql: false, watch: false },
  grafast: { explain: false },
});
const serv = instance.createServ(grafserv);
const server = createServer();
await serv.addTo(server);
server.listen(Number(port), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
