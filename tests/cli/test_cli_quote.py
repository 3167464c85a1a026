"""``batchline quote``: before anything is sent, without keys, store or network."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.kit import Command, Done, chat_line, written

from batchline.cli import quote as quote_module
from batchline.cli.inputs import Input, check_input


def message_line(request_id: str, model: str = "claude-sonnet-4-6", **more: Any) -> str:
    given = {"id": request_id, "model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
    return json.dumps(given | more)


def document(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_200_000_requests_of_claude_sonnet_4_6_are_quoted_at_330_dollars_and_165_in_batches(
    command: Command, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.jsonl", message_line("a"))
    sample = ("--requests", "200000", "--input-tokens", "300", "--output-tokens", "50")
    done = command("quote", source, *sample)
    assert done.code == 0
    row = done.out.splitlines()[1].split()
    assert row == [
        "anthropic:messages:claude-sonnet-4-6",
        "200,000",
        "60,000,000",
        "10,000,000",
        "$330.00",
        "$165.00",
        "$165.00",
    ]
    total = document(command("quote", source, *sample, "--json"))["total"]
    assert (total["list_usd"], total["batch_usd"], total["saved_usd"]) == ("330", "165", "165")


def test_the_three_forms_of_lines_are_read_as_run_reads_them(command: Command, tmp_path: Path) -> None:
    source = written(
        tmp_path / "in.jsonl",
        chat_line("a", max_completion_tokens=10),
        json.dumps(
            {
                "id": "b",
                "body": {
                    "model": "gpt-5-mini",
                    "messages": [{"role": "user", "content": "y"}],
                    "max_completion_tokens": 10,
                },
            }
        ),
        json.dumps(
            {
                "custom_id": "c",
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {"model": "text-embedding-3-small", "input": "x"},
            }
        ),
    )
    rows = document(command("quote", source, "--json"))["rows"]
    assert {(row["model"], row["endpoint"], row["requests"], row["output_tokens"]) for row in rows} == {
        ("gpt-5-mini", "chat", 2, 20),
        ("text-embedding-3-small", "embeddings", 1, 0),
    }


def test_every_figure_says_what_it_rests_on(command: Command, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a", max_completion_tokens=10), chat_line("b"), message_line("c"))
    done = command("quote", source)
    for basis in (
        "prices: genai-prices",
        "tokens in: estimated: a token for each 4 bytes of the body",
        "tokens out: upper bound: the body's own limit on its output (2 requests)",
        "tokens out: assumed: as many as its input, since the body sets no limit (1 request)",
        "openai:chat:gpt-5-mini: list price (genai-prices); batch rate (genai-prices)",
    ):
        assert basis in done.out


def test_a_model_without_a_known_price_is_named_and_left_out_of_the_total(command: Command, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b", model="gpt-nobody-knows"))
    done = command("quote", source, "--input-tokens", "1000", "--output-tokens", "0")
    assert done.code == 0
    assert (
        "openai:chat:gpt-nobody-knows: UNPRICED, no price is known for this model: 1 request not in the total"
        in done.out
    )
    assert [line.split()[-3:] for line in done.out.splitlines() if line.startswith("total")] == [
        ["$0.00025", "$0.000125", "$0.000125"]
    ]
    found = document(command("quote", source, "--json"))
    assert found["total"]["unpriced"] == 1
    assert [row["batch_usd"] for row in found["rows"] if row["model"] == "gpt-nobody-knows"] == [None]


def test_a_model_given_for_all_takes_the_place_of_the_lines_own(command: Command, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b", model="gpt-6-luna"))
    (row,) = document(command("quote", source, "--model", "gpt-5.4-mini", "--json"))["rows"]
    assert (row["model"], row["requests"]) == ("gpt-5.4-mini", 2)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((), "there is no request"),
        (("{",), ":1:"),
        ((chat_line("a"), chat_line("a")), ":2:"),
        (('{"id":"a"}',), "model"),
        (
            ("", chat_line("a"), chat_line("b", max_completion_tokens=10**19, n=9)),
            ":3: it asks for 90,000,000,000,000,000,000 tok",
        ),
    ],
)
def test_bad_input_is_exit_2_with_its_place(
    command: Command, tmp_path: Path, lines: tuple[str, ...], problem: str
) -> None:
    done = command("quote", written(tmp_path / "in.jsonl", *lines))
    assert (done.code, done.out) == (2, "")
    assert problem in done.err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--requests", "0"),
        ("--requests", "9" * 40),
        ("--input-tokens", "-1"),
        ("--input-tokens", "9" * 40),
        ("--output-tokens", "many"),
        ("--output-tokens", "1000000001"),
    ],
)
def test_bad_usage_is_exit_2(command: Command, tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert command("quote", written(tmp_path / "in.jsonl", chat_line("a")), *wrong).code == 2


def test_the_largest_numbers_that_are_taken_are_quoted(command: Command, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"))
    most = ("--requests", "1000000000000", "--input-tokens", "1000000000", "--output-tokens", "1000000000")
    total = document(command("quote", source, *most, "--json"))["total"]
    assert total["list_usd"] == "2250000000000000"  # 0.25 and 2 USD per million
    assert command("quote", source, *most).code == 0


def test_an_image_in_base64_is_said_to_be_taken_at_a_flat_figure(command: Command, tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo/" * 50_000}}
    done = command(
        "quote", written(tmp_path / "in.jsonl", chat_line("a", messages=[{"role": "user", "content": [image]}]))
    )
    assert "bytes of the body; 1,600 for each image, sound or file in base64, whatever its size" in done.out
    assert int(done.out.splitlines()[1].split()[2].replace(",", "")) < 2_000


def test_requests_that_come_through_a_pipe_are_quoted(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{message_line('a')}\n".encode())))
    assert document(command("quote", "-", "--json"))["total"]["requests"] == 1


def test_a_file_that_changes_while_it_is_quoted_is_exit_2(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), chat_line("b"))

    def check(*given: Any, **named: Any) -> Input:
        checked = check_input(*given, **named)
        written(source, chat_line("a"))
        return checked

    monkeypatch.setattr(quote_module, "check_input", check)
    done = command("quote", source)
    assert (done.code, done.out) == (2, "")
    assert "changed while it was read" in done.err


def test_what_is_to_run_in_the_united_states_is_quoted_at_what_anthropic_takes_for_it(
    command: Command, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.jsonl", message_line("a", inference_geo="us"), message_line("b"))
    done = command("quote", source, "--input-tokens", "1000000", "--output-tokens", "0", "--json")
    (row,) = document(done)["rows"]
    assert (row["list_usd"], row["batch_usd"]) == ("6.3", "3.15")  # 3 and 3.30 USD per million
    assert row["basis"]["batch"].endswith("a tenth more where the body says inference_geo: us")


def test_what_a_quote_does_not_count_is_said(command: Command, tmp_path: Path) -> None:
    cached = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]
    done = command("quote", written(tmp_path / "in.jsonl", message_line("a", system=cached)))
    assert "what a prompt cache saves or costs, other prices of sound, images and video, and surcharges" in done.out


_ALONE = """
import sys
def audit(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        sys.exit(f"the network was used: {event}")
sys.addaudithook(audit)
from batchline.cli import main
try:
    main(["quote", sys.argv[1]])
except SystemExit as left:
    assert not left.code, left.code
loaded = {"openai", "anthropic", "google.genai"} & sys.modules.keys()
assert not loaded, loaded
"""


def test_a_quote_needs_no_key_no_store_and_no_network_and_loads_no_sdk(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", chat_line("a"), message_line("b"))
    bare = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(source)], cwd=tmp_path, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "openai:chat:gpt-5-mini" in done.stdout
