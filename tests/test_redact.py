"""What is hidden, what is not, and that hiding twice is hiding once."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.configs import SECTIONS
from orchestrator.redact import REDACTED, is_secret_name, redact, redact_text, redact_words

SECRETS = ("api_key", "DB_PASSWORD", "apiKey", "hf.token", "MLFLOW_TRACKING_TOKEN", "data.secret", "pwd", "authToken")
PLAIN = ("model.depth", "num_tokens", "monkey", "git_commit", "authors", "num_heads", "keyboard", "train.lr")


@given(st.text())
@example("http://a:b@c://d:e@f token=x=y&password=z")
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact_text(redact_text(text)) == redact_text(text)


@given(st.text(alphabet=st.characters(exclude_characters="@=:")))
def test_a_text_without_urls_and_pairs_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


@given(
    user=st.from_regex(r"[a-z]{1,8}(:[^/?#\s]{1,12})?", fullmatch=True),
    host=st.from_regex(r"[a-z]{1,9}", fullmatch=True),
)
def test_nothing_of_a_urls_user_is_left(user: str, host: str) -> None:
    assert redact_text(f"see http://{user}@{host}/x for more") == f"see http://{REDACTED}@{host}/x for more"


@pytest.mark.parametrize("name", SECRETS)
def test_the_value_of_a_secret_name_is_hidden(name: str) -> None:
    assert is_secret_name(name)
    assert redact(name, "hunter2") == REDACTED


FIELDS = [f"{section}.{f.name}" for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)]


@pytest.mark.parametrize("name", [*PLAIN, *FIELDS])
def test_the_value_of_another_name_is_shown(name: str) -> None:
    assert not is_secret_name(name)
    assert redact(name, "hunter2") == "hunter2"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--api-token=abc", f"--api-token={REDACTED}"),
        ("--address=ray://me:pw@host:1", f"--address=ray://{REDACTED}@host:1"),
        ("https://h/x?token=ab&depth=3", f"https://h/x?token={REDACTED}&depth=3"),
        ("--results=out", "--results=out"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_a_word_of_the_command_line_keeps_all_but_its_secrets(word: str, expected: str) -> None:
    assert redact_words([word]) == [expected]


def test_the_word_after_a_secret_option_is_hidden() -> None:
    words = ["run", "x.yaml", "--api-token", "abc", "--results", "out", "--password=abc", "next"]
    hidden = ["run", "x.yaml", "--api-token", REDACTED, "--results", "out", f"--password={REDACTED}", "next"]
    assert redact_words(words) == hidden


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('login(token="a b c")', f"login(token={REDACTED})"),
        ('{"api_key": "a b", "depth": 3}', f'{{"api_key": {REDACTED}, "depth": 3}}'),
        ("Authorization: Bearer abc", f"Authorization: {REDACTED}"),
        ("password: abc, user: me", f"password: {REDACTED}, user: me"),
        ("KeyError: 'depth'", "KeyError: 'depth'"),
        ("unknown key: depht", "unknown key: depht"),
        ("num_tokens: 65", "num_tokens: 65"),
    ],
)
def test_pairs_in_prose_code_and_json_lose_their_secrets(text: str, expected: str) -> None:
    assert redact_text(text, {}) == expected


def test_a_secret_of_the_environment_is_hidden_wherever_it_stands() -> None:
    environment = {"HF_TOKEN": "hf_abcdefgh", "AWS_SECRET_ACCESS_KEY": "hf_abcdefgh/longer", "HOME": "/etc/lab"}
    environment |= {"RAY_AUTH_TOKEN_PATH": "/etc/lab/token", "PIN_KEY": "12"}
    text = "refused hf_abcdefgh and hf_abcdefgh/longer, see /etc/lab/token, line 12"
    hidden = f"refused {REDACTED} and {REDACTED}, see /etc/lab/token, line 12"
    assert redact_text(text, environment) == hidden


def test_prose_about_class_tokens_is_no_secret() -> None:
    told = "64 patches and the class token: N = 65"
    assert redact_text(told) == told
    assert "hunter2hunter2" not in redact_text("token: hunter2hunter2")
    assert "hunter2" not in redact_text("password: hunter2")
