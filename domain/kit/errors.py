"""Every way the domain refuses, in one small tree.

    Refusal
    ├── NotFound         it does not exist within the caller's scope
    ├── Invalid          the input breaks a rule; `details` says which part
    ├── Conflict         the input is fine, the present state is not
    ├── Unauthenticated  nobody, or nobody we know any more
    ├── Denied           somebody, who may not
    ├── TooMany          a limit was reached; `retry_after` says when to come back
    └── Unavailable      a part that we need is not there now; `retry_after` likewise

Each has a stable `code` that clients may branch on. What they look like on the wire (GraphQL errors,
problem documents) is decided at the edge, not here. Anything that is not a `Refusal` is a defect and is
masked there.
"""

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request that cannot be met, in words its sender may read.

    `message` is one sentence for a person; `code` is for programs; `details` are JSON values.
    """

    code = "REFUSED"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details: Mapping[str, Any] = details


class NotFound(Refusal):
    code = "NOT_FOUND"


class Invalid(Refusal):
    code = "BAD_USER_INPUT"


class Conflict(Refusal):
    code = "CONFLICT"


class Unauthenticated(Refusal):
    code = "UNAUTHENTICATED"


class Denied(Refusal):
    code = "FORBIDDEN"


class TooMany(Refusal):
    code = "TOO_MANY_REQUESTS"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None, **details: Any) -> None:
        super().__init__(message, code=code, retryAfterSeconds=retry_after, **details)
        self.retry_after = retry_after


class Unavailable(Refusal):
    code = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after: float = 2, code: str | None = None, **details: Any) -> None:
        super().__init__(message, code=code, retryAfterSeconds=retry_after, **details)
        self.retry_after = retry_after


class Lost(Exception):
    """Somebody else has this work now, or it has ended: told to a worker, never to who asks."""
