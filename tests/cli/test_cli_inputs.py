"""Input files: three forms of a line, and errors that name file, line and field."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.cli.kit import CHAT, MESSAGES, chat_line, written

from batchline.cli.inputs import Input, Options, SourceChanged, check_input, read_drafts
from batchline.cli.sources import opened
from batchline.compose import Draft
from batchline.errors import UsageError
from batchline.settings import load_settings

SETTINGS = load_settings(environ={})
NOW_MS = 1_700_000_000_000
HELLO = [{"role": "user", "content": "hello"}]


def checked(path: Path, **options: Any) -> Input:
    with opened(path, None) as source:
        return check_input(source, SETTINGS, Options(**options), now_ms=NOW_MS)


def drafts(path: Path, **options: Any) -> list[Draft]:
    with opened(path, None) as source:
        given = Options(**options)
        return list(read_drafts(check_input(source, SETTINGS, given, now_ms=NOW_MS), given))


def test_the_three_forms_of_a_line_mean_the_same(tmp_path: Path) -> None:
    body = {"model": "gpt-5-mini", "messages": HELLO}
    path = written(
        tmp_path / "in.jsonl",
        json.dumps({"id": "a"} | body),
        json.dumps({"id": "b", "body": body}),
        json.dumps({"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": body}),
    )
    assert checked(path).ids == {"a": 0, "b": 0, "c": 0}
    assert checked(path).lanes == (CHAT,)
    assert [json.loads(draft.body) for draft in drafts(path)] == [body] * 3


def test_a_gemini_model_may_be_named_in_full(tmp_path: Path) -> None:
    contents = [{"role": "user", "parts": [{"text": "hello"}]}]
    names = ("gemini-2.5-flash", "models/gemini-2.5-flash")
    lines = [{"id": name, "model": name, "contents": contents} for name in names]
    embeds = {"id": "e", "model": "models/gemini-embedding-001", "content": contents[0]}
    path = written(tmp_path / "in.jsonl", *map(json.dumps, [*lines, embeds]))
    assert checked(path).lanes == ("gemini:generate:gemini-2.5-flash", "gemini:embed:gemini-embedding-001")
    assert list(checked(path).ids.values()) == [0, 0, 1]


def test_the_full_name_of_a_model_of_another_kind_of_account_stays(tmp_path: Path) -> None:
    line = chat_line("a", model="models/gemini-x", account="openai", endpoint="chat")
    assert checked(written(tmp_path / "in.jsonl", line)).lanes == ("openai:chat:models/gemini-x",)


def test_a_line_may_say_where_it_goes(tmp_path: Path) -> None:
    path = written(
        tmp_path / "in.jsonl",
        json.dumps(
            {"id": "a", "body": {"model": "gpt-5-mini", "input": "x"}, "endpoint": "responses", "tenant": "acme"}
        ),
        json.dumps({"id": "b", "lane": CHAT, "body": {"model": "gpt-5-mini", "messages": HELLO}, "deadline": "6h"}),
    )
    assert checked(path).lanes == ("openai:responses:gpt-5-mini|tenant=acme", CHAT)


def test_a_model_of_the_command_line_takes_the_place_of_the_lines_own(tmp_path: Path) -> None:
    path = written(
        tmp_path / "in.jsonl",
        chat_line("a", max_tokens=5),
        json.dumps({"id": "b", "body": {"messages": HELLO, "max_tokens": 5}}),
    )
    assert checked(path, model="claude-haiku-4-5").lanes == (MESSAGES,)
    assert {json.loads(draft.body)["model"] for draft in drafts(path, model="claude-haiku-4-5")} == {"claude-haiku-4-5"}


def test_empty_lines_and_a_missing_last_line_break_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f"\n{chat_line('a')}\r\n  \n{chat_line('b')}")
    assert list(checked(path).ids) == ["a", "b"]


def test_metadata_and_deadline_come_along(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("a", metadata={"k": 1}, deadline="6h"), chat_line("b"))
    first, second = drafts(path, deadline="1h")
    assert (first.metadata, first.deadline, second.metadata, second.deadline) == (b'{"k": 1}', "6h", None, "1h")


def test_a_null_says_no_more_than_a_missing_field(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("a", metadata=None, deadline=None, tenant=None))
    assert checked(path).lanes == (CHAT,)


def test_ids_are_known_without_the_prefix_that_they_are_sent_with(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("https://x"))
    assert list(checked(path, prefix="run:").ids) == ["https://x"]
    assert drafts(path, prefix="run:")[0].id == "run:https://x"


BODY = {"model": "gpt-5-mini", "messages": HELLO}
BAD_LINES: list[tuple[str | bytes, str]] = [
    ("{", "the line is not right"),
    ("[]", "Expected `object`"),
    ("\ufeff" + chat_line("b"), "byte order mark"),
    (b'{"id": "b", "model": "gpt-5-mini", "messages": [{"role": "user", "content": "\xff"}]}', "UTF-8"),
    (json.dumps(BODY), 'field "id": is missing'),
    (chat_line(""), 'field "id": has 0 bytes'),
    (chat_line("x" * 257), 'field "id": has 257 bytes'),
    (json.dumps({"id": 5} | BODY), 'field "id": is not right: Expected `str`'),
    (json.dumps({"id": "b", "messages": HELLO}), 'field "model": is missing'),
    (json.dumps({"id": "b", "model": "gpt-5-mini"}), 'field "messages": is missing'),
    (chat_line("b", messages="hello"), 'field "messages": is not a list'),
    (chat_line("b", model="claude-haiku-4-5"), 'field "max_tokens": is missing'),
    (chat_line("b", model="llama-4"), 'field "model": no account is known'),
    (chat_line("b", account="nobody"), "unknown account 'nobody'"),
    (chat_line("b", stream=True), 'field "body": asks for a stream'),
    (chat_line("b", deadline="soon"), 'field "deadline": is no time'),
    (chat_line("b", metadata=[]), 'field "metadata": is not a JSON object'),
    (chat_line("b").replace('"x"', "NaN"), "is not right"),
    (chat_line("b").replace('"x"', "1e999"), 'field "body": has a number beyond'),
    (chat_line("b").replace('"x"', "[" * 900 + "]" * 900), "nested deeper"),
    (json.dumps({"id": "b", "body": BODY, "messages": []}), 'field "messages": is not known beside a body'),
    (json.dumps({"id": "b", "body": []}), 'field "body": is not right'),
    (json.dumps({"custom_id": "b", "url": "/v1/x", "body": BODY}), 'field "url": is none of'),
    (json.dumps({"custom_id": "b", "url": "/v1/chat/completions"}), 'field "body": is missing'),
    (json.dumps({"custom_id": "b", "method": "GET", "url": "/v1/x", "body": BODY}), 'field "method": is not POST'),
    (
        json.dumps({"custom_id": "b", "url": "/v1/x", "body": BODY, "id": "b"}),
        'field "id": is not known in a batch line',
    ),
]


@pytest.mark.parametrize("url", ["/v1/x", "models/{model}:batchGenerateContent"])
def test_a_wrong_url_is_told_those_that_a_line_may_have(tmp_path: Path, url: str) -> None:
    path = written(tmp_path / "in.jsonl", json.dumps({"custom_id": "b", "url": url, "body": BODY}))
    with pytest.raises(UsageError, match="/v1/chat/completions") as caught:
        checked(path)
    assert "{" not in str(caught.value)


@pytest.mark.parametrize(("line", "says"), BAD_LINES)
def test_a_bad_line_is_named_by_file_line_and_field(tmp_path: Path, line: str | bytes, says: str) -> None:
    path = tmp_path / "tickets.jsonl"
    raw = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(chat_line("a").encode() + b"\n" + raw + b"\n")
    with pytest.raises(UsageError) as caught:
        checked(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert says in str(caught.value)


def test_a_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b"), "", chat_line("a"))
    with pytest.raises(UsageError, match=r":4: field \"id\": 'a' stands in line 1 already"):
        checked(path)


def test_a_file_without_requests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no request"):
        checked(written(tmp_path / "in.jsonl", ""))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"in\.jsonl: cannot be read: No such file"):
        checked(tmp_path / "in.jsonl")


@pytest.mark.parametrize(
    ("options", "says"), [({"deadline": "soon"}, "--deadline is no time"), ({"reply_to": "a:b"}, "--reply-to is no")]
)
def test_a_bad_option_is_no_fault_of_the_first_line(tmp_path: Path, options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        checked(written(tmp_path / "in.jsonl", chat_line("a")), **options)


def test_a_line_cannot_send_its_reply_away_from_who_waits_for_it(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("a", reply_to="mine"))
    with pytest.raises(UsageError, match="reads the replies itself"):
        checked(path, shared=True, reply_to="run-1")


def written_between(path: Path, text: str, *, mode: str) -> list[Draft]:
    """Read a file's requests after something was written to it since they were checked."""
    with opened(path, None) as source:
        checked = check_input(source, SETTINGS, Options(), now_ms=NOW_MS)
        with path.open(mode) as file:
            file.write(text)
        return list(read_drafts(checked, Options()))


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        pytest.param("a", chat_line("c") + "\n", id="it grew"),
        pytest.param("a", chat_line("c")[:20], id="it grew by a part of a line"),
        pytest.param("w", chat_line("a") + "\n", id="it shrank"),
        pytest.param("w", "", id="it was emptied"),
        pytest.param("w", f"{chat_line('b')}\n{chat_line('a')}\n", id="other order"),
        pytest.param("w", f"{chat_line('a')}\n{chat_line('b', max_completion_tokens=9)}\n", id="other body"),
    ],
)
def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, mode: str, text: str) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b"))
    with pytest.raises(SourceChanged, match="changed while it was read, and does not hold the 2 requests any more"):
        written_between(path, text, mode=mode)


def test_a_file_that_is_replaced_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b"))
    with opened(path, None) as source:
        checked = check_input(source, SETTINGS, Options(), now_ms=NOW_MS)
        written(tmp_path / "new.jsonl", chat_line("c")).replace(path)
        assert [draft.id for draft in read_drafts(checked, Options())] == ["a", "b"]


def test_a_pipe_is_copied_into_the_spool_and_nothing_stays_there(tmp_path: Path) -> None:
    with ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        os.write(writing, f"{chat_line('a')}\n{chat_line('b')}".encode())
        os.close(writing)
        source = stack.enter_context(opened(Path(f"/dev/fd/{reading}"), tmp_path))
        checked = check_input(source, SETTINGS, Options(), now_ms=NOW_MS)
        assert [[draft.id for draft in read_drafts(checked, Options())] for _ in range(2)] == [["a", "b"]] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_that_cannot_be_copied_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"can be read only once.*nothing-here: No such file.*set spool_dir"),
        opened(Path(os.devnull), tmp_path / "nothing-here"),
    ):
        pass
