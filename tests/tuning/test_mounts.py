"""File systems that machines share are seen before SQLite lies on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import cli_run
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from orchestrator.tuning import mounts as mounts_module
from orchestrator.tuning.mounts import MOUNTS, filesystem_of, sqlite_warning
from tests.tuning.sweeps import TEXT

TABLE = """\
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
filer:/shared /shared nfs4 rw,vers=4.2 0 0
/dev/sdb1 /shared/ann/scratch xfs rw 0 0
10.0.0.1@tcp:/fs /work\\040space lustre rw 0 0
torn
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/results", "ext4"),
        ("/shared/ann/results/mlflow.db", "nfs4"),
        ("/shared/ann/scratch/results", "xfs"),
        ("/sharedness", "ext4"),
        ("/work space/results", "lustre"),
        ("/shared/ann/scratch/../results", "nfs4"),
    ],
)
def test_the_innermost_mount_decides(mounts: Path, path: str, kind: str) -> None:
    assert filesystem_of(Path(path), mounts) == kind


def test_only_a_shared_file_system_is_warned_of(mounts: Path) -> None:
    assert sqlite_warning(Path("/var/results/mlflow.db"), "orch sync s", mounts) is None
    for place, kind in (("/shared/ann", "nfs4"), ("/work space", "lustre")):
        text = sqlite_warning(Path(place) / "mlflow.db", "orch sync s", mounts)
        assert text is not None
        assert kind in text
        assert "MLFLOW_TRACKING_URI" in text
        assert "`orch sync s` builds" in text


def test_a_run_prints_the_command_with_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mounts_module, "filesystem_of", lambda path, mounts: "nfs4")
    results = ResultsDir(tmp_path / "shared")
    cli_run._listeners(loads_spec(TEXT.replace("mlflow: false", "mlflow: true")), results, False)
    assert f"`orch sync tiny --results {results.root}` builds MLflow's store anew" in capsys.readouterr().err


def test_a_system_without_the_table_tells_nothing(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path, tmp_path / "none") is None
    assert sqlite_warning(tmp_path, "orch sync s", tmp_path / "none") is None


@pytest.mark.skipif(not MOUNTS.exists(), reason="needs Linux's /proc")
def test_this_systems_own_table_is_read(tmp_path: Path) -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(tmp_path) is not None
