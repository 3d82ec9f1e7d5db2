"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gmme_edge import files, locks
from gmme_edge.destinations import refuse_unwritable
from gmme_edge.errors import BundleError, DiskFullError, InputError
from gmme_edge.files import (
    replacing,
    replacing_folder,
    sha256_of,
    updating_folder,
    write_json,
)
from gmme_edge.inputs import read_json

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", ["folder", "link to it", "below a file"])
def test_where_no_file_can_be_is_told_before_the_work(tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to it").symlink_to("folder")
    (tmp_path / "file").touch()
    path = tmp_path / ("file/r.json" if kind == "below a file" else kind)
    with pytest.raises(OSError, match=r"Is a directory|Not a directory"):
        refuse_unwritable(path)
    for fine in (None, tmp_path / "r.json", tmp_path / "new/folders/r.json", Path("/dev/null")):
        refuse_unwritable(fine)


def test_a_folder_without_permission_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("os.access", lambda path, mode: bool(asked.append(path)))  # root may all
    with pytest.raises(PermissionError) as refused:
        refuse_unwritable(tmp_path / "new" / "r.json")
    assert refused.value.filename == str(tmp_path / "new" / "r.json") and asked == [tmp_path]


def test_messages_name_what_was_asked_for_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prefix: str, dir: Path) -> str:  # noqa: A002 - tempfile's own name
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/{prefix}x")

    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_json(tmp_path / "folder", {})
    assert refused.value.filename == str(tmp_path / "folder")
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(PermissionError) as denied:
        write_json(tmp_path / "r.json", {})
    assert denied.value.filename == str(tmp_path / "r.json")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_replacing_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.bin"
    with replacing(target) as temporary:
        assert temporary.parent.parent == target.parent and temporary.name == target.name
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
def room_for_64_kib() -> Iterator[None]:
    """A real refusal by the kernel: no file of this process may grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("writer", ["json", "safetensors", "folder"])
@pytest.mark.usefixtures("room_for_64_kib")
def test_no_room_is_named_and_keeps_the_old_version(
    tmp_path: Path, writer: str, existing: bool
) -> None:
    target = tmp_path / "a"
    if existing and writer == "folder":
        target.mkdir()
    elif existing:
        target.write_bytes(b"old" * 1000)
    before = listing(tmp_path)
    with pytest.raises(DiskFullError) as caught:
        if writer == "json":
            write_json(target, {"schema": 1, "text": "x" * 100_000})
        elif writer == "safetensors":
            with replacing(target, 200_000) as temporary:
                save_file({"x": torch.zeros(50_000)}, temporary)
        else:
            with replacing_folder(target) as folder:
                (folder / "b").write_bytes(bytes(100_000))
    message = str(caught.value)
    room = {"json": "room for 0.1 MB", "safetensors": "room for 0.2 MB", "folder": "room beside"}
    assert message.startswith(f"{target} could not be written: File too large; {tmp_path} has ")
    assert room[writer] in message and "\nFix: free some space" in message
    assert isinstance(caught.value, OSError) and isinstance(caught.value, InputError)
    assert listing(tmp_path) == before


def listing(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {str(p): p.read_bytes() if p.is_file() else None for p in found}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_found_at_the_flush_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fsync)
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(DiskFullError, match=os.strerror(number)):
        write_json(target, {"schema": 1})
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(RuntimeError, match="os error 5"), replacing(tmp_path / "a"):
        raise RuntimeError("I/O error: Input/output error (os error 5)")


KILLED_WRITER = """
import sys
from pathlib import Path
from gmme_edge.files import replacing, replacing_folder

