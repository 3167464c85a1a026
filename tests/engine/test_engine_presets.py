"""Services of OpenAI's shape through the whole engine: each preset's account, with the real SDK, at an emulator of its dialect."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.engine.front import ACCOUNT, MODELS, Json, lane_of, serve

from batchline.emulator.transport_faults import Fault
from batchline.engine import cancelling
from batchline.requests import usd
from batchline.settings.prices import PriceOverride

DAY_S = 86_400
PRESETS = ["azure", "groq", "vllm"]


def check(bench: Any, asked: int, *, created: int = 1) -> None:
    """All were answered, each with the first attempt, and nothing was executed or paid twice."""
    assert bench.statuses() == {"succeeded": asked}
    assert {reply.attempts for reply in bench.all_replies().values()} == {1}
    check_once(bench, asked)
    assert bench.created() == created


def check_once(bench: Any, asked: int) -> None:
    assert (bench.bill()["double_executions"], bench.bill()["charges"]) == (0, {"openai": asked})


def money(bench: Any, preset: str) -> tuple[int, int]:
    """Return what the ledger has, after its tokens were found to be the bill's."""
    (row,) = bench.bill()["models"]
    ledger = bench.ledger(lane_of(preset))
    tokens = (ledger["tokens:input_uncached"] + ledger.get("tokens:cache_read", 0), ledger["tokens:output"])
    assert tokens == (row["input_tokens"], row["output_tokens"])
    return ledger.get("list_nano:batch", 0), ledger.get("paid_nano:batch", 0)


def at(nano_in: int, nano_out: int, bench: Any) -> int:
    (row,) = bench.bill()["models"]
    return int(row["input_tokens"] * nano_in + row["output_tokens"] * nano_out)


# --- there and back, and the money ---


@pytest.mark.parametrize("preset", PRESETS)
def test_every_reply_answers_its_own_question(bench: Any, preset: str) -> None:
    serve(bench, preset)
    lane = lane_of(preset)
    texts = {bench.ask(text, lane): text for text in ("one", "two", "drei \u2028 \x85 ü")}
    bench.drain()
    assert all(bench.answers_itself(bench.reply(name, lane), text) for name, text in texts.items())
    check(bench, 3)


def test_azure_costs_what_openai_does(bench: Any) -> None:
    serve(bench, "azure")
    bench.ask_many(3, lane_of("azure"))
    bench.drain()
    (row,) = bench.bill()["models"]
    assert money(bench, "azure") == (row["list_nano_usd"], row["paid_nano_usd"])
    assert row["paid_nano_usd"] == at(125, 1_000, bench)


def test_groq_costs_half_of_its_list_price(bench: Any) -> None:
    serve(bench, "groq")
    bench.ask_many(3, lane_of("groq"))
    bench.drain()
    assert money(bench, "groq") == (at(150, 600, bench), at(75, 300, bench))


def test_what_groq_sells_without_a_known_batch_rate_has_a_price_once_the_account_says_its_discount(bench: Any) -> None:
    lane = f"{ACCOUNT}:chat:llama-3.3-70b-versatile"
    serve(bench, "groq")
    bench.ask("one", lane)
    bench.drain()
    assert (bench.ledger(lane)["unpriced"], bench.ledger(lane).get("list_nano:batch", 0)) == (1, 0)
    serve(bench, "groq", fields={"discount": "0.5"})
    request_id = bench.ask("two", lane)
    bench.drain()
    usage = bench.reply(request_id, lane).usage
    list_nano = usage.input_tokens * 590 + usage.output_tokens * 790
    assert (bench.ledger(lane)["unpriced"], bench.ledger(lane)["list_nano:batch"]) == (1, list_nano)
    assert bench.ledger(lane)["paid_nano:batch"] == list_nano // 2


@pytest.mark.parametrize("model", ["my-llama", "gpt-5-mini"])
def test_what_a_server_of_ones_own_answers_is_unpriced(bench: Any, model: str) -> None:
    serve(bench, "vllm")
    lane = f"{ACCOUNT}:chat:{model}"
    bench.ask_many(3, lane)
    bench.drain()
    assert {reply.cost for reply in bench.all_replies().values()} == {None}
    assert (bench.ledger(lane)["unpriced"], bench.ledger(lane).get("paid_nano:batch", 0)) == (3, 0)


