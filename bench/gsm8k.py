"""The main job on real prompts: every question goes in once per model and comes back once, with its own hash.

    python bench/gsm8k.py           through `batchline run`
    python bench/gsm8k.py --raw     and then by the raw protocol: MULTI, XADD, SADD, EXEC over a plain socket

The prompts are the 1,319 questions of GSM8K where ../shared/data has them, else as many support tickets of our own. They go
to OpenAI, to Anthropic, and to Gemini both as a file and in the create call; and they are embedded by OpenAI and by Gemini,
where a question is known by its vector, which the emulator makes of its hash. Each way has a stack of its own: store,
emulator and worker as real processes. Besides the answers it checks that the ledger equals the emulator's bill and that no
prompt was executed twice. Exit code 0 when all holds, else 1 with a line for each mismatch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import raw_protocol

from batchline.local.stack import BATCHLINE, PLAIN_CELERY, WORKER, Emulation, Stack, free_port
from batchline.local.tickets import support_tickets
from batchline.store import Store

QUESTIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k_test.jsonl"
NUMBER = 1_319
VECTOR = 8
"""How many numbers the emulator's vectors have."""
INLINE = "gemini-inline"
LANES = {
    "gpt-5-mini": "openai:chat:gpt-5-mini",
    "claude-haiku-4-5": "anthropic:messages:claude-haiku-4-5",
    "gemini-2.5-flash": "gemini:generate:gemini-2.5-flash",
    "gemini-2.5-flash-lite": f"{INLINE}:generate:gemini-2.5-flash-lite",
    "text-embedding-3-small": "openai:embeddings:text-embedding-3-small",
    "gemini-embedding-2": "gemini:embed:gemini-embedding-2",
}
BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "chat": lambda text: {"max_completion_tokens": 512, "messages": [{"role": "user", "content": text}]},
    "messages": lambda text: {"max_tokens": 512, "messages": [{"role": "user", "content": text}]},
    "generate": lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    "embeddings": lambda text: {"input": text},
    "embed": lambda text: {"content": {"parts": [{"text": text}]}},
}
"""What a request asks, by endpoint; the model is named beside it."""
CONFIG = """
accounts:
  {account}: {{provider: gemini, inline: true, api_key_env: GEMINI_API_KEY, base_url: "http://127.0.0.1:{port}"}}
models:
  - {{match: gemini-2.5-flash-lite, account: {account}, endpoint: generate}}
"""
"""An account beside the default ones, by which Gemini's rows go in the create call."""
SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "1",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.5",
    "BATCHLINE_LOG_FORMAT": "json",
}
SUMS = ("settled", "input_tokens", "output_tokens", "list_nano", "paid_nano")

