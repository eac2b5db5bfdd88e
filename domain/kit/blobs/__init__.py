"""Where bytes are kept: stores of blobs under keys. What every store promises is in `store.py`; a folder is one
(`folder.py`), a bucket of an S3 server another (`s3.py`), and `places.py` reads the addresses that choose between
them. Nothing here knows what the bytes mean or which row names them."""

from domain.kit.blobs.links import LinkSigner
from domain.kit.blobs.store import BlobInfo, BlobStore, Key, Staged, StoreStats, check_key, content_type_of, is_key

__all__ = [
    "BlobInfo",
    "BlobStore",
    "Key",
    "LinkSigner",
    "Staged",
    "StoreStats",
    "check_key",
    "content_type_of",
    "is_key",
]
