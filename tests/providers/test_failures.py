"""What a failed call means: which error, how long to wait, and nothing that should not be quoted."""

from __future__ import annotations

import json

import pytest

from batchline.errors import Ambiguous, KeyRefused, NotFound, Permanent, ProviderError, Retryable
from batchline.providers.failures import CallRules, Keyed, read_error, refused, retry_after_s, translated
from batchline.providers.protocol import AccountAccess

READ = CallRules(account="acme", call="poll")
CREATE = CallRules(account="acme", call="create", lost=Ambiguous, unsure=Ambiguous)
NOW = 1_793_000_000.0


@pytest.mark.parametrize(
    ("status", "of_read", "of_create"),
    [
        (302, Permanent, Retryable),
        (400, Permanent, Permanent),
        (401, KeyRefused, KeyRefused),
        (402, KeyRefused, KeyRefused),
        (403, KeyRefused, KeyRefused),
        (404, NotFound, Retryable),
        (408, Retryable, Ambiguous),
        (409, Retryable, Ambiguous),
        (413, Permanent, Permanent),
        (422, Permanent, Permanent),
        (429, Retryable, Retryable),
        (500, Retryable, Ambiguous),
        (503, Retryable, Ambiguous),
        (529, Retryable, Ambiguous),
    ],
)
def test_a_status_means(status: int, of_read: type[ProviderError], of_create: type[ProviderError]) -> None:
    assert type(refused(READ, status, {}, b"")) is of_read
    assert type(refused(CREATE, status, {}, b"")) is of_create


def test_a_create_whose_body_never_left_whole_is_certainly_without_effect() -> None:
    rules = CallRules(account="acme", call="create", lost=Ambiguous, unsure=Ambiguous, complete=lambda: False)
    assert type(refused(rules, 500, {}, b"")) is Retryable


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"type":"billing_error","message":"pay"}}',
        b'{"error":{"type":"invalid_request_error","code":"billing_hard_limit_reached","message":"limit"}}',
        b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to use"}}',
    ],
)
def test_an_account_without_money_keeps_its_requests_waiting(body: bytes) -> None:
    assert type(refused(CREATE, 400, {}, body)) is KeyRefused


GOOGLE = '{"error":{"code":%d,"message":"%s","status":"%s","details":[%s]}}'
REASON = '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s","domain":"googleapis.com"}'


def google(code: int, status: str, message: str = "m", details: str = "") -> bytes:
    return (GOOGLE % (code, message, status, details)).encode()


@pytest.mark.parametrize(
    ("message", "status", "details"),
    [
        # Source: github.com/google-gemini/gemini-cli/issues/25198
        ("API Key not found. Please pass a valid API key.", "INVALID_ARGUMENT", REASON % "API_KEY_INVALID"),
        ("User location is not supported for the API use.", "FAILED_PRECONDITION", ""),
    ],
)
def test_a_project_that_google_does_not_serve_keeps_its_requests_waiting(
    message: str, status: str, details: str
) -> None:
    body = google(400, status, message, details)
    assert type(refused(CREATE, 400, {}, body)) is KeyRefused
    assert type(refused(CREATE, 400, {}, google(400, status))) is Permanent


def test_googles_error_is_named_by_its_status() -> None:
    told = read_error(google(429, "RESOURCE_EXHAUSTED", "full"))
    assert (told.code, told.type, told.message, told.retry_s) == (
        "RESOURCE_EXHAUSTED",
        "RESOURCE_EXHAUSTED",
        "full",
        None,
    )


