"""Run a container of an image as `docker run --read-only` does: no rights, and nothing to write to but /tmp."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.build_image import Storage

# A runtime cannot do with both versions of control groups at once, which old machines have; here no container is limited
# by any, so it sees the newer version alone, in a mount namespace that nobody else is in.
_ONE_VERSION_OF_CONTROL_GROUPS = """
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
fi
exec "$@"
"""
_LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
_MOST = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """What is run from the images of a storage."""

    storage: Storage

    def command(
        self,
        image: str,
        *arguments: str,
        entrypoint: str | None = None,
        user: str | None = None,
        name: str | None = None,
        read_only: bool = True,
        environment: Mapping[str, str] | None = None,
        mounts: Sequence[str] = (),
    ) -> list[str]:
        """Return the command line that runs an image; without ``entrypoint`` and ``user`` as the image itself has it.

        ``mounts`` are files of this machine in the container, as ``here:there:ro``.
        """
        options = ["--rm", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", "host"]
        options += ["--cgroups", "disabled", *_limits()]
        options += ["--read-only", "--tmpfs", "/tmp"] if read_only else []
        options += [part for each in (environment or {}).items() for part in ("--env", "=".join(each))]
        options += [part for each in mounts for part in ("--volume", each)]
        for option, value in (("--entrypoint", entrypoint), ("--user", user), ("--name", name)):
            options += [] if value is None else [option, value]
        return self._podman("run", *options, image, *arguments)

    def run(self, image: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run an image to its end; the options are those of ``command``."""
        command = self.command(image, *arguments, **options)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the first process of a running container, as a health check is run."""
        return subprocess.run(
            self._podman("exec", name, *command), capture_output=True, text=True, timeout=60, check=False
        )

    def kill(self, name: str, signal: str) -> None:
        """Send a signal to the first process of a running container."""
        subprocess.run(self._podman("kill", "--signal", signal, name), capture_output=True, check=True)

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what an image says of itself."""
        said = subprocess.run(self._podman("image", "inspect", image), capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(said.stdout)[0]
        return found

    def _podman(self, *command: str) -> list[str]:
        alone = ["unshare", "--mount", "sh", "-c", _ONE_VERSION_OF_CONTROL_GROUPS, "sh"]
        return [*alone, "podman", *self.storage.options(), "--runtime", "crun", *command]


def _limits() -> list[str]:
    """Return options for the limits within those of this process: the engine's defaults need a right to raise them."""
    options = []
    for name, number in _LIMITS.items():
        soft, hard = (_MOST if limit == resource.RLIM_INFINITY else min(limit, _MOST) for limit in _own(number))
        options += ["--ulimit", f"{name}={soft}:{hard}"]
    return options


def _own(number: int) -> tuple[int, int]:
    return resource.prlimit(os.getpid(), number)
