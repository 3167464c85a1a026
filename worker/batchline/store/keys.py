"""Every key of the store, built here and nowhere else. What each holds stands in docs/design.md, section 3.

The lane keys and callback queues are a promise to other languages (docs/protocol.md). Braces are literal.
"""

from __future__ import annotations

PREFIX = "batchline:"

LANES = "batchline:lanes"
LANES_ASIDE = "batchline:lanes:aside"
LEDGERS = "batchline:ledgers"
DAYS = "batchline:days"
TICKS = "batchline:ticks"
AUDITED = "batchline:audited"
IDENTITY = "batchline:identity"
SETTLED = "batchline:batches:settled"
UNDELIVERED = "batchline:undelivered"
UNREAD = "batchline:unread"
EXPIRED = "batchline:expired"
DEAD = "batchline:dead"
AGENDA_ACCUMULATE = "batchline:agenda:accumulate"
AGENDA_POLL = "batchline:agenda:poll"
FILES = "batchline:files"
FILES_FAILED = "batchline:files:failed"


def requests(lane: str) -> str:
    """Return the lane's stream."""
    return f"batchline:{{{lane}}}:requests"


def walk(lane: str) -> str:
    """Return the hash of the lane's open range."""
    return f"batchline:{{{lane}}}:walk"


def retry(lane: str) -> str:
    """Return the lane's retry pool."""
    return f"batchline:{{{lane}}}:retry"


def attempts(lane: str) -> str:
    """Return the hash of what happened so far to entries that left their range."""
    return f"batchline:{{{lane}}}:attempts"


def cancels(lane: str) -> str:
    """Return the set of carried entries that were asked to be cancelled."""
    return f"batchline:{{{lane}}}:cancels"


def dead(lane: str) -> str:
    """Return the hash of the lane's dead letters."""
    return f"batchline:{{{lane}}}:dead"


def request_id(lane: str, request: str) -> str:
    """Return the key of the id window of one request id in a lane."""
    return f"batchline:{{{lane}}}:id:{request}"


def batch(batch_id: str) -> str:
    """Return the hash of a batch record."""
    return f"batchline:batch:{batch_id}"


def riders(batch_id: str) -> str:
    """Return the sorted set of a batch's riders."""
    return f"batchline:batch:{batch_id}:riders"


def account(name: str) -> str:
    """Return the hash of an account's provider trouble."""
    return f"batchline:account:{name}"


def account_open(name: str) -> str:
    """Return the hash of the batches that take up the account's room: batch id to ``requests:tokens:sent:pool|lane``."""
    return f"batchline:account:{name}:open"


def account_believed(name: str) -> str:
    """Return the hash of what the provider seems to take for a while: pool to ``tokens:requests:until``."""
    return f"batchline:account:{name}:believed"


def sent(batch_id: str) -> str:
    """Return the custom_ids of a batch in the order of its rows, where these went in the create call."""
    return f"batchline:batch:{batch_id}:sent"


def account_creates(name: str) -> str:
    """Return the sorted set of the account's create calls of the last hour."""
    return f"batchline:account:{name}:creates"


def audit_turn(name: str) -> str:
    """Return the key that lets one worker audit an account at a time."""
    return f"batchline:account:{name}:audit"


def account_intents(name: str) -> str:
    """Return the hash of an account's unresolved intents by their number of rows, where the provider has no tags."""
    return f"batchline:account:{name}:intents"


def account_duplicates(name: str) -> str:
    """Return the hash of the account's provider batches that existed beside another one for the same attempt."""
    return f"batchline:account:{name}:duplicates"


def provider_batch(account_name: str, provider_id: str) -> str:
    """Return the key under which one batch claims a provider's batch."""
    return f"batchline:account:{account_name}:provider:{provider_id}"


def ledger(base: str) -> str:
    """Return the ledger hash of an ``account:endpoint:model``."""
    return f"batchline:ledger:{base}"


def day(name: str) -> str:
    """Return the hash of one day's ledger of an ``account:endpoint:model`` and tenant, by its name in ``days``."""
    return f"batchline:day:{name}"


def account_errors(name: str) -> str:
    """Return the hash of how often the account's provider calls failed, by ``call:code``."""
    return f"batchline:account:{name}:errors"


def tick(role: str) -> str:
    """Return the key that lets one worker tick for a role at a time."""
    return f"batchline:tick:{role}"


def reply_list(name: str) -> str:
    """Return the callback list of a plain ``reply_to`` name."""
    return f"batchline:reply:{name}"


def reply_stream(name: str) -> str:
    """Return the callback stream of a ``stream:`` name."""
    return f"batchline:replies:{name}"


def reply_default(lane: str, request: str) -> str:
    """Return the callback list of a request without ``reply_to``: one queue per request."""
    return f"batchline:reply:{lane}:{request}"


def readers(name: str) -> str:
    """Return the sorted set of readers of a callback list by the time each was last seen."""
    return f"batchline:readers:{name}"


def reading(name: str, reader: str) -> str:
    """Return the list of replies that a reader took and has not acknowledged."""
    return f"batchline:reading:{name}:{reader}"
