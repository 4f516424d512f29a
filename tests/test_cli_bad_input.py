"""Bad input: the exit code, one clear message, no traceback, nothing written."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from orchestrator.cli import run_command

SPEC = """\
name: bad
axes: {depth: [1, 2]}
model: {embed_dim: 8, num_heads: 2, patch_size: 4}
data: {name: digits}
train: {epochs: 1, batch_size: 256, lr: 2.0e-3}
"""

BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 25))

CHANGED = {
    "unknown key": (("axes:", "axis:"), "axis"),
    "unknown field": (("embed_dim: 8", "embed_dims: 8"), "embed_dim"),
    "wrong type": (("embed_dim: 8", "embed_dim: wide"), "embed_dim"),
    "duplicate key": (("patch_size: 4}", "patch_size: 4, num_heads: 4}"), "num_heads"),
    "empty axis": (("[1, 2]", "[]"), "depth"),
    "empty grid": (("model:", "exclude: [{depth: [1, 2]}]\nmodel:"), "exclude"),
    "heads": (("embed_dim: 8", "embed_dim: 9"), "num_heads"),
    "one head": (("num_heads: 2", "num_heads: 1, attention: reattention"), "head"),
    "patch": (("patch_size: 4", "patch_size: 3"), "patch_size"),
    "attention": (("num_heads: 2", "num_heads: 2, attention: reatention"), "reattention"),
    "dataset": (("name: digits", "name: digitz"), "digits"),
    "tag": (("name: bad", "name: !!python/object/apply:os.system [ls]"), "tag"),
    "not a number": (("lr: 2.0e-3", "lr: .nan"), "lr"),
    "negative": (("lr: 2.0e-3", "lr: -1"), "lr"),
    "negative epochs": (("epochs: 1", "epochs: -1"), "epochs"),
    "name with a slash": (("name: bad", "name: a/b"), "name"),
    "name that climbs": (("name: bad", "name: .."), "name"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fail(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and what was said; nothing on stdout, no traceback, no results folder."""
    code = run_command(list(words))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert not Path("results").exists()
    return code, captured.err


@pytest.mark.parametrize("case", CHANGED)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_what_is_wrong_in_a_spec_is_named_with_its_place(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str, command: str
) -> None:
    (old, new), word = CHANGED[case]
    (folder / "bad.yaml").write_text(SPEC.replace(old, new))
    code, message = fail(capsys, command, "bad.yaml")
    assert code == 2
    assert message.startswith("bad.yaml:")
    assert all(part.isdecimal() for part in message.split(":")[1:3])
    assert word in message


def test_all_problems_are_told_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SPEC.replace("[1, 2]", "[]").replace("lr: 2.0e-3", "lr: -1").replace("digits", "digitz")
    (folder / "bad.yaml").write_text(text)
    _, message = fail(capsys, "run", "bad.yaml")
    assert message.count("bad.yaml:") == 3


def test_a_missing_file_a_folder_and_a_binary_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "binary.yaml").write_bytes(b"\x00\x01\xff")
    (folder / "sub.yaml").mkdir()
    for name in ("missing.yaml", "binary.yaml", "sub.yaml"):
        code, message = fail(capsys, "run", name)
        assert code == 2
        assert name in message


def test_a_bomb_of_merge_keys_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bomb.yaml").write_text(BOMB)
    code, message = fail(capsys, "run", "bomb.yaml")
    assert code == 2
    assert "<<" in message


def test_a_missing_dataset_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = "{name: image_folder, id: mine, num_classes: 2, root: nowhere}"
    text = SPEC.replace("{name: digits}", data).replace("patch_size: 4", "patch_size: 4, img_size: 8")
    (folder / "bad.yaml").write_text(text)
    code = run_command(["run", "bad.yaml", "--executor", "serial"])
    message = capsys.readouterr().err
    assert code == 3
    assert "nowhere" in message
    assert "Traceback" not in message
    assert not list(folder.glob("results/trials/*"))


def test_a_results_folder_below_a_file_is_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text(SPEC)
    (folder / "file").write_text("kept")
    for words in (["run", "bad.yaml"], ["plan", "bad.yaml"], ["status"], ["sync"]):
        code, message = fail(capsys, *words, "--results", "file/results")
        assert code == 3, words
        assert "file" in message
    assert (folder / "file").read_text() == "kept"


def test_a_cluster_that_does_not_answer_is_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text(SPEC + "tracking: {mlflow: false}\n")
    code = run_command(["run", "bad.yaml", "--address", "127.0.0.1:1"])
    message = capsys.readouterr().err
    assert code == 3
    assert "no Ray cluster answers at 127.0.0.1:1" in message
    assert not list(folder.glob("results/trials/*"))


def test_a_huge_grid_asks_for_yes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = "axes: {depth: [1, 2], lr: [" + ", ".join(f"{i}.0e-6" for i in range(100, 1100)) + "]}"
    (folder / "bad.yaml").write_text(
        SPEC.replace("axes: {depth: [1, 2]}", axes).replace(", lr: 2.0e-3", "") + "seeds: 500\n"
    )
    code, message = fail(capsys, "run", "bad.yaml")
    assert code == 2
    assert "1,000,000 trials" in message
    assert "--yes" in message


@pytest.mark.parametrize(
    "words", [["status", "nothing"], ["report", "nothing"], ["logs", "nothing"], ["resume", "../x"]]
)
def test_an_unknown_sweep_or_trial_is_a_usage_error(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, message = fail(capsys, *words)
    assert code == 2
    assert words[1] in message


def test_an_unknown_option_is_a_usage_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(capsys, "run", "bad.yaml", "--depht")[0] == 2


def test_two_runs_of_one_sweep_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator import lease
    from orchestrator.record import Run
    from orchestrator.results import ResultsDir

    (folder / "bad.yaml").write_text(SPEC)
    results = ResultsDir(folder / "elsewhere")
    with lease.hold(results.sweep("bad").runs, "sweep 'bad'", Run, partial(Run, command="", executor="serial")):
        code, message = fail(capsys, "run", "bad.yaml", "--results", "elsewhere")
    assert code == 4
    assert "sweep 'bad' is held by another run (process" in message
