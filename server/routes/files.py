"""A file as an answer, in whole or by `Range`, whose refusals are problem documents like everybody's."""

from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from server.errors import problem
from server.routes.declared import Parameter

RANGES = (
    Parameter(name="Range", where="header", description="`bytes=…`: a part of it."),
    Parameter(name="If-Range", where="header", description="The ETag of the part that the caller has."),
)
RANGE_PROBLEMS = {400: ("BAD_RANGE",), 416: ("RANGE_NOT_SATISFIABLE",)}

_REFUSALS = {
    400: ("BAD_RANGE", "The Range header is malformed."),
    416: ("RANGE_NOT_SATISFIABLE", "The file ends before this range begins."),
}


def refused_range(status: int, size: int | None = None) -> Response:
    """The problem document of a Range that is malformed (400), or beyond the end of `size` bytes (416)."""
    code, words = _REFUSALS[status]
    headers = {"Content-Range": f"bytes */{size}"} if status == 416 else None
    return problem(status, code, words, headers=headers)


class FileAnswer(FileResponse):
    """Starlette's, but for its refusals, which are plain text there."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def tell(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in _REFUSALS:
                refused = True
                size = MutableHeaders(scope=message).get("content-range")
                total = int(size.rpartition("/")[2]) if size else None
                await refused_range(message["status"], total)(scope, receive, send)
            elif not refused:
                await send(message)

        await super().__call__(scope, receive, tell)
