"""Names and text in, the same without secrets out; pure.

A secret is the value of a name that speaks of one (`api_key`, `DB_PASSWORD`), alone or in a `name=value` pair inside a
text, and the user part of a URL. Redacting twice changes nothing more.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_SECRET_WORDS = frozenset(
    (
        *("auth", "authorization", "credential", "credentials", "token", "secret", "secrets", "key", "keys"),
        *("passphrase", "passwd", "password", "pwd"),
    )
)
_SECRET_ENDINGS = ("apikey", "accesskey", "secretkey", "privatekey", "password", "passwd", "secret", "token")
_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_URL_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]+@")
_PAIR = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)=(?P<value>[^\s&#;,]+)")


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is to be hidden; `num_tokens` counts and is not."""
    parts = [part.lower() for part in _NAME_PARTS.findall(name)]
    return any(part in _SECRET_WORDS or part.endswith(_SECRET_ENDINGS) for part in parts)


def redact(name: str, text: str) -> str:
    """`text`, the value of `name`, without secrets."""
    return REDACTED if is_secret_name(name) else redact_text(text)


def redact_text(text: str) -> str:
    """`text` without the user part of its URLs and without the values of secret `name=value` pairs."""
    return _PAIR.sub(_redact_pair, _URL_USER.sub(rf"\g<scheme>{REDACTED}@", text))


def redact_argument(word: str) -> str:
    """One word of a command line, `--api-token=...` and URLs made harmless."""
    return redact_text(word)


def _redact_pair(match: re.Match[str]) -> str:
    return f"{match['name']}={REDACTED}" if is_secret_name(match["name"]) else match[0]
