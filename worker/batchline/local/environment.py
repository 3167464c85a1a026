"""The environment of our child processes: what is kept of the user's, and what no demo or test may ever see."""

from __future__ import annotations

from collections.abc import Mapping

PROVIDER_PREFIXES = ("OPENAI_", "ANTHROPIC_", "AZURE_OPENAI_", "GEMINI_", "GOOGLE_")
"""Variables from which an SDK takes a key, a base URL or a project."""

EMULATOR_KEY = "emulator-needs-no-key"


def without_providers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without any provider's keys and base URLs: nothing that runs in it can cost money."""
    return {name: value for name, value in environment.items() if not name.startswith(PROVIDER_PREFIXES)}


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without ``BATCHLINE_`` variables, so that only the defaults and what is added count."""
    return {name: value for name, value in environment.items() if not name.startswith("BATCHLINE_")}


def at_emulator(url: str) -> dict[str, str]:
    """Return the variables that send the provider SDKs to the emulator at ``url`` (no trailing slash)."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": EMULATOR_KEY,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": EMULATOR_KEY,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_API_KEY": EMULATOR_KEY,
        # The SDKs honour proxy variables, and a proxy cannot see this machine's loopback interface.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
