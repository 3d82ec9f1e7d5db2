"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gmme_edge import files
from gmme_edge.errors import BundleError, InputError
from gmme_edge.files import read_json, replacing, replacing_folder, sha256_of, write_json


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_replacing_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.bin"
    with replacing(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".bin"
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_replacing_keeps_the_old_file_on_an_error(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fsync)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        write_json(target, {"schema": 1})
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_data_reaches_the_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, at_sync = tmp_path / "a", []
    target.write_text("old")

    def fsync(handle: int) -> None:
        at_sync.append((os.pread(handle, 9, 0), target.read_text()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert at_sync == [(b"new", "old")]


@pytest.mark.usefixtures("umask")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("x")
    with replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "x").write_text("x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
    assert os.umask(0o027) == 0o027


def test_replacing_folder_takes_the_old_ones_place(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    for content in ("one", "two"):
        with replacing_folder(target) as temporary:
            (temporary / content).write_text(content)
        assert [p.name for p in target.iterdir()] == [content]
        assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_replacing_folder_keeps_the_old_one_on_an_error(
    tmp_path: Path, error: type[BaseException], existing: bool
) -> None:
    target = tmp_path / "folder"
    if existing:
        target.mkdir()
        (target / "old").write_text("old")
    with pytest.raises(error), replacing_folder(target) as temporary:
        (temporary / "half").write_text("half")
        raise error
    assert [p.name for p in tmp_path.rglob("*")] == (["folder", "old"] if existing else [])


def test_replacing_folder_puts_the_old_one_back_if_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = tmp_path / "folder", Path.rename
    target.mkdir()
    (target / "old").write_text("old")

    def fail_for_the_new_one(self: Path, other: Path) -> Path:
        if other == target and not (self / "old").exists():
            raise OSError(errno.EIO, "disk error")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="disk error"), replacing_folder(target) as temporary:
        (temporary / "new").write_text("new")
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old"]


def test_json_round_trip_and_hash(tmp_path: Path) -> None:
    path, values = tmp_path / "a.json", {"schema": 3, "name": "Käse 🧀", "list": [1, None, 0.5]}
    write_json(path, values)
    assert read_json(path, "thing", 3) == values == json.loads(path.read_bytes())
    assert path.read_bytes().endswith(b"}\n") and "Käse" in path.read_text(encoding="utf-8")
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 10_000)  # more than one block
    assert sha256_of(big) == hashlib.sha256(big.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "no readable JSON"),
        (b'{"schema": 3', "no readable JSON"),
        (b"\xff\xfe", "no readable JSON"),
        (b"[" * 100_000, "no readable JSON"),
        (b"[3]", "no schema"),
        (b'{"schema": "3"}', "no schema"),
        (b'{"schema": 4}', "has schema 4"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_damaged_json_names_the_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=f"a.json.*{message}"):
        read_json(path, "thing", 3, BundleError)


def test_a_folder_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable JSON"):
        read_json(tmp_path, "thing", 3)
