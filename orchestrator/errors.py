"""Everything that can go wrong and be told to a person, as one tree; imports nothing.

    OrchestratorError            exit code 1
    ├── UsageError               2   the command line asks for something that makes no sense
    ├── SpecError                2   a YAML file says something wrong (file:line:column)
    ├── NotReadyError        3   the machine is not ready
    │   ├── DataError            3   a dataset is missing or broken
    │   ├── ResultsError         3   the results folder cannot be read or written
    │   ├── NewerFileError       3   a later version of orch wrote a file of the results folder
    │   ├── UnreachableError     3   the object store of a results root does not answer
    │   └── ClusterError         3   Ray does not start or answer
    │       └── UnfitNodeError   3   a node of the cluster holds other data than the run is about
    ├── LockedError              4   another run holds the sweep
    ├── SupersededError          1   a later attempt or run has taken over
    ├── TrainingError            1   a trial cannot be built or trained
    │   ├── DivergedError        1   the loss is no longer a number: an outcome, not a fault
    │   ├── DoesNotFitError      1   a step does not fit the device's memory
    │   ├── GivenUpError         1   start after start died at the same place
    │   └── ChangedCodeError     3   a half-trained trial was started by other code
    ├── DeviceLostError          3   the GPU failed under a trial; a new process goes on with it
    └── StoppedError             130 or 143   a signal asked to stop; everything is saved

The command line catches `OrchestratorError` once, prints its message and exits with `exit_code`.
"""

from __future__ import annotations

from dataclasses import dataclass


class OrchestratorError(Exception):
    """Root of the tree; `str(error)` is a message for a person."""

    exit_code = 1


class UsageError(OrchestratorError):
    """The request itself makes no sense: an unknown sweep, options that exclude each other."""

    exit_code = 2


@dataclass(frozen=True)
class SpecProblem:
    """One thing wrong in a spec file, and where. Lines and columns count from 1."""

    message: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    """What is allowed, the nearest name, or what to do next."""


MAX_PROBLEMS_SHOWN = 50


class SpecError(OrchestratorError):
    """All problems of one file at once, each with file:line:column, the source line and a caret."""

    exit_code = 2

    def __init__(self, path: str, problems: list[SpecProblem], source: str = "") -> None:
        self.path = path
        self.problems = sorted(problems, key=lambda p: (p.line or 0, p.column or 0))
        self.source = source
        self._source_lines = source.splitlines()
        shown = [self._render(problem) for problem in self.problems[:MAX_PROBLEMS_SHOWN]]
        num_more = len(self.problems) - len(shown)
        shown += [f"{path}: and {num_more:,} more problems; mend these first"] if num_more else []
        super().__init__("\n".join(shown))

    def _render(self, problem: SpecProblem) -> str:
        if problem.line is None:
            lines = [f"{self.path}: {problem.message}"]
        else:
            lines = [f"{self.path}:{problem.line}:{problem.column}: {problem.message}", *self._excerpt(problem)]
        if problem.hint:
            lines.append(f"    {problem.hint}")
        return "\n".join(lines)

    def _excerpt(self, problem: SpecProblem) -> list[str]:
        if problem.line is None or not 1 <= problem.line <= len(self._source_lines):
            return []
        text = self._source_lines[problem.line - 1].replace("\t", " ")
        column = max(1, problem.column or 1)
        return [f"    {text[:160]}", "    " + " " * (min(column, 160) - 1) + "^"]


class NotReadyError(OrchestratorError):
    """The machine, the data or the cluster is not ready; nothing was trained."""

    exit_code = 3


class DataError(NotReadyError):
    """A dataset is missing, broken, or not the one that earlier trials saw."""


class ResultsError(NotReadyError):
    """The results folder cannot be read or written, or a file in it is damaged."""


class NewerFileError(NotReadyError):
    """A file of the results folder was written by a later version of orch.

    No `ResultsError`, because what is damaged is made again and this must not be: it is the later version's.
    """

    def __init__(self, path: object, schema: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a newer orch (schema {schema}, this one reads up to {known}); "
            "update orch to read it: pip install -U depth-orchestrator"
        )


class UnreachableError(NotReadyError):
    """The object store of a results root does not answer, or refuses; says nothing about what lies there."""


class ClusterError(NotReadyError):
    """Ray does not start, or the cluster does not answer."""


class UnfitNodeError(ClusterError):
    """A node of a cluster holds other data than the run is about; other nodes may go on.

    Args:
        why: what is wrong there, in words.
        advice: what to do about it.
    """

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why, advice)
        self.why, self.advice = why, advice

    def __str__(self) -> str:
        return f"{self.why}; {self.advice}"


class LockedError(OrchestratorError):
    """Another live run holds the sweep."""

    exit_code = 4

    def __init__(self, what: str, owner: str) -> None:
        super().__init__(f"{what} is held by another run ({owner}); wait for it, or stop it first")


class SupersededError(OrchestratorError):
    """A later attempt or run has taken over what this one worked on; it must write no more."""


class TrainingError(OrchestratorError):
    """A trial cannot be built or trained as it was asked."""


class DivergedError(TrainingError):
    """The training loss is no longer finite.

    Args:
        epoch: the epoch it happened in, from 1.
        step: the optimizer step inside that epoch, from 0.
        loss: the value that was seen.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        self.epoch, self.step, self.loss = epoch, step, loss
        super().__init__(f"the training loss became {loss} in epoch {epoch} at step {step}")


class DoesNotFitError(TrainingError):
    """A step of the trial does not fit the device's memory; the message says what would."""


class GivenUpError(TrainingError):
    """Start after start of the trial died or hung, none further than the one before.

    Args:
        kind: a value of `failure.FailureKind`.
    """

    def __init__(self, message: str, kind: str) -> None:
        self.kind = kind
        super().__init__(message)


class ChangedCodeError(TrainingError):
    """A half-trained trial was started by code or libraries that differ from these."""

    exit_code = 3


class DeviceLostError(OrchestratorError):
    """The GPU failed under a trial, and this process can use it no more; a new one goes on from the checkpoint."""

    exit_code = 3


class StoppedError(OrchestratorError):
    """A signal asked for a stop; every running trial left a checkpoint."""

    exit_code = 130

    def __init__(self, message: str = "stopped", signal_number: int = 2) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(message)
