"""Other applications under the same key: seen, never paid for, not to be touched."""

from __future__ import annotations

from typing import Any

import openai
import pytest


def add(sim: Any, provider: str, **more: Any) -> list[str]:
    answer = sim.call("POST", "/_emulator/foreign", json={"provider": provider, **more})
    assert answer.status_code == 200, answer.text
    ids: list[str] = answer.json()["ids"]
    sim.pass_time(0)
    return ids


def test_foreign_openai_batches_have_the_metadata_and_counts_that_they_were_given(sim: Any) -> None:
    (marked,) = add(sim, "openai", total=3, metadata={"team": "other"})
    (bare,) = add(sim, "openai", total=4)
    batches = {batch.id: batch for batch in sim.openai.batches.list()}
    assert {key: (batch.metadata, batch.request_counts.total) for key, batch in batches.items()} == {
        marked: ({"team": "other"}, 3),
        bare: (None, 4),
    }


def test_foreign_message_batches_have_the_counts_that_they_were_given_at_once(sim: Any) -> None:
    add(sim, "anthropic", total=7, count=2)
    counts = [batch.request_counts for batch in sim.anthropic.messages.batches.list()]
    assert [(count.processing, count.succeeded) for count in counts] == [(7, 0), (7, 0)]


def test_foreign_batches_stand_in_the_list_where_their_time_puts_them(start: Any, message: Any) -> None:
    sim = start(listing_lag_s=1)
    ours = sim.anthropic.messages.batches.create(requests=[message("a", "a")]).id
    (older,) = add(sim, "anthropic", created_offset_s=-60)
    (newer,) = add(sim, "anthropic", created_offset_s=5)
    sim.clock.now += 1
    listed = list(sim.anthropic.messages.batches.list(limit=1))
    assert [batch.id for batch in listed] == [newer, ours, older]
    assert [(batch.created_at - listed[1].created_at).total_seconds() for batch in listed] == [5, 0, -60]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_foreign_batches_end_without_a_charge(sim: Any, provider: str) -> None:
    (batch_id,) = add(sim, provider, total=3)
    sim.pass_time(10)
    if provider == "openai":
        batch = sim.openai.batches.retrieve(batch_id)
        ids = [line["custom_id"] for line in sim.lines(batch.output_file_id)]
        assert batch.status == "completed"
    else:
        ids = [line["custom_id"] for line in sim.results(batch_id)]
    assert ids == ["foreign-0", "foreign-1", "foreign-2"]
    bill = sim.bill()
    assert (bill["models"], bill["executions"], bill["batches_created"], bill["violations"]) == ([], {}, {}, [])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_foreign_batches_end_when_told(sim: Any, provider: str) -> None:
    (batch_id,) = add(sim, provider, ends_in_s=3_600, created_offset_s=-60)
    sim.pass_time(3_599)
    assert sim.emulator.jobs.unfinished(provider)
    sim.pass_time(1)
    job = sim.emulator.jobs.get(provider, batch_id)
    assert (job.finished, job.ended_at) == (True, sim.clock.now)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_cancelling_a_foreign_batch_is_a_violation(sim: Any, provider: str) -> None:
    (batch_id,) = add(sim, provider)
    batches = sim.openai.batches if provider == "openai" else sim.anthropic.messages.batches
    batches.cancel(batch_id)
    bill = sim.bill()
    assert bill["violations"] == [{"provider": provider, "action": "cancel", "id": batch_id}]
    assert bill["batches_cancelled"] == {}


def test_deleting_a_foreign_batch_is_a_violation(sim: Any) -> None:
    (batch_id,) = add(sim, "anthropic")
    sim.pass_time(10)
    sim.anthropic.messages.batches.delete(batch_id)
    assert sim.bill()["violations"] == [{"provider": "anthropic", "action": "delete", "id": batch_id}]


def test_deleting_a_foreign_file_is_a_violation(sim: Any) -> None:
    (file_id,) = add(sim, "openai", kind="file", created_offset_s=-7_200)
    (file,) = sim.openai.files.list()
    assert (file.id, file.created_at) == (file_id, int(sim.clock.now) - 7_200)
    sim.openai.files.delete(file_id)
    assert sim.bill()["violations"] == [{"provider": "openai", "action": "delete_file", "id": file_id}]


def test_touching_what_is_ours_is_no_violation(sim: Any, chat: Any, message: Any) -> None:
    batch_id = sim.submit([chat("a")])
    sim.openai.batches.cancel(batch_id)
    sim.openai.batches.cancel(batch_id)
    sim.openai.files.delete(sim.openai.batches.retrieve(batch_id).input_file_id)
    sim.anthropic.messages.batches.cancel(sim.anthropic.messages.batches.create(requests=[message("a", "a")]).id)
    bill = sim.bill()
    assert (bill["violations"], bill["batches_cancelled"]) == ([], {"openai": 1, "anthropic": 1})


def test_foreign_batches_do_not_count_against_the_hourly_limit(start: Any, chat: Any) -> None:
    sim = start(creates_per_hour=1)
    add(sim, "openai", count=3)
    sim.submit([chat("a")])
    with pytest.raises(openai.RateLimitError):
        sim.submit([chat("b")])


@pytest.mark.parametrize(
    "foreign",
    [{"provider": "mistral"}, {"provider": "openai", "total": 0}, {"provider": "anthropic", "kind": "file"}, {}],
    ids=str,
)
def test_foreign_things_that_cannot_be_meant_are_refused(sim: Any, foreign: Any) -> None:
    assert sim.call("POST", "/_emulator/foreign", json=foreign).status_code == 400
    assert sim.emulator.jobs.listed("openai") == sim.emulator.files.listed() == []
