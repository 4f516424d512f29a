"""A benchmark's name in; its table out. Without a name, the list of benchmarks."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path


def list_benchmarks() -> dict[str, str]:
    """Name to what it measures, for each module here that has a `main`; nothing is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(words: list[str]) -> int:
    """Run the benchmark that the first word names, with the rest as its arguments."""
    known = list_benchmarks()
    if not words or words[0] in ("-h", "--help"):
        print("python -m benchmarks NAME [options]\n")
        print("\n".join(f"{name:20} {meaning}" for name, meaning in known.items()))
        return 0
    if words[0] not in known:
        print(f"there is no benchmark {words[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"benchmarks.{words[0]}").main(words[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
