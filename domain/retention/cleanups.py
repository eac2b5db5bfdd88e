"""Wanting a cleanup, or wanting to know what it would take; and the brake that all of them have."""

from domain.kit.errors import Conflict, Invalid
from domain.kit.scope import SYSTEM_ID, Scope
from domain.kit.sql import Runner
from domain.kit.transactions import Transaction
from domain.retention.images import clients_with_images_over, kept_for, measure_images
from domain.retention.logs import Months, months_over
from domain.retention.models import CleanupKind, CleanupRow, CleanupState, RetentionDefaults, RetentionKind
from domain.retention.queries import days_kept_everywhere, rules_of
from domain.retention.runs import be_patient, begin_run, end_cleanup, say_found
from domain.schedule.queries import platform_only

ALWAYS = 100
"""So many rows may go whatever their share is: a device that was switched off has a last photo, too."""
_IMAGES = (RetentionKind.IMAGES, RetentionKind.DELETED_IMAGES)


def allowed(found: int, max_share: float) -> int:
    """How many of so many may go."""
    return max(ALWAYS, int(found * max_share))


def too_many(found: int, due: int, max_share: float) -> str | None:
    """Why a cleanup must not go on, in a sentence; None when it may."""
    if due <= allowed(found, max_share):
        return None
    return (
        f"{due} of {found} would go, which is more than a share of {max_share:g}. If that is right, run it with a "
        "larger `maxShare`; if not, look at the policy and at the server's clock."
    )


async def cleanup_images(
    tx: Transaction,
    scope: Scope,
    client_id: str | None,
    *,
    dry_run: bool,
    max_share: float | None,
    defaults: RetentionDefaults,
) -> CleanupRow:
    """Begin a cleanup of a client's images, or with `dry_run` count what it would take.

    Raises NotFound, Invalid, Conflict while one is under way or when the client keeps all images for ever.
    """
    owner = scope.owner(client_id)
    share = _checked(max_share, defaults)
    rules = [rule for rule in await rules_of(tx, scope, owner, defaults) if rule.kind in _IMAGES]
    if not dry_run and not any(rule.enabled for rule in rules):
        raise Conflict("This client keeps its images for ever: its policy says so.", code="RETENTION_OFF")
    run = await begin_run(tx, scope, CleanupKind.IMAGES, owner, dry_run=dry_run, max_share=share)
    if not dry_run:
        subject = ("Client", owner)
        tx.emit(scope, "cleanup.requested", client_id=owner, subject=subject, runId=run.id, kind=run.kind)
        return run
    await be_patient(tx, scope)
    found = await measure_images(tx, scope, owner, kept_for(rules))
    counts = {"images": found.images, "deletedImages": found.deleted_images}
    await say_found(
        tx,
        scope,
        run.id,
        found=found.found,
        due=found.due,
        due_bytes=found.due_bytes,
        cited=found.cited,
        details=counts,
    )
    why = too_many(found.found, found.due, share)
    code = "SHARE_EXCEEDED" if why else None
    ended = await end_cleanup(tx, scope, run.id, CleanupState.DONE, code=code, message=why)
    assert ended is not None  # it was begun in this transaction
    return ended


async def clients_to_clean(tx: Transaction, scope: Scope, defaults: RetentionDefaults) -> list[str]:
    """The clients that have images to lose."""
    platform_only(scope)
    live, deleted = [await days_kept_everywhere(tx, scope, kind, defaults) for kind in _IMAGES]
    return await clients_with_images_over(tx, scope, live, deleted)


def _checked(max_share: float | None, defaults: RetentionDefaults) -> float:
    if max_share is None:
        return defaults.max_share
    if not 0 < max_share <= 1:
        raise Invalid("A share is more than 0 and at most 1.", argument="maxShare")
    return max_share


async def cleanup_logs(
    tx: Transaction,
    scope: Scope,
    kind: CleanupKind,
    *,
    dry_run: bool,
    max_share: float | None,
    defaults: RetentionDefaults,
) -> CleanupRow:
    """Begin a cleanup of all clients' telemetry or events, or with `dry_run` say which months it would take whole.

    Raises Denied to a client, Invalid, Conflict while one is under way.
    """
    platform_only(scope)
    share = _checked(max_share, defaults)
    run = await begin_run(tx, scope, kind, None, dry_run=dry_run, max_share=share)
    if not dry_run:
        subject = ("System", SYSTEM_ID)
        tx.emit(scope, "cleanup.requested", client_id=None, subject=subject, runId=run.id, kind=run.kind)
        return run
    kept, default = await days_kept_of_logs(tx, scope, kind, defaults)
    months = await months_over(tx, scope, kind, kept, default)
    sizes = {"months": [one.name for one in months.over], "monthBytes": sum(one.bytes for one in months.over)}
    await say_found(tx, scope, run.id, details=sizes)
    why = months_too_many(months, share)
    ended = await end_cleanup(tx, scope, run.id, code="SHARE_EXCEEDED" if why else None, message=why)
    assert ended is not None  # it was begun in this transaction
    return ended


async def days_kept_of_logs(
    db: Runner, scope: Scope, kind: CleanupKind, defaults: RetentionDefaults
) -> tuple[dict[str, int | None], int | None]:
    """For how many days each client keeps them, and for how many what is nobody's is kept; None is for ever."""
    rule = defaults.rules[kind]
    kept = await days_kept_everywhere(db, scope, RetentionKind(kind), defaults)
    return kept, rule.keep_days if rule.enabled else None


def months_too_many(months: Months, max_share: float) -> str | None:
    """Why these months must not go, in a sentence; None when they may."""
    if months.share <= max_share:
        return None
    return (
        f"{len(months.over)} of {len(months.found)} months would go, {months.share:.0%} of what is there. If that "
        "is right, run it with a larger `maxShare`; if not, look at the policies and at the server's clock."
    )
