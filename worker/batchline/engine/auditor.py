"""The orphan audit: every provider batch that carries our mark must be known to the store.

It runs now and then, and before any create on an account since the store was replaced (restart, failover): a store that
was rolled back may have forgotten a batch that the provider has and that is paid for. What is found is put on record
again, so that its answers settle what is still owed. Batches of other applications are left alone.

The one that runs now and then also finds uploaded files that belong to no batch, and adds up what files take at the provider.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import structlog

from batchline import custom_ids
from batchline.engine import files, leases, orphans, transitions, unknown
from batchline.engine.context import Context, target
from batchline.engine.entries import History, read_envelope
from batchline.engine.orphans import Finding
from batchline.errors import KeyRefused, Permanent, ProviderError, Retryable
from batchline.providers.protocol import Created, Listed, Provider
from batchline.store import keys
from batchline.store.records import Batch

log = structlog.get_logger("batchline.auditor")


def before_create(context: Context, account: str) -> int:
    """Audit an account unless it was audited since the store was last replaced. Raises ProviderError, StoreError.

    Returns until when (unix ms) nothing may be created on it, 0 when that is allowed now. A create whose intent was
    forgotten may still be running, and a list lags: an audit counts only when neither can hide a batch any more.
    """
    identity = str(context.store.durability.identity())
    if context.store.orphans.audited(account) == identity:
        return 0
    from_ms = _all_is_listed_ms(context, identity)
    if context.clock() < from_ms:
        return from_ms
    audit(context, account)
    context.store.orphans.note_audited(account, identity)
    log.info("account.audited", account=account)
    return 0


def _all_is_listed_ms(context: Context, identity: str) -> int:
    replaced_ms = context.store.orphans.replaced_ms(identity, now_ms=context.clock())
    settings = context.settings
    wait_s = settings.lease_seconds + settings.create_timeout + settings.reconcile.listing_lag
    return replaced_ms and replaced_ms + int(wait_s * 1000)


def audit_in_turn(context: Context, account: str) -> None:
    """Audit an account that is due, its files too; a provider that fails is asked again when it is due next."""
    if account not in context.settings.accounts:
        return
    try:
        _audit_with_files(context, account)
    except ProviderError as error:
        log.warning("account.not_audited", account=account, call=error.call, code=error.code, reason=str(error))
    try:
        files.add_up(context, account)
    except ProviderError as error:
        log.warning("account.files_not_counted", account=account, call=error.call, code=error.code, reason=str(error))


def _audit_with_files(context: Context, account: str) -> None:
    since_ms, listed_ms = orphans.since_ms(context), context.clock()
    used: set[str] = set()
    audit(context, account, since_ms=since_ms, used=used)
    files.find_strays(context, account, since_ms=since_ms, listed_ms=listed_ms, used=used)


def audit(context: Context, account: str, *, since_ms: int | None = None, used: set[str] | None = None) -> int:
    """Adopt what the store does not know of an account's batches; returns how many. Raises ProviderError, StoreError.

    ``used`` is filled with the uploaded files of all batches that are listed, anybody's.
    """
    provider = context.provider(account)
    adopted = 0
    for page in orphans.pages(provider.recent(orphans.since_ms(context) if since_ms is None else since_ms)):
        if used is not None:
            used.update(listed.input_ref for listed in page)
        for listed in orphans.unclaimed(context, account, page):
            adopted += _act(context, account, orphans.judge(context, account, provider, listed))
    _embark_all(context, account, provider)
    return adopted


def _act(context: Context, account: str, finding: Finding) -> int:
    listed, batch = finding.listed, finding.batch
    if finding.verdict == "adopt":
        return _adopt(context, account, listed, batch_id=listed.batch_id or context.batch_id())
    if finding.verdict == "resume" and batch:
        return _resume(context, batch, listed)
    if finding.verdict == "duplicate" and batch:
        transitions.duplicate(context, batch, listed.provider_id)
        return _adopt(context, account, listed, batch_id=context.batch_id(), duplicate_of=batch.id)
    return 0


def _resume(context: Context, batch: Batch, listed: Listed) -> int:
    """The batch is there and its attempt was forgotten: the record goes straight to submitted."""
    claimed = _claimed(context, batch)
    if claimed is None or claimed.state != "cut":
        raise _held_by_another(batch)
    created = Created(provider_id=listed.provider_id, created_ms=listed.created_ms, expires_ms=listed.expires_ms)
    transitions.submitted(
        context, claimed, created, rows=listed.total, how="adopted", forgotten=(listed.nonce, listed.total)
    )
    return 1


def _claimed(context: Context, batch: Batch) -> Batch | None:
    """Claim a batch, due or not; None while somebody else holds it."""
    now_ms = max(context.clock(), batch.next_ms)
    claimed = context.store.batches.claim(batch.id, holder=context.holder(), now_ms=now_ms)
    return claimed if isinstance(claimed, Batch) else None


def _held_by_another(batch: Batch) -> Retryable:
    return Retryable(
        f"batch {batch.id} is being worked on; account {batch.account} is audited again before anything is created",
        account=batch.account,
        call="audit",
    )


def _adopt(context: Context, account: str, listed: Listed, *, batch_id: str, duplicate_of: str = "") -> int:
    """Put an orphan on record; a duplicate is asked to stop by who polls it."""
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
        pool=target(context.settings, listed.lane).pool.name,
        duplicate_of=duplicate_of,
    )
    if not taken:
        return 0
    log.error("batch.orphan", batch=batch_id, lane=listed.lane, account=account, provider_batch=listed.provider_id)
    return 1


def _embark_all(context: Context, account: str, provider: Provider) -> None:
    """Bring the requests of all batches that were found aboard: before that, they could be sent a second time."""
    open_batches = context.store.batches.records(context.store.batches.open_ids())
    for found in open_batches:
        if found.account == account and found.embarks:
            batch = _claimed(context, found)
            if batch is None:
                raise _held_by_another(found)
            if not batch.embarks:  # it was refused meanwhile, or somebody else was quicker
                agenda = keys.AGENDA_ACCUMULATE if batch.state in {"cut", "reconciling"} else keys.AGENDA_POLL
                context.store.batches.release(batch, agenda=agenda, next_ms=batch.next_ms)
                continue
            cut = [each.id for each in open_batches if each.lane == batch.lane and each.state == "cut"]
            with leases.kept(context, batch):
                _embark(context, batch, provider, cut)


def _embark(context: Context, batch: Batch, provider: Provider, cut: list[str]) -> None:
    embark, record = context.store.orphans.embark, msgspec.json.encode(History())
    sent = orphans.pages(_sent(context, provider, batch))
    riders = sum(embark(batch, _ours(context, batch, page), record=record, cut=cut) for page in sent)
    embark(batch, (), record=record, last=True)
    log.info("batch.embarked", batch=batch.id, lane=batch.lane, riders=riders)
    context.store.batches.release(batch, agenda=keys.AGENDA_POLL, next_ms=batch.next_ms)


def _ours(context: Context, batch: Batch, sent: list[str]) -> list[str]:
    """Return the entries that are owed here for these custom_ids. Another installation with the key has the same entry ids."""
    parsed = [found for custom_id in sent if (found := custom_ids.parse(custom_id))]
    owed = context.store.settling.owed(batch.lane, [custom_id.entry_id for custom_id in parsed])
    lane = target(context.settings, batch.lane).lane
    return [
        entry.entry
        for custom_id, entry in zip(parsed, owed, strict=True)
        if entry and custom_ids.matches(custom_id, batch.lane, read_envelope(entry, lane).request_id)
    ]


def _sent(context: Context, provider: Provider, batch: Batch) -> Iterator[str]:
    """Read back the custom_ids of a batch: from its file, else from its results, without which none is found.

    What the provider does not have any more is not waited for: nothing else could be created on the account ever again.
    """
    try:
        yield from _read_back(context, provider, batch)
    except KeyRefused:
        raise
    except Permanent as error:
        if error.call != "results" and context.clock() < unknown.over_ms(batch):
            raise  # it may run and be paid for: a key of another project gets the same answer
        log.warning("batch.not_read_back", batch=batch.id, lane=batch.lane, call=error.call, reason=str(error))
    except Retryable as error:
        if error.code != "unassigned":
            raise
        # Its results tell of no row, now or later: whoever settles it holds it for a person.
        log.warning("batch.not_read_back", batch=batch.id, lane=batch.lane, call=error.call, reason=str(error))


def _read_back(context: Context, provider: Provider, batch: Batch) -> Iterator[str]:
    told = False
    for custom_id in provider.sent(batch.provider_id) if provider.has_files else ():
        told = True
        yield custom_id
    if told:
        return
    progress = provider.poll(batch.provider_id)
    if progress.outcome is None and context.clock() < unknown.over_ms(batch):
        raise Retryable(
            f"batch {batch.id} runs and its file is gone: what it has is known once it has ended",
            account=batch.account,
            call="audit",
            code="file_gone",
        )
    yield from (result.custom_id for result in provider.results(progress))
