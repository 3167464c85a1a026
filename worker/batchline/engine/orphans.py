"""Provider batches that the store does not know: whose each one is, and what the audit does about it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal, TypeVar

import msgspec
import structlog

from batchline import custom_ids
from batchline.custom_ids import CustomId
from batchline.engine import unknown
from batchline.engine.context import Context
from batchline.errors import InvalidRequest, KeyRefused, NotFound, Permanent, Retryable
from batchline.lanes import parse_lane
from batchline.providers.protocol import Listed, Provider
from batchline.store.records import Batch

log = structlog.get_logger("batchline.orphans")

Each = TypeVar("Each")

PAGE = 100
SETTLED = 1000
"""So many of the batches that were settled last may be the ones to which a batch without a tag is a duplicate."""
FIRST_RESULTS = 10
"""So many results of a batch without a tag are looked at to see whose it is."""

Verdict = Literal["foreign", "elsewhere", "known", "reconciling", "resume", "duplicate", "adopt"]
Standing = Literal["running", "ended", "unknown"]

ACTIONS: dict[Verdict, str] = {
    "elsewhere": "leave to the account of its lane",
    "reconciling": "leave to the reconciler",
    "resume": "adopt",
    "adopt": "adopt",
    "duplicate": "adopt what it did",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A provider batch that no batch of the store has claimed, and what the audit makes of it.

    ``foreign``: not ours, or not to be told yet. ``elsewhere``: its lane is of another account, of these settings or of
    another installation's. ``known``: it is claimed by that account, or its claim came while the list was read.
    ``reconciling``: the reconciler is about to find it. ``resume``: the attempt of ``batch`` that the store forgot.
    ``duplicate``: a second batch of the attempt of ``batch``. ``adopt``: the store forgot it whole.
    """

    listed: Listed
    verdict: Verdict
    batch: Batch | None = None


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """What is known on one side only: a provider batch of ours without a batch in the store, or (``unknown``) the reverse.

    ``action`` is what the audit, or the poller of an unknown one, does about it; times are unix ms.
    """

    account: str
    provider_id: str
    batch: str
    lane: str
    state: Standing
    rows: int
    created_ms: int
    action: str


def pages(each: Iterator[Each]) -> Iterator[list[Each]]:
    """Group what a provider lists, so that the store is asked about a page at a time."""
    while page := list(islice(each, PAGE)):
        yield page


def since_ms(context: Context) -> int:
    """Return from when on (unix ms) a provider's batches are looked through."""
    return context.clock() - int(context.settings.reconcile.audit_window * 1000)


def unclaimed(context: Context, account: str, page: list[Listed]) -> list[Listed]:
    """Return those of a page that no batch of ours has claimed; one that was refused as a whole is nobody's loss."""
    known = context.store.orphans.claimed(account, [listed.provider_id for listed in page])
    return [listed for listed in page if listed.provider_id not in known and not listed.dead]


def carries_nothing(batch: Batch) -> bool:
    """Whether a batch was found at the provider and none of its requests is owed here: nobody waits for it."""
    return batch.orphan and not batch.embarks and not batch.riders


def may_be_theirs(batch: Batch) -> bool:
    """Whether a batch may be somebody else's, and so must not be cancelled.

    It was adopted without proof; or it was found by our mark, which another installation with the same key has as well,
    and no request of ours has come aboard. A duplicate has the mark of a batch that is on record here.
    """
    return not batch.proven or (batch.orphan and not batch.riders and not batch.duplicate)


def judge(context: Context, account: str, provider: Provider, listed: Listed) -> Finding:
    """Tell whose an unclaimed provider batch in an account's list is. Raises ProviderError, StoreError."""
    if not provider.tagged:
        listed = _identified(context, account, provider, listed)
    owner = _account(listed.lane)
    if not owner:
        return Finding(listed=listed, verdict="foreign")
    if owner != account:
        claimed = context.store.orphans.claimed(owner, [listed.provider_id])
        return Finding(listed=listed, verdict="known" if claimed else "elsewhere")
    batch = context.store.batches.get(listed.batch_id) if listed.batch_id else None
    if batch is None:
        return Finding(listed=listed, verdict="adopt")
    return Finding(listed=listed, verdict=_verdict(batch, listed), batch=batch)