def test_a_server_of_ones_own_costs_what_the_settings_say(bench: Any) -> None:
    serve(bench, "vllm")
    own = PriceOverride(
        match="my-*", account=ACCOUNT, input=Decimal("0.1"), output=Decimal("0.3"), batch_share=Decimal(1)
    )
    bench.settings = bench.settings.model_copy(update={"prices": (own,)})
    request_id, *_ = bench.ask_many(3, lane_of("vllm"))
    bench.drain()
    full = at(100, 300, bench)
    assert money(bench, "vllm") == (full, full)
    assert bench.ledger(lane_of("vllm")).get("unpriced", 0) == 0
    assert bench.reply(request_id, lane_of("vllm")).cost.paid_usd == usd(full // 3)


# --- what is asked of a service ---


@pytest.mark.parametrize(
    ("preset", "asked", "sent"), [("azure", None, "24h"), ("groq", "7d", "7d"), ("vllm", "2d", "48h")]
)
def test_the_accounts_window_is_asked_for(bench: Any, preset: str, asked: str | None, sent: str) -> None:
    front = serve(bench, preset, fields={"completion_window": asked})
    bench.ask_many(3, lane_of(preset))
    bench.drain()
    assert [each["completion_window"] for each in front.creates()] == [sent]
    check(bench, 3)


@pytest.mark.parametrize(
    ("preset", "asked_s"),
    [("azure", 14 * DAY_S), ("azure", 30 * DAY_S), ("groq", None), ("vllm", 3600), ("vllm", 30 * DAY_S)],
)
def test_files_are_told_to_expire_where_that_is_asked_for_and_refused_nowhere(
    bench: Any, preset: str, asked_s: int | None
) -> None:
    front = serve(bench, preset, fields={"files_expire": asked_s})
    bench.ask_many(3, lane_of(preset))
    bench.drain()
    check(bench, 3)
    wish = {"anchor": "created_at", "seconds": asked_s} if asked_s else None
    assert [each.get("output_expires_after") for each in front.creates()] == [wish]
    (upload,) = front.bodies("POST", "/files")
    assert (f'name="expires_after[seconds]"\r\n\r\n{asked_s}\r\n'.encode() in upload) == (wish is not None)


@pytest.mark.parametrize(("preset", "endpoint"), [("groq", "embeddings"), ("azure", "moderations")])
def test_an_endpoint_that_a_service_does_not_offer_is_not_configured(bench: Any, preset: str, endpoint: str) -> None:
    front = serve(bench, preset)
    lane = f"{ACCOUNT}:{endpoint}:m"
    request_id = bench.ask("one", lane)
    bench.drain()
    reply = bench.reply(request_id, lane)
    assert (reply.status, reply.error.code, reply.attempts) == ("failed", "not_configured", 0)
    assert front.asked == []


def test_a_service_at_another_address_needs_no_preset(bench: Any) -> None:
    front = serve(bench, None)
    bench.ask_many(3, lane_of(None))
    bench.drain()
    check(bench, 3)
    assert [each["completion_window"] for each in front.creates()] == ["24h"]
    assert bench.ledger(lane_of(None))["unpriced"] == 3


# --- the list, and a create whose reply was lost ---


def by_id(batches: list[Json], query: Json) -> Json:
    """Azure, here: one batch a page, the oldest first, the next page by the id of the last."""
    ids = [batch["id"] for batch in reversed(batches)]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    return {"data": batches[::-1][start : start + 1], "has_more": start + 1 < len(batches)}


def by_cursor(batches: list[Json], query: Json) -> Json:
    """Groq: a page names the next one."""
    start = int(query.get("cursor", "c0")[1:])
    paging = {"next_cursor": f"c{start + 1}"} if start + 1 < len(batches) else {}
    return {"data": batches[::-1][start : start + 1], "paging": paging}


def by_number(batches: list[Json], query: Json) -> Json:
    """The gateway of llm-d: the next page by the number of batches before it."""
    start = int(query.get("after", 0))
    return {"data": batches[::-1][start : start + 1], "has_more": start + 1 < len(batches)}


LISTS = {"azure": by_id, "groq": by_cursor, "vllm": by_number}
SECOND_PAGE = {"azure": "after", "groq": "cursor", "vllm": "after"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tagged", [True, False])
def test_a_batch_whose_create_lost_its_reply_is_found_by_its_tag_or_its_file(
    bench: Any, preset: str, *, tagged: bool
) -> None:
    front = serve(bench, preset, latency_s=7200)
    front.listed = LISTS[preset]
    if not tagged:
        front.batch = lambda batch: batch | {"metadata": None}
    lane = lane_of(preset)
    bench.ask_many(2, lane)
    bench.tick()
    bench.advance(400)  # the first batch is older than any clock is wrong, and stands first in the list
    bench.ask_many(3, lane)
    bench.emulator.transport_faults.arm(Fault(route="openai.batches.create", action="drop_after"))
    bench.tick()
    assert sorted(batch.state for batch in bench.batches()) == ["reconciling", "submitted"]
    bench.advance(5)
    with capture_logs() as logs:
        bench.tick()
    assert [event["how"] for event in logs if event["event"] == "batch.submitted"] == ["adopted"]
    assert SECOND_PAGE[preset] in front.lists()[-1]
    bench.drain(step_s=600)
    check(bench, 5, created=2)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_that_was_never_made_is_made_once(bench: Any, preset: str) -> None:
    front = serve(bench, preset)
    front.batch = lambda batch: batch | {"metadata": None}
    bench.ask_many(3, lane_of(preset))
    bench.emulator.transport_faults.arm(Fault(route="openai.batches.create", action="drop_before"))
    bench.tick()
    assert [batch.state for batch in bench.batches()] == ["reconciling"]
    bench.lapse()
    bench.drain()
    check(bench, 3)


# --- azure ---


def test_azures_empty_error_file_and_null_counts_settle_a_batch(bench: Any) -> None:
    front = serve(bench, "azure")
    nulls = {"total": None, "completed": None, "failed": None}
    ends: list[Json] = []

    def told(batch: Json) -> Json:
        ends.append(batch)
        return batch | {"request_counts": nulls}

    front.batch = told
    bench.ask_many(3, lane_of("azure"))
    bench.drain()
    assert ends[-1]["status"] == "completed"
    read = [path for how, path, _, _ in front.asked if how == "GET" and path.endswith("/content")]
    assert read == [f"/openai/v1/files/{ends[-1][f'{kind}_file_id']}/content" for kind in ("output", "error")]
    check(bench, 3)


def test_azures_batch_runs_on_behind_its_window(bench: Any) -> None:
    serve(bench, "azure", latency_s=40 * 3600)
    bench.ask_many(3, lane_of("azure"))
    bench.tick()
    bench.advance(30 * 3600)
    bench.tick()
    (batch,) = bench.open_batches()
    assert batch.state == "submitted"
    bench.drain(step_s=3600)
    check(bench, 3)


def test_azures_batch_that_is_not_found_is_not_sent_again_while_it_may_run(bench: Any) -> None:
    serve(bench, "azure", latency_s=40 * 3600)
    bench.ask("a neighbour", f"{ACCOUNT}:chat:gpt-5-nano")
    bench.tick()
    bench.advance(600)
    bench.ask_many(3, lane_of("azure"))
    bench.tick()
    lost = bench.batches()[-1].provider_id
    whole = bench.wire.app

    async def without(scope: Any, receive: Any, send: Any) -> None:
        """Answer with a 404, as for a batch of another project."""
        if lost in scope["path"]:
            scope = scope | {"path": scope["path"].replace(lost, "batch_none")}
        await whole(scope, receive, send)

    whole.listed = lambda batches, _: {"data": [each for each in batches if each["id"] != lost], "has_more": False}
    bench.wire.app = without
    for _ in range(30):
        bench.advance(3600)
        bench.tick()
    assert bench.created() == 2
    bench.wire.app, whole.listed = whole, None
    bench.drain(step_s=3600)
    check(bench, 4, created=2)


# --- groq ---


def test_groqs_bare_list_of_errors_names_the_guilty_row(bench: Any) -> None:
    front = serve(bench, "groq")
    front.batch = lambda batch: batch | {"errors": (batch["errors"] or {}).get("data"), "metadata": None}
    lane = lane_of("groq")
    good = bench.ask("good", lane)
    bench.add(
        lane, id="bad", body=json.dumps({"model": MODELS["groq"], "messages": [{"role": "user", "content": "x"}]})
    )
    bench.sent.append("bad")
    spoil_second_row(bench)
    bench.drain()
    assert (bench.reply(good, lane).status, bench.reply(good, lane).attempts) == ("succeeded", 1)
    assert bench.reply("bad", lane).status == "failed"
    check_once(bench, 1)
    assert len(front.creates()) == 2


def spoil_second_row(bench: Any) -> None:
    """Let the row that asks "x" be one that fails validation."""
    provider = bench.services[ACCOUNT]
    render = provider.render

    def spoilt(custom_id: str, endpoint: str, body: bytes) -> bytes:
        row: bytes = render(custom_id, endpoint, body)
        return row.replace(b"/v1/chat/completions", b"/v1/other") if b'"x"' in body else row

    provider.render = spoilt


# --- vllm ---


def test_an_unknown_status_counts_as_running_and_is_logged_once(bench: Any) -> None:
    front = serve(bench, "vllm", latency_s=7200)
    seen: list[str] = []

    def told(batch: Json) -> Json:
        seen.append(batch["status"])
        return batch

    front.batch = told
    bench.ask_many(3, lane_of("vllm"))
    with capture_logs() as logs:
        bench.drain(step_s=300)
    unknown = [event for event in logs if event["event"] == "provider.unknown_status"]
    assert [(event["status"], event["account"]) for event in unknown] == [("queued", ACCOUNT)]
    assert seen.count("queued") > 2
    check(bench, 3)


@pytest.mark.parametrize("broken", [0, 2])
def test_a_failed_batch_that_keeps_its_results_is_settled_and_the_rest_goes_again(bench: Any, broken: int) -> None:
    serve(bench, "vllm")
    lane = lane_of("vllm")
    asked = [bench.ask(f"question {n}{' [[batch-fail-once]]' if n == broken else ''}", lane) for n in range(5)]
    bench.drain(step_s=60)
    assert bench.statuses() == {"succeeded": 5}
    check_once(bench, 5)
    if broken:
        assert [bench.reply(name, lane).attempts for name in asked] == [1, 1, 2, 2, 2]
        assert bench.created() == 2


def test_what_a_cancelled_batch_did_not_run_is_cancelled_and_not_sent_again(bench: Any) -> None:
    front = serve(bench, "vllm", latency_s=1000)
    lane = lane_of("vllm")
    asked = bench.ask_many(4, lane)
    bench.tick()
    bench.advance(600)
    (batch,) = bench.open_batches()
    cancelling.cancel_batch(bench.first.context, batch.id)
    bench.drain(step_s=60)
    statuses = [bench.reply(name, lane).status for name in asked]
    done = statuses.count("succeeded")
    assert 0 < done < 4
    assert statuses == ["succeeded"] * done + ["cancelled"] * (4 - done)
    check_once(bench, done)
    assert len(front.creates()) == 1


def test_what_another_one_cancelled_goes_again(bench: Any) -> None:
    serve(bench, "vllm", latency_s=1000)
    asked = bench.ask_many(4, lane_of("vllm"))
    bench.tick()
    bench.advance(600)
    (batch,) = bench.open_batches()
    bench.services[ACCOUNT].cancel(batch.provider_id)
    bench.drain(step_s=120)
    assert bench.statuses() == {"succeeded": len(asked)}
    check_once(bench, 4)
    assert bench.created() == 2
