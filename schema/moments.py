"""Moments on the wire: ISO 8601. One without a zone is in UTC, whatever zone the server happens to be in."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from strawberry.schema.types.base_scalars import DateTimeDefinition


def _parsed(value: Any) -> datetime:
    assert DateTimeDefinition.parse_value is not None
    moment: datetime = DateTimeDefinition.parse_value(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


DATE_TIME = replace(DateTimeDefinition, parse_value=_parsed)
"""What `datetime` is in the schema. The domain is given aware moments only."""
