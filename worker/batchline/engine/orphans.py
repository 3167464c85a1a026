"""Provider batches that the store does not know: whose each one is, and what the audit does about it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal, TypeVar

import msgspec

from batchline import custom_ids
from batchline.engine import unknown
from batchline.engine.context import Context
from batchline.errors import NotFound
from batchline.providers.protocol import Listed, Provider
from batchline.store.records import Batch

Each = TypeVar("Each")

PAGE = 100
FIRST_RESULTS = 10
"""So many results of a batch without a tag are looked at to see whose it is."""

Verdict = Literal["foreign", "known", "reconciling", "resume", "duplicate", "adopt"]
Standing = Literal["running", "ended", "unknown"]

ACTIONS: dict[Verdict, str] = {
    "reconciling": "leave to the reconciler",
    "resume": "adopt",
    "adopt": "adopt",
    "duplicate": "adopt what it did",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A provider batch that no batch of the store has claimed, and what the audit makes of it.

    ``foreign``: not ours, or not to be told yet. ``known``: its claim came while the list was read. ``reconciling``: the
    reconciler is about to find it. ``resume``: the attempt of ``batch`` that the store forgot. ``duplicate``: a second batch
    of the attempt of ``batch``. ``adopt``: the store forgot it whole.
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


def unclaimed(context: Context, account: str, page: list[Listed]) -> list[Listed]:
    """Return those of a page that no batch of ours has claimed; one that was refused as a whole is nobody's loss."""
    known = context.store.orphans.claimed(account, [listed.provider_id for listed in page])
    return [listed for listed in page if listed.provider_id not in known and not listed.dead]


def judge(context: Context, provider: Provider, listed: Listed) -> Finding:
    """Tell whose an unclaimed provider batch is. Raises ProviderError, StoreError."""
    if not provider.tagged:
        listed = _identified(context, provider, listed)
    if not listed.lane:
        return Finding(listed=listed, verdict="foreign")
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
    since_ms = context.clock() - int(context.settings.reconcile.audit_window * 1000)
    for page in pages(provider.recent(since_ms)):
        there.update(listed.provider_id for listed in page)
        findings = (judge(context, provider, listed) for listed in unclaimed(context, account, page))
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


def _identified(context: Context, provider: Provider, listed: Listed) -> Listed:
    """Tell by its first results whose a batch without a tag is; one that still runs tells nothing yet."""
    if listed.running:
        return listed
    results = provider.results(provider.poll(listed.provider_id))
    for result in islice(results, FIRST_RESULTS):
        custom_id = custom_ids.parse(result.custom_id)
        if custom_id is not None:
            lanes = (lane for lane in context.store.intake.lanes() if custom_ids.lane_hash(lane) == custom_id.lane_hash)
            owner = _open_attempt(context, custom_id.nonce)
            return msgspec.structs.replace(listed, lane=next(lanes, ""), nonce=custom_id.nonce, batch_id=owner)
    return listed


def _open_attempt(context: Context, nonce: str) -> str:
    """Return the open batch whose attempt this is, '' if there is none."""
    open_batches = context.store.batches.records(context.store.batches.open_ids())
    return next((batch.id for batch in open_batches if batch.nonce == nonce), "")


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