Problems = list[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, and the request's body."""

    prompt: str
    body: dict[str, Any]


Wanted = dict[tuple[str, str], Asked]
"""Requests by lane and id."""


def questions() -> list[str]:
    if QUESTIONS.is_file():
        with QUESTIONS.open(encoding="utf-8") as lines:
            found = [json.loads(line)["question"] for line in lines]
        print(f"{len(found):,} questions of GSM8K from {QUESTIONS.name}")
        return found
    print(f"../shared/data/{QUESTIONS.name} is not there: {NUMBER:,} generated support tickets take its place")
    return [ticket.text for ticket in support_tickets(NUMBER)]


def requests(prompts: Sequence[str]) -> Wanted:
    """Return a request for every prompt and model; the id says both."""
    return {
        (lane, f"{model}/{place}"): Asked(prompt, {"model": model, **BODIES[lane.split(":")[1]](prompt)})
        for model, lane in LANES.items()
        for place, prompt in enumerate(prompts)
    }


def run_by_command(stack: Stack, folder: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Send all by `batchline run`, as a user would, and return the replies that it wrote."""
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    with source.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": key[1], **asked.body}) + "\n" for key, asked in wanted.items())
    command = [*BATCHLINE, "run", str(source), "-o", str(target)]
    done = subprocess.run(command, env=stack.environment(), cwd=folder, timeout=300, check=False)
    stack.check()
    if done.returncode != 0:
        raise SystemExit(f"FAILED: batchline run ended with exit code {done.returncode}")
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def run_by_protocol(stack: Stack, _folder: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Send all by the raw protocol; OpenAI's replies come to one shared list, all others to a list per request."""
    connection = raw_protocol.connect("127.0.0.1", stack.store.port)
    shared = "gsm8k"
    sent = [
        raw_protocol.RawRequest(lane, name, json.dumps(asked.body), shared if lane.startswith("openai") else None)
        for (lane, name), asked in wanted.items()
    ]
    raw_protocol.enqueue(connection, sent)
    replies = []
    for request in sent:
        raw = raw_protocol.pop_reply(connection, request, timeout_s=60)
        stack.check()
        if raw is None:
            raise SystemExit(f"FAILED: no reply came to {raw_protocol.reply_list(request)} within 60 s")
        replies.append(json.loads(raw))
    if raw_protocol.command(connection, "EXISTS", f"batchline:reply:{shared}"):
        raise SystemExit("FAILED: more replies came to the shared list than requests were sent")
    return replies


def check_replies(replies: Sequence[Mapping[str, Any]], wanted: Wanted) -> Problems:
    """Hold every reply against the prompt whose id it carries."""
    prompts = {name: asked.prompt for (_, name), asked in wanted.items()}
    times = Counter(reply["id"] for reply in replies)
    problems = [f"{name}: {times[name]} replies instead of one" for name in prompts if times[name] != 1]
    problems += [f"{name}: a reply to a request that was never sent" for name in times if name not in prompts]
    for reply in replies:
        if reply["status"] != "succeeded":
            problems.append(f"{reply['id']}: {reply['status']}: {reply['error']}")
        elif reply["id"] in prompts and not carries(reply["response"], prompts[reply["id"]]):
            problems.append(f"{reply['id']}: the answer carries the hash of another question")
    return problems


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def carries(response: Mapping[str, Any], prompt: str) -> bool:
    """Whether an answer has the hash of this prompt in its text, or a vector was made of it."""
    numbers = vector(response)
    if numbers is None:
        return digest(prompt) in answer(response)
    return numbers == [(byte - 128) / 128 for byte in hashlib.sha256(prompt.encode()).digest()[:VECTOR]]


def vector(response: Mapping[str, Any]) -> list[float] | None:
    if "data" in response:
        return list(response["data"][0]["embedding"])
    return list(response["embedding"]["values"]) if "embedding" in response else None


def answer(response: Mapping[str, Any]) -> str:
    if "choices" in response:
        return str(response["choices"][0]["message"]["content"])
    if "candidates" in response:
        return str(response["candidates"][0]["content"]["parts"][0]["text"])
    return str(response["content"][0]["text"])


def check_ways(stack: Stack) -> Problems:
    """See that Gemini's rows went as they were meant to: in the create call, and all others but Anthropic's as a file."""
    store = Store(stack.redis_url)
    batches = store.batches.records(store.batches.settled_ids(10_000))
    store.close()
    plain = {INLINE, "anthropic"}
    return [
        f"{batch.id} of {batch.lane}: its input file is {batch.input_ref!r}"
        for batch in batches
        if bool(batch.input_ref) is (batch.account in plain)
    ]


def check_money(stack: Stack, wanted: Wanted) -> Problems:
    """Hold the ledger against the emulator's own bill, and both against the number of requests."""
    with urllib.request.urlopen(f"{stack.emulator_url}/_emulator/bill", timeout=10) as answered:
        bill = json.load(answered)
    billed, booked = dict(read_bill(bill)), dict(read_ledger(stack))
    problems = []
    for lane, number in Counter(lane for lane, _ in wanted).items():
        if booked.get(lane, {}).get("settled") != number:
            problems.append(f"{lane}: the ledger has {booked.get(lane)}, {number} requests were sent")
        problems += [
            f"{lane}: {name} is {booked.get(lane, {}).get(name)} in the ledger and {billed.get(lane, {}).get(name)} on the bill"
            for name in SUMS
            if booked.get(lane, {}).get(name) != billed.get(lane, {}).get(name)
        ]
        print(f"  {lane}: {booked.get(lane)}")
    if set(booked) != set(LANES.values()) or set(billed) != set(LANES.values()):
        problems.append(f"lanes: {sorted(booked)} in the ledger, {sorted(billed)} on the bill")
    if bill["double_executions"]:
        problems.append(f"{bill['double_executions']} prompts were executed twice, e.g. {bill['doubles'][:3]}")
    return problems


def read_bill(bill: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, int]]]:
    for row in bill["models"]:
        lane = LANES.get(row["model"], f"{row['provider']}: {row['model']}")
        if row["route"] != "batch":
            lane += " (realtime)"
        tokens = (row["input_tokens"], row["output_tokens"])
        figures = (row["succeeded"], *tokens, row["list_nano_usd"], row["paid_nano_usd"])
        yield lane, dict(zip(SUMS, figures, strict=True))


def read_ledger(stack: Stack) -> Iterator[tuple[str, dict[str, int]]]:
    store = Store(stack.redis_url)
    for account in store.ledger.accounts():
        inputs = sum(account.get(f"tokens:{kind}") for kind in ("input_uncached", "cache_read", "cache_write"))
        money = (account.get("list_nano:batch"), account.get("paid_nano:batch"))
        figures = (account.get("settled:succeeded:batch"), inputs, account.get("tokens:output"), *money)
        yield account.base, dict(zip(SUMS, figures, strict=True))
    store.close()


WAYS = {"batchline run": run_by_command, "raw protocol": run_by_protocol}


def measure(way: str, prompts: Sequence[str], *, plain_celery: bool) -> Problems:
    """Run one way on a stack of its own and return all that does not hold."""
    wanted = requests(prompts)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batchline-gsm8k-") as name:
        folder = Path(name)
        port = free_port()
        config = folder / "gsm8k.yaml"
        config.write_text(CONFIG.format(account=INLINE, port=port), encoding="utf-8")
        emulation = Emulation(latency_s=2, more=("--port", str(port)))
        settings = SETTINGS | {"BATCHLINE_CONFIG": str(config)}
        command = PLAIN_CELERY if plain_celery else WORKER
        with Stack(folder, emulation=emulation, settings=settings, worker_command=command) as stack:
            ready = time.monotonic()
            replies = WAYS[way](stack, folder, wanted)
            took = time.monotonic() - ready
            problems = check_replies(replies, wanted) + check_money(stack, wanted) + check_ways(stack)
    verdict = "every one came back once with its own hash" if not problems else f"{len(problems)} problems"
    print(f"{way}: {len(wanted):,} requests in {took:.1f} s (start-up {ready - began:.1f} s): {verdict}", flush=True)
    return [f"{way}: {problem}" for problem in problems]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", action="store_true", help="then the same by the raw protocol")
    parser.add_argument("--only-raw", action="store_true", help="the raw protocol alone")
    parser.add_argument("--plain-celery", action="store_true", help="the worker is `celery -A batchline.app worker`")
    given = parser.parse_args()
    prompts = questions()
    ways = [way for way in WAYS if way == "raw protocol" or not given.only_raw]
    if not (given.raw or given.only_raw):
        ways.remove("raw protocol")
    problems = [line for way in ways for line in measure(way, prompts, plain_celery=given.plain_celery)]
    for line in problems[:20]:
        print(f"MISMATCH {line}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
