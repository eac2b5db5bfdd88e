// The bar above GraphiQL: the product's name, who is signed in, and the ways to sign in or out.

import { useEffect, useRef, useState, useSyncExternalStore, type FormEvent } from "react";
import { endedBecause, onChange, session, signIn, signOut, adoptToken, type Session } from "./session";

export function useSession(): Session | undefined {
  return useSyncExternalStore(onChange, session);
}

export function Bar() {
  const who = useSession();
  return (
    <header className="qm-bar">
      <h1 className="qm-name">
        <Mark />
        Quartermaster
      </h1>
      <p id="qm-status" className="qm-status" role="status" data-state={who ? "signed-in" : "signed-out"}>
        {who ? <>Signed in {who.refreshToken ? "as" : "with"} <b title={who.name}>{who.name}</b></> : "Not signed in"}
      </p>
      {who ? <SignOut /> : <SignIn />}
    </header>
  );
}

function SignIn() {
  const [withToken, setWithToken] = useState(false);
  const [error, setError] = useState(endedBecause());
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  const switched = useRef(false);

  useEffect(() => {
    if (switched.current) first.current?.focus();
  }, [withToken]);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setError("");
    setBusy(true);
    try {
      if (withToken) adoptToken(String(form.get("token")));
      else await signIn(String(form.get("email")), String(form.get("password")));
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
      setBusy(false);
    }
  }

  function change() {
    switched.current = true;
    setError("");
    setWithToken(!withToken);
  }

  return (
    <form className="qm-form" aria-label="Sign in" onSubmit={submit}>
      <span id="qm-error" className="qm-error" role="alert" title={error}>
        {error}
      </span>
      {withToken ? (
        <Field ref={first} id="qm-token" name="token" label="Client or device token" autoComplete="off" type="password" />
      ) : (
        <>
          <Field ref={first} id="qm-email" name="email" label="E-mail" autoComplete="username" type="email" />
          <Field id="qm-password" name="password" label="Password" autoComplete="current-password" type="password" />
        </>
      )}
      <button id="qm-sign-in" className="qm-button qm-primary" type="submit" disabled={busy}>
        {withToken ? "Use token" : busy ? "Signing in…" : "Sign in"}
      </button>
      <button id="qm-switch" className="qm-button" type="button" onClick={change}>
        {withToken ? "Use e-mail instead" : "Use a token instead"}
      </button>
    </form>
  );
}

function SignOut() {
  return (
    <div className="qm-form">
      <button id="qm-sign-out" className="qm-button" type="button" onClick={() => void signOut()}>
        Sign out
      </button>
    </div>
  );
}

interface FieldProps {
  ref?: React.Ref<HTMLInputElement>;
  id: string;
  name: string;
  label: string;
  type: string;
  autoComplete: string;
}

function Field({ label, ...input }: FieldProps) {
  return (
    <>
      <label className="qm-hidden" htmlFor={input.id}>
        {label}
      </label>
      <input className="qm-input" placeholder={label} required spellCheck={false} {...input} />
    </>
  );
}

function Mark() {
  return (
    <svg className="qm-mark" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M12 2.5 20.5 7v10L12 21.5 3.5 17V7Z" fill="none" stroke="currentColor" strokeWidth="2" strokeLinejoin="round" />
      <path d="M3.5 7 12 11.5 20.5 7M12 11.5v10" fill="none" stroke="currentColor" strokeWidth="2" strokeLinejoin="round" />
    </svg>
  );
}
