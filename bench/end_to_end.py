"""Prompts per second from enqueue to reply, beside the openai SDK used by hand without a queue.

    python bench/end_to_end.py --requests 10000 --rounds 5

Both go to the same emulator, in turn within one run: by hand (write the JSONL, upload, create, poll, read the results and
match them), then through batchline (enqueue with the Python client, a worker process, read every reply). Each request's
answer must carry the SHA-256 of its own prompt. Prints both rates of each round and the median of the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from openai import OpenAI

from batchline.client import Client
from batchline.local.stack import PLAIN_CELERY, Emulation, Stack

MODEL = "gpt-5-mini"
POLL_S = 0.2


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--chars", type=int, default=1_500, help="length of a prompt")
    given = options.parse_args()
    settings = {
        "BATCHLINE_FLUSH__MAX_REQUESTS": str(given.requests),
        "BATCHLINE_FLUSH__MAX_AGE": "30",
        "BATCHLINE_POLL__MIN_INTERVAL": str(POLL_S),
        "BATCHLINE_TICK_INTERVAL": str(POLL_S),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), emulation=Emulation(latency_s=0), settings=settings, worker_command=PLAIN_CELERY) as stack,
    ):
        sdk = OpenAI(api_key="emulator", base_url=f"{stack.emulator_url}/v1")
        client = Client(stack.redis_url)
        ratios = []
        for round_ in range(given.rounds + 1):
            hand = given.requests / timed(lambda n=round_: by_hand(sdk, prompts(given, n), Path(folder)))
            ours = given.requests / timed(lambda n=round_: by_batchline(client, prompts(given, n), f"round-{n}"))
            if round_ == 0:
                continue  # the first round warms both up: the worker imports its SDK then
            ratios.append(ours / hand)
            print(
                f"round {round_}: by hand {hand:,.0f}/s, batchline {ours:,.0f}/s, ratio {ours / hand:.2f}", flush=True
            )
        print(f"median ratio {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")
    return 0


def prompts(given: argparse.Namespace, round_: int) -> list[str]:
    filler = "what does this customer want? " * (given.chars // 30)
    return [f"{round_}-{n} {filler}" for n in range(given.requests)]


def timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def by_hand(sdk: OpenAI, texts: list[str], folder: Path) -> None:
    """What a careful user writes without batchline: one batch, matched by custom_id."""
    rows = folder / "by-hand.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for n, text in enumerate(texts):
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
            row = {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(row) + "\n")
    with rows.open("rb") as upload:
        uploaded = sdk.files.create(file=upload, purpose="batch")
    batch = sdk.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=uploaded.id)
    while batch.status not in {"completed", "failed", "expired", "cancelled"}:
        time.sleep(POLL_S)
        batch = sdk.batches.retrieve(batch.id)
    assert batch.output_file_id is not None, batch.status
    answers: dict[int, str] = {}
    with sdk.files.with_streaming_response.content(batch.output_file_id) as response:
        for line in response.iter_lines():
            result = json.loads(line)
            answers[int(result["custom_id"])] = result["response"]["body"]["choices"][0]["message"]["content"]
    check(texts, ((n, answer) for n, answer in answers.items()))


def by_batchline(client: Client, texts: list[str], queue: str) -> None:
    client.enqueue_many(
        (
            {"id": f"{queue}-{n}", "model": MODEL, "messages": [{"role": "user", "content": text}]}
            for n, text in enumerate(texts)
        ),
        reply_to=queue,
    )
    answers: dict[int, str] = {}
    for reply in client.replies(queue):
        answers[int(reply.id.rsplit("-", 1)[1])] = reply.text or ""
        if len(answers) == len(texts):
            break
    check(texts, ((n, answer) for n, answer in answers.items()))


def check(texts: list[str], answers: Iterable[tuple[int, str]]) -> None:
    matched = sum(sha256(texts[n].encode()).hexdigest() in answer for n, answer in answers)
    assert matched == len(texts), f"{matched} of {len(texts)} answers carry the hash of their own prompt"


if __name__ == "__main__":
    sys.exit(main())
