"""The launcher that every child process starts through, and the command line that calls it.

Run as a script in the child, it ties the child's life to its parent's, changes the identity where asked and
then becomes the program it was given: `launch.py MODE PARENT DEATH IDENTITY PROGRAM [ARGUMENT...]`. It is
no `preexec_fn`, because code between fork and exec of a threaded parent can deadlock. It uses the standard
library only and runs without site-packages, so that it costs some 15 ms. What is started, and when, is not
known here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

CANNOT_BECOME = 126  # exit code: the identity could not be taken
CANNOT_RUN = 127  # exit code: the program could not be executed

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Identity:
    """As whom a program runs: user `uid` and group `gid`, or, in a `namespace`, us but seen as these."""

    uid: int
    gid: int
    namespace: bool = False

    def word(self) -> str:
        return f"{'namespace' if self.namespace else 'user'}:{self.uid}:{self.gid}"


def command(
    argv: Sequence[str], *, death: signal.Signals, identity: Identity | None = None, mode: str = "exec"
) -> list[str]:
    """The command line that runs `argv` so that it gets the signal `death` when its parent ends.

    The parent is the *thread* that starts it: start long-lived children from a thread that lives as long as
    they should. In mode "check" nothing runs: the exit code is 0 if all paths in `argv` can be entered.
    """
    who = identity.word() if identity else "same"
    # -I keeps this folder off sys.path (it has a redis.py), -S keeps site-packages out, which saves time.
    launcher = [sys.executable, "-I", "-S", "-E", os.path.abspath(__file__)]
    return [*launcher, mode, str(os.getpid()), str(int(death)), who, *argv]


def main(words: Sequence[str]) -> NoReturn:
    """Be the child: take the identity, die with the parent, become the program.

    Nothing may be imported after the identity: another user may not be able to read this Python's files.
    """
    mode, parent, death, who, *argv = words
    _default_signals()
    try:
        _take_identity(who)
    except OSError as error:
        print(f"cannot run as {who}: {error}", file=sys.stderr)
        sys.exit(CANNOT_BECOME)
    if mode == "check":
        sys.exit(0 if all(os.access(path, os.X_OK) for path in argv) else 1)
    _die_with(int(parent), int(death))  # after the identity: a change of credentials clears the parent-death signal
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_RUN)


def _default_signals() -> None:
    """Undo ignored and blocked signals, which are inherited over exec (from nohup, or a shell's `&`)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _die_with(parent: int, death: int) -> None:
    """Ask the kernel for the signal `death` when the parent ends; does nothing where it cannot (macOS)."""
    if sys.platform != "linux":
        return
    _libc_call("prctl", _PR_SET_PDEATHSIG, death, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked, so the signal will never come
        os._exit(1)


def _take_identity(who: str) -> None:
    if who == "same":
        return
    kind, uid, gid = who.split(":")
    if kind == "namespace":
        _enter_namespace(int(uid), int(gid))
        return
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))


def _enter_namespace(uid: int, gid: int) -> None:
    """Enter a user namespace in which we appear as uid:gid. On disk, and seen from outside, we stay us."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _libc_call("unshare", _CLONE_NEWUSER)  # os.unshare is Python 3.12+
    for name, text in (
        ("setgroups", "deny"),  # the kernel's condition for letting an ordinary user map its group
        ("gid_map", f"{gid} {outer_gid} 1"),
        ("uid_map", f"{uid} {outer_uid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _libc_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # prctl is variadic over unsigned long: plain Python integers would be passed as 32-bit int.
    if getattr(libc, name)(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
