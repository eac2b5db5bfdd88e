"""The table of scheduled jobs: one row for each, with how far it has come and how its last run went."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, DateTime, Integer, Table, Text, text

from domain.kit.sql import Row
from domain.kit.tables import Moment, metadata, text_column


class JobName(StrEnum):
    """IMAGE_CLEANUP, TELEMETRY_CLEANUP, EVENT_CLEANUP take what policies let go. BACKUP is the nightly one."""

    IMAGE_CLEANUP = "IMAGE_CLEANUP"
    TELEMETRY_CLEANUP = "TELEMETRY_CLEANUP"
    EVENT_CLEANUP = "EVENT_CLEANUP"
    BACKUP = "BACKUP"


scheduled_jobs = Table(
    "scheduled_jobs",
    metadata,
    Column("name", Text, primary_key=True),
    # What the clock on the wall showed when slots were last looked for and one was taken; see times.py.
    Column("reached", DateTime(timezone=False), nullable=False),
    Column("requested_at", Moment),  # somebody wants it now
    Column("started_at", Moment),
    Column("ended_at", Moment),  # of the run that started then; null while it runs, or when it was cut off
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # of that run
    text_column("failure", nullable=True),
)


class ScheduledJobRow(Row):
    name: str
    reached: datetime
    requested_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    failure: str | None
