"""Services that speak OpenAI's batch API with an accent of their own."""

from __future__ import annotations

import io
from threading import Event
from typing import Any

import openai
import pytest

from batchline.emulator import Options
from batchline.emulator.openai_dialects import DIALECTS
from batchline.emulator.openai_lines import LineCheck
from batchline.emulator.openai_work import OpenAIWork

CHAT = "/v1/chat/completions"


@pytest.fixture
def play(start: Any) -> Any:
    """Starts an emulator that plays a service, its SDK pointed at the service's path."""

    def start_one(dialect: str, **more: Any) -> Any:
        sim = start(dialect=dialect, **more)
        if dialect in ("azure", "groq"):
            sim.openai = sim.openai.with_options(base_url=f"{sim.url}/openai/v1")
        return sim

    return start_one


def window(sim: Any, value: str, **more: Any) -> Any:
    return sim.openai.batches.create(
        completion_window=value, endpoint=more.get("endpoint", CHAT), input_file_id="file-1"
    )


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match="dialect is 'cohere'"):
        Options(dialect="cohere")  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", ["azure", "groq"])
def test_the_path_of_the_service_is_its_own(play: Any, chat: Any, dialect: str) -> None:
    sim = play(dialect)
    batch = sim.run([chat("a")])
    assert (batch.status, batch.request_counts.completed) == ("completed", 1)
    assert sim.call("GET", "/v1/batches").status_code == 404
    assert sim.bill()["calls"]["POST /openai/v1/batches"] == 1


def test_azure_always_has_an_error_file_and_it_is_empty(play: Any, chat: Any) -> None:
    sim = play("azure")
    batch = sim.run([chat("a")])
    assert sim.openai.files.content(batch.error_file_id).content == b""
    mixed = sim.run([chat("a"), chat("[[fail]]")])
    assert len(sim.lines(mixed.error_file_id)) == 1


def test_azure_never_expires_a_batch(play: Any, chat: Any) -> None:
    sim = play("azure", latency_s=3 * 86_400)
    batch_id = sim.submit([chat("[[expire]]")])
    sim.pass_time(2 * 86_400)
    assert sim.openai.batches.retrieve(batch_id).status == "in_progress"
    sim.pass_time(86_400)
    batch = sim.openai.batches.retrieve(batch_id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 1)


def test_azure_refuses_a_byte_order_mark(play: Any, chat: Any) -> None:
    sim = play("azure")
    raw = b"\xef\xbb\xbf" + b'{"custom_id":"a"}'
    file_id = sim.openai.files.create(file=("in.jsonl", io.BytesIO(raw)), purpose="batch").id
    created = sim.openai.batches.create(completion_window="24h", endpoint=CHAT, input_file_id=file_id)
    sim.pass_time(10)
    (problem,) = sim.openai.batches.retrieve(created.id).errors.data
    assert (problem.code, problem.line) == ("invalid_json_line", 1)


@pytest.mark.parametrize(("dialect", "codes"), [("azure", []), ("vllm", ["too_many_tasks"])])
def test_azure_takes_more_than_50_000_requests(play: Any, dialect: str, codes: list[str]) -> None:
    sim = play(dialect)
    line = b'{"custom_id":"%d","method":"POST","url":"/v1/moderations","body":{"input":"x"}}'
    raw = b"\n".join(line % number for number in range(50_001))
    file_id = sim.openai.files.create(file=("in.jsonl", io.BytesIO(raw)), purpose="batch").id
    created = sim.openai.batches.create(completion_window="24h", endpoint="/v1/moderations", input_file_id=file_id)
    checked = OpenAIWork(sim.emulator).check(sim.emulator.jobs.get("openai", created.id), Event())
    assert [problem["code"] for problem in checked.problems] == codes


def test_azure_takes_100_000_requests() -> None:
    most = DIALECTS["azure"].max_requests
    line = b'{"custom_id":"%d","method":"POST","url":"/v1/moderations","body":{"input":"x"}}'
    lines = [(number, line % number) for number in range(1, 100_002)]
    assert LineCheck("/v1/moderations", most).run(lines[:-1]).problems == []
    assert LineCheck("/v1/moderations", most).run(lines).problems[0]["code"] == "too_many_tasks"


@pytest.mark.parametrize(("seconds", "taken"), [(1_209_599, False), (1_209_600, True)])
def test_azure_keeps_files_for_14_days_at_least(play: Any, seconds: int, taken: bool) -> None:
    sim = play("azure")
    life: Any = {"anchor": "created_at", "seconds": seconds}
    if taken:
        sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=life)
        return
    with pytest.raises(openai.BadRequestError):
        sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=life)


