"""A worker with one request for the toy: writes what its reply says. Its clock runs ahead of the wall's, so that nothing is waited for."""

from __future__ import annotations

import dataclasses
import sys

from batchline import Client
from batchline.engine import accumulator, auditor, poller, submitter
from batchline.runtime import build
from batchline.settings import load_settings

ROUNDS = 15


class Worker:
    """Answers each doorbell at once."""

    def __init__(self) -> None:
        context = build(load_settings())
        self.ahead_ms = 0
        self.context = dataclasses.replace(context, clock=lambda: context.clock() + self.ahead_ms)

    def tick(self) -> None:
        accumulator.tick_accumulate(self.context, self)
        accumulator.tick_poll(self.context, self)
        self.ahead_ms += 30_000

    def submit(self, batch_id: str) -> None:
        submitter.submit(self.context, batch_id)

    def poll(self, batch_id: str) -> None:
        poller.poll(self.context, batch_id)

    def audit(self, account: str) -> None:
        auditor.audit_in_turn(self.context, account)

    def file(self, file: str) -> None:
        """The toy has no files."""


def main() -> None:
    client, worker = Client(), Worker()
    ticket = client.enqueue(account="toy", endpoint="say", model="toy-1", say="hello")
    for _ in range(ROUNDS):
        worker.tick()
    reply = ticket.wait(timeout=1)
    told = (reply.status, reply.response, reply.usage and reply.usage.output_tokens, reply.cost, reply.text)
    sys.stdout.write(f"{told}\n")


if __name__ == "__main__":
    main()