def test_an_error_in_a_list_is_read_as_well() -> None:
    assert read_error(b"[" + google(503, "UNAVAILABLE") + b"]").code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("delay", "header", "seconds"),
    [
        ("34s", {}, 34.0),
        ("34.5s", {}, 34.5),
        ("soon", {}, None),
        ("9e9s", {}, 86_400.0),
        ("9s", {"retry-after": "7"}, 7.0),
    ],
)
def test_googles_time_to_wait_stands_in_the_details(delay: str, header: dict[str, str], seconds: float | None) -> None:
    info = json.dumps({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    assert refused(CREATE, 429, header, google(429, "RESOURCE_EXHAUSTED", "m", info)).retry_after_s == seconds


@pytest.mark.parametrize("details", ["7", "null", '"text"', '{"reason":7}', '{"retryDelay":null}'])
def test_details_of_another_shape_do_not_hide_the_error(details: str) -> None:
    assert read_error(google(400, "INVALID_ARGUMENT", "m", details)).message == "m"


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_of_googles_that_is_gone_is_no_fault_of_the_key(status: int) -> None:
    body = google(status, "PERMISSION_DENIED", "You do not have permission to access the File x or it may not exist.")
    assert type(refused(READ, status, {}, body)) is NotFound
    error = refused(CREATE, status, {}, body)
    assert type(error) is Permanent
    assert "cannot find file" in str(error)


def test_a_model_that_google_does_not_know_is_the_batchs_fault_but_an_unknown_address_is_not() -> None:
    error = refused(CREATE, 404, {}, google(404, "NOT_FOUND", "models/x is not found for API version v1beta"))
    assert (type(error), error.code) == (Permanent, "model_not_found")
    assert type(refused(CREATE, 404, {}, google(404, "NOT_FOUND", "Method not found."))) is Retryable


WRONG_ADDRESS = [b"", b"<html>", b'{"detail":"Not Found"}', b'{"error":{"message":"Invalid URL (GET /v1/v1/x)"}}']


@pytest.mark.parametrize("body", WRONG_ADDRESS)
@pytest.mark.parametrize("call", ["poll", "recent", "results", "create", "upload", "call"])
def test_a_call_that_finds_no_api_says_that_the_base_url_is_to_be_set_right(call: str, body: bytes) -> None:
    error = refused(CallRules(account="acme", call=call), 404, {}, body)
    assert "there is no such API at the account's base_url, set it right" in str(error)


def test_a_batch_that_is_not_known_is_no_fault_of_the_base_url() -> None:
    error = refused(READ, 404, {}, b'{"error":{"message":"No batch found with id x","type":"invalid_request_error"}}')
    assert type(error) is NotFound
    assert "base_url" not in str(error)


def test_the_providers_message_is_quoted_but_cut() -> None:
    body = b'{"error":{"message":"' + b"x" * 1000 + b'","type":"invalid_request_error","code":null}}'
    error = refused(CREATE, 400, {}, body)
    assert "x" * 300 in str(error)
    assert "x" * 301 not in str(error)
    assert (error.account, error.call, error.code) == ("acme", "create", "invalid_request_error")


def test_nothing_is_quoted_when_the_key_is_refused() -> None:
    error = refused(READ, 401, {}, b'{"error":{"message":"Incorrect API key provided: sk-1234"}}')
    assert "sk-1234" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e12"}, 86_400.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Mon, 26 Oct 2026 07:34:20 GMT"}, 60.0),
        ({"retry-after": "Mon, 26 Oct 2026 07:32:20 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":null}', b'{"error":{"message":7}}', b"\xff"])
def test_an_error_body_of_another_shape_tells_nothing(body: bytes) -> None:
    assert read_error(body).message == ""


def test_an_error_that_is_only_text_is_read() -> None:
    assert read_error(b'{"error":"no such model"}').message == "no such model"


def test_an_error_that_is_nobodys_stays_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), translated(READ):
        _ = 1 / 0


@pytest.mark.parametrize("key", ["", "sk-1\n", "sk 1", "sk-\u00e9"])
def test_a_key_that_no_header_takes_is_refused_before_any_call_and_not_shown(key: str) -> None:
    keyed = Keyed(AccountAccess(name="acme", key=lambda: key), lambda k: k)
    with pytest.raises(KeyRefused) as caught:
        keyed.client("poll")
    assert "sk" not in str(caught.value)


def test_a_client_lives_as_long_as_its_key() -> None:
    keys = iter(["a", "a", "b"])
    keyed = Keyed(AccountAccess(name="acme", key=lambda: next(keys)), lambda key: [key])
    first, second, third = (keyed.client("poll") for _ in range(3))
    assert first is second
    assert third == ["b"]