@pytest.mark.parametrize("value", ["24h", "48h", "3d", "7d", "168h"])
def test_groq_takes_windows_from_a_day_to_a_week(play: Any, value: str) -> None:
    created = window(play("groq"), value)
    hours = int(value[:-1]) * (24 if value.endswith("d") else 1)
    assert created.completion_window == value
    assert created.expires_at - created.created_at == hours * 3_600


@pytest.mark.parametrize("value", ["23h", "8d", "169h", "1w", "", "24", "0h"])
def test_groq_refuses_other_windows(play: Any, value: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        window(play("groq"), value)
    assert refused.value.param == "completion_window"
    assert "'24h' to '7d'" in refused.value.message


def test_groq_has_chat_only(play: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        window(play("groq"), "24h", endpoint="/v1/responses")
    assert refused.value.param == "endpoint"


def test_groq_knows_no_life_of_files(play: Any) -> None:
    sim = play("groq")
    life: Any = {"anchor": "created_at", "seconds": 86_400}
    with pytest.raises(openai.BadRequestError) as of_upload:
        sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=life)
    assert of_upload.value.code == "unknown_parameter"
    with pytest.raises(openai.BadRequestError) as of_create:
        sim.openai.batches.create(
            completion_window="24h", endpoint=CHAT, input_file_id="file-1", output_expires_after=life
        )
    assert of_create.value.param == "output_expires_after"


def test_a_vllm_batch_has_a_status_of_its_own_for_a_while(play: Any, chat: Any) -> None:
    sim = play("vllm", latency_s=10)
    file_id = sim.upload([chat("a")])
    created = sim.openai.batches.create(completion_window="24h", endpoint=CHAT, input_file_id=file_id)
    seen = [created.status]
    for _ in range(3):
        sim.pass_time(4)
        seen.append(sim.openai.batches.retrieve(created.id).status)
    assert seen == ["queued", "queued", "in_progress", "completed"]


def test_a_cancelled_vllm_batch_has_a_line_for_every_request(play: Any, chat: Any) -> None:
    sim = play("vllm", latency_s=10, validation_delay_s=0)
    file_id = sim.upload([chat(str(n)) for n in range(10)])
    created = sim.openai.batches.create(completion_window="24h", endpoint=CHAT, input_file_id=file_id)
    sim.pass_time(3)
    sim.openai.batches.cancel(created.id)
    sim.pass_time(1)
    batch = sim.openai.batches.retrieve(created.id)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("cancelled", 3, 7)
    errors = sim.lines(batch.error_file_id)
    assert {(row["error"]["code"], row["response"]) for row in errors} == {("batch_cancelled", None)}
    ids = [row["custom_id"] for row in [*errors, *sim.lines(batch.output_file_id)]]
    assert sorted(ids) == [f"id-{n}" for n in range(10)]


def test_a_vllm_batch_can_break_off_and_keeps_what_it_had(play: Any, chat: Any) -> None:
    sim = play("vllm")
    lines = [chat("a"), chat("[[batch-fail-once]]"), chat("c")]
    file_id = sim.upload(lines)
    first, second = (
        sim.openai.batches.create(completion_window="1h", endpoint=CHAT, input_file_id=file_id) for _ in range(2)
    )
    sim.pass_time(10)
    broken, whole = (sim.openai.batches.retrieve(batch.id) for batch in (first, second))
    assert (broken.status, broken.failed_at is None, whole.status) == ("failed", False, "completed")
    assert [row["custom_id"] for row in sim.lines(broken.output_file_id)] == ["id-a"]
    errors = {row["custom_id"]: row["error"]["code"] for row in sim.lines(broken.error_file_id)}
    assert errors == {"id-[[batch-fail-once]]": "batch_failed", "id-c": "batch_failed"}
    assert sim.bill()["executions"] == {"openai": 1 + 3}


def test_groq_refuses_a_row_with_a_field_that_it_does_not_take(play: Any, chat: Any) -> None:
    sim = play("groq")
    keyed = chat("b")
    keyed["body"]["prompt_cache_key"] = "k"
    batch = sim.run([chat("a"), keyed])
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, 1)
    (line,) = sim.lines(batch.error_file_id)
    assert line["response"]["status_code"] == 400
    assert line["response"]["body"]["error"]["message"] == "property 'prompt_cache_key' is unsupported"
    with pytest.raises(openai.BadRequestError, match="'prompt_cache_key' is unsupported"):
        sim.openai.chat.completions.create(**keyed["body"])


@pytest.mark.parametrize("dialect", ["openai", "azure"])
def test_openai_and_azure_take_it(play: Any, chat: Any, dialect: str) -> None:
    keyed = chat("b")
    keyed["body"]["prompt_cache_key"] = "k"
    assert play(dialect).run([keyed]).request_counts.completed == 1
