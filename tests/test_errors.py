from __future__ import annotations

import pytest

from orchestrator import errors
from orchestrator.errors import OrchestratorError, SpecError, SpecProblem, StoppedError

EXIT_CODES = {
    "UsageError": 2,
    "SpecError": 2,
    "NotReadyError": 3,
    "DataError": 3,
    "ResultsError": 3,
    "NewerFileError": 3,
    "UnreachableError": 3,
    "ClusterError": 3,
    "UnfitNodeError": 3,
    "LockedError": 4,
    "SupersededError": 1,
    "TrainingError": 1,
    "DivergedError": 1,
    "DoesNotFitError": 1,
    "GivenUpError": 1,
    "ChangedCodeError": 3,
    "DeviceLostError": 3,
    "StoppedError": 130,
}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, OrchestratorError) and value is not OrchestratorError
    }
    assert {name: cls.exit_code for name, cls in classes.items()} == EXIT_CODES
    assert all(name in (errors.__doc__ or "") for name in classes)


def test_a_spec_error_shows_every_problem_in_file_order_with_a_caret() -> None:
    source = "name: a\naxes:\n  dephts: [12]\n"
    late = SpecProblem("unknown key 'dephts'", 3, 3, "did you mean 'depth'?")
    early = SpecProblem("bad name", 1, 7)
    assert str(SpecError("s.yaml", [late, early], source)) == (
        "s.yaml:1:7: bad name\n"
        "    name: a\n"
        "          ^\n"
        "s.yaml:3:3: unknown key 'dephts'\n"
        "      dephts: [12]\n"
        "      ^\n"
        "    did you mean 'depth'?"
    )


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_stop_leaves_with_the_code_of_its_signal(number: int, code: int) -> None:
    assert StoppedError("stopped", number).exit_code == code
