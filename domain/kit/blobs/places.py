"""Addresses of stores: `folder:///absolute/path` and `s3://bucket/prefix?endpoint=…&region=…`, read and checked."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*")
_SHAPE = "it looks like folder:///absolute/path or s3://bucket/prefix?endpoint=https://host&region=name"
_OPTIONS = {"endpoint", "region", "style", "public_endpoint"}
_STYLES = ("path", "virtual")


@dataclass(frozen=True, slots=True)
class FolderPlace:
    folder: Path

    def __str__(self) -> str:
        return f"folder://{self.folder}"


@dataclass(frozen=True, slots=True)
class S3Place:
    """`prefix` is empty or ends with a slash; `endpoint` None means Amazon's. Whoever follows direct links reaches
    the server at `public_endpoint`. In the `path` style the bucket's name is in the path, else in the host's name.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    public_endpoint: str | None = None
    style: str | None = None

    @property
    def by_path(self) -> bool:
        # A dot in the name fits no certificate of `*.s3.region.amazonaws.com`.
        chosen = self.style or ("path" if self.endpoint or "." in self.bucket else "virtual")
        return chosen == "path"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


Place = FolderPlace | S3Place


def read_place(url: str) -> Place:
    """Raises ValueError with what would be right."""
    parts = urlsplit(url)
    if parts.scheme == "folder" and not parts.netloc and len(parts.path) > 1 and not parts.query:
        return FolderPlace(Path(parts.path))
    if parts.scheme != "s3":
        raise ValueError(_SHAPE)
    if "@" in parts.netloc:
        raise ValueError("keys are settings of their own: QM_S3_ACCESS_KEY and QM_S3_SECRET_KEY")
    if not _BUCKET.fullmatch(parts.netloc) or ".." in parts.netloc:
        raise ValueError("a bucket's name has 3 to 63 lower-case letters, digits, hyphens and dots")
    prefix = parts.path.strip("/") and parts.path.strip("/") + "/"
    if not _PREFIX.fullmatch(prefix) or ".." in prefix or len(prefix) > 256:
        raise ValueError("its prefix has letters, digits, hyphens, underscores and dots between slashes")
    options = _options(parts.query)
    return S3Place(parts.netloc, prefix, **options)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(options) - _OPTIONS):
        raise ValueError(f"{unknown[0]} is none of {', '.join(sorted(_OPTIONS))}")
    for name in ("endpoint", "public_endpoint"):
        address = urlsplit(options.get(name, "https://host"))
        if address.scheme not in ("http", "https") or not address.hostname or address.username or address.query:
            raise ValueError(f"its {name} looks like https://host:port")
        if name in options:
            options[name] = options[name].rstrip("/")
    if "style" in options and options["style"] not in _STYLES:
        raise ValueError("its style is path or virtual")
    if "region" in options and not re.fullmatch(r"[a-z0-9-]{1,40}", options["region"]):
        raise ValueError("its region looks like eu-central-1")
    return options
