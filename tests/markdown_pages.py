"""A page of Markdown in; its code blocks, links and headings out, and the page carried out block by block."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli import run_command

ROOT = Path(__file__).parents[1]

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    title: str
    """Name of the file it becomes; empty for a block that is carried out."""
    text: str


def read_blocks(page: str) -> list[Block]:
    """Fenced blocks in order, those in lists too."""
    found = []
    for match in FENCE.finditer(page):
        language, _, rest = match["info"].partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        found.append(Block(language, title[1] if title else "", textwrap.dedent(match["text"])))
    return found


def prose(page: str) -> str:
    """The page without its blocks."""
    return FENCE.sub("", page)


def links(page: str) -> list[str]:
    """Targets of the links in the prose."""
    return [match["target"] for match in LINK.finditer(prose(page))]


def anchors(page: str) -> set[str]:
    """What a link may name behind '#'."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> list[str]:
    """The command lines of a bash block, each on one line, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def squeeze(text: str) -> str:
    """Runs of blanks as one, so that tables compare whatever the width of their columns."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def run_page(page: str, folder: Path, read_output: Callable[[], str], *, is_compared: bool = True) -> None:
    """Carry out a page in `folder`, which is the working directory.

    Titled blocks become files; bash and python run; each line of a text block right behind one of those must stand in
    what it printed.

    Args:
        read_output: gives what was printed since the last call.
        is_compared: whether text blocks are looked at.
    """
    output: str | None = None
    for block in read_blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)
            output = None
        elif block.language == "bash":
            output = "".join(_run_line(line, folder, read_output) for line in commands(block))
        elif block.language == "python":
            exec(compile(block.text, "<page>", "exec"), {"__name__": "__main__"})
            output = read_output()
        elif block.language == "text" and output is not None and is_compared:
            _assert_printed(block.text, output)


def _run_line(line: str, folder: Path, read_output: Callable[[], str]) -> str:
    if line.startswith("orch "):
        code = run_command(shlex.split(line, comments=True)[1:])
        output = read_output()
        assert code == 0, f"{line!r} ended with {code}:\n{output}"
        return output
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line!r} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout


def _assert_printed(expected: str, output: str) -> None:
    for line in squeeze(expected).splitlines():
        assert line in squeeze(output), f"the page shows {line!r}, but what was printed is\n{output}"


def forget_modules_of(folder: Path) -> None:
    """Modules that were imported from `folder` are imported anew by the next test."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
