"""Delete the provider's files of batches that were settled long enough ago, and of attempts that came to nothing."""

from __future__ import annotations

import structlog

from batchline.engine.context import Context
from batchline.errors import ProviderError
from batchline.store import files

log = structlog.get_logger("batchline.files")


def delete(context: Context, file: str) -> None:
    """Delete a file (``account|file``) whose time has come; one that cannot be deleted waits, longer each time."""
    account, ref = files.parts(file)
    if account not in context.settings.accounts:
        _failed(context, file, reason=f"there is no account {account!r} in the settings")
        return
    try:
        context.provider(account).delete_file(ref)
    except ProviderError as error:
        _failed(context, file, reason=str(error))
        return
    context.store.files.gone(file, now_ms=context.clock())
    log.debug("file.deleted", account=account, file=ref)


def _failed(context: Context, file: str, *, reason: str) -> None:
    account, ref = files.parts(file)
    again_ms = context.store.files.failed(file, now_ms=context.clock())
    wait_s = (again_ms - context.clock()) // 1000
    log.warning("file.not_deleted", account=account, file=ref, again_in_s=wait_s, reason=reason)
