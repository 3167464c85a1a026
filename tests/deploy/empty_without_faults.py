"""The expressions that have no data while all goes well, each with the reason. In a run with faults each of them has.

Names are ``dashboard/panel/target`` and ``alert/name``. One that has data after all does not belong here.
"""

from __future__ import annotations

FIRING = "shows alerts that fire, and none does"

EMPTY = {
    "batches/Alerts/annotation": FIRING,
    "money/Alerts/annotation": FIRING,
    "overview/Alerts/annotation": FIRING,
    "providers/Alerts/annotation": FIRING,
    "batches/Time until results vanish/B": "no batch is at Gemini",
    "alert/BatchlineBatchErrorRatio": "every batch is answered whole",
    "alert/BatchlineLaneErrorRatio": "no request fails",
    "alert/BatchlineDeadLetters": "no request is given up on",
    "alert/BatchlineUndeliveredReplies": "every callback queue is a list or a stream",
    "alert/BatchlineDeadlinesMissed": "every deadline is met",
    "alert/BatchlinePendingTooOld": "what is enqueued is sent within seconds",
    "alert/BatchlineBatchOverdue": "batches end within seconds",
    "alert/BatchlineBatchStuck": "batches end within seconds",
    "alert/BatchlineBatchExpiring": "the house has no account of Gemini",
    "alert/BatchlineResultsExpiring": "results are read at once, weeks before they vanish",
    "alert/BatchlineTickStalled": "the workers tick",
    "alert/BatchlineAmbiguousSubmissions": "every create call is answered",
    "alert/BatchlineDuplicateBatch": "every attempt has one batch",
    "alert/BatchlineOrphanBatches": "the store knows every batch",
    "alert/BatchlineBudgetExhausted": "accounts have room",
    "alert/BatchlineProviderStorageNearlyFull": "few small files are stored",
    "alert/BatchlineSavingsDropped": "half is saved",
    "alert/BatchlineProviderErrors": "no provider call fails",
    "alert/BatchlineStoreDown": "the store answers",
    "alert/BatchlineStoreMemory": "the store has no limit of memory",
    "alert/BatchlineStoreMemoryCritical": "the store has no limit of memory",
    "alert/BatchlineStorePersistence": "the store keeps its append-only file",
    "alert/BatchlineExporterDown": "the exporter answers",
}
