"""``batchline status``, ``batches`` and ``batch``: what the store holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import typer

from batchline import figures
from batchline.cli import orphans as cli_orphans
from batchline.cli import rooms
from batchline.cli.console import moment, out, span, table
from batchline.errors import UsageError
from batchline.figures import Depth, Figures
from batchline.requests import usd
from batchline.settings import load_settings
from batchline.store import Store
from batchline.store.ledger import Account
from batchline.store.records import Batch, Outage

Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
STATUSES = ("succeeded", "failed", "cancelled")
MONEY = ("list", "paid", "saved", "wasted", "cache_saved", "cache_extra")
RECENT = 20
BUSY_TIMES = 3
"""A batch that found no room so often is told of: it may be larger than its provider's whole queue."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status")(status)
    app.command("batches")(batches)
    app.command("batch")(batch)


def open_store() -> Store:
    """Return the store of the settings."""
    return Store(load_settings().redis_url)


def status(as_json: Json = False) -> None:
    """Show what is owed, what was settled, what it cost, what of each budget is used, and which account is in trouble."""
    settings = load_settings()
    store = Store(settings.redis_url)
    try:
        read = figures.read(store, settings, now_ms=time.time_ns() // 1_000_000)
        outages = [store.accounts.outage(name) for name in sorted(settings.accounts)]
    finally:
        store.close()
    now_ms = time.time_ns() // 1_000_000
    document = describe(read, outages, now_ms=now_ms) | rooms.describe(read, settings)
    if as_json:
        print(json.dumps(document))
    else:
        _print_status(document)


def describe(read: Figures, outages: Iterable[Outage], *, now_ms: int) -> dict[str, Any]:
    """Return the status as plain data; times are unix ms, money decimal strings in USD."""
    names = sorted({*read.depths, *read.ledger})
    return {
        "lanes": [_lane(name, read.depths.get(name, Depth()), read.ledger.get(name), now_ms) for name in names],
        "accounts": [_account(outage) for outage in outages if outage.down_until],
        "batches_open": len(read.batches),
        "batches_unknown": [_unknown(batch) for batch in read.batches if batch.unknown_since],
        "batches_without_room": _without_room(read.batches),
        "last_tick_ms": dict(read.ticks),
        "memory": {"used_bytes": read.server.used, "limit_bytes": read.server.limit or None},
    }


def _lane(name: str, depth: Depth, ledger: Account | None, now_ms: int) -> dict[str, Any]:
    account = ledger or Account(base=name, fields={})
    settled = {status: sum(account.having(f"settled:{status}:").values()) for status in STATUSES}
    money = {kind: usd(sum(account.having(f"{kind}_nano:").values())) for kind in MONEY}
    oldest_s = max(0, now_ms - depth.oldest_pending_ms) / 1000 if depth.oldest_pending_ms else None
    return {
        "lane": name,
        "pending": depth.pending,
        "in_flight": depth.in_flight,
        "oldest_pending_seconds": oldest_s,
        "batches": {state: count for state, count in depth.states.items() if count},
        **settled,
        "unpriced": account.get("unpriced"),
        **{f"{kind}_usd": amount for kind, amount in money.items()},
        **rooms.of_lane(depth, account),
    }


def _account(outage: Outage) -> dict[str, Any]:
    names = ("account", "since", "down_until", "failures", "call", "code", "message")
    return {name: getattr(outage, name) for name in names}


def _unknown(batch: Batch) -> dict[str, Any]:
    """Return what to look for at the provider that says it does not know a batch."""
    return {name: getattr(batch, name) for name in ("id", "account", "lane", "provider_id", "unknown_since")}


def _without_room(batches: Iterable[Batch]) -> list[dict[str, Any]]:
    """Return by lane how many batches found no room at their provider several times, and what it said last."""
    lanes: dict[str, list[Batch]] = {}
    for batch in batches:
        if batch.state == "cut" and batch.busy >= BUSY_TIMES:
            lanes.setdefault(batch.lane, []).append(batch)
    return [_waiting(lane, sorted(lanes[lane], key=lambda batch: batch.next_ms)) for lane in sorted(lanes)]


def _waiting(lane: str, batches: list[Batch]) -> dict[str, Any]:
    most = max(batch.busy for batch in batches)
    return {
        "lane": lane,
        "batches": len(batches),
        "times": most,
        "reason": batches[0].reason,
        "next_ms": batches[0].next_ms,
    }


def _print_status(document: dict[str, Any]) -> None:
    console = out()
    lanes = document["lanes"]
    if lanes:
        console.print(_lanes_table(lanes))
    else:
        console.print("nothing was enqueued yet")
    rooms.show(console, document)
    for account in document["accounts"]:
        console.print(
            f"account {account['account']} is in trouble since {moment(account['since'])}: {account['message']}"
        )
    for batch in document["batches_unknown"]:
        console.print(
            f"batch {batch['id']} ({batch['provider_id']}) is unknown to its provider"
            f" since {moment(batch['unknown_since'])}: does account {batch['account']} still have the key it was made with?"
        )
    for lane in document["batches_without_room"]:
        console.print(
            f"lane {lane['lane']}: {lane['batches']} batches found no room at the provider, up to {lane['times']} times"
            f" ({lane['reason']}); tried again at {moment(lane['next_ms'])}"
        )
    ticks = document["last_tick_ms"]
    console.print("last tick: " + (", ".join(f"{role} {moment(at)}" for role, at in sorted(ticks.items())) or "never"))


def _lanes_table(lanes: list[dict[str, Any]]) -> Any:
    unpriced = any(lane["unpriced"] for lane in lanes)
    wasted = any(lane["wasted_usd"] != "0" for lane in lanes)
    shown = table(
        *("lane", "pending", "oldest", "in flight", "batches", "answered", "failed", "cancelled", "paid", "saved"),
        *(["waste"] if wasted else ()),
        *(["unpriced"] if unpriced else ()),
    )
    for lane in lanes:
        oldest = lane["oldest_pending_seconds"]
        counts = (f"{lane[name]:,}" for name in STATUSES)
        shown.add_row(
            lane["lane"],
            f"{lane['pending']:,}",
            "-" if oldest is None else span(oldest),
            f"{lane['in_flight']:,}",
            f"{sum(lane['batches'].values()):,}",
            *counts,
            f"${lane['paid_usd']}",
            f"${lane['saved_usd']}",
            *([f"${lane['wasted_usd']}"] if wasted else ()),
            *([f"{lane['unpriced']:,}"] if unpriced else ()),
        )
    return shown


def batches(
    as_json: Json = False,
    most: Annotated[int, typer.Option(min=0, help="Settled ones shown.")] = RECENT,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Ask the providers which batches only they or only the store know.")
    ] = False,
) -> None:
    """Show the batches that are not settled, and those settled last.

    With --orphans: the provider batches of ours that the store does not know, the submitted ones that their provider does
    not know, and what will be done about each. Exit code 3 when a provider cannot be asked.
    """
    if orphans:
        cli_orphans.show(as_json=as_json)
        return
    store = open_store()
    try:
        found = store.batches.records([*store.batches.open_ids(), *(store.batches.settled_ids(most) if most else ())])
    finally:
        store.close()
    if as_json:
        print(json.dumps([batch_document(each) for each in found]))
        return
    shown = table("batch", "state", "lane", "cut by", "requests", "answered", "failed", "cut", "settled", left=4)
    for each in found:
        counts = (f"{n:,}" for n in (each.requests + each.riders, each.succeeded, each.failed))
        shown.add_row(
            each.id, _state(each), each.lane, each.trigger, *counts, moment(each.cut_ms), moment(each.settled_ms)
        )
    out().print(shown if found else "no batches")


def _state(each: Batch) -> str:
    return f"{each.state}, unknown" if each.unknown_since and each.state != "settled" else each.state


def batch(
    batch_id: Annotated[str, typer.Argument(metavar="ID", help="A batch's id.")],
    as_json: Json = False,
) -> None:
    """Show all that is known of one batch."""
    store = open_store()
    try:
        found = store.batches.get(batch_id)
    finally:
        store.close()
    if found is None:
        raise UsageError(f"there is no batch {batch_id}; `batchline batches` lists them (records expire after a week)")
    document = batch_document(found)
    if as_json:
        print(json.dumps(document))
        return
    for name, value in document.items():
        print(f"{name:<15} {_shown(name, value)}")


def batch_document(found: Batch) -> dict[str, Any]:
    """Return a batch record as plain data; times are unix ms, money decimal strings in USD."""
    fields: dict[str, Any] = msgspec.to_builtins(found)
    return {
        name.replace("_nano", "_usd"): usd(value) if name.endswith("_nano") else value for name, value in fields.items()
    }


def _shown(name: str, value: object) -> str:
    is_time = name.endswith(("_ms", "_since")) or name in {"lease_until", "call_until"}
    return moment(value) if is_time and isinstance(value, int) else str(value)
