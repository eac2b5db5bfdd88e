// Monaco, Radix and Motion write <style> elements at run time. The page's policy lets through only those
// that carry the nonce of this page load, so every one created here gets it. Import this module first.

const nonce = document.querySelector<HTMLScriptElement>("script[nonce]")?.nonce ?? "";
const create = document.createElement;

document.createElement = function (this: Document, tag: string, options?: ElementCreationOptions): HTMLElement {
  const element = create.call(this, tag, options);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
} as typeof document.createElement;
