"""Batches in OpenAI's words, whatever their service calls its statuses; one that nobody knows is reported."""

from __future__ import annotations

import msgspec

from batchline.providers.openai_wire import Batch, in_our_words, is_known, lasting
from batchline.providers.presets import Preset

_MAX_STATUS = 40


class Statuses:
    """An account's reader of statuses."""

    def __init__(self, account: str, preset: Preset) -> None:
        self._account = account
        self._preset = preset
        self._unknown: set[str] = set()

    def in_our_words(self, batch: Batch) -> Batch:
        """Return a batch with its status in OpenAI's words; one that is not known is reported, once."""
        batch = lasting(in_our_words(batch, self._preset.statuses), self._preset.lasts_s)
        if self._preset.output_means_ran and batch.status == "failed" and batch.output_file_id:
            batch = msgspec.structs.replace(batch, status="expired")  # it ended early: what is missing goes again
        status = batch.status[:_MAX_STATUS]
        if not is_known(batch.status) and status not in self._unknown:
            import structlog  # noqa: PLC0415 - slow to import, and the client does without it

            self._unknown.add(status)
            structlog.get_logger("batchline.openai").warning(
                "provider.unknown_status",
                account=self._account,
                status=status,
                provider_batch=batch.id,
                reason="it counts as still running; if it is an end, say so in the account's preset",
            )
        return batch
