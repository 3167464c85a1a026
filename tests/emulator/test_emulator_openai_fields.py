"""Nothing beyond OpenAI's documented fields is taken, and lives of files are kept by the clock."""

from __future__ import annotations

from typing import Any

import openai
import pytest

LIFE: Any = {"anchor": "created_at", "seconds": 3_600}
CREATE = {"completion_window": "24h", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}


def refused(call: Any, *args: Any, **more: Any) -> tuple[str | None, str | None]:
    with pytest.raises(openai.BadRequestError) as error:
        call(*args, **more)
    return error.value.code, error.value.param


@pytest.mark.parametrize("name", ["model", "priority", "custom_id", "expires_after"])
def test_an_unknown_field_of_a_create_call_is_named(sim: Any, name: str) -> None:
    found = refused(sim.openai.batches.create, **CREATE, extra_body={name: "x"})
    assert found == ("unknown_parameter", name)
    assert sim.openai.batches.list().data == []


def test_an_unknown_field_of_the_outputs_life_is_named(sim: Any) -> None:
    found = refused(sim.openai.batches.create, **CREATE, output_expires_after={**LIFE, "days": 1})
    assert found == ("unknown_parameter", "output_expires_after.days")


def test_an_unknown_field_of_an_upload_is_named_and_nothing_is_kept(sim: Any) -> None:
    found = refused(sim.openai.files.create, file=("a", b"x"), purpose="batch", extra_body={"metadata": "x"})
    assert found == ("unknown_parameter", "metadata")
    assert sim.openai.files.list().data == []


@pytest.mark.parametrize("name", ["status", "order", "before", "metadata"])
def test_batches_are_listed_without_filter_and_order(sim: Any, name: str) -> None:
    assert refused(sim.openai.batches.list, extra_query={name: "x"}) == ("unknown_parameter", name)


def test_an_unknown_parameter_of_the_files_list_is_named(sim: Any) -> None:
    sim.openai.files.list(purpose="batch", limit=10, order="asc")
    assert refused(sim.openai.files.list, extra_query={"status": "x"}) == ("unknown_parameter", "status")
    assert refused(sim.openai.files.list, order="up") == ("invalid_value", "order")


@pytest.mark.parametrize(
    "wish",
    [
        {"anchor": "created_at", "seconds": 3_599},
        {"anchor": "created_at", "seconds": 2_592_001},
        {"anchor": "created_at", "seconds": True},
        {"anchor": "created_at", "seconds": "3600"},
        {"anchor": "last_active_at", "seconds": 3_600},
        {"seconds": 3_600},
        {},
    ],
)
def test_a_life_of_outputs_outside_the_range_is_refused(sim: Any, wish: Any) -> None:
    found = refused(sim.openai.batches.create, **CREATE, output_expires_after=wish)
    assert found == ("invalid_value", "output_expires_after")


def test_a_life_of_outputs_that_is_no_object_is_refused(sim: Any) -> None:
    found = refused(sim.openai.batches.create, **CREATE, extra_body={"output_expires_after": 3_600})
    assert found == ("invalid_type", "output_expires_after")


@pytest.mark.parametrize("seconds", [3_600, 2_592_000])
def test_both_ends_of_the_range_are_taken(sim: Any, seconds: int) -> None:
    wish: Any = {"anchor": "created_at", "seconds": seconds}
    record = sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=wish)
    assert record.expires_at - record.created_at == seconds
    sim.openai.batches.create(**CREATE, output_expires_after=wish)


def test_an_input_file_is_gone_when_its_life_is_over(sim: Any, chat: Any) -> None:
    record = sim.openai.files.create(file=("a", b"x"), purpose="batch", expires_after=LIFE)
    sim.pass_time(3_599)
    assert sim.openai.files.content(record.id).content == b"x"
    sim.pass_time(1)
    for call in (sim.openai.files.retrieve, sim.openai.files.content):
        with pytest.raises(openai.NotFoundError):
            call(record.id)
    assert sim.openai.files.list().data == []


def test_a_batch_of_an_expired_file_fails_though_nobody_asked_for_the_file(sim: Any, chat: Any) -> None:
    file_id = sim.upload([chat("a")])
    sim.pass_time(30 * 86_400)
    batch_id = sim.openai.batches.create(**{**CREATE, "input_file_id": file_id}).id
    sim.pass_time(10)
    batch = sim.openai.batches.retrieve(batch_id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "invalid_request")
    assert batch.errors.data[0].message.startswith("Cannot find file")


def test_outputs_live_from_their_own_creation_on(start: Any, chat: Any) -> None:
    sim = start(latency_s=1_000)
    batch_id = sim.submit([chat("a"), chat("[[fail]]")], output_expires_after=LIFE)
    sim.pass_time(1_000)
    batch = sim.openai.batches.retrieve(batch_id)
    sim.pass_time(3_599)
    assert len(sim.lines(batch.output_file_id)) == len(sim.lines(batch.error_file_id)) == 1
    sim.pass_time(1)
    for file_id in (batch.output_file_id, batch.error_file_id):
        with pytest.raises(openai.NotFoundError):
            sim.openai.files.content(file_id)
    assert sim.openai.batches.retrieve(batch_id).output_file_id == batch.output_file_id


def test_a_prompt_cache_key_is_taken(sim: Any, chat: Any) -> None:
    assert sim.run([chat("a", prompt_cache_key="lane")]).request_counts.completed == 1