target = Path(sys.argv[1])
with (replacing_folder if sys.argv[2] == "folder" else replacing)(target) as temporary:
    (temporary / "b" if sys.argv[2] == "folder" else temporary).write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def start_writer(target: Path, kind: str) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(target), kind],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def write(target: Path, kind: str) -> None:
    if kind == "folder":
        with replacing_folder(target) as folder:
            (folder / "b").write_text("new")
    else:
        write_json(target, "new")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_next_writer_removes_what_a_killed_one_left_and_spares_the_living(
    tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "a"
    neighbours = [tmp_path / name for name in (".a.swp", ".ab.tmp-12345678", "a.tmp-12345678")]
    for neighbour in neighbours:
        neighbour.mkdir()
    killed, leftover = start_writer(target, kind)
    living, temporary = start_writer(target, kind)
    kill(killed)
    try:
        assert leftover.exists() and temporary.exists()
        write(target, kind)
        assert not leftover.parent.exists() and temporary.exists()
        living.communicate("")
        assert living.returncode == 0
    finally:
        kill(living)
    assert (target / "b" if kind == "folder" else target).read_text() == "half"
    assert sorted(tmp_path.iterdir()) == sorted([target, *neighbours])


def test_a_replacement_killed_between_its_renames_is_finished(tmp_path: Path) -> None:
    target = tmp_path / "a"
    process, temporary = start_writer(target, "folder")
    kill(process)
    (temporary.parent / ".old").mkdir()  # the old folder is out of the way, the new one complete
    with pytest.raises(ValueError), replacing_folder(target):
        raise ValueError
    assert [p.read_text() for p in target.iterdir()] == ["half"]
    assert list(tmp_path.iterdir()) == [target]


def test_writers_at_once_all_succeed(tmp_path: Path) -> None:
    """Each looks for leftovers while others make their folders and lock them."""
    target = tmp_path / "a"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_json(target, {"schema": i}), range(400)))
    assert 0 <= json.loads(target.read_text())["schema"] < 400
    assert list(tmp_path.iterdir()) == [target]


def test_without_locks_writing_goes_on_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems may refuse them; then nobody knows who lives."""

    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = tmp_path / ".a.tmp-12345678"
    left.mkdir()
    monkeypatch.setattr(locks.fcntl, "flock", flock)
    write_json(tmp_path / "a", {})
    assert sorted(tmp_path.iterdir()) == [left, tmp_path / "a"]


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


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name in ("there", "not yet"):
        (tmp_path / name).symlink_to(f"real/{name}")
    (tmp_path / "real" / "there").write_text("old")
    for name in ("there", "not yet"):
        write_json(tmp_path / name, 1)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "real" / name).read_text() == "1\n"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_json(tmp_path / "loop", 1)
    assert {p.name for p in tmp_path.rglob("*")} == {"real", "there", "not yet", "loop"}


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As are devices, such as /dev/null and /dev/stdout."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):  # nobody reads
        write_json(pipe, 1)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        while True:
            try:
                write_json(pipe, 1)
                break
            except OSError:
                time.sleep(0.01)
        assert read.result() == "1\n" and pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "null").symlink_to("/dev/null")
    write_json(tmp_path / "null", 1)
    with pytest.raises(DiskFullError):
        write_json(tmp_path / "full", 1)
    assert Path("/dev/null").is_char_device() and Path("/dev/full").is_char_device()
    assert {p.name for p in tmp_path.iterdir()} == {"full", "null"}


def test_a_name_that_is_no_unicode_is_written_and_read(tmp_path: Path) -> None:
    values = {"schema": 3, "caf\udce9": ["\ud800", "\\udce9"]}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json", "thing", 3) == values


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


_SWAPPER = """
import sys
from pathlib import Path
from gmme_edge.files import updating_folder
out, n = Path(sys.argv[1]), 0
while True:
    n += 1
    with updating_folder(out, ("a", "b", "last"), "last") as new:
        for name in ("a", "b", "last"):
            (new / name).write_text(str(n))
    if n == 1:
        print("ready", flush=True)
"""


@pytest.mark.slow
def test_a_folder_swap_that_is_killed_leaves_one_version_and_the_users_files(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    for round_ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", _SWAPPER, str(out)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout and process.stdout.readline() == b"ready\n"
        (out / "mine.txt").write_text("mine") if round_ == 0 else None
        time.sleep(0.05 + 0.013 * round_)
        process.kill()
        process.wait()
        process.stdout.close()
        # The next writer first puts back what was killed between its two renames, then is refused.
        with pytest.raises(ValueError), updating_folder(out, ("a", "b", "last"), "last"):
            raise ValueError
        assert len({(out / name).read_text() for name in ("a", "b", "last")}) == 1
        assert (out / "mine.txt").read_text() == "mine"
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
