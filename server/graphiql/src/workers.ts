// Monaco's workers, as files of our own origin. WORKERS is filled in by build.mjs: file names with their hash.

declare const WORKERS: { editor: string; graphql: string; json: string };

// This code may land in a chunk, one folder down; the page's own script tag is where the assets are.
const assets = document.querySelector<HTMLScriptElement>("script[nonce]")!.src;

Object.assign(globalThis, {
  MonacoEnvironment: {
    getWorker(_id: string, label: string) {
      const name = label === "graphql" ? WORKERS.graphql : label === "json" ? WORKERS.json : WORKERS.editor;
      return new Worker(new URL(name, assets), { name: label });
    },
  },
});
