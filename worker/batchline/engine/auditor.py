"""The orphan audit: every provider batch that carries our mark must be known to the store.

It runs now and then, and before any create on an account since the store was replaced (restart, failover): a store that
was rolled back may have forgotten a batch that the provider has and that is paid for. What is found is put on record
again, so that its answers settle what is still owed. Batches of other applications are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import msgspec
import structlog

from batchline import custom_ids
from batchline.engine import transitions
from batchline.engine.context import Context
from batchline.engine.entries import History
from batchline.errors import ProviderError, Retryable
from batchline.providers.protocol import Created, Listed, Provider
from batchline.store import keys
from batchline.store.records import Batch

log = structlog.get_logger("batchline.auditor")

Each = TypeVar("Each")

PAGE = 100
FIRST_RESULTS = 10
"""So many results of a batch without a tag are looked at to see whose it is."""


def before_create(context: Context, account: str) -> None:
    """Audit an account unless it was audited since the store was last replaced. Raises ProviderError, StoreError."""
    identity = str(context.store.durability.identity())
    if context.store.orphans.audited(account) == identity:
        return
    audit(context, account)
    context.store.orphans.note_audited(account, identity)
    log.info("account.audited", account=account)


def audit_in_turn(context: Context, account: str) -> None:
    """Audit an account that is due; a provider that fails is asked again when it is due next."""
    if account not in context.settings.accounts:
        return
    try:
        audit(context, account)
    except ProviderError as error:
        log.warning("account.not_audited", account=account, call=error.call, code=error.code, reason=str(error))


def audit(context: Context, account: str) -> int:
    """Adopt what the store does not know of an account's batches; returns how many. Raises ProviderError, StoreError."""
    provider = context.provider(account)
    since_ms = context.clock() - int(context.settings.reconcile.audit_window * 1000)
    adopted = 0
    for page in _pages(provider.recent(since_ms)):
        known = context.store.orphans.claimed(account, [listed.provider_id for listed in page])
        for listed in page:
            if listed.provider_id not in known and not listed.dead:
                adopted += _audit_one(context, account, provider, listed)
    return adopted


def _pages(each: Iterator[Each]) -> Iterator[list[Each]]:
    while page := list(islice(each, PAGE)):
        yield page


def _audit_one(context: Context, account: str, provider: Provider, listed: Listed) -> int:
    if not provider.tagged:
        listed = _identified(context, provider, listed)
    if not listed.lane:
        return 0
    batch = context.store.batches.get(listed.batch_id) if listed.batch_id else None
    if batch is None:
        return _adopt(context, account, provider, listed, batch_id=listed.batch_id or context.batch_id())
    if batch.nonce == listed.nonce and (batch.state in {"submitting", "reconciling"} or _unproven(batch)):
        return 0  # the reconciler is about to find it
    if batch.provider_id == listed.provider_id:
        return 0  # its create was answered while the list was read
    if batch.state == "cut":
        return _resume(context, batch, listed)
    if listed.running:
        transitions.duplicate(context, batch, listed.provider_id)
        provider.cancel(listed.provider_id)
    return _adopt(context, account, provider, listed, batch_id=context.batch_id())


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


def _unproven(batch: Batch) -> bool:
    """Whether a batch was adopted for this one that may turn out to be somebody else's."""
    return batch.state in {"submitted", "ended"} and not batch.proven


def _resume(context: Context, batch: Batch, listed: Listed) -> int:
    """The batch is there and its attempt was forgotten: the record goes straight to submitted."""
    claimed = context.store.batches.claim(batch.id, holder=context.holder(), now_ms=max(context.clock(), batch.next_ms))
    if not isinstance(claimed, Batch) or claimed.state != "cut":
        raise Retryable(
            f"batch {batch.id} is being worked on; account {batch.account} is audited again before anything is created",
            account=batch.account,
            call="audit",
        )
    created = Created(provider_id=listed.provider_id, created_ms=listed.created_ms, expires_ms=listed.expires_ms)
    transitions.submitted(
        context, claimed, created, rows=listed.total, how="adopted", forgotten=(listed.nonce, listed.total)
    )
    return 1


def _adopt(context: Context, account: str, provider: Provider, listed: Listed, *, batch_id: str) -> int:
    """Put an orphan on record, and let the requests that it may answer ride with it where nobody else carries them."""
    taken = context.store.orphans.adopt(
        account,
        batch_id=batch_id,
        lane=listed.lane,
        provider_id=listed.provider_id,
        nonce=listed.nonce,
        rows=listed.total,
        created_ms=listed.created_ms,
        expires_ms=listed.expires_ms,
        now_ms=context.clock(),
    )
    if not taken:
        return 0
    log.error("batch.orphan", batch=batch_id, lane=listed.lane, account=account, provider_batch=listed.provider_id)
    batch = context.store.batches.claim(batch_id, holder=context.holder(), now_ms=context.clock())
    if isinstance(batch, Batch):
        _embark(context, batch, provider)
    return 1


def _embark(context: Context, batch: Batch, provider: Provider) -> None:
    record = msgspec.json.encode(History())
    parsed = (custom_ids.parse(custom_id) for custom_id in provider.sent(batch.provider_id))
    entries = (found.entry_id for found in parsed if found and found.lane_hash == custom_ids.lane_hash(batch.lane))
    riders = sum(context.store.orphans.embark(batch, page, record=record) for page in _pages(entries))
    log.info("batch.embarked", batch=batch.id, lane=batch.lane, riders=riders)
    context.store.batches.release(batch, agenda=keys.AGENDA_POLL, next_ms=context.clock())
