"""What list answers show and when, and input files that are gone."""

from __future__ import annotations

from typing import Any

import openai
import pytest


def test_a_new_batch_is_found_by_its_id_at_once_and_in_the_list_only_later(start: Any, message: Any) -> None:
    sim = start(listing_lag_s=5)
    ours = sim.submit([])
    theirs = sim.anthropic.messages.batches.create(requests=[message("a", "a")]).id
    assert sim.openai.batches.retrieve(ours).id == ours
    assert sim.anthropic.messages.batches.retrieve(theirs).id == theirs
    sim.clock.now += 4.9
    assert sim.openai.batches.list().data == sim.anthropic.messages.batches.list().data == []
    sim.clock.now += 0.2
    assert [batch.id for batch in sim.openai.batches.list()] == [ours]
    assert [batch.id for batch in sim.anthropic.messages.batches.list()] == [theirs]


def test_a_new_file_is_found_by_its_id_at_once_and_in_the_list_only_later(start: Any) -> None:
    sim = start(listing_lag_s=5)
    sim.clock.now += 0.7  # files have whole seconds, the lag has not
    file_id = sim.upload([])
    assert sim.openai.files.retrieve(file_id).id == file_id
    sim.clock.now += 4.9
    assert sim.openai.files.list().data == []
    sim.clock.now += 0.2
    assert [file.id for file in sim.openai.files.list()] == [file_id]


def test_both_lists_are_newest_first_over_all_pages(sim: Any, message: Any) -> None:
    ours, theirs = [], []
    for _ in range(5):
        ours.append(sim.submit([]))
        theirs.append(sim.anthropic.messages.batches.create(requests=[message("a", "a")]).id)
        sim.clock.now += 1
    assert [batch.id for batch in sim.openai.batches.list(limit=2)] == ours[::-1]
    assert [batch.id for batch in sim.anthropic.messages.batches.list(limit=2)] == theirs[::-1]


def test_a_batch_without_its_file_fails_only_after_the_delay_and_costs_nothing(start: Any, chat: Any) -> None:
    sim = start(missing_file_delay_s=900)
    file_id = sim.upload([chat("a")])
    sim.openai.files.delete(file_id)
    batch = sim.openai.batches.create(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file_id, metadata={"nonce": "n"}
    )
    assert batch.status == "validating"
    sim.pass_time(899)
    assert sim.openai.batches.retrieve(batch.id).status == "validating"
    sim.pass_time(1)
    failed = sim.openai.batches.retrieve(batch.id)
    assert (failed.status, failed.failed_at - failed.created_at, failed.metadata) == ("failed", 900, {"nonce": "n"})
    (problem,) = failed.errors.data
    assert (problem.code, problem.line) == ("invalid_request", None)
    assert problem.message.startswith(f"Cannot find file {file_id}")
    assert (sim.bill()["models"], sim.bill()["executions"]) == ([], {})


def test_a_batch_without_its_file_can_be_cancelled_while_it_waits(start: Any) -> None:
    sim = start(missing_file_delay_s=900)
    batch = sim.openai.batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id="file-x")
    sim.pass_time(1)
    sim.openai.batches.cancel(batch.id)
    sim.pass_time(1)
    assert sim.openai.batches.retrieve(batch.id).status == "cancelled"


def test_deleting_a_file_after_validation_stops_nothing(sim: Any, chat: Any) -> None:
    file_id = sim.upload([chat("a")])
    batch = sim.openai.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file_id)
    sim.pass_time(1)
    sim.openai.files.delete(file_id)
    sim.pass_time(10)
    assert sim.openai.batches.retrieve(batch.id).status == "completed"


def test_anthropic_counts_add_up_to_the_total_at_every_time(start: Any, message: Any) -> None:
    sim = start(latency_s=10, cancel_delay_s=5)
    batches = sim.anthropic.messages.batches
    texts = ["a", "[[reject]]", "[[expire]]", "[[missing]]", "[[duplicate]]"]
    created = batches.create(requests=[message(text, str(n)) for n, text in enumerate(texts)])
    cancelled = batches.create(requests=[message(str(n), str(n)) for n in range(7)])
    batches.cancel(cancelled.id)
    for seconds in (0, 3, 5, 10):
        sim.pass_time(seconds)
        for batch_id, total in ((created.id, 5), (cancelled.id, 7)):
            batch = batches.retrieve(batch_id)
            counts = batch.request_counts.model_dump()
            assert sum(counts.values()) == total
            assert batch.processing_status == "ended" or counts["processing"] == total


@pytest.mark.parametrize("name", ["listing_lag_s", "missing_file_delay_s", "fault_seconds", "gemini_file_delay_s"])
def test_a_negative_time_is_refused(start: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        start(**{name: -1})


def test_a_deleted_file_is_not_listed(sim: Any) -> None:
    file_id = sim.upload([])
    sim.openai.files.delete(file_id)
    assert sim.openai.files.list().data == []
    with pytest.raises(openai.NotFoundError):
        sim.openai.files.retrieve(file_id)
