"""What our child processes see of the user's environment."""

from __future__ import annotations

from pathlib import Path

from batchline.local.environment import EMULATOR_KEY
from batchline.local.stack import Emulation, Stack

USERS = {
    "PATH": "/bin",
    "OPENAI_API_KEY": "sk-real",
    "OPENAI_BASE_URL": "https://api.example",
    "ANTHROPIC_API_KEY": "sk-real",
    "GEMINI_API_KEY": "real",
    "GOOGLE_API_KEY": "real",
    "BATCHLINE_REDIS_URL": "redis://production/0",
    "BATCHLINE_BROKER_URL": "redis://production/1",
    "BATCHLINE_FLUSH__MAX_AGE": "7",
}


def test_with_an_emulator_no_key_and_no_setting_of_the_user_is_left(tmp_path: Path) -> None:
    stack = Stack(tmp_path, base=USERS, settings={"BATCHLINE_FLUSH__MAX_AGE": "2"})
    stack.emulator_url = "http://127.0.0.1:1"
    seen = stack.environment()
    assert not [value for value in seen.values() if "real" in value or "production" in value or "example" in value]
    assert (seen["PATH"], seen["BATCHLINE_FLUSH__MAX_AGE"]) == ("/bin", "2")
    assert (seen["OPENAI_BASE_URL"], seen["OPENAI_API_KEY"]) == ("http://127.0.0.1:1/v1", EMULATOR_KEY)
    assert (seen["ANTHROPIC_BASE_URL"], seen["ANTHROPIC_API_KEY"]) == ("http://127.0.0.1:1", EMULATOR_KEY)


def test_before_the_emulator_answers_there_is_no_key_either(tmp_path: Path) -> None:
    seen = Stack(tmp_path, base=USERS, emulation=Emulation()).environment()
    assert not [name for name in seen if name.startswith(("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE"))]


def test_without_an_emulator_keys_and_settings_stay_but_the_store_is_ours(tmp_path: Path) -> None:
    stack = Stack(tmp_path, base=USERS, emulation=None, keep_settings=True)
    seen = stack.environment()
    assert (seen["OPENAI_API_KEY"], seen["BATCHLINE_FLUSH__MAX_AGE"]) == ("sk-real", "7")
    assert seen["BATCHLINE_REDIS_URL"] == seen["BATCHLINE_BROKER_URL"] == stack.redis_url
