"""As whom PostgreSQL runs. It refuses to be root, and initdb wants a user with a name; both are met here.

First choice: a user namespace, in which we appear as an ordinary user while the files stay ours. Where that
is forbidden (many containers), an unprivileged user that exists, to whom the cluster is given. What runs is
not decided here.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from server.embedded.folder import EmbeddedError
from server.embedded.launch import CANNOT_BECOME, Identity, command

FALLBACK_USERS = ("postgres", "nobody")


def choose(data_dir: Path, program: Path) -> Identity | None:
    """The first identity that can reach data folder and program; None: ourselves. Raises EmbeddedError."""
    if os.geteuid() != 0 and _name(os.geteuid()):
        return None
    refused = []
    for one in _candidates(data_dir / "postgres"):
        if not one.namespace:
            _let_through(data_dir)
        reason = _refusal(one, data_dir, program)
        if reason is None:
            return one
        refused.append(f"{'a user namespace' if one.namespace else _name(one.uid) or one.uid}: {reason}")
    user = "root" if os.geteuid() == 0 else f"a user without a name (uid {os.geteuid()})"
    raise EmbeddedError(
        f"PostgreSQL refuses to run as {user}, and nobody else can do it for us ({'; '.join(refused)}). "
        "Run Quartermaster as an ordinary user, or set QM_DATABASE_URL to a server you run."
    )


def give(folder: Path, who: Identity | None) -> None:
    """Make the files in this folder, if another user's, those of `who`. Without root, this does nothing."""
    if who is None or os.geteuid() != 0:
        return
    uid, gid = (0, 0) if who.namespace else (who.uid, who.gid)
    if folder.stat().st_uid == uid:
        return
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.lchown(os.path.join(path, name), uid, gid)
        os.lchown(path, uid, gid)  # the top folder last: it is the mark that all of it was given


def _candidates(cluster: Path) -> list[Identity]:
    """Whom to try, in order: the cluster's present owner, a namespace, then the users that usually exist."""
    found = [_namespace()] if sys.platform == "linux" else []
    if os.geteuid() != 0:
        return found
    found += [Identity(user.pw_uid, user.pw_gid) for user in _users(FALLBACK_USERS)]
    with suppress(FileNotFoundError):
        owner = cluster.stat()
        if owner.st_uid != 0:
            found.insert(0, Identity(owner.st_uid, owner.st_gid))
    return list(dict.fromkeys(found))


def _namespace() -> Identity:
    """The user we appear as inside a namespace: any that has a name, for initdb looks it up."""
    for user in _users((*FALLBACK_USERS, "daemon")):
        return Identity(user.pw_uid, user.pw_gid, namespace=True)
    return Identity(65534, 65534, namespace=True)


def _users(names: tuple[str, ...]) -> list[pwd.struct_passwd]:
    known = {user.pw_name: user for user in pwd.getpwall()}
    return [known[name] for name in names if name in known and known[name].pw_uid != 0]


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _refusal(who: Identity, data_dir: Path, program: Path) -> str | None:
    """Why this identity will not do, or None."""
    argv = command([str(data_dir), str(program)], death=signal.SIGKILL, identity=who, mode="check")
    tried = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return None
    if tried.returncode == CANNOT_BECOME:
        return tried.stderr.strip()
    return f"cannot reach {data_dir} or {program}"


def _let_through(data_dir: Path) -> None:
    """Let other users pass through the data folder, not list it: what is in it is private to its owner."""
    status = data_dir.stat()
    if status.st_uid == os.geteuid() and not status.st_mode & stat.S_IXOTH:
        data_dir.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
