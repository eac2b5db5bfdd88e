"""Pictures that a model makes: how far each is, and what became of it."""

from datetime import datetime

import strawberry

from domain.generation.models import FailureCode, GenerationKind, GenerationRow, GenerationStatus, ImageShape
from schema.actors import ActorKind
from schema.describe import computed, enum, input_type, object_type
from schema.images import Image
from schema.nodes import Node
from schema.relation import relation

enum(GenerationStatus)
enum(GenerationKind)
enum(ImageShape)
enum(FailureCode, name="GenerationFailureCode")


@object_type
class GenerationFailure:
    """Why there is no picture."""

    code: FailureCode
    message: str
    """For people."""
    retry_after_seconds: int | None
    """When the provider may have room again, where it said so."""


@object_type
class ImageGeneration(Node):
    """A picture that somebody asked a model for, from the asking to the image."""

    kind: GenerationKind
    status: GenerationStatus
    prompt: str
    shape: ImageShape
    tags: list[str]
    """Those that the image will have."""
    provider: str
    """`gemini`, `openai`, or `local`, which draws hills on this server and understands nothing of the prompt."""
    model: str
    """The provider's name for what draws."""
    requester_kind: ActorKind
    requester_id: strawberry.ID | None
    """Who asked for it."""
    requested_at: datetime
    started_at: datetime | None
    """When the provider was asked last."""
    finished_at: datetime | None
    """When it became READY or FAILED."""
    generation_ms: int | None
    """Milliseconds that the provider took; null where nobody measured it."""
    cost_usd: float | None
    """What the picture cost, where the operator has said what one costs."""
    attempts: int
    """How often a worker took it up; at most 3 times."""
    retry_at: datetime | None
    """When it is tried again, while it waits for that."""
    failure_code: strawberry.Private[str | None]
    failure_message: strawberry.Private[str | None]
    failure_retry_after: strawberry.Private[int | None]
    image_id: strawberry.Private[str | None]

    @computed("failure_code", "failure_message", "failure_retry_after")
    def failure(self) -> GenerationFailure | None:
        """Why it is FAILED; null otherwise."""
        if self.failure_code is None or self.failure_message is None:
            return None
        return GenerationFailure(
            code=FailureCode(self.failure_code),
            message=self.failure_message,
            retry_after_seconds=self.failure_retry_after,
        )

    @relation
    async def image(self) -> Image | None:
        """The picture; null until the provider has sent it, and when it is gone."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, GenerationRow)


@input_type
class ImageGenerationFilter:
    """Which generations; all conditions must hold."""

    client_id: strawberry.ID | None = None
    statuses: list[GenerationStatus] | None = None
    """In any of these states."""
    kinds: list[GenerationKind] | None = None
    """Of any of these kinds."""
    failure_codes: list[FailureCode] | None = None
    """FAILED for any of these reasons."""
    requester_id: strawberry.ID | None = None
    """Asked for by this user or client token."""
    requested_since: datetime | None = None
    """Asked for at this time or later."""
    requested_until: datetime | None = None
    """Asked for before this time."""
