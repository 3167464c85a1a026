"""`batchline demo`: the main job on this machine, from nothing to a settlement, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from batchline.cli.console import out
from batchline.cli.progress import Progress
from batchline.cli.settlement import Settlement
from batchline.client import Client
from batchline.errors import BatchlineError
from batchline.local.stack import Emulation, Stack
from batchline.local.tickets import INSTRUCTIONS, SupportTicket, support_tickets
from batchline.replies import Reply
from batchline.settings import load_settings
from batchline.store import keys

QUEUE = "demo"
OPENAI, ANTHROPIC = "openai:chat:gpt-5-mini", "anthropic:messages:claude-haiku-4-5"
ERROR_RATE = 0.03
ATTEMPTS = 2
EMULATION = Emulation(latency_s=3, error_rate=ERROR_RATE, seed=1)
SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "2",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.5",
    "BATCHLINE_RETRY__MAX_ATTEMPTS": str(ATTEMPTS),
    "BATCHLINE_RETRY__BACKOFF_MIN": "0.5",
    "BATCHLINE_RETRY__BACKOFF_MAX": "1",
}
# A worker process loads for some seconds of one core's time: on two cores a second one would make the demo slower.
WORKERS = 2 if (os.cpu_count() or 1) >= 4 else 1
STUCK_S = 60.0
"""Without a single reply for so long the demo gives up."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    requests: Annotated[int, typer.Option(min=2, help="How many support tickets are classified.")] = 1_000,
    workers: Annotated[int, typer.Option(min=1, help="How many worker processes.")] = WORKERS,
) -> None:
    """Classify support tickets through a store, workers and an emulator of the providers on this machine.

    No Redis, no API key and no money is needed: provider keys are taken out of the environment.
    """
    console = out()
    processes = "a worker" if workers == 1 else f"{workers} workers"
    console.print(f"Starting a store, {processes} and an emulator of the OpenAI and Anthropic batch APIs ...")
    with tempfile.TemporaryDirectory(prefix="batchline-demo-") as folder:
        stack = Stack(Path(folder), emulation=EMULATION, settings=SETTINGS, workers=workers)
        try:
            # The workers load while the tickets go in: the queue is the store, it needs no worker.
            stack.start(wait_workers=False)
            settlement, retried = _classify(stack, requests)
        finally:
            stack.stop()
    console.print()
    settlement.print(console)
    console.print()
    console.print("Every reply came exactly once, and every answer carries the SHA-256 of its own ticket.")
    console.print(
        f"{ERROR_RATE:.0%} of the emulator's answers are errors on purpose: {retried:,} requests were sent again; "
        f"after {ATTEMPTS} attempts a request fails."
    )


def _classify(stack: Stack, number: int) -> tuple[Settlement, int]:
    """Enqueue the tickets, collect their replies, check each; return the settlement and how many were retried."""
    tickets = {ticket.id: ticket for ticket in support_tickets(number)}
    settlement, seen, retried = Settlement(), set[str](), 0
    with Client(settings=load_settings(stack.environment())) as client:
        began = time.monotonic()
        client.enqueue_many(map(_request, tickets.values()), reply_to=QUEUE)
        out().print(f"{number:,} tickets enqueued in {time.monotonic() - began:.2f} s on {OPENAI} and {ANTHROPIC}")
        with Progress("replies", number) as progress:
            progress.update(0)
            for reply in _replies(client, stack):
                _check(reply, tickets, seen)
                seen.add(reply.id)
                settlement.add(_lane(tickets[reply.id]), reply.wire)
                retried += reply.attempts > 1
                progress.update(len(seen))
                if len(seen) == number:
                    break
        if client.store.connection.run("LLEN", keys.reply_list(QUEUE)):
            raise BatchlineError("more replies came than requests were sent")
        settlement.look_up_batches(client.store)
    return settlement, retried


def _replies(client: Client, stack: Stack) -> Iterator[Reply]:
    """Yield replies without an end. Raises BatchlineError when none came for long or a process died."""
    last = time.monotonic()
    while time.monotonic() < last + STUCK_S:
        for reply in client.replies(QUEUE, timeout=0.5):
            last = time.monotonic()
            yield reply
        stack.check()
    raise BatchlineError(f"no reply came for {STUCK_S:g} s; the workers' logs end so:\n{_tails(stack)}")


def _tails(stack: Stack) -> str:
    return "\n".join(worker.tail() for worker in stack.workers if worker is not None)


def _check(reply: Reply, tickets: Mapping[str, SupportTicket], seen: set[str]) -> None:
    if reply.id not in tickets or reply.id in seen:
        raise BatchlineError(f"the reply to {reply.id} came twice, or nobody asked for it")
    digest = hashlib.sha256(tickets[reply.id].text.encode()).hexdigest()
    if reply.status == "succeeded" and digest not in (reply.text or ""):
        raise BatchlineError(f"the reply to {reply.id} carries the answer to another ticket")


def _lane(ticket: SupportTicket) -> str:
    return OPENAI if int(ticket.id.removeprefix("ticket-")) % 2 else ANTHROPIC


def _request(ticket: SupportTicket) -> dict[str, Any]:
    lane = _lane(ticket)
    user = {"role": "user", "content": ticket.text}
    if lane == ANTHROPIC:
        body = {"model": "claude-haiku-4-5", "max_tokens": 64, "system": INSTRUCTIONS, "messages": [user]}
    else:
        system = {"role": "system", "content": INSTRUCTIONS}
        body = {"model": "gpt-5-mini", "max_completion_tokens": 64, "messages": [system, user]}
    return {"id": ticket.id, "lane": lane, "body": body}
