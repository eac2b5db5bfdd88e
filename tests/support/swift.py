"""A real S3 server for tests: OpenStack Swift with `s3api`, four processes on one folder, ready in some seconds.

It checks signatures and times as S3 does. It needs a file system with extended attributes below the folder it
is given, and nothing that pip cannot install.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from server.embedded import launch
from tests.support.stack import free_port, wait_until

ACCESS_KEY, SECRET_KEY, REGION = "test:tester", "testing", "us-east-1"
_KINDS = ("account", "container", "object")

# One device, one replica: what is written is on one disk. `s3api` answers S3, `tempauth` knows its one user, `slo`
# keeps multipart uploads. Pages of lists are short, so that tests need few blobs for several.
_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = catch_errors s3api tempauth bulk slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = {region}
check_bucket_owner = false
allow_multipart_uploads = true
max_bucket_listing = 50
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""
_SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
devices = {folder}/devices
swift_dir = {folder}
mount_check = false
disable_fallocate = true
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_COMMON = "[swift-hash]\nswift_hash_path_suffix = tests\nswift_hash_path_prefix = tests\n"
_RUN = "import sys; from swift.{module}.server import main; sys.exit(main())"
_MODULES = {"account": "account", "container": "container", "object": "obj", "proxy": "proxy"}


@dataclass(frozen=True)
class S3Server:
    """Where it is, and who may use it."""

    endpoint: str
    folder: Path
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION

    def url(self, place: str, **more: str) -> str:
        """What QM_STORAGE_URL says: `place` is a bucket, or a bucket and a prefix."""
        return f"s3://{place}?{urlencode({'endpoint': self.endpoint, 'region': self.region, **more})}"

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))


def why_not(folder: Path) -> str | None:
    """What keeps the server from running here; None when nothing does."""
    try:
        import swift  # noqa: F401, PLC0415
    except ImportError:
        return "OpenStack Swift is not installed: it is in requirements-dev.txt"
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.swift.probe", b"x" * 512)
    except (OSError, AttributeError):
        return f"{folder} is on a file system without extended attributes, which Swift needs: set TMPDIR to another"
    finally:
        probe.unlink()
    return None


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run one until the end of the block. Its processes die with this one."""
    (folder / "devices" / "sda1").mkdir(parents=True)
    (folder / "swift.conf").write_text(_COMMON)
    ports = {kind: free_port() for kind in (*_KINDS, "proxy")}
    for kind in _KINDS:
        _make_ring(folder, kind, ports[kind])
        (folder / f"{kind}.conf").write_text(_SERVER.format(kind=kind, port=ports[kind], folder=folder))
    proxy = _PROXY.format(port=ports["proxy"], folder=folder, region=REGION, secret=SECRET_KEY)
    (folder / "proxy.conf").write_text(proxy)
    with ExitStack() as stack:
        processes = [stack.enter_context(_process(folder, kind)) for kind in ports]
        server = S3Server(f"http://127.0.0.1:{ports['proxy']}", folder)

        def answers() -> bool:
            assert all(process.poll() is None for process in processes), f"Swift ended:\n{server.log()}"
            return all(_listens(port) for port in ports.values())

        wait_until(answers, within=60, what="the S3 server")
        yield server


def _make_ring(folder: Path, kind: str, port: int) -> None:
    from swift.common.ring import RingBuilder  # noqa: PLC0415 - where it is missing, tests are skipped

    builder = RingBuilder(part_power=2, replicas=1, min_part_hours=1)
    where = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "sda1", "weight": 1.0}
    builder.add_dev({**where, "replication_ip": "127.0.0.1", "replication_port": port})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


@contextmanager
def _process(folder: Path, kind: str) -> Iterator["subprocess.Popen[bytes]"]:
    argv = [sys.executable, "-c", _RUN.format(module=_MODULES[kind]), str(folder / f"{kind}.conf"), "-v"]
    with (folder / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen(
            launch.command(argv, death=signal.SIGKILL),
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
