"""A YAML file in; a `SweepSpec`, or one error with every problem and its place, out."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import SpecError, SpecProblem
from orchestrator.grids.spec_checks import check_spec
from orchestrator.grids.spec_findings import Findings
from orchestrator.grids.spec_reader import read_spec
from orchestrator.grids.spec_writer import dump_spec
from orchestrator.grids.strict_yaml import MAX_BYTES, TOO_LARGE, compose
from orchestrator.grids.sweep_spec import Axis, MatchParams, Resources, SweepSpec, Tracking
from orchestrator.grids.tune_checks import check_tune
from orchestrator.redact import REDACTED, redact_text

__all__ = ["Axis", "MatchParams", "Resources", "SweepSpec", "Tracking", "dump_spec", "load_spec", "loads_spec"]

SECRET_HINT = "a spec is copied beside its results; put the secret into the environment of whatever needs it"


def load_spec(path: Path) -> SweepSpec:
    """The spec in the file `path`.

    Raises:
        SpecError: the file cannot be read, or something in it is wrong; all problems at once.
    """
    return loads_spec(_read_text(path), str(path))


def loads_spec(text: str, path: str = "<text>") -> SweepSpec:
    """The spec in `text`; `path` is what messages call it.

    Raises:
        SpecError: something in it is wrong; all problems at once.
    """
    text = text.removeprefix("\ufeff")
    _refuse_secrets(text, path)
    findings = Findings(compose(text, path))
    findings.problems.extend(findings.document.problems)
    spec = read_spec(findings, path=path, source=text)
    if findings.is_grid_known:
        check_tune(findings, spec) if spec.tune is not None else check_spec(findings, spec)
    if findings.problems:
        raise SpecError(path, findings.problems, text)
    return spec


def _refuse_secrets(text: str, path: str) -> None:
    """A spec is copied beside its results, for whoever reads them.

    Raises:
        SpecError: a password or the user part of a URL stands in it; the message shows where, and not what.
    """
    if len(text) > MAX_BYTES:
        return
    pairs = zip(text.splitlines(), redact_text(text, {}).splitlines(), strict=False)
    problems = [
        SpecProblem("this looks like a secret", number, clean.index(REDACTED) + 1, SECRET_HINT)
        for number, (line, clean) in enumerate(pairs, 1)
        if line != clean
    ]
    if problems:
        raise SpecError(path, problems, redact_text(text, {}))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(str(path)[:200], [_unreadable(path, error)]) from error
    if b"\0" in content:
        raise SpecError(str(path), [SpecProblem("this is a binary file", hint="a spec is YAML text in UTF-8")])
    if len(content) > MAX_BYTES:
        raise SpecError(str(path), [TOO_LARGE])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = SpecProblem(f"byte {error.start} is not UTF-8", hint="a spec is YAML text in UTF-8; save it as such")
        raise SpecError(str(path), [problem]) from error


def _unreadable(path: Path, error: OSError) -> SpecProblem:
    if isinstance(error, IsADirectoryError):
        return SpecProblem("this is a folder", hint="name the YAML file in it")
    if isinstance(error, FileNotFoundError):
        return SpecProblem("there is no such file", hint="'orch init' writes a starter spec")
    return SpecProblem(f"the file cannot be read: {error.strerror or error}", hint="check its permissions")
