"""Gemini's jobs: expiry, cancelling, quotas, lists, faults, foreign ones, realtime calls, and the bill."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import errors
from tests.emulator.gemini_calls import EMBEDS, FLASH, inline, raw, row, run, sha, submit, upload

from batchline.emulator.prices import cost_nano


def answers(sim: Any, name: str) -> Any:
    dest = sim.gemini.batches.get(name=name).dest
    return None if dest is None else dest.file_name or dest.inlined_responses


@pytest.mark.parametrize("kind", ["file", "inline"])
def test_one_request_that_expires_takes_the_whole_job_with_it(sim: Any, kind: str) -> None:
    texts = ["a", "[[expire]]", "b"]
    name = submit(sim, [row(text) for text in texts]) if kind == "file" else inline(sim, texts).name
    sim.pass_time(10)
    expired = raw(sim, name)
    assert (expired["metadata"]["state"], expired["done"]) == ("BATCH_STATE_EXPIRED", True)
    assert "response" not in expired
    assert answers(sim, name) is None
    assert expired["metadata"]["batchStats"] == {"requestCount": "3"}
    assert sim.bill()["models"] == []


def test_a_request_that_expires_once_is_answered_in_the_next_job(sim: Any) -> None:
    name = submit(sim, [row("[[expire-once]]", "k")])
    sim.pass_time(10)
    assert raw(sim, name)["metadata"]["state"] == "BATCH_STATE_EXPIRED"
    assert "response" in run(sim, [row("[[expire-once]]", "k")])["k"]


def test_a_job_that_takes_longer_than_48_hours_expires_then(start: Any) -> None:
    sim = start(latency_s=500_000)
    name = submit(sim, [row("a")])
    sim.pass_time(48 * 3_600 - 1)
    assert raw(sim, name)["metadata"]["state"] == "BATCH_STATE_RUNNING"
    sim.pass_time(1)
    assert raw(sim, name)["metadata"]["state"] == "BATCH_STATE_EXPIRED"


def drawn(start: Any, seed: int) -> list[str]:
    sim = start(gemini_expire_rate=0.3, seed=seed)
    names = [submit(sim, [row(str(n))]) for n in range(30)]
    sim.pass_time(10)
    return [raw(sim, name)["metadata"]["state"] for name in names]


def test_the_share_of_jobs_that_expire_is_drawn_from_the_seed(start: Any) -> None:
    first = drawn(start, 1)
    assert 3 <= first.count("BATCH_STATE_EXPIRED") <= 15
    assert set(first) == {"BATCH_STATE_EXPIRED", "BATCH_STATE_SUCCEEDED"}
    assert drawn(start, 1) == first
    assert drawn(start, 2) != first


def test_the_expire_rate_of_requests_does_not_touch_gemini(start: Any) -> None:
    assert "response" in run(start(expire_rate=1.0), [row("a")])["k-a"]


def test_a_cancelled_job_has_error_code_1_no_results_and_no_charge(start: Any) -> None:
    sim = start(latency_s=100, cancel_delay_s=5)
    name = submit(sim, [row(str(n)) for n in range(10)])
    sim.pass_time(50)
    assert sim.gemini.batches.cancel(name=name) is None
    assert raw(sim, name)["metadata"]["state"] == "BATCH_STATE_RUNNING"
    sim.pass_time(5)
    cancelled = raw(sim, name)
    assert (cancelled["metadata"]["state"], cancelled["done"]) == ("BATCH_STATE_CANCELLED", True)
    assert (cancelled["error"]["code"], "response" in cancelled) == (1, False)
    assert sim.bill()["models"] == []
    assert sim.bill()["batches_cancelled"] == {"gemini": 1}
    with pytest.raises(errors.ClientError, match="FAILED_PRECONDITION"):
        sim.gemini.batches.cancel(name=name)


def test_a_cancelled_job_can_have_what_was_done(start: Any) -> None:
    sim = start(latency_s=100, gemini_cancelled_results=True)
    name = submit(sim, [row(str(n)) for n in range(10)])
    sim.pass_time(50)
    sim.gemini.batches.cancel(name=name)
    sim.pass_time(5)
    cancelled = raw(sim, name)
    assert (cancelled["error"]["code"], "response" in cancelled) == (1, False)
    done = sim.gemini.files.download(file=cancelled["metadata"]["output"]["responsesFile"]).splitlines()
    assert len(done) == sim.bill()["charges"]["gemini"] == 5


def test_a_deleted_job_that_runs_is_gone_and_paid_for(sim: Any) -> None:
    name = submit(sim, [row("a")])
    sim.gemini.batches.delete(name=name)
    with pytest.raises(errors.ClientError, match="404"):
        sim.gemini.batches.get(name=name)
    assert list(sim.gemini.batches.list()) == []
    sim.pass_time(10)
    assert sim.bill()["charges"] == {"gemini": 1}


def test_jobs_are_listed_newest_first_in_pages_without_inline_answers(sim: Any) -> None:
    names = []
    for n in range(12):
        names.append(inline(sim, [str(n)], config={"display_name": f"d{n}"}).name)
        sim.clock.now += 1
    sim.pass_time(10)
    listed = list(sim.gemini.batches.list(config={"page_size": 5}))
    assert [(job.name, job.display_name) for job in listed] == [(names[n], f"d{n}") for n in range(11, -1, -1)]
    assert all(job.dest is None for job in listed)
    assert list(sim.gemini.batches.list()) == listed
    assert sim.google("GET", "/v1/batches?pageToken=nobody").status_code == 400


def test_a_new_job_and_a_new_file_are_listed_only_later(start: Any) -> None:
    sim = start(listing_lag_s=5)
    name = submit(sim, [row("a")])
    assert sim.gemini.batches.get(name=name).name == name
    assert list(sim.gemini.batches.list()) == list(sim.gemini.files.list()) == []
    sim.clock.now += 5
    assert [job.name for job in sim.gemini.batches.list()] == [name]
    assert len(list(sim.gemini.files.list())) == 1


def test_enqueued_tokens_over_the_limit_are_refused_at_create_until_a_job_ends(start: Any) -> None:
    sim = start(enqueued_token_limits={FLASH: 25, "gemini-3.8-flash": 1_000})
    submit(sim, [row("a" * 40)])
    submit(sim, [row("b" * 60)])
    with pytest.raises(errors.ClientError) as refused:
        submit(sim, [row("c")])
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert str(refused.value.message).startswith("You exceeded your current quota, please check your plan and billing")
    assert refused.value.details["error"]["details"][0]["@type"] == "type.googleapis.com/google.rpc.Help"
    submit(sim, [row("d" * 4_000)], "gemini-3.8-flash")
    sim.pass_time(10)
    submit(sim, [row("c")])
    quota = sim.bill()["quotas"]["gemini"][FLASH]
    assert quota == {"unit": "tokens", "limit": 25, "peak": 25, "refused": 1}


def test_so_many_jobs_run_at_once_and_no_more(start: Any) -> None:
    sim = start(gemini_concurrent_batches=2)
    names = [submit(sim, [row(str(n))]) for n in range(2)]
    with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
        submit(sim, [row("c")])
    sim.gemini.batches.cancel(name=names[0])
    sim.pass_time(1)
    submit(sim, [row("c")])
    assert sim.bill()["batches_created"] == {"gemini": 3}


def test_the_bill_prices_batches_with_thoughts_as_output(sim: Any) -> None:
    run(sim, [row("a" * 4_000)])
    (bill,) = sim.bill()["models"]
    output = 18 + 16 + int(sha("a" * 4_000)[:2], 16)
    assert (bill["provider"], bill["route"], bill["input_tokens"], bill["output_tokens"]) == (
        "gemini",
        "batch",
        1_000,
        output,
    )
    assert bill["paid_nano_usd"] == 1_000 * 150 + output * 1_250
    assert bill["list_nano_usd"] == 1_000 * 300 + output * 2_500


@pytest.mark.parametrize(
    ("model", "tokens", "nano"),
    [
        # input, cached, output; (list, batch) by hand from USD per million tokens
        ("gemini-2.5-flash", (1_000, 400, 10), (600 * 300 + 400 * 30 + 10 * 2_500, 600 * 150 + 400 * 30 + 10 * 1_250)),
        ("gemini-3.8-flash", (1_000, 400, 10), (600 * 750 + 400 * 75 + 10 * 3_750, 225_000 + 15_000 + 18_750)),
        ("gemini-embedding-2", (1_000, 0, 0), (200_000, 100_000)),
        ("gemini-2.5-pro", (200_000, 0, 1), (200_000 * 1_250 + 10_000, 200_000 * 625 + 5_000)),
        ("gemini-2.5-pro", (200_001, 0, 1), None),
    ],
)
def test_prices_are_the_published_ones(model: str, tokens: Any, nano: Any) -> None:
    assert cost_nano(model, *tokens) == nano


def test_realtime_calls_answer_at_once_at_list_price(sim: Any) -> None:
    answer = sim.gemini.models.generate_content(model=FLASH, contents="a", config={"system_instruction": "s"})
    assert answer.text == f"sha256:{sha('a')}"
    assert answer.usage_metadata.thoughts_token_count == 16 + int(sha("a")[:2], 16)
    embedded = sim.gemini.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert [embedding.values[0] for embedding in embedded.embeddings] == [
        (bytes.fromhex(sha(text))[0] - 128) / 128 for text in "ab"
    ]
    one = sim.google("POST", f"/v1/models/{EMBEDS}:embedContent", json={"content": {"parts": [{"text": "a" * 8}]}})
    assert one.json()["usageMetadata"]["promptTokenCount"] == 2
    assert sim.gemini.models.count_tokens(model=FLASH, contents="a" * 40).total_tokens == 10
    rows = {bill["model"]: bill for bill in sim.bill()["models"]}
    assert {name: bill["route"] for name, bill in rows.items()} == dict.fromkeys(
        (FLASH, EMBEDS, "gemini-embedding-001"), "realtime"
    )
    assert rows[FLASH]["paid_nano_usd"] == rows[FLASH]["list_nano_usd"] > 0


@pytest.mark.parametrize(("text", "code"), [("[[reject]]", 400), ("[[fail]]", 500)])
def test_realtime_calls_fail_when_marked(sim: Any, text: str, code: int) -> None:
    with pytest.raises(errors.APIError) as failed:
        sim.gemini.models.generate_content(model=FLASH, contents=text)
    assert failed.value.code == code


def test_realtime_calls_with_unknown_fields_are_refused(sim: Any) -> None:
    body = {"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"thinking": 1}}
    answer = sim.google("POST", f"/v1beta/models/{FLASH}:generateContent", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["fieldViolations"][0]["field"] == "generation_config"


def arm(sim: Any, route: str, action: str, **more: Any) -> None:
    answer = sim.call("POST", "/_emulator/faults", json={"route": route, "action": action, **more})
    assert answer.status_code == 200, answer.text


def test_a_dropped_create_leaves_a_job_that_the_list_shows(sim: Any) -> None:
    name = upload(sim, [row("a")])
    arm(sim, "gemini.batches.create", "drop_after")
    with pytest.raises(Exception, match="disconnected"):
        sim.gemini.batches.create(model=FLASH, src=name, config={"display_name": "orphan"})
    assert [job.display_name for job in sim.gemini.batches.list()] == ["orphan"]


@pytest.mark.parametrize(
    ("route", "call"),
    [
        ("gemini.files.create", lambda sim: upload(sim, [])),
        ("gemini.files.list", lambda sim: sim.gemini.files.list()),
        ("gemini.files.get", lambda sim: sim.gemini.files.get(name="files/x")),
        ("gemini.files.delete", lambda sim: sim.gemini.files.delete(name="files/x")),
        ("gemini.files.download", lambda sim: sim.gemini.files.download(file="files/x")),
        ("gemini.batches.create", lambda sim: inline(sim, ["a"])),
        ("gemini.batches.get", lambda sim: sim.gemini.batches.get(name="batches/x")),
        ("gemini.batches.list", lambda sim: sim.gemini.batches.list()),
        ("gemini.batches.cancel", lambda sim: sim.gemini.batches.cancel(name="batches/x")),
        ("gemini.batches.delete", lambda sim: sim.gemini.batches.delete(name="batches/x")),
        ("gemini.models.count_tokens", lambda sim: sim.gemini.models.count_tokens(model=FLASH, contents="a")),
    ],
)
def test_every_route_can_be_limited_by_its_name(sim: Any, route: str, call: Any) -> None:
    arm(sim, route, "rate_limit", retry_after=7)
    with pytest.raises(errors.ClientError) as refused:
        call(sim)
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert refused.value.response.headers["retry-after"] == "7"
    assert refused.value.details["error"]["details"][0]["retryDelay"] == "7s"


def test_an_error_of_the_server_is_one_of_googles(sim: Any) -> None:
    arm(sim, "gemini.batches.get", "error_before", status=503)
    with pytest.raises(errors.ServerError) as failed:
        sim.gemini.batches.get(name="batches/x")
    assert failed.value.status == "UNAVAILABLE"


def test_a_result_download_breaks_off_and_comes_whole_the_next_time(sim: Any, tmp_path: Any) -> None:
    name = submit(sim, [row(str(n)) for n in range(20)])
    sim.pass_time(10)
    result = answers(sim, name)
    arm(sim, "gemini.files.download", "cut_stream", after_bytes=100)
    with pytest.raises(Exception, match="peer closed connection"):
        sim.gemini.files.download(file=result, destination=tmp_path / "out")
    sim.gemini.files.download(file=result, destination=tmp_path / "out")
    assert len((tmp_path / "out").read_bytes().splitlines()) == 20


def add(sim: Any, **more: Any) -> list[str]:
    answer = sim.call("POST", "/_emulator/foreign", json={"provider": "gemini", **more})
    assert answer.status_code == 200, answer.text
    ids: list[str] = answer.json()["ids"]
    sim.pass_time(0)
    return ids


def test_foreign_jobs_are_listed_end_and_cost_nothing(sim: Any) -> None:
    (job_id,) = add(sim, total=3, display_name="theirs", created_offset_s=-60)
    (job,) = sim.gemini.batches.list()
    assert (job.name, job.display_name) == (f"batches/{job_id}", "theirs")
    sim.pass_time(10)
    assert raw(sim, job.name)["metadata"]["batchStats"] == {"requestCount": "3", "successfulRequestCount": "3"}
    assert sim.gemini.files.download(file=answers(sim, job.name)).count(b"foreign-") == 3
    bill = sim.bill()
    assert (bill["models"], bill["batches_created"], bill["violations"]) == ([], {}, [])


def test_touching_foreign_jobs_and_files_is_a_violation(sim: Any) -> None:
    (job_id,) = add(sim, total=1)
    (file_name,) = add(sim, kind="file")
    sim.gemini.batches.cancel(name=f"batches/{job_id}")
    sim.gemini.batches.delete(name=f"batches/{job_id}")
    sim.gemini.files.delete(name=file_name)
    assert [(touch["provider"], touch["action"], touch["id"]) for touch in sim.bill()["violations"]] == [
        ("gemini", "cancel", job_id),
        ("gemini", "delete", job_id),
        ("gemini", "delete_file", file_name.removeprefix("files/")),
    ]
