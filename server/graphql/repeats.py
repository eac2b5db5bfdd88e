"""A mutation under an `Idempotency-Key` is done once; the same request again gets the same answer."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from graphql import GraphQLError

from domain.kit.errors import Refusal
from resolvers.context import Context
from server.errors import graphql_error

_log = structlog.get_logger(__name__)

Result = dict[str, Any]


async def once(ctx: Context, asked: list[Any], execute: Callable[[], Awaitable[Result]]) -> Result:
    """The result of a mutation, or the one that was kept when the same was asked before."""
    principal, key = ctx.principal.id, ctx.idempotency_key
    assert principal is not None
    assert key is not None
    keeper, db = ctx.services.keeper, ctx.db
    fingerprint = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
    try:
        answer = await keeper.claim(db, principal, key, fingerprint)
    except Exception as error:  # noqa: BLE001 - told as any other error of the operation
        return {"errors": [graphql_error(GraphQLError(str(error), original_error=error)).formatted], "data": None}
    if answer is not None:
        kept: Result = orjson.loads(answer)
        return kept if kept.get("errors") else {"data": kept["data"]}
    result = await execute()
    try:
        if ctx.applied:
            await keeper.keep(db, principal, key, orjson.dumps(result))
        else:
            await keeper.release(db, principal, key)
    except Refusal as error:  # what was done is done, and is answered; only a repeat will be refused
        _log.warning("an answer could not be kept for its key", error=str(error))
    return result
