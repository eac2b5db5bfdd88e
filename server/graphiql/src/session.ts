// Who is signed in on this tab: sign-in, renewal shortly before expiry, sign-out. Nothing here draws.

// The page is served at the API's own address.
export const ENDPOINT = window.location.pathname;

export interface Session {
  /** Stays the same through renewals. */
  id: string;
  /** Shown in the bar. */
  name: string;
  accessToken: string;
  /** Absent for a pasted token, which is used as it is until the server refuses it. */
  refreshToken?: string;
  /** By this machine's clock, in milliseconds. */
  renewAt?: number;
  expiresAt?: number;
}

interface Tokens {
  accessToken: string;
  refreshToken: string;
  expiresAt: string;
}

/** The server understood and said no, as opposed to not having been reached. */
export class Refused extends Error {}

const LOGIN = `mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken refreshToken expiresAt }
}`;
const REFRESH = `mutation ($refreshToken: String!) {
  refreshSession(refreshToken: $refreshToken) { accessToken refreshToken expiresAt }
}`;
const LOGOUT = "mutation { logout }";

const KEY = "quartermaster.session";
const RETRY = 5_000;
const DAY = 86_400_000;

// sessionStorage: tokens survive a reload but end with the tab, and no other tab can read them. localStorage
// would leave a refresh token on disk, for whoever opens this browser next.
let current: Session | undefined = JSON.parse(sessionStorage.getItem(KEY) ?? "null") ?? undefined;
let notice = "";
let timer: number | undefined;
let renewing: Promise<void> | undefined;
const listeners = new Set<() => void>();
const renewals = new Set<() => void>();

export const session = (): Session | undefined => current;
/** Why the last session ended, when nobody asked for it. */
export const endedBecause = (): string => notice;

export function onChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Called when the access token was replaced: what holds the old one open must reconnect. */
export function onRenewal(listener: () => void): () => void {
  renewals.add(listener);
  return () => renewals.delete(listener);
}

export async function signIn(email: string, password: string): Promise<void> {
  const { data, date } = await post(LOGIN, { email, password });
  become({ id: crypto.randomUUID(), name: email, ...lifetime(data.login as Tokens, date) });
}

export function adoptToken(token: string): void {
  const accessToken = token.trim().replace(/^bearer\s+/i, "");
  become({ id: crypto.randomUUID(), name: "a token", accessToken });
}

export async function signOut(): Promise<void> {
  const leaving = current;
  become(undefined);
  // A session the server already forgot is as good as ended, and an unreachable server cannot hold us here.
  // A pasted token is not ours to end: a device may be using it.
  if (leaving?.refreshToken) await post(LOGOUT, {}, leaving.accessToken).catch(() => undefined);
}

/** The token to send now, renewed first when it is no longer good (after the machine slept, say). */
export async function accessToken(): Promise<string | undefined> {
  if (current?.expiresAt && Date.now() >= current.expiresAt) await renew().catch(() => undefined);
  return current?.accessToken;
}

function become(next: Session | undefined, because = ""): void {
  current = next;
  notice = because;
  if (next) sessionStorage.setItem(KEY, JSON.stringify(next));
  else sessionStorage.removeItem(KEY);
  schedule();
  listeners.forEach((listener) => listener());
}

function schedule(delay = current?.renewAt ? current.renewAt - Date.now() : undefined): void {
  window.clearTimeout(timer);
  if (delay === undefined) return;
  // A timer longer than 24.8 days would fire at once: look again tomorrow.
  if (delay > DAY) timer = window.setTimeout(schedule, DAY);
  else timer = window.setTimeout(() => void renew().catch(() => schedule(RETRY)), Math.max(delay, 0));
}

function renew(): Promise<void> {
  renewing ??= exchange().finally(() => (renewing = undefined));
  return renewing;
}

async function exchange(): Promise<void> {
  const before = current;
  if (!before?.refreshToken) return;
  try {
    const { data, date } = await post(REFRESH, { refreshToken: before.refreshToken });
    if (current !== before) return; // signed out meanwhile
    become({ ...before, ...lifetime(data.refreshSession as Tokens, date) });
    renewals.forEach((listener) => listener());
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (current === before) become(undefined, `Signed out: ${error.message}`);
  }
}

// Counted from the server's clock (the Date header), because this machine's may be off by more than a token lives.
function lifetime({ accessToken, refreshToken, expiresAt }: Tokens, date: number): Partial<Session> & { accessToken: string } {
  const lasts = Date.parse(expiresAt) - date;
  const until = Date.now() + lasts;
  return { accessToken, refreshToken, expiresAt: until, renewAt: until - Math.min(60_000, lasts / 4) };
}

async function post(query: string, variables: object, token?: string): Promise<{ data: Record<string, unknown>; date: number }> {
  const headers: Record<string, string> = { "content-type": "application/json", accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const body = JSON.stringify({ query, variables });
  const response = await fetch(ENDPOINT, { method: "POST", headers, body, signal: AbortSignal.timeout(15_000) });
  const result = await requireJson(response).json();
  if (result.errors?.length) throw new Refused(result.errors[0].message);
  return { data: result.data, date: Date.parse(response.headers.get("date") ?? "") || Date.now() };
}

/** The response itself, if it is JSON; otherwise an error that names the status: a proxy's error page is not JSON. */
export function requireJson(response: Response): Response {
  if (response.headers.get("content-type")?.includes("json")) return response;
  throw new Error(`The server answered ${response.status} ${response.statusText}`.trim());
}

schedule();
