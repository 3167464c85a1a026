"""After a crash case: was each request answered once, executed once and charged once, and what is left in the store?"""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.crash.scenarios import Ask, Scenario

from batchline.requests import Reply, decode_reply
from batchline.store import Store, keys

LASTING = re.compile(
    r"batchline:(lanes|ledgers|ledger:.*|ticks|account:[^:]+|account:[^:]+:audit|account:[^:]+:duplicates|account:[^:]+:errors|batches:settled|files|audited|identity|unread"
    r"|\{.*\}:(requests|walk)|celery:.*)"
)
"""Keys that stay for ever, by design (docs/design.md, section 3): the lanes, the ledger, and what is known of accounts."""


def problems(store: Store, url: str, plan: Scenario) -> list[str]:
    """Return what is wrong after everything came to rest; nothing when all is as promised."""
    return [*_replies(store, plan), *_bill(store, bill(url), plan), *_left(store)]


def replies(store: Store) -> list[tuple[str, Reply]]:
    """Return every reply with the key of its queue."""
    found = []
    for key in store.connection.run("KEYS", "batchline:reply:*"):
        found += [(key.decode(), decode_reply(raw)) for raw in store.connection.run("LRANGE", key, 0, -1)]
    return found


def bill(url: str) -> dict[str, Any]:
    """Return the emulator's bill."""
    report: dict[str, Any] = fetch(f"{url}/_emulator/bill")
    return report


def fetch(url: str, body: object = None) -> Any:
    """Call the emulator directly, as another application would."""
    headers = {"Authorization": "Bearer audit", "x-api-key": "audit", "Content-Type": "application/json"}
    headers["anthropic-version"] = "2023-06-01"
    if "/v1beta/" in url:
        headers["x-goog-api-key"] = "audit"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=10) as answer:
        return json.loads(answer.read())


def unfinished(url: str) -> int:
    """Return how many batches of the emulator have not come to their end."""
    openai = [b["status"] for b in fetch(f"{url}/v1/batches?limit=100")["data"]]
    anthropic = [b["processing_status"] for b in fetch(f"{url}/v1/messages/batches?limit=100")["data"]]
    gemini = [b["metadata"]["state"] for b in fetch(f"{url}/v1beta/batches?pageSize=100").get("operations", [])]
    runs = {"BATCH_STATE_PENDING", "BATCH_STATE_RUNNING"}
    over = {"completed", "failed", "expired", "cancelled", "ended"}
    return sum(status not in over for status in [*openai, *anthropic]) + sum(state in runs for state in gemini)


def _replies(store: Store, plan: Scenario) -> Iterator[str]:
    wanted = {keys.reply_default(ask.lane, ask.id): ask for ask in plan.asks}
    got = replies(store)
    for key, count in Counter(key for key, _ in got).items():
        if key not in wanted:
            yield f"{count} replies in {key}, where none was asked for"
        elif count != 1:
            yield f"{count} replies in {key}"
    answers = dict(got)
    for key, ask in wanted.items():
        reply = answers.get(key)
        if reply is None:
            yield f"no reply in {key}"
        elif reply.id != ask.id or reply.status not in wanted_statuses(ask):
            error = reply.error.message if reply.error else ""
            yield f"{key}: {reply.id} {reply.status} instead of {ask.status}: {error}"


def wanted_statuses(ask: Ask) -> tuple[str, ...]:
    """Return how a request may end."""
    return (ask.status,) if ask.status else ("succeeded", "cancelled")


def _bill(store: Store, report: dict[str, Any], plan: Scenario) -> Iterator[str]:
    succeeded = sum(row["succeeded"] for row in report["models"])
    executed = sum(row["executed"] for row in report["models"])
    got = Counter(reply.status for _, reply in replies(store))
    wanted = got["succeeded"]
    errors = sum(ask.errors for ask in plan.asks)
    if report["double_executions"]:
        yield f"{report['double_executions']} double executions: {report['doubles']}"
    if succeeded != wanted + plan.foreign:
        yield f"{succeeded} charged instead of {wanted + plan.foreign}"
    if executed != wanted + plan.foreign + errors:
        yield f"{executed} executed instead of {wanted + plan.foreign + errors}"
    ledger: Counter[str] = Counter()
    for account in store.ledger.accounts():
        ledger.update(account.fields)
    for status, count in got.items():
        if ledger[f"settled:{status}:batch"] != count:
            yield f"the ledger has {ledger[f'settled:{status}:batch']} {status} instead of {count}"
    paid = sum(row["paid_nano_usd"] for row in report["models"])
    if not plan.foreign and ledger["paid_nano:batch"] != paid:
        yield f"the ledger has {ledger['paid_nano:batch']} nano-dollars paid, the emulator {paid}"
    wasted = {name: n for name, n in ledger.items() if name.startswith("wasted_nano") and n}
    if wasted:
        yield f"wasted: {wasted}"


def _left(store: Store) -> Iterator[str]:
    run = store.connection.run
    for key in sorted(run("KEYS", "batchline:*")):
        name = key.decode()
        if run("PTTL", key) == -1 and not LASTING.fullmatch(name):
            yield f"left without owner or expiry: {name} ({run('TYPE', key).decode()})"
    for lane in run("SMEMBERS", keys.LANES):
        if owed := run("XLEN", keys.requests(lane.decode())):
            yield f"{owed} entries left in lane {lane.decode()}"
