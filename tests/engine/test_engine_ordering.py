"""Requests with the same beginning stand together in their batch, marked for the cache where that is asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.engine.front import lane_of, serve

from batchline import custom_ids
from batchline.engine import leases
from batchline.engine.context import target
from batchline.engine.rendering import Rendering
from batchline.errors import LeaseLost
from batchline.exporter import StoreCollector
from batchline.providers.anthropic import RequestsBody
from batchline.requests import NANO

CHAT = "openai:chat:gpt-5-mini"
RESPONSES = "openai:responses:gpt-5-mini"
EMBED = "openai:embeddings:text-embedding-3-small"
HAIKU = "anthropic:messages:claude-haiku-4-5"
LONG = "You answer the questions of customers about their orders. " * 90
"""1,305 tokens, as the emulator counts them: enough to be cached."""


def body(lane: str, system: str | None, text: str, **more: Any) -> str:
    """Return a request with this system prompt."""
    endpoint, model = lane.split(":")[1:]
    user = {"role": "user", "content": text}
    shapes: dict[str, dict[str, Any]] = {
        "chat": {"messages": [{"role": "system", "content": system}, user] if system else [user]},
        "responses": {"input": text} | ({"instructions": system} if system else {}),
        "messages": {"max_tokens": 64, "messages": [user]} | ({"system": system} if system else {}),
    }
    return json.dumps({"model": model} | shapes[endpoint] | more)


def ask(bench: Any, lane: str, *systems: str | None, **more: Any) -> dict[str, str]:
    """Enqueue a request for each of these system prompts, in this order; returns their texts by id."""
    asked = {}
    for system in systems:
        text = f"question {len(bench.sent)}"
        request_id = f"r{len(bench.sent)}"
        bench.add(lane, id=request_id, body=body(lane, system, text, **more))
        bench.sent.append(request_id)
        asked[request_id] = text
    return asked


@pytest.fixture
def files(bench: Any) -> Iterator[list[list[dict[str, Any]]]]:
    """What goes out as the rows of each batch, as it goes out."""
    seen: list[list[dict[str, Any]]] = []

    def keep(real: Any, rows: Any, *args: Any, **named: Any) -> Any:
        rows.seek(0)
        seen.append([json.loads(line) for line in rows])
        rows.seek(0)
        return real(rows, *args, **named)

    bench.first.openai.replace("upload", keep)
    bench.first.anthropic.replace("create", keep)
    yield seen
    for rows in seen:
        assert len({row["custom_id"] for row in rows}) == len(rows)


def params(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = row.get("body") or row["params"]
    return found


def texts(rows: list[dict[str, Any]]) -> list[str]:
    """Return the questions of rows in order."""
    bodies = [params(row) for row in rows]
    return [b["input"] if "input" in b else b["messages"][-1]["content"] for b in bodies]


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(text.split()[-1]) for text in texts(rows)]


@pytest.mark.parametrize("lane", [CHAT, RESPONSES, HAIKU])
def test_rows_with_the_same_system_prompt_stand_together_and_each_gets_its_own_answer(
    bench: Any, files: Any, lane: str
) -> None:
    asked = ask(bench, lane, "a", "b", None, "a", "c", "b", "a", None)
    bench.drain()
    assert [numbers(rows) for rows in files] == [[0, 3, 6, 1, 5, 2, 4, 7]]
    for request_id, text in asked.items():
        assert bench.answers_itself(bench.reply(request_id, lane), text)


def test_what_stands_together_already_and_what_shares_nothing_goes_in_the_order_of_entries(
    bench: Any, files: Any
) -> None:
    ask(bench, CHAT, "a", "a", None, None, "b", "b")
    bench.drain()
    assert numbers(files[0]) == [0, 1, 2, 3, 4, 5]


def test_an_endpoint_without_prompts_is_left_in_the_order_of_entries(bench: Any, files: Any) -> None:
    for n in range(6):
        bench.ask("ab"[n % 2] * 5_000 + f" {n}", EMBED)
    bench.drain()
    assert numbers(files[0]) == [0, 1, 2, 3, 4, 5]


def test_what_does_not_fit_is_left_out_by_the_order_of_entries(bench: Any, files: Any) -> None:
    bench.set("account", max_batch_requests=4)
    ask(bench, HAIKU, *"ababab")
    bench.drain()
    assert sorted(sorted(numbers(rows)) for rows in files) == [[0, 1, 2, 3], [4, 5]]
    assert numbers(max(files, key=len)) == [0, 2, 1, 3]
    assert bench.statuses() == {"succeeded": 6}


def test_a_request_that_cannot_be_sent_leaves_the_others_in_their_order(bench: Any, files: Any) -> None:
    ask(bench, CHAT, "a", "b")
    bench.add(CHAT, id="bad", body="no json")
    bench.sent.append("bad")
    ask(bench, CHAT, "a", "b")
    bench.drain()
    assert numbers(files[0]) == [0, 3, 1, 4]
    assert bench.statuses() == {"succeeded": 4, "failed": 1}


def test_retries_that_ride_along_stand_with_those_of_their_system_prompt(bench: Any, files: Any) -> None:
    bench.add(CHAT, id="r0", body=body(CHAT, "b", "[[fail-once]] 0"))
    bench.sent.append("r0")
    bench.tick()
    bench.advance(10)
    bench.tick()
    bench.advance(40)
    ask(bench, CHAT, "a", "b", "a")
    bench.drain()
    assert numbers(files[-1]) == [0, 2, 1, 3]
    assert bench.statuses() == {"succeeded": 4}


def test_the_record_of_the_batch_has_the_bytes_that_were_sent(bench: Any, files: Any) -> None:
    bench.set("cache", anthropic_ttl="1h")
    ask(bench, HAIKU, *"abab")
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.row_bytes == sum(len(json.dumps(row, separators=(",", ":"))) + 1 for row in files[0])


def test_openai_caches_what_stands_together(bench: Any) -> None:
    bench.start(prompt_cache=True)
    ask(bench, CHAT, *["a" + LONG, "b" + LONG] * 3)
    bench.drain()
    read = [reply.usage.cache_read_tokens for reply in bench.all_replies().values()]
    assert sorted(map(bool, read)) == [False, False, True, True, True, True]
    assert bench.ledger()["tokens:cache_read"] == sum(read)
    assert bench.ledger()["cache_saved_nano:batch"] > 0


@pytest.mark.parametrize("lane", [CHAT, RESPONSES])
def test_openai_gets_a_key_for_those_that_share_where_it_is_asked_for(bench: Any, files: Any, lane: str) -> None:
    bench.set("cache", openai_key=True)
    ask(bench, lane, "a", "b", None, "a", None, "c", "b")
    bench.drain()
    found = {
        number: params(row).get("prompt_cache_key") for number, row in zip(numbers(files[0]), files[0], strict=True)
    }
    assert found[0] == found[3] != found[1] == found[6]
    assert {found[2], found[4], found[5]} == {None}
    assert {str(found[0])[:10], str(found[1])[:10]} == {"batchline-"}
    assert bench.statuses() == {"succeeded": 7}


@pytest.mark.parametrize(("preset", "marked"), [("azure", True), ("groq", False), ("vllm", False)])
def test_no_service_gets_a_key_that_does_not_document_it(bench: Any, preset: str, marked: bool) -> None:
    front = serve(bench, preset)
    bench.set("cache", openai_key=True)
    ask(bench, lane_of(preset), "a", "a", "a")
    bench.drain()
    (upload,) = front.bodies("POST", "/files")
    assert upload.count(b'"prompt_cache_key":"batchline-') == 3 * marked
    assert bench.statuses() == {"succeeded": 3}


def test_a_key_of_the_bodys_own_stays(bench: Any, files: Any) -> None:
    bench.set("cache", openai_key=True)
    ask(bench, CHAT, "a", "a", prompt_cache_key="mine")
    bench.drain()
    assert [params(row)["prompt_cache_key"] for row in files[0]] == ["mine", "mine"]


def test_nothing_is_marked_unless_it_is_asked_for(bench: Any, files: Any) -> None:
    for lane in (CHAT, HAIKU):
        ask(bench, lane, *"abab")
    bench.drain()
    assert "cache" not in json.dumps(files)
    assert bench.statuses() == {"succeeded": 8}


def test_a_shared_system_prompt_is_marked_and_one_of_its_own_is_not(bench: Any, files: Any) -> None:
    bench.set("cache", anthropic_ttl="1h")
    ask(bench, HAIKU, "a", "b", "a", None)
    bench.drain()
    control = {"type": "ephemeral", "ttl": "1h"}
    marked = [{"type": "text", "text": "a", "cache_control": control}]
    assert [params(row).get("system") for row in files[0]] == [marked, marked, "b", None]
    assert bench.statuses() == {"succeeded": 4}


def test_a_lane_may_be_cached_alone(bench: Any, files: Any) -> None:
    tenant = f"{HAIKU}|tenant=acme"
    pattern = type(bench.settings).model_validate(
        {"lanes": [{"match": "*|tenant=acme", "cache": {"anthropic_ttl": "5m"}}]}
    )
    bench.settings = bench.settings.model_copy(update={"lanes": pattern.lanes})
    for lane in (HAIKU, tenant):
        for text in ("one", "two"):
            bench.add(lane, id=lane + text, body=body(HAIKU, "a", text))
            bench.sent.append(lane + text)
    bench.drain()
    assert sorted("cache_control" in json.dumps(rows) for rows in files) == [False, True]


def money(bench: Any, lane: str) -> dict[str, int]:
    ledger = bench.ledger(lane)
    return {name: ledger.get(f"{name}:batch", 0) for name in ("paid_nano", "cache_saved_nano", "cache_extra_nano")}


def run_of(bench: Any, ttl: str | None) -> dict[str, int]:
    bench.set("cache", anthropic_ttl=ttl)
    ask(bench, HAIKU, *["a" + LONG, "b" + LONG] * 5)
    bench.drain()
    return money(bench, HAIKU)


def test_what_the_cache_saved_is_in_replies_ledger_metrics_and_bill(bench: Any) -> None:
    counted = run_of(bench, "1h")
    replies = bench.all_replies()
    used = [reply.usage for reply in replies.values()]
    assert sorted(bool(usage.cache_read_tokens) for usage in used) == [False] * 2 + [True] * 8
    assert sum(bool(usage.cache_write_tokens) for usage in used) == 2
    ledger = bench.ledger(HAIKU)
    for kind, tokens in (("cache_read", "cache_read_tokens"), ("cache_write", "cache_write_tokens")):
        assert ledger[f"tokens:{kind}"] == sum(getattr(usage, tokens) for usage in used)
    for name in ("cache_saved", "cache_extra"):
        told = sum(Decimal(getattr(reply.cost, f"{name}_usd")) for reply in replies.values())
        assert told * NANO == counted[f"{name}_nano"] > 0
    (row,) = bench.bill()["models"]
    assert counted["paid_nano"] == row["paid_nano_usd"]
    registry = CollectorRegistry()
    registry.register(StoreCollector(bench.store, bench.settings, clock=lambda: bench.now_ms))
    page = generate_latest(registry).decode()
    for name in ("cache_saved", "cache_extra"):
        (line,) = [
            line
            for line in page.splitlines()
            if line.startswith(f"batchline_{name}_usd_total{{") and 'account="anthropic"' in line and '"batch"' in line
        ]
        assert float(line.split()[-1]) == pytest.approx(counted[f"{name}_nano"] / 1e9)


def test_the_mark_pays_by_what_the_ledger_says_it_saves(bench: Any) -> None:
    marked = run_of(bench, "1h")
    bench.run("FLUSHALL")
    bench.sent.clear()
    bench.start()
    plain = run_of(bench, None)
    assert plain["cache_saved_nano"] == plain["cache_extra_nano"] == 0
    assert plain["paid_nano"] - marked["paid_nano"] == marked["cache_saved_nano"] - marked["cache_extra_nano"] > 0


def rendered(bench: Any, lane: str, *, rows: Any, keep_ids: bool = False, check: Any = None, limit: int = 0) -> Any:
    """Render the one batch that is cut, as a submitter does."""
    bench.first.deaf = True
    bench.tick()
    (batch,) = bench.open_batches()
    if limit:
        bench.set("account", max_batch_bytes=limit)
    context = bench.first.context
    batch = context.store.batches.claim(batch.id, holder=context.holder(), now_ms=bench.now_ms)
    where = target(context.settings, lane)
    provider = context.provider(where.lane.account)
    with leases.kept(context, batch) as kept:
        keeper: Any = kept
        if check:
            keeper.check = check
        rendering = Rendering(
            context,
            where,
            batch,
            provider=provider,
            nonce=custom_ids.new_nonce(bench.dice),
            rows=rows,
            keep_ids=keep_ids,
        )
        return rendering.run(keeper)


@pytest.mark.parametrize("keep_ids", [True, False])
def test_the_custom_ids_are_told_in_the_final_order_to_who_asks(bench: Any, keep_ids: bool) -> None:
    ask(bench, HAIKU, *"abcab")
    rows = io.BytesIO()
    done = rendered(bench, HAIKU, keep_ids=keep_ids, rows=rows)
    told = [json.loads(line)["custom_id"] for line in rows.getvalue().splitlines()]
    assert done.custom_ids == (told if keep_ids else [])
    assert [custom_ids.parse(each).entry_id.split("-")[1] for each in told] == ["1", "4", "2", "5", "3"]  # type: ignore[union-attr]
    assert (done.rows, done.bytes) == (5, len(rows.getvalue()))
    assert len(json.loads(b"".join(RequestsBody(rows, deadline=1, clock=lambda: 0)))["requests"]) == 5


def test_a_lease_that_is_lost_while_rows_are_put_in_order_ends_it(bench: Any) -> None:
    ask(bench, HAIKU, *"abab")
    answers: list[Exception | None] = [None, None, LeaseLost("lost")]

    def check() -> None:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer:
            raise answer

    rows = io.BytesIO()
    with pytest.raises(LeaseLost):
        rendered(bench, HAIKU, rows=rows, check=check)
    assert len(rows.getvalue().splitlines()) == 4


def test_marks_never_make_a_batch_larger_than_it_may_be(bench: Any) -> None:
    bench.set("cache", anthropic_ttl="1h")
    ask(bench, HAIKU, *["a"] * 30)
    rows = io.BytesIO()
    done = rendered(bench, HAIKU, rows=rows, limit=4_000)
    assert 3_600 < done.bytes == len(rows.getvalue()) <= 4_000
    assert all(b"cache_control" in row for row in rows.getvalue().splitlines())
    assert done.overflow.requests == done.rows < 30


def test_a_request_as_large_as_a_whole_batch_is_sent_alone_and_unmarked(bench: Any) -> None:
    bench.set("cache", anthropic_ttl="1h")
    ask(bench, HAIKU, "a")
    size = rendered(bench, HAIKU, rows=io.BytesIO()).bytes
    ask(bench, HAIKU, "a")
    bench.first.deaf = False
    bench.lapse()
    bench.set("account", max_batch_bytes=size)
    bench.drain()
    assert bench.statuses() == {"succeeded": 2}
    assert bench.created("anthropic") == 2


def test_rows_of_a_group_stay_in_the_order_of_their_entries(bench: Any, files: Any) -> None:
    ask(bench, CHAT, *[str(n % 7) for n in range(300)])
    bench.drain()
    found = numbers(files[0])
    runs = [list(run) for _, run in groupby(found, key=lambda n: n % 7)]
    assert runs == [list(range(each, 300, 7)) for each in range(7)]
