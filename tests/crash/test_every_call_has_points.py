"""No call leaves a worker without a kill point on both sides, and the matrix knows every one of them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.crash.cases import NEVER, PLACES

from batchline import killpoints
from batchline.errors import Ambiguous, Retryable
from batchline.providers import PROVIDERS
from batchline.providers.protocol import Provider
from batchline.providers.watched import Watched
from batchline.store import Store, scripts

PACKAGE = Path(str(files("batchline")))
SENDING = frozenset({"execute", "execute_command", "blmove"})
"""What sends to the store at once, by its name in the client library."""
SHIELD = "sending"
VERBS = sorted(
    name for name, each in vars(Provider).items() if inspect.isfunction(each) and name[0] != "_" and name != "render"
)


def modules(folder: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def naked(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that send to the store outside of a ``with sending(...)``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.With) and any(_is_shield(item.context_expr) for item in child.items):
            continue
        if isinstance(child, ast.Call) and _sends(child):
            yield child
        yield from naked(child)


def _is_shield(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and expression.func.id == SHIELD


def _sends(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Call):  # self.script(name)(...): at once, unless a pipeline of ours collects it
        return not any(
            keyword.arg == "client" and isinstance(keyword.value, ast.Name) and keyword.value.id == "pipeline"
            for keyword in call.keywords
        )
    if not isinstance(call.func, ast.Attribute):
        return False
    on_pipeline = isinstance(call.func.value, ast.Name) and call.func.value.id == "pipeline"
    return call.func.attr in SENDING and not (on_pipeline and call.func.attr != "execute")


def test_whatever_is_sent_to_the_store_is_sent_between_kill_points() -> None:
    found = [f"{name}:{call.lineno}" for name, tree in modules("store") for call in naked(tree)]
    assert not found, f"put `with sending(...)` around these: {found}"


def test_the_check_itself_sees_a_naked_call() -> None:
    code = (
        "def f(self):\n    self.redis.execute_command('PING')\n    with sending('a', 'b'):\n        pipeline.execute()"
    )
    assert [call.lineno for call in naked(ast.parse(code))] == [2]


def test_only_the_connection_and_the_readers_of_callback_queues_hold_a_client_of_the_library() -> None:
    holders = {
        name
        for name, tree in modules(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"redis", "blocking"} and isinstance(node.ctx, ast.Load)
    }
    assert holders <= {"store/connection.py", "store/callbacks.py"}


def test_providers_are_made_in_one_place_which_has_them_watched() -> None:
    makers = {
        name
        for name, tree in modules(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"make_provider", *_classes()}
    }
    assert makers == {"runtime.py"}
    text = (PACKAGE / "runtime.py").read_text(encoding="utf-8")
    assert text.count("make_provider(") == text.count("Watched(make_provider(") == 1


def _classes() -> set[str]:
    return {each.__name__ for each in PROVIDERS.values()}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("side", ["before", "after"])
def test_every_verb_of_a_provider_has_a_point_on_both_sides(verb: str, side: str) -> None:
    killpoints.arm({"BATCHLINE_KILLPOINT": f"provider.fake.{verb}.{side}:drop"})
    fake = Fake()
    function = getattr(Watched(fake, "a"), verb)
    named = {name: None for name, each in inspect.signature(function).parameters.items()}
    try:
        with pytest.raises((Ambiguous, Retryable)):
            list(function(**named) or ())
    finally:
        killpoints.arm({})
    assert fake.calls == ([verb] if side == "after" else [])


class Fake:
    """A provider that takes every call."""

    kind = "fake"
    limits: Any = None
    endpoints: Any = None
    has_files = False

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        def call(*_args: Any, **_named: Any) -> Any:
            self.calls.append(verb)
            return ()

        return call


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_script_is_called_between_its_points(store: Store, side: str) -> None:
    killpoints.arm({"BATCHLINE_KILLPOINT": f"script.ring.{side}:raise"})
    try:
        with pytest.raises(killpoints.Killed):
            store.batches.ring("batchline:agenda:poll", now_ms=1)
    finally:
        killpoints.arm({})


def test_every_script_is_in_the_matrix_or_left_out_for_a_reason() -> None:
    tried = {point.removeprefix("script.") for point, *_ in PLACES if point.startswith("script.")}
    left_out = {name.removeprefix("script.") for name in NEVER if name.startswith("script.")}
    assert tried | left_out == set(scripts.names())
    assert not tried & left_out


def test_every_command_is_in_the_matrix_or_left_out_for_a_reason() -> None:
    tried = {point for point, *_ in PLACES if point.startswith("command")}
    left_out = {name for name in NEVER if name.startswith("command")}
    assert tried | left_out == {"commands"} | {name for _, tree in modules("store") for name in commands(tree)}
    assert not tried & left_out


def commands(tree: ast.AST) -> Iterator[str]:
    """Yield the names of the points around plain commands: ``run("HGET", ...)`` and ``sending("command.hget", ...)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            said = str(node.args[0].value)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "run":
                yield f"command.{said.lower()}"
            elif isinstance(node.func, ast.Name) and node.func.id == SHIELD and said.startswith("command."):
                yield said


def test_every_verb_of_every_provider_is_in_the_matrix_or_left_out_for_a_reason() -> None:
    tried = {".".join(point.split(".")[:3]) for point, *_ in PLACES if point.startswith("provider.")}
    left_out = {name for name in NEVER if name.startswith("provider.")}
    assert tried | left_out == {f"provider.{kind}.{verb}" for kind in PROVIDERS for verb in VERBS}
    assert not tried & left_out
