"""Files that are whole or absent: atomic writes, hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from gmme_edge.destinations import behind_links, is_stream, pouring_into
from gmme_edge.errors import DiskFullError
from gmme_edge.locks import lock_folder, locked

_OLD = ".old"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def replacing(path: Path, size_bytes: int = 0) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends without an error.

    The data is flushed to the disk before the rename, so a kill or a full disk at any moment
    leaves the old file. What a killed process left behind goes with the next write of `path`.
    Links are followed. Pipes and devices such as ``/dev/stdout`` are written to, not replaced.

    Args:
        size_bytes: about what will be written, where it is known: a full disk's message says it.

    Raises:
        DiskFullError: there is no room; nothing of the new file stays.
    """
    if is_stream(path):
        with naming_full_disk(path, size_bytes), pouring_into(path) as temporary:
            yield temporary
        return
    path = behind_links(path)
    if path.is_dir():  # said before anything is written, and not of a temporary file
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with naming_full_disk(path, size_bytes), scratch_folder(path) as scratch:
        temporary = scratch / path.name
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder; the old folder, if any, stays until the new one is complete."""
    with naming_full_disk(path), scratch_folder(path) as scratch:
        temporary, old = scratch / path.name, scratch / _OLD
        temporary.mkdir()
        yield temporary
        try:
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise


@contextlib.contextmanager
def updating_folder(path: Path, owned: Collection[str], last: str) -> Iterator[Path]:
    """As `replacing_folder`, where only the files `owned` are replaced or removed; the rest stays.

    The new folder is completed beside `path`; temporary files of this process lie there as well
    meanwhile, so that a kill leaves nothing that the next call does not sweep. A folder that owns
    nothing here, or in which this process was started, is filled in place, `last` at the end, so
    that a shell in it stays in it.

    Args:
        owned: relative to `path`.
        last: the file that makes the folder complete.
    """
    with naming_full_disk(path), scratch_folder(path) as scratch:
        new, old, temporary = scratch / path.name, scratch / _OLD, scratch / ".work"
        new.mkdir()
        temporary.mkdir()
        with _temporary_files_in(temporary):
            yield new
        if not path.exists():
            new.rename(path)
            return
        with locked(path):
            if owned and path not in (Path.cwd(), *Path.cwd().parents):
                _swap(path, new, old, owned)
            else:
                _fill(path, new, owned, last)


def _swap(path: Path, new: Path, old: Path, owned: Collection[str]) -> None:
    _keep(path, new, owned)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    _keep(old, path, owned)  # what came in the meantime


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Where `tempfile` puts what libraries and this process ask it for."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _keep(old: Path, new: Path, owned: Collection[str]) -> None:
    """Link every file of `old` that is not `owned` into `new`, where there is none of its name."""
    for folder, folders, names in os.walk(old):
        within = Path(folder).relative_to(old)
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*names, *links]:
            kept = new / within / name
            if (within / name).as_posix() in owned or os.path.lexists(kept):
                continue
            kept.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(old / within / name, kept, follow_symlinks=False)
            except OSError:  # a file system without links
                shutil.copy2(old / within / name, kept, follow_symlinks=False)
        if not names and not folders:
            (new / within).mkdir(parents=True, exist_ok=True)


def _fill(path: Path, new: Path, owned: Collection[str], last: str) -> None:
    """Move the files of `new` into `path`, `last` at the end; `owned` ones that are old go."""
    made = sorted(
        (file.relative_to(new) for file in new.rglob("*") if file.is_file()),
        key=lambda file: (file.as_posix() == last, file.as_posix()),
    )
    for file in made:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (new / file).replace(path / file)
    for name in set(owned) - {file.as_posix() for file in made}:
        (path / name).unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path`, locked while this process lives and removed at the end.

    A folder, because a library may write through a temporary file of its own beside the path that
    it is given (safetensors does), which a kill would leave. A lock, because the kernel releases
    it with the process, in whatever container that ran; its number would mean nothing elsewhere.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    folder, lock = _make_locked_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _make_locked_folder(path: Path) -> tuple[Path, int | None]:
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_scratch_prefix(path), dir=path.parent))
        except OSError as error:
            error.filename = str(path)  # what was asked for; nobody knows the temporary name
            raise
        lock = lock_folder(folder, wait=True)
        if folder.exists():
            return folder, lock
        if lock is not None:  # another process took it for a leftover before it was locked
            os.close(lock)


def _remove_leftovers(path: Path) -> None:
    """Remove the scratch folders of killed writers of `path`; living ones hold their lock."""
    prefix = _scratch_prefix(path)
    with contextlib.suppress(OSError):
        found = [p for p in path.parent.iterdir() if p.name.startswith(prefix)]
        for folder in found:
            lock = lock_folder(folder, wait=False)
            if lock is None:
                continue
            try:
                if (folder / _OLD).exists() and not path.exists():  # killed between two renames
                    (folder / path.name).rename(path)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _scratch_prefix(path: Path) -> str:
    return f".{path.name}.tmp-"


@contextlib.contextmanager
def naming_full_disk(path: Path, size_bytes: int = 0) -> Iterator[None]:
    old_bytes = path.stat().st_size if path.is_file() else 0
    try:
        yield
    except Exception as error:
        reason = _why_full(error)
        if reason is None:
            raise
        needed = max(size_bytes, old_bytes)
        raise DiskFullError(
            f"{path} could not be written: {reason}; {_free(_where(error, path))} of free space.",
            (f"room for {needed / 1e6:,.1f} MB" if needed else "room")
            + " beside the old version, which is kept until the new one is complete.",
            "free some space (or raise the quota or limit) and repeat the command; a training run "
            "goes on from its last saved state.",
        ) from error


def _why_full(error: Exception) -> str | None:
    """The system's words where `error` means that there is no room."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])  # safetensors is written in Rust and wraps the system's error so
    return os.strerror(number) if number in _NO_ROOM else None


def _where(error: Exception, path: Path) -> Path:
    """The folder whose disk is full: that of the file that the system names, if it does."""
    named = error.filename if isinstance(error, OSError) else None
    return Path(os.fsdecode(named)).parent if isinstance(named, (str, bytes)) else path.parent


def _free(folder: Path) -> str:
    while not folder.exists():
        folder = folder.parent
    return f"{folder} has {shutil.disk_usage(folder).free / 1e6:,.1f} MB"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """In UTF-8; what is no Unicode, as names of files need not be, as escapes."""
    data = text.encode(errors="backslashreplace")
    with replacing(path, len(data)) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, values: object) -> None:
    # The escapes of what is no Unicode are JSON's own.
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
