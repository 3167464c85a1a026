"""Delete the provider's files of batches that were settled long enough ago, and of attempts that came to nothing.

An upload whose step was broken off before its intent, or whose answer was lost, is known to nobody: the audit finds it in
the provider's list of files (`find_strays`). Only a file that cannot matter to anybody any more is taken:

- Its name has our mark. Files of other applications are never touched.
- No batch in the provider's list was made from it, whoever made that batch and whether it runs or has ended: its rows may
  be read back to adopt it, or to name the guilty. A file older than the list goes back cannot be judged and is left to the
  provider, which deletes it 30 days after the upload. Source: developers.openai.com/api/docs/guides/batch
- It is older than any create of it can still be under way: ``files_kept`` (an hour at the least), a lease and a create call
  before the list of batches was begun.
- No open batch of the store has it as its attempt's.

Another installation of batchline that shares the API key has the same mark, and its batches are not in our store. The
second and third rule hold for its files all the same: an upload is followed by its create at once, and each attempt uploads
its own. If its worker was frozen in between for longer than all that, its create finds no file: it ends without a charge
and goes again, as after a fence of its own.
"""

from __future__ import annotations

import structlog

from batchline.engine.context import Context
from batchline.errors import KeyRefused, Permanent, ProviderError
from batchline.store import files
from batchline.store.accounts import StorageFacts

log = structlog.get_logger("batchline.files")


def delete(context: Context, file: str) -> None:
    """Delete a file (``account|file``) whose time has come; one that cannot be deleted waits, longer each time.

    What the provider itself has refused to delete until the wait is a day is left to it.
    """
    account, ref = files.parts(file)
    if account not in context.settings.accounts:
        _failed(context, file, reason=f"there is no account {account!r} in the settings")
        return
    try:
        context.provider(account).delete_file(ref)
    except ProviderError as error:
        waits_ms = _failed(context, file, reason=str(error))
        if _is_refused(error) and waits_ms >= files.AGAIN_MAX_MS:
            context.store.files.gone(file, now_ms=context.clock())
            log.warning("file.left", account=account, file=ref, reason=str(error))
        return
    context.store.files.gone(file, now_ms=context.clock())
    log.debug("file.deleted", account=account, file=ref)


def _is_refused(error: ProviderError) -> bool:
    """Whether it is the deletion that is refused, and neither the key nor the account's state, which a person can set right."""
    return isinstance(error, Permanent) and not isinstance(error, KeyRefused)


def find_strays(context: Context, account: str, *, since_ms: int, listed_ms: int, used: set[str]) -> int:
    """Put the uploaded files that belong to no batch on the agenda of deletion; returns how many are new there.

    ``used`` are the files of all batches that the provider lists since ``since_ms``; the list was begun at ``listed_ms``,
    and a file is judged as of then: what was made of it since is not in the list. Raises ProviderError, StoreError.
    """
    settings = context.settings
    kept_s = settings.files_kept + settings.lease_seconds + settings.create_timeout
    before_ms = listed_ms - int(kept_s * 1000)
    old = [
        upload.ref
        for upload in context.provider(account).uploads(since_ms)
        if upload.created_ms < before_ms and upload.batch_id
    ]
    open_batches = context.store.batches.records(context.store.batches.open_ids())
    needed = used | {batch.input_ref for batch in open_batches}
    strays = [files.named(account, ref) for ref in old if ref not in needed]
    found = context.store.files.add(strays, due_ms=context.clock())
    if found:
        log.warning("files.stray", account=account, files=found)
    return found


def add_up(context: Context, account: str) -> None:
    """Note how many files an account has at its provider, and their bytes. Raises ProviderError, StoreError."""
    found = context.provider(account).storage()
    if found is None:
        context.store.accounts.note_storage(account, None)
        return
    noted = StorageFacts(found.files, found.bytes, found.ours, found.our_bytes, context.clock())
    context.store.accounts.note_storage(account, noted)
    log.debug("files.added_up", account=account, files=found.files, bytes=found.bytes, ours=found.ours)


def _failed(context: Context, file: str, *, reason: str) -> int:
    """Note that a file could not be deleted; returns how long it waits, in ms."""
    account, ref = files.parts(file)
    now_ms = context.clock()
    waits_ms = context.store.files.failed(file, now_ms=now_ms) - now_ms
    log.warning("file.not_deleted", account=account, file=ref, again_in_s=waits_ms // 1000, reason=reason)
    return waits_ms
