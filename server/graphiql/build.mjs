// Bundles the GraphiQL page into dist/: the page, its style, Monaco's three workers, the chunks that are
// loaded on demand, and fonts as files. Everything the page needs is in there, so it never asks another
// host. Entry files keep their names and are addressed with ?v=<hash>; chunks and fonts carry their hash
// in the name. manifest.json lists every file with its hash: it is what page.py serves, and no more.

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import * as esbuild from "esbuild";

const HERE = import.meta.dirname;
const DIST = join(HERE, "dist");
const COMPRESSIBLE = /\.(js|css|ttf)$/;

const common = {
  absWorkingDir: HERE,
  bundle: true,
  minify: true,
  outdir: DIST,
  target: ["chrome123", "firefox121", "safari17.5"],
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
};

// GraphiQL's style sheet already holds Monaco's, so the one each Monaco module imports would be a second copy.
const monacoStyleOnce = {
  name: "monaco-style-once",
  setup(build) {
    build.onLoad({ filter: /[\\/]monaco-editor[\\/].*\.css$/ }, () => ({ contents: "", loader: "empty" }));
  },
};

// GraphiQL inlines 35 fonts, one per script and weight. As files, a browser loads only the ones it draws with.
const fontsAsFiles = {
  name: "fonts-as-files",
  setup(build) {
    const fonts = new Map();
    build.onLoad({ filter: /[\\/]graphiql[\\/]dist[\\/]style\.css$/ }, async ({ path }) => {
      const css = await readFile(path, "utf8");
      const contents = css.replace(/url\(data:font\/(\w+);base64,([^)]+)\)/g, (_, kind, data) => {
        const name = `font:${fonts.size}.${kind}`;
        fonts.set(name, Buffer.from(data, "base64"));
        return `url("${name}")`;
      });
      return { contents, loader: "css" };
    });
    build.onResolve({ filter: /^font:/ }, ({ path }) => ({ path, namespace: "font" }));
    build.onLoad({ filter: /.*/, namespace: "font" }, ({ path }) => ({ contents: fonts.get(path), loader: "file" }));
  },
};

async function hashOf(name) {
  return createHash("sha256").update(await readFile(join(DIST, name))).digest("hex").slice(0, 16);
}

async function buildWorkers() {
  await esbuild.build({
    ...common,
    format: "iife",
    entryPoints: {
      "editor.worker": "monaco-editor/esm/vs/editor/editor.worker.js",
      "graphql.worker": "monaco-graphql/esm/graphql.worker.js",
      "json.worker": "monaco-editor/esm/vs/language/json/json.worker.js",
    },
  });
  const names = ["editor.worker.js", "graphql.worker.js", "json.worker.js"];
  return Promise.all(names.map(async (name) => [name.split(".")[0], `${name}?v=${await hashOf(name)}`]));
}

function buildPage(workers) {
  return esbuild.build({
    ...common,
    format: "esm",
    splitting: true,
    jsx: "automatic",
    entryPoints: { graphiql: "src/main.tsx" },
    chunkNames: "chunks/[name]-[hash]",
    assetNames: "fonts/[hash]",
    // GraphiQL asks for the CommonJS build under the old names, where `{ parsers }` finds nothing.
    alias: {
      "prettier/parser-babel": "prettier/plugins/babel",
      "prettier/parser-graphql": "prettier/plugins/graphql",
    },
    define: { ...common.define, WORKERS: JSON.stringify(Object.fromEntries(workers)) },
    plugins: [monacoStyleOnce, fontsAsFiles],
  });
}

async function compress(name) {
  const body = await readFile(join(DIST, name));
  const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: body.length } };
  const [gz, br] = await Promise.all([promisify(gzip)(body, { level: 9 }), promisify(brotliCompress)(body, brotli)]);
  await Promise.all([writeFile(join(DIST, `${name}.gz`), gz), writeFile(join(DIST, `${name}.br`), br)]);
  return [body.length, gz.length, br.length];
}

const started = Date.now();
await rm(DIST, { recursive: true, force: true });
await mkdir(DIST);
await buildPage(await buildWorkers());

const entries = await readdir(DIST, { recursive: true, withFileTypes: true });
const names = entries
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice(DIST.length + 1).replaceAll("\\", "/"))
  .sort();
const sizes = await Promise.all(names.filter((name) => COMPRESSIBLE.test(name)).map(compress));
const manifest = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await hashOf(name)])));
// Last, so that a page is never served from a half-written build.
await writeFile(join(DIST, "manifest.json"), JSON.stringify(manifest, null, 2) + "\n");

const [raw, gz, br] = [0, 1, 2].map((i) => (sizes.reduce((sum, size) => sum + size[i], 0) / 1e6).toFixed(2));
console.log(`${names.length} files: ${raw} MB, ${gz} MB with gzip, ${br} MB with brotli; ${Date.now() - started} ms`);
