"""Bad specs and what is said about them, word for word: `tests/data/spec_errors/*.txt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.catalog import ATTENTIONS
from orchestrator.errors import SpecError
from orchestrator.spec import loads_spec

FOLDER = Path(__file__).parents[1] / "data" / "spec_errors"


@dataclass(frozen=True)
class BadSpec:
    """A spec with a mistake."""

    title: str
    text: str
    message: str

    def __str__(self) -> str:
        return self.title


def bad_specs(name: str) -> list[BadSpec]:
    """The specs of one file, each `=== title`, the text, `---` and the message; <attentions> are the catalog's."""
    found = []
    text = (FOLDER / f"{name}.txt").read_text().replace("<attentions>", ", ".join(ATTENTIONS))
    for case in text.split("=== ")[1:]:
        title, _, rest = case.partition("\n")
        text, _, message = rest.partition("---\n")
        found.append(BadSpec(title, text, message.strip("\n")))
    return found


def message_of(text: str) -> str:
    """What is said about a spec called f.yaml."""
    with pytest.raises(SpecError) as caught:
        loads_spec(text, "f.yaml")
    return str(caught.value)
