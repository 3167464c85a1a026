"""A whole run with canaries in prompts, answers, metadata and the API key: no output of any process sings.

`tests/engine/test_engine_secrets.py` asks the same of the engine alone; here real processes run at DEBUG, calls fail on
their way, and everything is read that somebody could see: logs, metrics, command line, task messages, error texts.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Queue
from tests.crash.waiting import until

from batchline import Client
from batchline.errors import BatchlineError
from batchline.local.stack import BATCHLINE, Emulation, Stack, free_port
from batchline.settings import load_settings

connect: Any = Connection
queue_of: Any = Queue

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PROMPT = "canary-of-a-prompt"
METADATA = "canary-of-metadata"
KEY = "canary-of-a-key"
ANSWER = "sha256:"
"""How each answer of the emulator begins."""
CANARIES = (PROMPT, METADATA, KEY, ANSWER)
REFUSED = "message.refused"
MARKERS = ["", "[[reject]]", "[[fail]]", "[[expire]]", "[[expire-once]]", "[[duplicate]]", "[[fail-once]]"]
MODELS = {"gpt-5-mini": "max_completion_tokens", "claude-haiku-4-5": "max_tokens"}
"""Models, and what each calls the most tokens of an answer."""
SETTINGS = {
    "BATCHLINE_FLUSH__MAX_AGE": "0",
    "BATCHLINE_POLL__MIN_INTERVAL": "0.2",
    "BATCHLINE_TICK_INTERVAL": "0.2",
    "BATCHLINE_LEASE_SECONDS": "2",
    "BATCHLINE_CREATE_TIMEOUT": "2",
    "BATCHLINE_RECONCILE__LISTING_LAG": "0.5",
    "BATCHLINE_RETRY__MAX_ATTEMPTS": "2",
    "BATCHLINE_RETRY__BACKOFF_MIN": "0.2",
    "BATCHLINE_RETRY__BACKOFF_MAX": "0.5",
    "BATCHLINE_LOG_LEVEL": "DEBUG",
    "OPENAI_LOG": "debug",
    "ANTHROPIC_LOG": "debug",
    "OPENAI_API_KEY": KEY,
    "ANTHROPIC_API_KEY": KEY,
}
FAULTS = ("--fault-error-before", "0.1")
COMMANDS = [
    "status",
    "status --json",
    "batches",
    "batches --json",
    "batches --orphans",
    "dead list",
    "dead list --json",
    "doctor --providers",
    "health",
    "report",
    "report --format json --by tenant",
    "report --format html",
    "config show",
    "config check",
    "enqueue bad.jsonl",
    "run odd.jsonl -o out.jsonl",
]


class Run(NamedTuple):
    """All that a whole run let out, by where it was seen."""

    outputs: Mapping[str, str]
    errors: list[str]
    tasks: list[str]
    statuses: list[str]
    pickled: Path
    store: bytes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("canary")
    emulation = Emulation(latency_s=0.2, more=FAULTS)
    port = free_port()
    with Stack(folder, emulation=emulation, settings=SETTINGS, exporter_port=port) as stack:
        tasks, over = listen(stack.redis_url)
        with Client(stack.redis_url, settings=load_settings(environ={})) as client:
            replies = ask(client)
            statuses = [reply.status for reply in replies]
            errors = [text for reply in replies if (text := error_of(reply.raise_for_status))]
            errors += [text for body in BAD if (text := error_of(lambda body=body: client.enqueue(**body)))]
            pickled = send_pickle(stack)
            store: Any = client.store.connection.redis
            dump = b"".join(store.dump(key) or b"" for key in store.keys("*"))
        outputs = {f"batchline {command}": command_output(stack, command) for command in COMMANDS}
        outputs |= {f"dead letter {n}": text for n, text in enumerate(dead_letters(stack))}
        with urllib.request.urlopen(stack.exporter_url, timeout=20) as page:
            outputs["metrics"] = page.read().decode()
        over.set()
    outputs |= {log.name: log.read_text(errors="replace") for log in folder.rglob("*.log")}
    return Run(outputs, errors, tasks, statuses, pickled, dump)


BAD: list[dict[str, Any]] = [
    {"model": "gpt-5-mini", "messages": [{"role": "user", "content": PROMPT}], "stream": True},
    {"model": PROMPT + " ", "messages": [{"role": "user", "content": PROMPT}], "lane": "openai:chat:gpt-5-mini"},
    {"model": "gpt-5-mini", "messages": [{"role": "user", "content": PROMPT}], "metadata": {PROMPT: {1, 2}}},
]


def ask(client: Client) -> list[Any]:
    """Send requests of every fate, and some that no worker can read; return the replies."""
    asks = [
        {"model": model, "messages": [{"role": "user", "content": f"{PROMPT} {n} {marker}"}], limit: 9}
        for model, limit in MODELS.items()
        for n, marker in enumerate(MARKERS * 2)
    ]
    client.enqueue_many([each | {"metadata": {"x": METADATA}} for each in asks], reply_to="out")
    odd = [f'"{PROMPT}"', PROMPT, f'{{"model":"gpt-5","x":"{PROMPT}"}}', f'{{"model":"gpt-5-mini","x":"{PROMPT}"}}']
    for n, body in enumerate(odd):
        fields = ("id", f"odd{n}", "body", body, "metadata", METADATA, "reply_to", "out")
        client.store.connection.run("XADD", "batchline:{openai:chat:gpt-5-mini}:requests", "*", *fields)
    replies = []
    for reply in client.replies("out", timeout=90):
        replies.append(reply)
        if len(replies) == len(asks) + len(odd):
            return replies
    raise AssertionError(f"only {len(replies)} of {len(asks) + len(odd)} replies came")


def error_of(call: Any) -> str:
    try:
        call()
    except (BatchlineError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def listen(url: str) -> tuple[list[str], threading.Event]:
    """Keep every command that touches the broker's keys, as the store's MONITOR shows it."""
    seen: list[str] = []
    started, over = threading.Event(), threading.Event()

    def hear() -> None:
        with redis.Redis.from_url(url) as client, client.monitor() as monitor:
            started.set()
            for command in monitor.listen():
                if "batchline:celery:" in command["command"]:
                    seen.append(command["command"])
                if over.is_set():
                    return

    threading.Thread(target=hear, daemon=True).start()
    started.wait(10)
    return seen, over


class Harm:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


def send_pickle(stack: Stack) -> Path:
    """Put a pickled task message into a worker's queue and wait until a worker has refused it."""
    path = stack.folder / "harmed"
    options = {"global_keyprefix": "batchline:celery:"}
    with connect(stack.redis_url, transport_options=options) as connection:
        queue = queue_of("batchline.poll", channel=connection.channel())
        producer = connection.Producer(serializer=None)
        headers = {"task": "batchline.poll", "id": "pickled", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
        producer.publish(
            pickle.dumps(Harm(path)),
            routing_key=queue.name,
            headers=headers,
            content_type="application/x-python-serialize",
            content_encoding="binary",
        )
        # What Celery 5.7 itself would end with a TypeError: bytes that are no text, under a content type of no serializer.
        producer.publish(
            b"\x80\x04", routing_key=queue.name, content_type="application/data", content_encoding="binary"
        )
        worker = stack.folder / "worker-0.log"
        until(lambda: worker.read_text().count(REFUSED) >= 2, 30)
    return path


def command_output(stack: Stack, command: str) -> str:
    body = {"model": "gpt-5-mini", "messages": PROMPT, "stream": True}
    (stack.folder / "bad.jsonl").write_text(json.dumps({"id": "1", "body": body}) + f'\n{{"{PROMPT}\n')
    odd = {"id": "1", "model": "gpt-5-mini", "messages": [{"role": "user", "content": f"{PROMPT} [[reject]]"}]}
    (stack.folder / "odd.jsonl").write_text(json.dumps(odd) + "\n")
    done = subprocess.run(
        [*BATCHLINE, *command.split()],
        env=stack.environment(),
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def dead_letters(stack: Stack) -> Iterator[str]:
    """Yield what is shown of each dead letter without ``--body``."""
    for letter in json.loads(command_output(stack, "dead list --json")):
        yield command_output(stack, f"dead show {letter['lane']} {letter['entry']}")


def test_the_run_had_every_kind_of_end(run: Run) -> None:
    assert set(run.statuses) == {"succeeded", "failed"}
    assert "error_500" in run.outputs["metrics"] or 'code="500"' in run.outputs["metrics"]
    assert any(name.startswith("dead letter") for name in run.outputs)


def test_no_output_of_any_process_has_a_canary(run: Run) -> None:
    assert {"worker-0.log", "exporter.log", "emulator.log", "store.log"} <= run.outputs.keys()
    assert all(run.outputs[name] for name in run.outputs if name.startswith("batchline "))
    found = [
        (name, canary)
        for name, text in run.outputs.items()
        for canary in CANARIES
        # `dead show` shows the metadata, and the body with --body alone.
        if canary in text and not (name.startswith("dead letter") and canary == METADATA)
    ]
    assert found == []


def test_the_worker_logged_at_debug(run: Run) -> None:
    assert '"level": "debug"' in run.outputs["worker-0.log"]


def test_no_error_text_has_a_canary(run: Run) -> None:
    assert len(run.errors) >= len(BAD)
    assert [text for text in run.errors if any(canary in text for canary in CANARIES)] == []


def test_no_task_message_has_a_canary(run: Run) -> None:
    assert any("batchline.submit" in task for task in run.tasks)
    assert [task for task in run.tasks if any(canary in task for canary in CANARIES)] == []


def test_no_key_is_in_the_store(run: Run) -> None:
    assert len(run.store) > 1000
    assert KEY.encode() not in run.store


def test_a_pickled_task_message_is_refused_and_runs_nothing(run: Run) -> None:
    assert run.outputs["worker-0.log"].count(REFUSED) == 2
    assert "ContentDisallowed" in run.outputs["worker-0.log"]
    assert not run.pickled.exists()


def test_no_message_ends_a_worker(run: Run) -> None:
    assert "worker.ended" not in run.outputs["worker-0.log"]
    assert "Unrecoverable" not in run.outputs["worker-0.log"]
