"""Names and text in, the same without secrets out.

A secret is the value of a name that speaks of one (`api_key`, `DB_PASSWORD`), alone or in a `name=value` or
`password: value` pair inside a text, the user part of a URL, and wherever it stands the value of an environment
variable with such a name. Redacting twice changes nothing more.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence

REDACTED = "[redacted]"

MIN_SECRET_LENGTH = 8
"""A shorter value of the environment is not looked for in texts: it would stand in many of them by chance."""

_SECRET_WORDS = frozenset(
    (
        *("auth", "authorization", "credential", "credentials", "token", "secret", "secrets", "key", "keys"),
        *("passphrase", "passwd", "password", "pwd"),
    )
)
_SECRET_ENDINGS = ("apikey", "accesskey", "secretkey", "privatekey", "password", "passwd", "secret", "token")
# Names are looked for from their first letter only, so that a long word costs no more than many short ones.
_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_URL_USER = re.compile(r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z0-9+.-]+://)[^/?#\s]+@")
_QUOTED = r"""\[redacted\]|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
_PAIR = re.compile(rf"(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z0-9_.-]+)=(?P<value>{_QUOTED}|[^\s&#;,]+)")
_SPOKEN = r"(?i:password|passwd|passphrase|secret|token|authorization|(?:api|access|private)[_-]?key)"
_COLON_PAIR = re.compile(
    rf"""(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z0-9_.-]*{_SPOKEN}["']?: ?)"""
    rf"(?P<value>{_QUOTED}|(?:(?i:basic|bearer) )?[^\s&#;,]+)"
)
"""Of the words above only those that prose does not put before a colon."""


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a value of this name is to be hidden; `num_tokens` counts and is not."""
    parts = [part.lower() for part in _NAME_PARTS.findall(name)]
    return any(part in _SECRET_WORDS or part.endswith(_SECRET_ENDINGS) for part in parts)


def redact(name: str, text: str) -> str:
    """`text`, the value of `name`, without secrets."""
    return REDACTED if is_secret_name(name) else redact_text(text)


def redact_text(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the user part of its URLs, the values of secret pairs, and secrets of the environment."""
    for secret in _secrets_of(environment):
        text = text.replace(secret, REDACTED)
    text = _URL_USER.sub(rf"\g<scheme>{REDACTED}@", text)
    return _COLON_PAIR.sub(_redact_colon_pair, _PAIR.sub(_redact_pair, text))


def redact_words(words: Sequence[str]) -> list[str]:
    """The words of a command line, `--api-token=...`, `--api-token ...` and URLs made harmless."""
    before = ["", *words]
    return [
        REDACTED if option.startswith("--") and "=" not in option and is_secret_name(option) else redact_text(word)
        for option, word in zip(before, words, strict=False)
    ]


def _secrets_of(environment: Mapping[str, str]) -> list[str]:
    """The longest first, so that none is cut in two by a part of it."""
    named = (value for name, value in environment.items() if is_secret_name(name) and not _is_place(value))
    return sorted({value for value in named if len(value) >= MIN_SECRET_LENGTH}, key=len, reverse=True)


def _is_place(value: str) -> bool:
    """A file that holds a secret (`RAY_AUTH_TOKEN_PATH`) is none."""
    return value.startswith(("/", "~", "./", "[redacted"))


def _redact_colon_pair(match: re.Match[str]) -> str:
    """Prose about transformers has class tokens before colons; what it says of them is short."""
    is_prose = match["name"].rstrip("\"': ").lower().endswith("token") and len(match["value"]) < MIN_SECRET_LENGTH
    return match[0] if is_prose else f"{match['name']}{REDACTED}"


def _redact_pair(match: re.Match[str]) -> str:
    return f"{match['name']}={REDACTED}" if is_secret_name(match["name"]) else match[0]
