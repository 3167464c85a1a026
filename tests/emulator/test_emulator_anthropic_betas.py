"""Anthropic's headers: the version, and the beta of long outputs that exists in batches only."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

BETA = "output-300k-2026-03-24"
WITH_BETA = {"anthropic-beta": BETA}


def outcome(sim: Any, request: Any, **more: Any) -> str:
    """Return the type of a one-request batch's result, or its error message."""
    (row,) = sim.run_messages([request], **more)
    result = row["result"]
    return str(result["error"]["error"]["message"] if result["type"] == "errored" else result["type"])


@pytest.mark.parametrize(
    ("model", "most"),
    [("claude-opus-5-5", 128_000), ("claude-sonnet-5", 128_000), ("claude-sonnet-4-6", 64_000)],
)
def test_an_output_beyond_the_models_own_needs_the_beta(sim: Any, message: Any, model: str, most: int) -> None:
    long = message("a", "a", model=model, max_tokens=300_000)
    assert outcome(sim, long) == (
        f"max_tokens: 300000 > {most}, which is the maximum allowed number of output tokens for {model}"
    )
    assert outcome(sim, message("a", "a", model=model, max_tokens=most)) == "succeeded"
    assert outcome(sim, long, extra_headers=WITH_BETA) == "succeeded"


def test_the_beta_has_a_limit_too(sim: Any, message: Any) -> None:
    request = message("a", "a", model="claude-opus-5-5", max_tokens=300_001)
    assert outcome(sim, request, extra_headers=WITH_BETA).startswith("max_tokens: 300001 > 300000, ")


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-4-5"])
def test_the_beta_gives_other_models_nothing(sim: Any, message: Any, model: str) -> None:
    request = message("a", "a", model=model, max_tokens=300_000)
    assert outcome(sim, request, extra_headers=WITH_BETA).startswith("max_tokens: 300000 > ")


def test_the_beta_is_read_from_the_sdks_betas_among_others(sim: Any, message: Any) -> None:
    request = message("a", "a", model="claude-opus-5", max_tokens=300_000)
    batches = sim.anthropic.beta.messages.batches
    created = batches.create(betas=["files-api-2025-04-14", BETA], requests=[request])
    sim.pass_time(10)
    (row,) = sim.results(created.id)
    assert row["result"]["type"] == "succeeded"


def test_the_beta_is_refused_outside_batches(sim: Any) -> None:
    messages: Any = [{"role": "user", "content": "a"}]
    with pytest.raises(anthropic.BadRequestError) as refused:
        sim.anthropic.messages.create(
            model="claude-opus-5-5", max_tokens=10, messages=messages, extra_headers=WITH_BETA
        )
    assert refused.value.type == "invalid_request_error"
    assert f"Unexpected value(s) `{BETA}` for the `anthropic-beta` header" in refused.value.message
    assert sim.bill()["models"] == []


def test_an_empty_beta_is_refused(sim: Any, message: Any) -> None:
    with pytest.raises(anthropic.BadRequestError):
        sim.anthropic.messages.batches.create(requests=[message("a", "a")], extra_headers={"anthropic-beta": ""})


@pytest.mark.parametrize("version", ["2026-11-01", "latest"])
def test_a_version_that_never_was_is_refused_at_once(sim: Any, message: Any, version: str) -> None:
    headers = {"anthropic-version": version}
    with pytest.raises(anthropic.BadRequestError) as refused:
        sim.anthropic.messages.batches.create(requests=[message("a", "a")], extra_headers=headers)
    assert f'anthropic-version: "{version}" is not a valid version' in refused.value.message


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/batches"])
def test_a_call_without_a_version_is_refused(sim: Any, path: str) -> None:
    answer = sim.call("POST", path, json={}, headers={"anthropic-version": ""})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "anthropic-version: header is required")


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
@pytest.mark.parametrize(("version", "taken"), [("2023-06-01", True), ("2026-10-21", False)])
def test_sampling_parameters_depend_on_the_version(
    sim: Any, message: Any, name: str, version: str, taken: bool
) -> None:
    headers = {"anthropic-version": version}
    found = outcome(sim, message("a", "a", **{name: 1}), extra_headers=headers)
    assert found == ("succeeded" if taken else f"{name}: Extra inputs are not permitted")
