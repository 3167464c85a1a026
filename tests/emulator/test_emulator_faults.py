"""Markers and rates: what becomes of a request."""

from __future__ import annotations

from typing import Any

from batchline.emulator import Options
from batchline.emulator.faults import Fate, Fates


def statuses(sim: Any, batch: Any) -> list[int | None]:
    lines = [*sim.lines(batch.output_file_id), *sim.lines(batch.error_file_id)]
    return [line["response"]["status_code"] if line["response"] else None for line in lines]


def test_once_markers_pass_in_the_second_batch(sim: Any, chat: Any) -> None:
    lines = [chat("[[fail-once]]"), chat("[[expire-once]]"), chat("[[missing-once]]")]
    assert sorted(statuses(sim, sim.run(lines)), key=str) == [500, None]
    assert statuses(sim, sim.run(lines)) == [200, 200, 200]


def test_a_missing_line_is_in_neither_file_and_not_billed(sim: Any, chat: Any) -> None:
    batch = sim.run([chat("[[missing]]")])
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("completed", None, None)
    (row,) = sim.bill()["models"]
    assert (row["executed"], row["succeeded"], row["paid_nano_usd"]) == (1, 0, 0)


def test_a_duplicate_line_stands_twice_and_is_billed_once(sim: Any, chat: Any, message: Any) -> None:
    first, second = sim.lines(sim.run([chat("[[duplicate]]")]).output_file_id)
    assert first == second
    assert len(sim.run_messages([message("[[duplicate]]", "a")])) == 2
    assert [row["succeeded"] for row in sim.bill()["models"]] == [1, 1]


def test_line_separators_stand_raw_in_the_answer(sim: Any, chat: Any, message: Any) -> None:
    batch = sim.run([chat("[[u2028]]")])
    raw = sim.openai.files.content(batch.output_file_id).content.decode()
    assert raw.count("\n") == 1
    assert all(separator in raw for separator in "\u2028\u2029\u0085")
    (row,) = sim.run_messages([message("[[u2028]]", "a")])
    assert "\u2028" in row["result"]["message"]["content"][0]["text"]


def test_cached_tokens_are_inside_openais_input_and_beside_anthropics(sim: Any, chat: Any, message: Any) -> None:
    text = "[[cached]]" + "x" * 70
    (line,) = sim.lines(sim.run([chat(text)]).output_file_id)
    usage = line["response"]["body"]["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (20, 10)
    (row,) = sim.run_messages([message(text, "a")])
    usage = row["result"]["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (10, 10)


def test_an_anthropic_failure_is_a_retryable_error_type(sim: Any, message: Any) -> None:
    (row,) = sim.run_messages([message("[[fail]]", "a")])
    assert row["result"]["error"]["error"]["type"] == "api_error"


def rolled(seed: int, where: str, fates: Fates | None = None) -> list[Fate]:
    fates = fates or Fates(Options(seed=seed, error_rate=0.2, expire_rate=0.1))
    return [fates.of("m", f"text {n}", f"{n:064x}", where) for n in range(1_000)]


def test_rates_are_met_and_repeat_with_the_seed() -> None:
    first = rolled(1, "batch-1")
    assert 150 < first.count(Fate.ERROR) < 250
    assert 60 < first.count(Fate.EXPIRE) < 140
    assert rolled(1, "another id") == first
    assert rolled(2, "batch-1") != first


def test_a_message_is_rolled_anew_in_the_next_batch_only() -> None:
    fates = Fates(Options(seed=1, error_rate=0.2))
    first = rolled(1, "batch-1", fates)
    assert rolled(1, "batch-1", fates) == first
    assert rolled(1, "batch-2", fates) != first
