from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import durable
from orchestrator.errors import LockedError, ResultsError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), JSON_VALUES, max_size=5))
def test_a_sealed_document_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    durable.write_sealed_json(path, content)
    assert durable.read_sealed_json(path) == content


def test_every_altered_byte_of_a_sealed_document_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    durable.write_sealed_json(path, {"test_acc": 0.5, "name": "x"})
    whole = path.read_bytes()
    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 0x04
        path.write_bytes(bytes(altered))
        assert is_refused_or_unchanged(path), f"a change at byte {position} went through"


def is_refused_or_unchanged(path: Path) -> bool:
    try:
        return durable.read_sealed_json(path) == {"test_acc": 0.5, "name": "x"}
    except ResultsError as error:
        return str(path) in str(error)


def test_every_altered_byte_of_a_sealed_line_is_found() -> None:
    content = {"epoch": 1, "train_loss": 0.5, "val_acc": None}
    whole = durable.seal_line(content)
    assert durable.unseal_line(whole) == content
    for position, letter in enumerate(whole):
        altered = whole[:position] + chr(ord(letter) ^ 0x04) + whole[position + 1 :]
        try:
            found = durable.unseal_line(altered)
        except ValueError:
            continue
        assert found == content or found.keys() - content.keys(), f"a change at {position} went through"


def test_a_line_that_an_earlier_version_wrote_is_taken_as_it_is() -> None:
    assert durable.unseal_line('{"epoch": 1}') == {"epoch": 1}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_document_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "record.json"
    durable.write_sealed_json(path, {"a": list(range(50))})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ResultsError, match="damaged"):
        durable.read_sealed_json(path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    durable.write_text(path, "old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ResultsError, match=r"cannot write .*a\.txt: No space left on device"):
        durable.write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_torn_last_line_is_cut_off_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    durable.append_line(path, "one")
    with path.open("a") as file:
        file.write('{"half')
    durable.append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"


def test_a_long_torn_line_is_cut_off_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("one\n" + "x" * 10_000)
    durable.append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"


def test_a_committed_folder_reads_back_and_replaces_the_old_one(tmp_path: Path) -> None:
    durable.commit_folder(tmp_path / "c", {"a": b"1", "b": b"2"})
    durable.commit_folder(tmp_path / "c", {"a": b"3"})
    assert durable.read_folder(tmp_path / "c") == {"a": b"3"}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "no manifest"])
def test_a_damaged_folder_is_refused_and_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "c"
    durable.commit_folder(folder, {"weights": b"0123456789"})
    target = folder / "weights"
    {
        "flip": lambda: target.write_bytes(b"0123456788"),
        "cut": lambda: target.write_bytes(b"01234"),
        "remove": target.unlink,
        "no manifest": (folder / durable.MANIFEST).unlink,
    }[damage]()
    with pytest.raises(ResultsError, match="is damaged"):
        durable.read_folder(folder)


def test_a_held_lock_names_its_owner_and_is_free_again_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    expected = rf"sweep 'a' .*process {os.getpid()} on"
    with (
        durable.hold(lock, "sweep 'a'"),
        pytest.raises(LockedError, match=expected),
        durable.hold(lock, "sweep 'a'"),
    ):
        pass
    with durable.hold(lock, "sweep 'a'"):
        pass


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from orchestrator import durable\n"
        f"with durable.hold(Path({str(lock)!r}), 'x'): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError), durable.hold(lock, "x"):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with durable.hold(lock, "x"):
        pass


def test_a_place_below_a_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write"):
        durable.write_json(tmp_path / "file" / "results" / "a.json", {})


def test_not_a_number_never_reaches_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        durable.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()
