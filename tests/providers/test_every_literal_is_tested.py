"""Every literal example of the page of facts that this was built from (../shared/providers.md) is a case of a test.

The page is no part of the project: without it beside the checkout there is nothing to compare with, and that is said. What
is kept here is the beginning of each literal and where it is tested, or why no parser of ours reads it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = Path(__file__).parents[3] / "shared" / "providers.md"

OPENAI = "providers/test_openai_literals.py::"
ANTHROPIC = "providers/test_anthropic_literals.py::"
GEMINI = "providers/test_gemini_wire.py::"
TYPES = "providers/test_sdk_types.py::"

TESTED = {
    # How calls are made
    'default_headers={"anthropic-version"': f"{TYPES}test_a_message_batch_is_created_as_the_sdk_creates_it_byte_for_byte",
    "client.files.create(file=, purpose": f"{TYPES}test_an_upload_has_fields_of_the_sdks_type_only",
    'extra_headers={"Idempotency-Key"': f"{OPENAI}test_the_recorded_create_body_is_what_a_create_sends_but_for_the_tag",
    "client.messages.batches.create(..., extra_headers": f"{ANTHROPIC}test_the_300k_header_is_the_sdks_own_by_both_its_ways",
    "list(config={'page_size'": f"{TYPES}test_a_gemini_call_goes_where_the_sdks_own_goes",
    # OpenAI
    '{"completion_window":"24h"': f"{OPENAI}test_the_recorded_create_body_is_what_a_create_sends_but_for_the_tag",
    '{"id":"batch_6abc00d919e0': f"{OPENAI}test_the_real_completed_batch",
    '{"id":"batch_6abc00afd074': f"{OPENAI}test_the_real_validation_failure",
    '{"custom_id":"request-1"': f"{OPENAI}test_the_documented_input_line_is_how_a_row_is_written_and_read_back",
    '{"id":"batch_req_123","custom_id":"request-2"': f"{OPENAI}test_the_documented_success_line",
    '{"id":"batch_req_YTpodqz4': f"{OPENAI}test_the_real_rejected_line",
    '{"id":"batch_req_123","custom_id":"request-3"': f"{OPENAI}test_the_documented_expired_line",
    '{"object":"list","data":[{"object":"embedding"': f"{OPENAI}test_the_embeddings_body",
    '{"error":{"message":"File is too large."': f"{OPENAI}test_the_answer_to_a_file_that_is_too_large",
    '{"code":"token_limit_exceeded"': f"{OPENAI}test_the_real_full_queue_is_a_failed_batch_that_names_the_limit",
    "{total:10,completed:1,failed:0}": f"{OPENAI}test_the_real_expired_batch_counts_what_expired_in_its_total_only",
    "prompt_cache_options {mode:": f"{OPENAI}test_the_documented_cache_options_leave_as_they_came",
    # Anthropic
    '{"requests":[{"custom_id":"a"': f"{ANTHROPIC}test_the_recorded_create_is_what_is_sent_byte_for_byte",
    '{"id":"msgbatch_01HkcTja': f"{ANTHROPIC}test_the_batch_object_runs_and_knows_its_times",
    '{"custom_id":"my-second-request"': f"{ANTHROPIC}test_the_line_of_a_success_is_its_message_and_usage",
    '{"custom_id":"b"': f"{ANTHROPIC}test_the_line_of_a_request_without_an_answer_says_why",
    '{"custom_id":"c"': f"{ANTHROPIC}test_the_line_of_a_request_without_an_answer_says_why",
    '{"custom_id":"d"': f"{ANTHROPIC}test_the_line_of_a_request_without_an_answer_says_why",
    '{"type":"error","error"': f"{ANTHROPIC}test_the_error_body_tells_its_type_and_message",
    'cache_control {"type":"ephemeral"': "unit/test_caching.py::test_a_system_prompt_becomes_one_marked_block",
    # Gemini
    '{"batch":{"inputConfig":{"requests"': f"{GEMINI}test_a_create_call_with_its_rows_has_the_recorded_body",
    '{"batch":{"inputConfig":{"fileName"': f"{GEMINI}test_a_create_call_with_a_file_has_the_recorded_body",
    '{"name":"batches/123"': f"{GEMINI}test_the_references_operation_has_ended_with_its_file_and_its_counts",
    '{"key":"request-1"': f"{GEMINI}test_a_row_of_a_file_is_the_documented_one",
    '{"response":{"responseId"': f"{GEMINI}test_the_real_line_brings_its_body_unchanged_and_counts_thoughts",
    '{"key":"request-2"': f"{GEMINI}test_the_documented_error_line_is_rejected",
    '{"error":{"code":429': f"{GEMINI}test_the_real_quota_error_is_named_by_its_status",
}
"""The beginning of a literal → its test, from the folder of tests on."""

NOT_OURS = {
    '{"object":"event","id":"evt_': "OpenAI's webhook: batches are polled",
    '{"type":"batch.succeeded"': "Gemini's webhook: batches are polled",
    '{"displayName","model":"publishers': "Vertex AI: not there yet",
    '{"request":{…}}': "Vertex AI: not there yet",
    '{"custom_id","body"}': "Mistral: no provider of ours",
    '{"job":{…},"warning":…}': "Together: no provider of ours; openai.py says so",
    '{"recordId","modelInput"}': "Bedrock: no provider of ours",
    '{"recordId","modelInput","modelOutput"|"error"}': "Bedrock: no provider of ours",
}
"""The beginning of a literal → why no parser of ours reads it."""

NOT_ASKED = {
    '{"batch":{"inputConfig":{"fileName"': {"webhookConfig", "uris", "user_metadata", "run"},
    'extra_headers={"Idempotency-Key"': {"Idempotency-Key"},
}
"""Members of a literal that its test does not have: webhooks are not asked for, and no header for idempotency is sent."""


def literals(page: str) -> list[str]:
    """Return the literal examples: JSON in fences, line by line, and objects between backticks."""
    found: list[str] = []
    fence: str | None = None
    for line in page.splitlines():
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
        elif fence == "json":
            found.append(line)
        elif fence is None:
            found += [span for span in line.split("`")[1::2] if re.search(r'\{\w*:|\{[^}]*: |\{"|\{\'|\{…', span)]
    return found


def members(literal: str) -> set[str]:
    """Return the names of an example's members."""
    return set(re.findall(r'[{,(]\s*["\']?([A-Za-z_@][\w@-]*)["\']?\s*[:]', literal))