def look(context: Context, account: str) -> list[Orphan]:
    """Return what an audit of the account would find now, and its submitted batches that the provider does not know.

    Raises ProviderError, StoreError.
    """
    provider = context.provider(account)
    found: list[Orphan] = []
    there: set[str] = set()
    for page in pages(provider.recent(since_ms(context))):
        there.update(listed.provider_id for listed in page)
        findings = (judge(context, account, provider, listed) for listed in unclaimed(context, account, page))
        found += [_orphan(account, finding) for finding in findings if finding.verdict in ACTIONS]
    for batch in context.store.batches.records(context.store.batches.open_ids()):
        if batch.account == account and batch.state == "submitted" and batch.provider_id not in there:
            found += _unknown(context, provider, batch)
    return found


def _verdict(batch: Batch, listed: Listed) -> Verdict:
    if batch.nonce == listed.nonce and (batch.state in {"submitting", "reconciling"} or _unproven(batch)):
        return "reconciling"
    if batch.provider_id == listed.provider_id:
        return "known"
    return "resume" if batch.state == "cut" else "duplicate"


def _unproven(batch: Batch) -> bool:
    """Whether a batch was adopted for this one that may turn out to be somebody else's."""
    return batch.state in {"submitted", "ended"} and not batch.proven


def _account(lane: str) -> str:
    """Return the account in a lane's name, '' when it is no lane."""
    try:
        return parse_lane(lane).account
    except InvalidRequest:
        return ""


def _identified(context: Context, account: str, provider: Provider, listed: Listed) -> Listed:
    """Tell by its first results whose a batch without a tag is; one that still runs tells nothing yet.

    One whose results are refused or cannot be read tells nothing either: it must not hold up the whole account.
    """
    if listed.running:
        return listed
    try:
        custom_id = _first_of_ours(provider, listed)
    except KeyRefused:
        raise
    except (Permanent, Retryable) as error:
        if isinstance(error, Retryable) and error.code != "bad_line":
            raise
        log.warning(
            "batch.not_identified",
            account=account,
            provider_batch=listed.provider_id,
            call=error.call,
            code=error.code,
            reason=str(error),
        )
        return listed
    if custom_id is None:
        return listed
    lanes = (lane for lane in context.store.intake.lanes() if custom_ids.lane_hash(lane) == custom_id.lane_hash)
    owner = _owner_of(context, custom_id.nonce)
    return msgspec.structs.replace(listed, lane=next(lanes, ""), nonce=custom_id.nonce, batch_id=owner)


def _first_of_ours(provider: Provider, listed: Listed) -> CustomId | None:
    results = islice(provider.results(provider.poll(listed.provider_id)), FIRST_RESULTS)
    parsed = (custom_ids.parse(result.custom_id) for result in results)
    return next((custom_id for custom_id in parsed if custom_id is not None), None)


def _owner_of(context: Context, nonce: str) -> str:
    """Return the batch whose attempt this is, open or settled not long ago, '' if there is none."""
    batches = context.store.batches
    for ids in (batches.open_ids(), batches.settled_ids(SETTLED)):
        found = [each.id for each in batches.records(ids) if each.nonce == nonce and not each.duplicate]
        if found:
            return found[0]
    return ""


def _orphan(account: str, finding: Finding) -> Orphan:
    listed = finding.listed
    cancels = "cancel, then " if finding.verdict == "duplicate" and listed.running else ""
    return Orphan(
        account=account,
        provider_id=listed.provider_id,
        batch=listed.batch_id,
        lane=listed.lane,
        state="running" if listed.running else "ended",
        rows=listed.total,
        created_ms=listed.created_ms,
        action=cancels + ACTIONS[finding.verdict],
    )


def _unknown(context: Context, provider: Provider, batch: Batch) -> list[Orphan]:
    try:
        provider.poll(batch.provider_id)
    except NotFound:
        fate = unknown.fate(context, provider, batch)
        return [
            Orphan(
                account=batch.account,
                provider_id=batch.provider_id,
                batch=batch.id,
                lane=batch.lane,
                state="unknown",
                rows=batch.rows,
                created_ms=batch.submitted_ms,
                action=unknown.ACTIONS[fate],
            )
        ]
    return []
