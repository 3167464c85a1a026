"""Names in the settings that lead nowhere are told when they are loaded: silently they would do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchline.errors import UsageError
from batchline.lanes import parse_lane
from batchline.settings import Settings, load_settings

ACCOUNT = "accounts: {my-vllm: {provider: openai, preset: vllm, base_url: 'http://x/v1', api_key_env: K}}\n"


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "s.yaml"
    file.write_text(ACCOUNT + text, encoding="utf-8")
    return load_settings(environ or {}, file)


def problem(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    """Return the one line of the error that these settings give, without the file's name."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text, environ)
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(f"{tmp_path}/")


def test_a_model_that_goes_to_no_account_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    line = problem(tmp_path, "models: [{match: 'llama-*', account: my-vlm, endpoint: chat}]")
    assert line == "s.yaml:2: models[0].account: there is no account 'my-vlm' among 'accounts'; did you mean my-vllm?"


@pytest.mark.parametrize(
    ("account", "endpoint", "known"),
    [
        ("my-vllm", "chta", "chat, responses, embeddings, completions, moderations"),
        ("openai", "messages", "chat, responses, embeddings, completions, moderations"),
        ("anthropic", "chat", "messages"),
        ("gemini", "chat", "generate, embed"),
    ],
)
def test_a_model_that_goes_to_an_endpoint_that_its_account_lacks_is_told_with_those_that_it_has(
    tmp_path: Path, account: str, endpoint: str, known: str
) -> None:
    line = problem(tmp_path, f"models: [{{match: 'm-*', account: {account}, endpoint: {endpoint}}}]")
    assert line == f"s.yaml:2: models[0].endpoint: the account {account} has no endpoint {endpoint!r}, but {known}"