def source(test: str) -> tuple[str, set[str]]:
    """Return a test's file and the names of the functions in it."""
    text = (TESTS / test.partition("::")[0]).read_text(encoding="utf-8")
    return text, {each.name for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef)}


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.is_file():
        pytest.skip("../shared/providers.md is not beside this checkout: there is nothing to compare with")
    return PAGE.read_text(encoding="utf-8")


def test_every_literal_of_the_page_is_a_case_of_a_test_or_not_ours(page: str) -> None:
    known = {**TESTED, **NOT_OURS}
    unknown = [each for each in literals(page) if not any(each.startswith(start) for start in known)]
    assert unknown == []


def test_every_literal_that_is_named_here_is_on_the_page(page: str) -> None:
    found = literals(page)
    assert [start for start in (*TESTED, *NOT_OURS) if not any(each.startswith(start) for each in found)] == []


@pytest.mark.parametrize("start", TESTED)
def test_the_test_of_a_literal_exists(start: str) -> None:
    _, functions = source(TESTED[start])
    assert TESTED[start].partition("::")[2] in functions


def test_the_file_of_a_literals_test_has_every_member_of_it(page: str) -> None:
    missing: dict[str, set[str]] = {}
    for literal in literals(page):
        start = next((start for start in TESTED if literal.startswith(start)), None)
        if start is not None:
            text, _ = source(TESTED[start])
            missing[literal[:60]] = {
                name for name in members(literal) - NOT_ASKED.get(start, set()) if name not in text
            }
    assert {literal: names for literal, names in missing.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        'Real: `{"id":"batch_9","object":"batch"}` [OBS]',
        "after `x` comes `{total:1,failed:0}`",
        '```json\n{"id":"batch_9"}\n```',
        "`error {…}`",
    ],
)
def test_a_literal_is_seen_wherever_it_stands(line: str) -> None:
    assert len(literals(line)) == 1
