"""Asking for a picture: the row that a worker will find, its event and its job."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, bindparam, func

from domain.clients.queries import owning_client
from domain.generation.models import GenerationKind, GenerationStatus, ImageShape, generations
from domain.generation.prompts import GenerationPolicy
from domain.images.tags import checked_tags
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.sql import Statement, insertion
from domain.kit.transactions import Transaction

GENERATE = "generate_image"
LEASE = timedelta(seconds=60)
"""How long the message of a job may be on its way before it is sent again."""

_INSERT = Statement(
    insertion(
        generations,
        *("id", "client_id", "kind", "status", "prompt", "shape", "tags"),
        *("provider", "model", "requester_kind", "requester_id"),
    ).values(lease_until=func.now() + bindparam("lease", type_=Interval))
)


async def request_image(
    tx: Transaction,
    scope: Scope,
    policy: GenerationPolicy,
    *,
    prompt: str,
    shape: ImageShape,
    tags: Sequence[str] = (),
    client_id: str | None = None,
    kind: GenerationKind = GenerationKind.IMAGE,
) -> str:
    """Queue a picture; returns the generation's id. `client_id` is the owner, None the scope's own.

    Raises Invalid for a prompt that breaks a rule (PROMPT_DENIED: of the operator's) and for tags that are none.
    """
    owner, generation_id = await owning_client(tx, scope, client_id), new_id()
    await tx.all(
        _INSERT,
        id=generation_id,
        client_id=owner,
        kind=kind.value,
        status=GenerationStatus.QUEUED.value,
        prompt=policy.checked_prompt(prompt),
        shape=shape.value,
        tags=checked_tags(tags),
        provider=policy.provider,
        model=policy.model,
        requester_kind=scope.actor_kind.value,
        requester_id=scope.actor_id,
        lease=LEASE,
    )
    tx.enqueue(GENERATE, generation_id=generation_id)
    tell(tx, scope, "queued", generation_id, owner, kind=kind.value, provider=policy.provider)
    return generation_id


def tell(tx: Transaction, scope: Scope, happened: str, generation_id: str, client_id: str, **data: Any) -> None:
    """Emit `image_generation.<happened>`."""
    subject = ("ImageGeneration", generation_id)
    tx.emit(scope, f"image_generation.{happened}", client_id=client_id, subject=subject, **data)
