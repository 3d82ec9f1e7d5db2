"""What is read from others: bounded, never waited for, whatever lies at the path."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gmme_edge.audio import Recording
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.signing import PublicKey
from gmme_edge.cli.commands.engine_info import _parse
from gmme_edge.data.tables import read_table
from gmme_edge.errors import GmmeEdgeError, InputError
from gmme_edge.inputs import read_file, read_json, read_start
from gmme_edge.report.paired import load_tested
from gmme_edge.training.folds import is_result
from gmme_edge.workflows.converting import _read_labels
from gmme_edge.workflows.remote.hosts import read_fleet
from gmme_edge.workflows.settings.serving import ServeSettings

_PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a pipe behind a link": lambda path: (os.mkfifo(f"{path}-"), path.symlink_to(f"{path}-")),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "an empty device": lambda path: path.symlink_to("/dev/null"),
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a huge file": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}
_READERS: dict[str, Callable[[Path], object]] = {
    "a result": load_tested,
    "JSON": lambda path: read_json(path, "thing", 1),
    "a table": lambda path: read_table(path, ["path"]),
    "labels": _read_labels,
    "an engine's layers": _parse,
    "a public key": PublicKey.read,
    "a manifest": lambda path: Bundle.open(path.parent),
    "a recording": lambda path: Recording(path, 8000),
    "a fleet": read_fleet,
    "a token": lambda path: ServeSettings(token_file=path).token(),
}


@pytest.mark.parametrize("read", _READERS.values(), ids=_READERS.keys())
@pytest.mark.parametrize("put", _PLACES.values(), ids=_PLACES.keys())
def test_what_is_no_file_of_reasonable_size_is_refused_at_once(
    tmp_path: Path, put: Callable[[Path], object], read: Callable[[Path], object]
) -> None:
    path = tmp_path / "manifest.json"
    put(path)
    with pytest.raises(GmmeEdgeError):
        read(path)
    assert not is_result(path)


def test_why_a_file_cannot_be_read_is_told_without_numbers_of_the_system(tmp_path: Path) -> None:
    for kind, told in (("f", "does not exist."), ("", "is no readable JSON: Is a directory.")):
        with pytest.raises(InputError, match=re.escape(f"{tmp_path / kind} {told}")):
            read_json(tmp_path / kind, "thing", 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(IsADirectoryError, match=re.escape(repr(str(tmp_path)))):
            read_start(tmp_path, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert len(read_file(path, 100)) == 100 and len(read_start(path, 7)) == 7
    with pytest.raises(OSError, match="larger than 99 bytes"):
        read_file(path, 99)
