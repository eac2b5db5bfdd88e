"""The audit log: indexes for the few events that people made."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_AUDITED = sa.text(
    "actor_kind = ANY (ARRAY['USER'::text, 'CLIENT'::text]) AND type <> ALL (ARRAY["
    "'device.checked_in'::text, 'device.upload_failed'::text, 'device.presence_changed'::text, "
    "'image.received'::text])"
)


def upgrade() -> None:
    op.create_index("ix_events_audit", "events", ["position"], postgresql_where=_AUDITED)
    op.create_index("ix_events_client_audit", "events", ["client_id", "position"], postgresql_where=_AUDITED)
