"""Logs hold ids and figures in a stable form, and never a prompt or an answer."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from batchline import logs
from batchline.errors import Permanent

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def written() -> Iterator[Lines]:
    """Set logging up as JSON into a buffer, hand out a reader of its lines, and put the process back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("json", "INFO", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_carries_its_name_fields_level_and_utc_time(written: Lines) -> None:
    logs.get("batchline.engine").info("batch.submitted", batch="b1", rows=3)
    (line,) = written()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "batch.submitted", "level": "info", "logger": "batchline.engine", "batch": "b1", "rows": 3}


def test_events_below_the_level_are_left_out(written: Lines) -> None:
    logs.get("batchline").debug("tick.done")
    assert written() == []


@pytest.mark.parametrize("field", ["body", "messages", "prompt", "response", "answer"])
def test_a_field_that_would_hold_content_is_dropped_and_named(written: Lines, field: str) -> None:
    logs.get("batchline").info("slip", **{field: "SECRET"})
    (line,) = written()
    assert line["dropped"] == [field]
    assert "SECRET" not in str(line)


def test_loggers_of_the_standard_library_come_out_in_the_same_form(written: Lines) -> None:
    logging.getLogger("celery.worker").info("Connected to %s", "the broker")
    (line,) = written()
    assert (line["event"], line["logger"]) == ("Connected to the broker", "celery.worker")


@pytest.mark.parametrize(
    "name",
    [
        "openai",
        "openai._base_client",
        "anthropic",
        "google_genai._api_client",
        "google.auth",
        "httpx2",
        "redis",
        "celery.app.trace",
    ],
)
def test_chatter_is_cut_even_when_a_library_turns_its_own_level_up(written: Lines, name: str) -> None:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.debug("Request options: SECRET")
    logger.info("SECRET")
    logger.warning("careful")
    logger.setLevel(before)
    assert [line["event"] for line in written()] == ["careful"]


def test_a_traceback_has_no_local_variables(written: Lines) -> None:
    def fail() -> int:
        prompt = "SECRET"
        return int(prompt)

    try:
        fail()
    except ValueError:
        logs.get("batchline").exception("x.failed")
    (line,) = written()
    assert "SECRET" not in str(line)
    assert "in fail" in line["exception"]
    assert line["exception"].endswith("ValueError")


def test_our_own_errors_keep_their_message(written: Lines) -> None:
    def fail() -> None:
        raise Permanent("the account openai refused the file", account="openai", call="upload")

    try:
        fail()
    except Permanent:
        logs.get("batchline").exception("x.failed")
    assert "the account openai refused the file" in written()[0]["exception"]


def test_causes_are_told_without_foreign_messages(written: Lines) -> None:
    def fail(text: str) -> None:
        try:
            int(text)
        except ValueError as exc:
            raise OSError("disk full") from exc

    try:
        fail("SEC" + "RET")
    except OSError:
        logs.get("batchline").exception("x.failed")
    text = written()[0]["exception"]
    assert "OSError: disk full" in text
    assert "ValueError" in text
    assert "SECRET" not in text


def test_celerys_report_of_a_failed_task_is_reduced_to_its_ids(written: Lines) -> None:
    context = {"name": "batchline.poll", "id": "t1", "exc": "SECRET", "description": "raised unexpected"}
    logging.getLogger("celery.app.trace").error("Task %(name)s %(exc)s", context, extra={"data": context})
    (line,) = written()
    assert (line["event"], line["task"], line["task_id"]) == ("celery.task_failed", "batchline.poll", "t1")
    assert "SECRET" not in str(line)


def test_setting_up_again_does_not_write_lines_twice(written: Lines) -> None:
    stream = io.StringIO()
    logs.configure("json", "INFO", stream=stream)
    logs.get("batchline").info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_without_a_terminal_the_form_is_json(written: Lines) -> None:
    stream = io.StringIO()
    logs.configure(None, "INFO", stream=stream)
    logs.get("batchline").info("x.done")
    assert json.loads(stream.getvalue())["event"] == "x.done"


def test_the_console_form_shows_event_and_fields(written: Lines) -> None:
    stream = io.StringIO()
    logs.configure("console", "INFO", stream=stream)
    logs.get("batchline").info("batch.settled", answered=5)
    assert "batch.settled" in stream.getvalue()
    assert "answered=5" in stream.getvalue()