@pytest.mark.parametrize("name", ["my:vllm", "my vllm", "my|vllm", "", "größe", "x" * 101])
def test_an_account_that_no_lane_can_name_is_refused_with_what_its_name_may_hold(tmp_path: Path, name: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"accounts: {{'{name}': {{provider: openai, api_key_env: K}}}}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"no lane can name this account: 1 to 100 of A-Z a-z 0-9 . _ / @ = , [+] -"):
        load_settings({}, file)


def test_a_name_with_every_character_that_is_allowed_is_a_lanes_account(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("accounts: {'Az0._/@=,+-': {provider: openai}}", encoding="utf-8")
    (name,) = set(load_settings({}, file).accounts) - set(Settings().accounts)
    assert parse_lane(f"{name}:chat:m").account == name


def test_a_lane_pattern_of_no_account_is_told(tmp_path: Path) -> None:
    line = problem(tmp_path, "lanes: [{match: 'opnai:*', flush: {max_age: 1m}}]")
    assert line == "s.yaml:2: lanes[0].match: there is no account 'opnai' among 'accounts'; did you mean openai?"
    assert "account:endpoint:model" in problem(tmp_path, "lanes: [{match: 'gpt-5', flush: {max_age: 1m}}]")


@pytest.mark.parametrize(
    ("match", "problem_of_it"),
    [
        ("openai:chats:*", "openai has no endpoint 'chats', but chat, responses, embeddings, completions, moderations"),
        ("openai:gpt-5", "openai has no endpoint 'gpt-5', but chat, responses, embeddings, completions, moderations"),
        ("anthropic:chat:*", "anthropic has no endpoint 'chat', but messages"),
        ("gemini:embeddings:*|tenant=acme", "gemini has no endpoint 'embeddings', but generate, embed"),
    ],
)
def test_a_lane_pattern_of_an_endpoint_that_its_account_lacks_is_told_with_those_that_it_has(
    tmp_path: Path, match: str, problem_of_it: str
) -> None:
    line = problem(tmp_path, f"lanes: [{{match: '{match}', budget: {{tokens: 1000}}}}]")
    assert line == f"s.yaml:2: lanes[0].match: the account {problem_of_it}"


def test_a_lane_pattern_may_leave_the_account_or_the_endpoint_open(tmp_path: Path) -> None:
    patterns = ["*", "*|tenant=acme", "my-*:chat:*", "openai:*", "openai:*:gpt-5*", "my-vllm:chat:llama3:8b"]
    patterns += ["openai:chat*", "gemini:em*:*", "openai:[cr]*"]
    text = "lanes: [" + ", ".join(f"{{match: '{each}', flush: {{max_age: 1m}}}}" for each in patterns) + "]"
    assert [each.match for each in load(tmp_path, text).lanes] == patterns


def test_a_price_before_whose_colon_stands_an_account_is_told_with_how_to_write_it(tmp_path: Path) -> None:
    line = problem(tmp_path, "prices: [{match: 'my-vllm:llama-*', input: 1, output: 1}]")
    assert line.startswith(
        "s.yaml:2: prices[0].match: before the colon stands a provider (openai, anthropic, gemini); "
    )
    assert line.endswith("for an account write match: 'llama-*', account: my-vllm")


def test_a_price_of_a_misspelt_provider_is_told_with_the_right_one(tmp_path: Path) -> None:
    line = problem(tmp_path, "prices: [{match: 'opnai:gpt-*', input: 1, output: 1}]")
    assert line == "s.yaml:2: prices[0].match: there is no provider 'opnai'; did you mean openai?"


@pytest.mark.parametrize(
    ("match", "written"),
    [
        ("google:gemini-*", "write 'gemini:gemini-*'"),
        ("azure:gpt-4o*", "write match: 'gpt-4o*', and its account beside it"),
        ("groq:llama*", "write match: 'llama*', and its account beside it"),
    ],
)
@pytest.mark.parametrize("account", ["", ", account: openai"])
def test_a_price_before_whose_colon_stands_a_service_that_is_no_provider_is_told_with_how_to_write_it(
    tmp_path: Path, match: str, written: str, account: str
) -> None:
    line = problem(tmp_path, f"prices: [{{match: '{match}', input: 1, output: 1{account}}}]")
    assert line == (
        f"s.yaml:2: prices[0].match: before the colon stands a provider (openai, anthropic, gemini); {written}"
    )


@pytest.mark.parametrize("match", ["my-vllm:8b", "groq:llama3", "google:gemma"])
def test_a_price_of_an_account_whose_models_may_have_any_name_is_taken(tmp_path: Path, match: str) -> None:
    text = f"prices: [{{match: '{match}', input: 1, output: 1, account: my-vllm}}]"
    assert load(tmp_path, text).prices[0].match == match


@pytest.mark.parametrize("match", ["openai:gpt-*", "gpt-*", "ft:gpt-4.1-mini:acme::id", "llama3:8b", "*:gpt-*"])
def test_a_price_of_a_model_that_has_a_colon_in_its_name_is_taken(tmp_path: Path, match: str) -> None:
    assert load(tmp_path, f"prices: [{{match: '{match}', input: 1, output: 1}}]").prices[0].match == match


def test_a_budget_by_a_lanes_name_is_told_with_the_models(tmp_path: Path) -> None:
    line = problem(
        tmp_path, "  \n", {"BATCHLINE_ACCOUNTS__OPENAI__BUDGETS": '[{"match": "openai:chat:gpt-5*", "tokens": 5}]'}
    )
    assert line == (
        "BATCHLINE_ACCOUNTS__OPENAI__BUDGETS: accounts.openai.budgets[0].match: "
        "it is held against the model's name alone, of all lanes of this account: 'gpt-5*'"
    )


def llama(tmp_path: Path, match: str) -> Settings:
    file = tmp_path / "s.yaml"
    budgets = f"[{{match: '{match}', tokens: 5}}]"
    file.write_text(
        f"accounts: {{llama3: {{provider: openai, base_url: 'http://x/v1', budgets: {budgets}}}}}", encoding="utf-8"
    )
    return load_settings({}, file)


@pytest.mark.parametrize("match", ["llama3:8b", "llama3:8*", "*:8b", "llama3*"])
def test_a_budget_of_a_model_that_begins_with_its_accounts_name_is_taken(tmp_path: Path, match: str) -> None:
    (budget,) = llama(tmp_path, match).accounts["llama3"].budgets or ()
    assert budget.match == match


@pytest.mark.parametrize("match", ["llama3:chat:8b", "llama3:*", "openai:gpt-5", "gemini:*"])
def test_a_budget_of_lanes_is_told_in_whichever_form_they_are_named(tmp_path: Path, match: str) -> None:
    with pytest.raises(UsageError, match="it is held against the model's name alone"):
        llama(tmp_path, match)


def test_all_names_that_lead_nowhere_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, "models: [{match: a, account: b, endpoint: chat}]\nlanes: [{match: 'c:*'}]")
    assert len(str(caught.value).splitlines()) == 2


def test_a_price_of_an_account_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    line = problem(tmp_path, "prices: [{match: 'llama-*', input: 1, output: 2, account: my-vlm}]")
    assert line == "s.yaml:2: prices[0].account: there is no account 'my-vlm' among 'accounts'; did you mean my-vllm?"
    assert (
        load(tmp_path, "prices: [{match: '*', input: 1, output: 2, account: my-vllm}]").prices[0].account == "my-vllm"
    )
