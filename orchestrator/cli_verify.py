"""`orch verify`: a sweep in; its files held against its records, some trials trained again, what differs out."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from orchestrator import provenance
from orchestrator.cli_place import find_sweep
from orchestrator.cli_run import make_importable, progress_listener
from orchestrator.errors import UsageError
from orchestrator.record import State, SweepIndex, TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.spec import load_spec
from orchestrator.tuning.checksums import FileReport, check_files
from orchestrator.tuning.runner import ExecutorName, RunOptions
from orchestrator.tuning.verify import Comparison, Verdict, compare_trials, other_code, pick_trials, train_again


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `orch verify` found; with --json, the document that it prints."""

    sweep: str
    num_checked: int
    """Finished trials whose files were held against their records."""
    num_without_weights: int
    """Of these, COMPLETE ones whose final weights are not there any more."""
    files: Sequence[FileReport]
    """Those of them with a problem."""
    trials: Sequence[Comparison]
    """Those that were trained again."""
    tolerance_points: float
    code: str
    """Fingerprint of the code that trained them again."""
    num_other_code: int
    """Of these, how many another code fingerprint had made."""

    @property
    def is_good(self) -> bool:
        return not self.files and all(trial.verdict is not Verdict.DIFFERENT for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        files = [{"trial_id": report.trial_id, "problems": report.problems} for report in self.files]
        trials = [dataclasses.asdict(trial) for trial in self.trials]
        return {**content, "files": files, "trials": trials, "is_good": self.is_good}


def verify_sweep(
    place: str,
    results: Path,
    *,
    num_trials: int,
    seed: int,
    trials: Sequence[str],
    tolerance_points: float,
    executor: ExecutorName,
    address: str | None,
    scratch: Path | None,
    as_json: bool,
) -> int:
    """Check files and train trials again; 0 where all is what it was, else 1."""
    make_importable(Path.cwd())
    root, name = find_sweep(place, results)
    index = root.sweep(name).read_index()
    reports = [check_files(root.trial(trial_id)) for trial_id in dict.fromkeys(m.trial_id for m in index.all_members)]
    picked = _picked(reports, index, trials, num_trials, seed)
    changed = other_code(picked)
    _announce(picked, changed, tolerance_points)
    comparisons: list[Comparison] = []
    if picked:
        spec = load_spec(root.sweep(name).spec_file)
        if executor == "ray_tune":
            address = address or os.environ.get("RAY_ADDRESS")
        options = RunOptions(executor=executor, address=address, command=provenance.command_line())
        listener = progress_listener()
        with _scratch_root(scratch) as repeated:
            try:
                train_again(picked, spec, index, repeated, options, [listener])
            finally:
                listener.close()
            comparisons = compare_trials(picked, root, repeated, tolerance_points / 100)
    finished = [report for report in reports if report.record is not None]
    found = Verification(
        sweep=name,
        num_checked=sum(report.record is not None or bool(report.problems) for report in reports),
        num_without_weights=sum(_is_complete(report) and not report.has_weights for report in finished),
        files=[report for report in reports if report.problems],
        trials=comparisons,
        tolerance_points=tolerance_points,
        code=provenance.code_fingerprint(),
        num_other_code=len(changed),
    )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        _print(found)
    return 0 if found.is_good else 1


def _picked(
    reports: Sequence[FileReport], index: SweepIndex, prefixes: Sequence[str], num: int, seed: int
) -> list[TrialRecord]:
    """COMPLETE measured trials: those that were named, else `num` by chance."""
    measured = {member.trial_id for member in index.members}
    records = {r.trial_id: r.record for r in reports if r.trial_id in measured and r.record and _is_complete(r)}
    if not prefixes:
        return pick_trials(list(records.values()), num, seed, index.name)
    found: dict[str, TrialRecord] = {}
    for prefix in prefixes:
        matching = [trial_id for trial_id in records if trial_id.startswith(prefix)]
        if len(matching) != 1:
            what = "no" if not matching else str(len(matching))
            raise UsageError(
                f"{what} finished measured trials of {index.name} have an id that starts with {prefix!r}; "
                f"`orch status {index.name}` lists them"
            )
        found[matching[0]] = records[matching[0]]
    return list(found.values())


def _is_complete(report: FileReport) -> bool:
    return report.record is not None and report.record.state is State.COMPLETE


def _announce(picked: Sequence[TrialRecord], changed: Sequence[TrialRecord], tolerance_points: float) -> None:
    """Before anything is trained: that other code made the records, and what that means."""
    if changed:
        click.echo(
            f"notice: {len(changed)} of {len(picked)} trials were made by other code (fingerprint "
            f"{changed[0].provenance.code_fingerprint}, now {provenance.code_fingerprint()}): their bits may differ, "
            f"their accuracies must agree within {tolerance_points:g} points",
            err=True,
        )


@contextmanager
def _scratch_root(folder: Path | None) -> Iterator[ResultsDir]:
    """An empty results root that is removed at the end."""
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--scratch {folder} is no folder; make it first, on a disk that every node sees")
    with tempfile.TemporaryDirectory(prefix="orch-verify-", dir=folder) as path:
        yield ResultsDir(Path(path))


def _print(found: Verification) -> None:
    freed = f", {found.num_without_weights} of them without final weights" if found.num_without_weights else ""
    click.echo(f"files: {found.num_checked} finished trials held against their records{freed}")
    for report in found.files:
        for problem in report.problems:
            click.echo(f"  DAMAGED {report.trial_id}: {problem}")
    for trial in found.trials:
        click.echo(f"{trial.verdict}: {trial.trial_id} ({trial.label})")
        for cause in trial.because:
            click.echo(f"    bits may differ: {cause}")
        for difference in trial.differences:
            click.echo(f"    {difference}")
    counts = {verdict: sum(trial.verdict is verdict for trial in found.trials) for verdict in Verdict}
    parts = [f"{num} {verdict}" for verdict, num in counts.items() if num]
    within = f" ({found.tolerance_points:g} points)" if counts[Verdict.WITHIN_TOLERANCE] else ""
    parts += [f"{len(found.files)} with damaged files"] if found.files else []
    trained = f"{len(found.trials)} trials trained again" if found.trials else "no trial was trained again"
    click.echo(f"{found.sweep}: {': '.join([trained, *([', '.join(parts)] if parts else [])])}{within}")
