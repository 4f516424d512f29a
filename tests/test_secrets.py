"""Secrets planted wherever a run meets text: none is in the results folder, in what is printed, or in MLflow's file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.cli import run_command
from orchestrator.errors import SpecError
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from tests.markdown_pages import forget_modules_of

ENVIRONMENT = {"SERVICE_TOKEN": "tok-9f8e7d6c5b", "DB_PASSWORD": "correct-horse-battery"}
IN_CODE = ("hunter2-in-a-pair", "hunter2-in-a-url", "hunter2-quoted here", "hunter2-bearer")
ON_THE_COMMAND_LINE = ("hunter2-option", "hunter2-word", "hunter2-address")
SECRETS = (*ENVIRONMENT.values(), *IN_CODE, *ON_THE_COMMAND_LINE)

LEAKY = f'''
import logging, os
from orchestrator.models.softmax_attention import SoftmaxAttention

class Leaky(SoftmaxAttention):
    def forward(self, x, *args, **kwargs):
        logging.getLogger("orchestrator.own").warning("asking https://me:{IN_CODE[1]}@store/x")
        logging.getLogger("orchestrator.own").info("environment %s", dict(os.environ))
        token = dict(password="{IN_CODE[0]}")
        raise RuntimeError(
            f"no access: password={IN_CODE[0]} at s3://me:{IN_CODE[1]}@bucket/y with api_key='{IN_CODE[2]}', "
            f"Authorization: Bearer {IN_CODE[3]} and " + os.environ["SERVICE_TOKEN"]
        )
'''

SPEC = """\
name: secrets
axes: {attention: [self, "leaky:Leaky"]}
model: {depth: 1, embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 1, batch_size: 256, lr: 2.0e-3}
"""


def places_of(secrets: tuple[str, ...], root: Path, printed: str) -> list[str]:
    """Where one of them is found: a file, or what was printed."""
    texts = {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    texts["printed"] = printed.encode()
    return [f"{secret} in {place}" for secret in secrets for place, text in texts.items() if secret.encode() in text]


def test_the_search_for_secrets_can_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0x hunter2-word")
    assert places_of(SECRETS, tmp_path, "") == [f"hunter2-word in {tmp_path / 'file'}"]


@pytest.mark.slow
def test_no_secret_is_written_or_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    option, word, address = ON_THE_COMMAND_LINE
    words = [f"--api-token={option}", "--password", word, f"--address=ray://me:{address}@host:1"]
    monkeypatch.setattr(sys, "argv", ["orch", "run", "secrets.yaml", *words])
    (tmp_path / "leaky.py").write_text(LEAKY)
    (tmp_path / "secrets.yaml").write_text(SPEC)
    assert run_command(["run", "secrets.yaml", "--executor", "serial", "--json"]) == 1
    results = ResultsDir(tmp_path / "results")
    (failed,) = [folder for folder in results.trials() if folder.state() == "FAIL"]
    for command in (["status", "secrets", "--json"], ["logs", failed.path.name], ["export", "secrets"]):
        assert run_command(command) == 0
    printed = "".join(capfd.readouterr())
    (attempt,) = failed.read_attempts()
    assert "no access: password=[redacted]" in (attempt.error or "")
    assert "RuntimeError" in (attempt.traceback or "")
    assert "[redacted]" in failed.log_file(1).read_text()
    assert results.mlflow_db.exists()
    assert places_of(SECRETS, results.root, printed) == []
    forget_modules_of(tmp_path)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("data: {name: image_folder, id: x, num_classes: 2, root: 's3://me:hunter2-word@bucket/x'}", 63),
        ("# fetched with token=hunter2-word", 22),
        ("password: hunter2-word", 11),
    ],
)
def test_a_secret_in_a_spec_is_refused_with_its_place_and_not_repeated(line: str, column: int) -> None:
    with pytest.raises(SpecError) as caught:
        loads_spec(f"name: x\n{line}\n", "x.yaml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, column)
    assert "environment" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_bug_is_written_down_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", ENVIRONMENT["SERVICE_TOKEN"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"at https://me:hunter2-in-a-url@host with {ENVIRONMENT['SERVICE_TOKEN']}")

    monkeypatch.setattr(cli.cli, "main", broken)
    assert run_command(["status"]) == 1
    assert "this is a bug in orch" in capsys.readouterr().err
    assert [path.name.startswith("orch-bug-") for path in tmp_path.iterdir()] == [True]
    assert places_of(SECRETS, tmp_path, "") == []
