"""The command line as a person meets it: whole outputs, exit codes, files."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import cli, run_command
from orchestrator.tuning.sweep import Summary

SPEC = """\
# Question: does it work?
name: tiny
axes:
  depth: [1, 2]
seeds: 2
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 2, batch_size: 256, lr: 2.0e-3}
tracking: {mlflow: false}
"""

ALL_FLAGS = "--insecure --retry-failed --retrain-changed --allow-code-change --keep-going --yes"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the spec `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return tmp_path


def run(*words: str) -> int:
    return run_command(list(words))


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def last_json(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])


def train_serially(*words: str) -> int:
    return run("run", "tiny.yaml", "--executor", "serial", *words)


def test_every_command_has_help_and_the_readme_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name, command in cli.commands.items():
        assert run(name, "--help") == 0
        assert command.get_short_help_str(limit=80).strip(". ")
        assert "..." not in command.get_short_help_str(limit=60), name
        assert f"orch {name}" in readme, name
    assert "Usage: orch" in capsys.readouterr().out


def test_run_trains_and_a_second_run_does_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_serially("--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    summary = lines[-1]
    assert summary.pop("wall_time_s") > 0
    assert summary == {
        "event": "summary", "sweep": "tiny", "num_trials": 4, "num_finished": 4, "num_reused": 0, "num_failed": 0,
        "num_diverged": 0, "num_unfinished": 0,
    }  # fmt: skip
    assert [line["event"] for line in lines].count("epoch") == 8
    before = files_below(folder)
    assert train_serially("--json") == 0
    captured = capsys.readouterr()
    assert last_json(captured.out)["num_reused"] == 4
    assert "4 of 4 trials finished, 4 of them before this run" in captured.err
    after = files_below(folder)
    changed = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    assert changed <= {"results/sweeps/tiny/runs/2.json"}


def test_a_new_depth_runs_only_its_cells(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_serially() == 0
    (folder / "tiny.yaml").write_text(SPEC.replace("[1, 2]", "[1, 2, 3]"))
    capsys.readouterr()
    assert run("plan", "tiny.yaml", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert [cell["standing"] for cell in plan["cells"]] == ["done", "done", "new"]
    assert plan["remaining_time_s"] > 0
    assert train_serially("--json") == 0
    summary = last_json(capsys.readouterr().out)
    assert (summary["num_trials"], summary["num_reused"], summary["num_finished"]) == (6, 4, 6)


def test_a_cut_record_is_trained_again_with_a_notice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_serially() == 0
    record = min((folder / "results" / "trials").glob("*/record.json"))
    whole = json.loads(record.read_text())
    record.write_bytes(record.read_bytes()[:50])
    capsys.readouterr()
    assert run("plan", "tiny.yaml") == 0
    assert "is damaged" in capsys.readouterr().out
    assert train_serially("--json") == 0
    captured = capsys.readouterr()
    assert last_json(captured.out)["num_reused"] == 3
    assert "is trained again: results" in captured.err
    assert f"{record.parent.name}/record.json is damaged" in captured.err
    again = json.loads(record.read_text())
    assert (again["weights_sha256"], again["test_acc"]) == (whole["weights_sha256"], whole["test_acc"])


def test_status_logs_and_resume_work_from_the_folder_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_serially() == 0
    (folder / "tiny.yaml").unlink()
    capsys.readouterr()
    assert run("status", "tiny", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["states"] == {"COMPLETE": 4}
    assert status["trials"][0]["axes"] == {"depth": 1, "seed": 0}
    assert run("status", "tiny") == 0
    assert run("status") == 0
    assert "tiny: 4 COMPLETE" in capsys.readouterr().out
    trial_id = status["trials"][0]["trial_id"]
    assert run("logs", trial_id[:8]) == 0
    assert "epoch 2:" in capsys.readouterr().out
    assert run("resume", "tiny", "--executor", "serial", "--json") == 0
    assert last_json(capsys.readouterr().out)["num_reused"] == 4
    assert run("status", "results:tiny", "--results", "elsewhere") == 0


@pytest.mark.parametrize(
    ("words", "again"),
    [
        ([], "orch run tiny.yaml --executor serial"),
        (["--results", "r e"], "orch run tiny.yaml --executor serial --results 'r e'"),
        (
            ALL_FLAGS.split(),
            f"orch run tiny.yaml --executor serial {ALL_FLAGS}",
        ),
    ],
)
def test_the_command_that_goes_on_has_all_that_was_given_and_can_be_pasted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], again: str
) -> None:
    from orchestrator import cli_run

    def stop(spec: object, grid: object, results: object, options: object, *_: object) -> object:
        heard.append(options)
        return Summary(
            sweep="tiny", num_trials=4, num_finished=0, num_reused=0, num_failed=0, num_diverged=0, num_unfinished=4,
            wall_time_s=1.0, stopped_by=15,
        )  # fmt: skip

    heard: list[Any] = []
    monkeypatch.setattr(cli_run, "run_sweep", stop)
    assert train_serially("--json", *words) == 143
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "go on with" in line]
    given = said.partition("go on with: ")[2]
    assert sorted(shlex.split(given)) == sorted(shlex.split(again))
    assert given.startswith(again.partition(" --")[0])
    assert heard[0].again == given


def test_words_at_the_end_quote_the_root(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_serially("--results", "r e") == 0
    assert "next: orch report tiny --results 'r e'" in capsys.readouterr().err


def test_one_error_of_three_trials_stops_the_run_and_status_says_what_is_next(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.training.objective import Objective

    monkeypatch.setattr(Objective, "__call__", lambda *_: {}["no head"])
    assert train_serially("--json") == 1
    captured = capsys.readouterr()
    summary = last_json(captured.out)
    assert (summary["num_failed"], summary["num_unfinished"]) == (3, 1)
    assert summary["given_up"].startswith("the same error ended 3 trials (")
    assert "error: the same error ended 3 trials" in captured.err
    assert run("status", "tiny") == 0
    assert "own code: KeyError: 'no head' [next: mend it, then" in capsys.readouterr().out
    assert run("status", "tiny", "--json") == 0
    failures = [trial["failure"] for trial in json.loads(capsys.readouterr().out)["trials"]]
    assert sorted(map(str, failures)) == ["None", "own_code", "own_code", "own_code"]
    assert train_serially("--json", "--retry-failed", "--keep-going") == 1
    assert last_json(capsys.readouterr().out)["num_failed"] == 4


def test_a_diverged_trial_is_an_outcome_that_is_not_tried_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tiny.yaml").write_text(SPEC.replace("lr: 2.0e-3", "lr: 1.0e+30, optimizer: sgd"))
    assert train_serially("--json") == 1
    assert last_json(capsys.readouterr().out)["num_diverged"] == 4
    assert train_serially("--json", "--retry-failed") == 1
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["start", "summary"]


def test_a_failed_trial_waits_for_retry_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "attn.py").write_text("class Broken:\n    def __init__(self, spec):\n        raise RuntimeError('no')\n")
    (folder / "tiny.yaml").write_text(
        SPEC.replace("seeds: 2", "seeds: 1").replace("{embed", "{attention: 'attn:Broken', embed")
    )
    assert train_serially("--json") == 1
    assert last_json(capsys.readouterr().out)["num_failed"] == 2
    assert train_serially("--json") == 1
    assert "trial_started" not in capsys.readouterr().out
    assert train_serially("--json", "--retry-failed") == 1
    assert capsys.readouterr().out.count("trial_started") == 2


def test_retrain_changed_replaces_what_other_code_trained(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator import provenance

    assert train_serially() == 0
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "other")
    capsys.readouterr()
    assert run("plan", "tiny.yaml") == 0
    assert "done by other code" in capsys.readouterr().out
    assert train_serially("--json") == 0
    assert last_json(capsys.readouterr().out)["num_reused"] == 4
    assert train_serially("--json", "--retrain-changed") == 0
    assert last_json(capsys.readouterr().out)["num_reused"] == 0
    record = json.loads(next((folder / "results" / "trials").glob("*/record.json")).read_text())
    assert record["provenance"]["code_fingerprint"] == "other"


@pytest.mark.slow
def test_report_ends_with_its_path(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_serially() == 0
    capsys.readouterr()
    assert run("report", "tiny", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert Path(content["report"]).read_text().startswith("<!DOCTYPE html>")
    assert all(Path(path).exists() for path in content["figures"] + content["tables"])


def test_init_writes_a_spec_that_plans_and_replaces_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", "new") == 0
    assert run("plan", "new/sweep.yaml") == 0
    assert run("init", "new") == 2
    assert "already there" in capsys.readouterr().err
    schema = json.loads((folder / "new" / "sweep.schema.json").read_text())
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out) == schema


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", shell) == 0
    assert "_ORCH_COMPLETE" in capsys.readouterr().out


def test_data_goes_to_stdout_and_talk_to_stderr(folder: Path) -> None:
    words = [sys.executable, "-m", "orchestrator", "run", "tiny.yaml", "--executor", "serial", "--json"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder, check=True, timeout=200)
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-1] == "summary"
    assert "\x1b" not in done.stderr + done.stdout
    assert "[4/4]" in done.stderr
