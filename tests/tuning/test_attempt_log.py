from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ResultsError
from orchestrator.tuning import attempt_log
from orchestrator.tuning.attempt_log import log, logging_to
from tests.s3_server import new_root, s3_server


@pytest.fixture
def store() -> Iterator[Path]:
    with s3_server():
        yield new_root()


def test_each_line_is_there_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "attempts" / "1.log"
    level = log.level
    with logging_to(path):
        log.info("begins")
        assert path.read_text().endswith(" INFO begins\n")
        logging.getLogger("orchestrator.training.checkpoint").warning("stepped over")
    log.warning("afterwards")
    assert [line.split(" ", 2)[2] for line in path.read_text().splitlines()] == ["INFO begins", "WARNING stepped over"]
    assert log.level == level


def test_a_store_gets_the_text_now_and_then_and_whole_at_the_end(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store / "attempts" / "1.log"
    with logging_to(path):
        log.info("one")
        assert not path.exists()
        monkeypatch.setattr(attempt_log, "SECONDS_BETWEEN_PUTS", 0.0)
        log.info("two")
        assert path.read_text().splitlines()[-1].endswith("INFO two")
        log.info("three")
    assert [line.rpartition(" ")[2] for line in path.read_text().splitlines()] == ["one", "two", "three"]


def test_a_full_disk_ends_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "1.log"):
        (handler,) = (handler for handler in log.handlers if isinstance(handler, logging.FileHandler))
        handler.stream.close()
        handler.stream = open("/dev/full", "w")  # noqa: SIM115, PTH123
        log.info("lost")
    assert capsys.readouterr().err == ""


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot write .*1\.log"), logging_to(tmp_path / "file" / "1.log"):
        pass
