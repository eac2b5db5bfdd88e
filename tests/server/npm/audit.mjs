// Audits a server's GraphQL over HTTP and prints what came of each audit as JSON: node audit.mjs URL

import { auditServer } from "graphql-http";

const [url] = process.argv.slice(2);
const results = await auditServer({ url });
console.log(JSON.stringify(await Promise.all(results.map(told))));

async function told({ id, name, status, reason, response }) {
  if (status === "ok") return { id, name, status };
  const answer = `${response.status} ${response.headers.get("content-type")}`;
  const body = response.bodyUsed ? "" : (await response.text()).slice(0, 300);
  return { id, name, status, reason: `${reason}: ${answer} ${body}` };
}
