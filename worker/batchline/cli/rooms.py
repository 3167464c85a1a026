"""What ``batchline status`` says of budgets, of the estimates behind them, of prompt caches and of files at the providers."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console

from batchline import pools
from batchline.cli.console import moment, table
from batchline.figures import Depth, Figures, base_of
from batchline.lanes import parse_lane
from batchline.providers import facts_of
from batchline.settings import Settings
from batchline.store.accounts import StorageFacts
from batchline.store.ledger import Account

INPUT = ("input_uncached", "cache_read", "cache_write")


def describe(read: Figures, settings: Settings) -> dict[str, Any]:
    """Return budgets and storage as plain data: what is used, or has a limit. Times are unix ms."""
    return {
        "budgets": [_budget(use) for use in _uses(read, settings) if use.used or use.limit is not None],
        "storage": [_storage(each.name, each.storage, settings) for each in read.accounts if each.storage],
    }


def of_lane(depth: Depth, ledger: Account) -> dict[str, Any]:
    """Return what a lane's estimates of tokens were worth, and what its prompts read from a cache.

    Of the last batch that told something: ``estimated_tokens`` of input before, ``counted_tokens`` after it.
    """
    counted = depth.counted
    read, total = ledger.get("tokens:cache_read"), sum(ledger.get(f"tokens:{kind}") for kind in INPUT)
    return {
        "bytes_per_token": round(depth.counted_bytes / counted, 3) if counted else None,
        "estimated_tokens": depth.estimated if counted else None,
        "counted_tokens": counted or None,
        "estimate_error_percent": round(100 * (depth.estimated - counted) / counted, 1) if counted else None,
        "cache_read_tokens": read,
        "cache_hit_percent": round(100 * read / total, 1) if total else None,
    }


def show(console: Console, document: dict[str, Any]) -> None:
    """Print what is there to be told; what was never used is left out."""
    lanes = document["lanes"]
    if any(lane["counted_tokens"] or lane["cache_read_tokens"] for lane in lanes):
        console.print(_lanes_table(lanes))
    used = [each for each in document["budgets"] if each["used"] or each["believed_until_ms"]]
    if used:
        console.print(_budgets_table(used))
    for each in document["storage"]:
        console.print(_stored(each))


def _uses(read: Figures, settings: Settings) -> list[pools.Use]:
    models: dict[str, set[str]] = {}
    for base in {*read.depths, *read.ledger}:
        if base_of(base) == base:
            lane = parse_lane(base)
            models.setdefault(lane.account, set()).add(lane.model)
    lanes = settings.lane_budgets
    return [
        use
        for facts in read.accounts
        for use in pools.uses(facts, settings.accounts[facts.name], sorted(models.get(facts.name, ())), lanes)
    ]


def _budget(use: pools.Use) -> dict[str, Any]:
    return {
        "account": use.account,
        "model": use.model,
        "unit": use.unit,
        "used": use.used,
        "limit": use.limit,
        "believed_until_ms": use.believed_until or None,
    }


def _storage(name: str, found: StorageFacts, settings: Settings) -> dict[str, Any]:
    limit = facts_of(settings.accounts[name]).storage_bytes
    return {"account": name, **msgspec.structs.asdict(found), "limit_bytes": limit}


def _lanes_table(lanes: list[dict[str, Any]]) -> Any:
    shown = table(
        "lane", "bytes per token", "estimated", "counted", "error", "cache hits", "cache saved", "cache extra"
    )
    for lane in lanes:
        counted, error, hits = lane["counted_tokens"], lane["estimate_error_percent"], lane["cache_hit_percent"]
        shown.add_row(
            lane["lane"],
            f"{lane['bytes_per_token']:.2f}" if counted else "-",
            f"{lane['estimated_tokens']:,}" if counted else "-",
            f"{counted:,}" if counted else "-",
            "-" if error is None else f"{error:+.1f} %",
            "-" if hits is None else f"{hits:.1f} %",
            lane["cache_saved_usd"],
            lane["cache_extra_usd"],
        )
    return shown


def _budgets_table(budgets: list[dict[str, Any]]) -> Any:
    shown = table("account", "budget", "unit", "used", "limit", "believed until", left=3)
    limited = {(each["account"], each["model"]) for each in budgets if each["limit"] is not None}
    for each in budgets:
        limit, until = each["limit"], each["believed_until_ms"]
        if limit is None and (each["account"], each["model"]) in limited:
            continue  # another unit is the one that counts
        shown.add_row(
            each["account"],
            each["model"],
            each["unit"],
            f"{each['used']:,}",
            "-" if limit is None else f"{limit:,}",
            moment(until or 0),
        )
    return shown


def _stored(each: dict[str, Any]) -> str:
    limit = f" of {each['limit_bytes'] / 1e9:,.0f} GB" if each["limit_bytes"] else ""
    return (
        f"files at {each['account']}: {each['files']:,} with {each['bytes'] / 1e9:,.3f} GB{limit},"
        f" {each['ours']:,} of them ours with {each['our_bytes'] / 1e9:,.3f} GB (as of {moment(each['at_ms'])})"
    )
