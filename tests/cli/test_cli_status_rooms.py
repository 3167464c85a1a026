"""What ``status`` says of budgets, estimates, caches and files."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.cli.kit import CHAT, Command

from batchline.store import Store, keys
from batchline.store.accounts import StorageFacts

OTHER = f"{CHAT}|tenant=t"


def walked(store: Store, lane: str, **fields: Any) -> None:
    store.connection.run("XADD", keys.requests(lane), "*", "id", "r", "body", "{}")
    store.connection.run("SADD", keys.LANES, lane)
    store.connection.run("HSET", keys.walk(lane), "cut", "0-0", *(part for pair in fields.items() for part in pair))


def document(batchline: Command) -> Any:
    return json.loads(batchline("status", "--json").out)


def test_the_error_of_the_estimate_is_that_of_all_lanes_of_a_model(batchline: Command, store: Store) -> None:
    walked(store, CHAT, per_token="4.000000", estimated=110, counted=100)
    walked(store, OTHER, per_token="2.000000", estimated=390, counted=300)
    (lane,) = document(batchline)["lanes"]
    assert (lane["estimated_tokens"], lane["counted_tokens"]) == (500, 400)
    assert (lane["bytes_per_token"], lane["estimate_error_percent"]) == (2.5, 25.0)
    assert "+25.0 %" in batchline("status").out


def test_a_lane_without_answers_has_no_estimate_to_judge(batchline: Command, store: Store) -> None:
    walked(store, CHAT)
    (lane,) = document(batchline)["lanes"]
    names = ("bytes_per_token", "estimated_tokens", "counted_tokens", "estimate_error_percent", "cache_hit_percent")
    assert [lane[name] for name in names] == [None] * 5
    assert "bytes per token" not in batchline("status").out


def test_cache_hits_and_what_they_saved_are_told(batchline: Command, store: Store) -> None:
    base = CHAT
    counted = {"tokens:input_uncached": 60, "tokens:cache_read": 30, "tokens:cache_write": 10}
    counted |= {"cache_saved_nano:batch": 2_000_000_000, "cache_extra_nano:realtime": 500_000_000}
    store.connection.run("HSET", keys.ledger(base), *(part for pair in counted.items() for part in pair))
    store.connection.run("ZADD", keys.LEDGERS, 1, base)
    (lane,) = document(batchline)["lanes"]
    assert (lane["cache_read_tokens"], lane["cache_hit_percent"]) == (30, 30.0)
    assert (float(lane["cache_saved_usd"]), float(lane["cache_extra_usd"])) == (2.0, 0.5)
    assert "30.0 %" in batchline("status").out


def test_budgets_are_told_by_pool_with_the_limit_that_holds(batchline: Command, store: Store) -> None:
    model, until = CHAT.split(":", 2)[2], time.time_ns() // 1_000_000 + 3_600_000
    store.connection.run("HSET", keys.account_open("openai"), "b1", f"3:400:1:{model}|{CHAT}")
    store.connection.run("HSET", keys.account_believed("openai"), f"told|{model}", f"500:0:{until}")
    budgets = {(each["account"], each["model"], each["unit"]): each for each in document(batchline)["budgets"]}
    assert budgets["openai", model, "tokens"] == {
        "account": "openai",
        "model": model,
        "unit": "tokens",
        "used": 400,
        "limit": 500,
        "believed_until_ms": until,
    }
    assert budgets["openai", "all", "batches"]["used"] == 1
    assert budgets["anthropic", "all", "requests"]["limit"] == 200_000
    assert ("openai", "text-embedding-3-small", "tokens") not in budgets
    shown = [line.split() for line in batchline("status").out.splitlines() if line.startswith("openai ")]
    assert ["openai", model, "tokens", "400", "500"] in [line[:5] for line in shown]
    assert not [line for line in shown if line[1:3] == [model, "requests"]]


def test_an_unused_budget_is_in_the_document_and_not_on_the_screen(batchline: Command) -> None:
    budgets = document(batchline)["budgets"]
    assert {(each["account"], each["unit"]) for each in budgets if each["model"] == "all"} >= {("openai", "creates")}
    assert "creates" not in batchline("status").out


def test_storage_in_use_is_told_with_its_limit(batchline: Command, store: Store) -> None:
    store.accounts.note_storage("gemini", StorageFacts(5, 2_500_000_000, 3, 1_500_000_000, 1_000))
    assert document(batchline)["storage"] == [
        {
            "account": "gemini",
            "files": 5,
            "bytes": 2_500_000_000,
            "ours": 3,
            "our_bytes": 1_500_000_000,
            "at_ms": 1_000,
            "limit_bytes": 20_000_000_000,
        }
    ]
    told = "files at gemini: 5 with 2.500 GB of 20 GB, 3 of them ours with 1.500 GB"
    assert told in " ".join(batchline("status").out.split())


def test_storage_that_was_never_added_up_is_not_told(batchline: Command) -> None:
    assert document(batchline)["storage"] == []
    assert "files at" not in batchline("status").out
