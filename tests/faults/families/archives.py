"""What listens to files at length: `listen`, `scan` and `similar`, and the files that they keep."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from tests.faults.engine import Case, command
from tests.faults.families import audio
from tests.faults.mutations import Content, broken_bytes, broken_texts, mutated, write

SEED = 2611
FORMATS = ("wav", "flac", "vorbis", "mp3", "aiff")
JOURNAL, SIDECAR = "journal.sqlite", "scan.json"
MATRIX, INDEX, TABLE = "embeddings.npy", "embeddings.csv", "embeddings.parquet"
VALUES = {"NULL": None, "text": "nonsense", "-1": -1, "2^62": 2**62, "1e308": 1e308, "bytes":
          b"\xff\0", "a NUL": "a\0b", "infinity": float("inf"), "no text": ""}  # fmt: skip
TABLES = {
    "meta": ("key", "value"),
    "recordings": ("path", "size_bytes", "changed_ns", "wanted", "state", "duration_s", "reason"),
    "events": ("path", "number", "start_s", "end_s", "start_utc", "label", "confidence"),
    "details": ("path", "start_utc", "joined"),
    "embeddings": ("path", "block", "records"),
}


def prepare(shared: Path) -> None:
    import soundfile

    audio.prepare(shared)
    (shared / "few").mkdir()
    rng = np.random.default_rng(SEED)
    for i in range(3):
        name = f"2024010{i + 1}_000000.wav"
        soundfile.write(shared / "few" / name, rng.uniform(-1, 1, 30_000), 8000)
    scan(shared / "few", shared / "found", shared)
    shutil.copy(shared / "few" / "20240101_000000.wav", shared / "query.wav")


def scan(recordings: Path, output: Path, shared: Path) -> None:
    from gmme_edge.workflows import scanning
    from gmme_edge.workflows.settings.listening import EventSettings
    from gmme_edge.workflows.settings.scanning import ScanSettings

    settings = ScanSettings(
        output=output, embeddings="npy,parquet", timezone="UTC", overview=True,
        formats="csv,jsonl,parquet,raven,audacity",
    )  # fmt: skip
    rules = EventSettings(on=0.01, gate=False)
    with ThreadPoolExecutor(1) as pool:
        scanning.scan(shared / "bundle", [recordings], settings, rules, executor=pool)


def listen(path: Path, bundle: Path) -> None:
    from gmme_edge.workflows.listening import listen
    from gmme_edge.workflows.settings.listening import EventSettings, ListenSettings

    rules, log = EventSettings(on=0.01, gate=False), path.with_name("events.jsonl")
    settings = ListenSettings(file=path, events=log)
    listen(audio._classifier(bundle), rules, settings, lambda *_: None)
    for line in log.read_text().splitlines():
        json.loads(line)


def go_on(shared: Path, folder: Path) -> None:
    """What a user does with the folder of a scan; each part is tried whatever the others said."""
    from gmme_edge.errors import GmmeEdgeError
    from gmme_edge.workflows import scanning, searching

    errors = []
    for act in (
        lambda: scanning.status(folder / "found"),
        lambda: scan(shared / "few", folder / "found", shared),
        lambda: searching.find_similar(folder / "found", shared / "query.wav"),
    ):
        try:
            act()
        except GmmeEdgeError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def search(shared: Path, folder: Path) -> None:
    from gmme_edge.workflows import searching

    for match in searching.find_similar(folder / "found", shared / "query.wav"):
        json.dumps(match.to_dict(), allow_nan=False)


def make_cases(shared: Path) -> list[Case]:
    rng = random.Random(SEED)
    return [
        Case("the scan as it is", partial(_changed, shared, lambda _: None, go_on), "success"),
        *_recording_cases(shared),
        *_folder_cases(shared),
        *_journal_cases(shared, rng),
        *_embedding_cases(shared, rng),
    ]


def _changed(
    shared: Path,
    change: Callable[[Path], object],
    use: Callable[[Path, Path], object],
    folder: Path,
) -> None:
    shutil.copytree(shared / "found", folder / "found")
    change(folder / "found")
    use(shared, folder)


def _recording_cases(shared: Path) -> Iterator[Case]:
    bundle = shared / "bundle"
    for name in FORMATS:
        suffix = audio.FORMATS[name][0]
        content = (shared / (name + suffix)).read_bytes()
        for what, changed in audio._mutations(content, random.Random(f"{SEED} {name}")):

            def heard(folder: Path, raw: bytes = changed, suffix: str = suffix) -> None:
                (folder / f"s{suffix}").write_bytes(raw)
                listen(folder / f"s{suffix}", bundle)

            yield Case(f"listen to {name}, {what}", heard)
    for where, words in (
        ("listen", ["listen", bundle, "--file"]),
        ("similar", ["similar", shared / "found"]),
    ):
        for name, make in _places().items():

            def asked(folder: Path, words: list[object], make: Callable[[Path], object]) -> None:
                make(folder / "s.wav")
                if command(*words, folder / "s.wav") not in (2, 3):
                    raise AssertionError("neither usage nor input")

            yield Case(f"{where}: {name}", partial(asked, words=words, make=make), "success")


def _places() -> dict[str, Callable[[Path], object]]:
    return {
        "absent": lambda p: None,
        "a folder": lambda p: p.mkdir(),
        "a pipe": lambda p: os.mkfifo(p),
        "empty": lambda p: p.touch(),
        "text": lambda p: p.write_text("not a sound"),
        "link to /dev/zero": lambda p: p.symlink_to("/dev/zero"),
        "link to itself": lambda p: p.symlink_to(p.name),
        "link to a terminal": lambda p: p.symlink_to("/dev/tty"),
        "samples without a header": lambda p: p.with_suffix(".raw").write_bytes(bytes(999)),
    }


def _folder_cases(shared: Path) -> Iterator[Case]:
    """Archives with what is no recording; the recordings beside it are heard."""
    names = ("caf\udce9.wav", "a\nb.wav", "x" * 251 + ".wav", "[red].wav", "-o.wav", "\x1b[31m.wav",
             "20240101_999999.wav", "😀.wav")  # fmt: skip
    for name in names:

        def named(folder: Path, name: str = name) -> None:
            (folder / "in").mkdir()
            shutil.copy(shared / "query.wav", folder / "in" / name)
            scan(folder / "in", folder / "out", shared)

        yield Case(f"scan: {name!a}", named, "success")
    for what, make in _places().items():

        def mixed(folder: Path, make: Callable[[Path], object] = make) -> None:
            (folder / "in").mkdir()
            shutil.copy(shared / "query.wav", folder / "in" / "good.wav")
            make(folder / "in" / "s.wav")
            scan(folder / "in", folder / "out", shared)

        yield Case(f"scan: {what}", mixed, "success")


def _journal_cases(shared: Path, rng: random.Random) -> Iterator[Case]:
    content = (shared / "found" / JOURNAL).read_bytes()
    broken = broken_bytes(content, rng)
    for page in range(0, len(content), 4096):
        at = page + rng.randrange(100)
        broken[f"noise at {at}"] = content[:at] + rng.randbytes(64) + content[at + 64 :]
    for what, raw in broken.items():
        change = partial(_put, JOURNAL, raw)
        yield Case(f"journal: {what}", partial(_changed, shared, change, go_on))
    for table, columns in TABLES.items():
        yield Case(
            f"journal: no {table}",
            partial(_changed, shared, partial(_run_sql, f"DROP TABLE {table}", ()), go_on),
        )
        for column in columns:
            for name in rng.sample(sorted(VALUES), 4):
                sql = f"UPDATE OR IGNORE {table} SET {column} = ?"
                change = partial(_run_sql, sql, (VALUES[name],))
                act = partial(_changed, shared, change, go_on)
                yield Case(f"journal: {table}.{column} = {name}", act)


def _put(name: str, content: Content, found: Path) -> None:
    write(found / name, content)


def _run_sql(sql: str, values: tuple[object, ...], found: Path) -> None:
    base = sqlite3.connect(found / JOURNAL)
    try:
        base.execute(sql, values)
        base.commit()
    except sqlite3.Error:  # the table itself refuses it
        pass
    finally:
        base.close()


def _embedding_cases(shared: Path, rng: random.Random) -> Iterator[Case]:
    found = shared / "found"
    cases: dict[str, tuple[str, Content]] = {}
    text = (found / SIDECAR).read_text()
    for name, changed in mutated(json.loads(text), rng, 5, lambda p: len(p) > 2):
        cases[f"{SIDECAR}: {name}"] = SIDECAR, changed
    for name, raw in broken_texts(text).items():
        cases[f"{SIDECAR}: {name}"] = SIDECAR, raw
    for file in (MATRIX, INDEX, TABLE):
        for name, raw in broken_bytes((found / file).read_bytes(), rng).items():
            cases[f"{file}: {name}"] = file, raw
    matrix = np.load(found / MATRIX)
    arrays = {"rank 1": matrix[0], "float64": matrix.astype(np.float64), "narrow": matrix[:, :5],
              "no rows": matrix[:0], "more rows": np.tile(matrix, (3, 1)), "fewer": matrix[:1],
              "NaN": matrix + np.nan, "infinity": matrix + np.inf,
              "3e38": np.full_like(matrix, 3e38),
              "Fortran": np.asfortranarray(matrix), "objects": np.array([None])}  # fmt: skip
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        cases[f"{MATRIX}: {name}"] = MATRIX, stream.getvalue()
    rows = list(csv.reader((found / INDEX).open()))
    tables = {"no rows": rows[:1], "texts": [rows[0], *(["a"] * 4 for _ in rows[1:])],
              "one column": [row[:1] for row in rows], "fewer": rows[:2],
              "infinity": [rows[0], *([r[0], "inf", "1e999", ""] for r in rows[1:])]}  # fmt: skip
    for name, lines in tables.items():
        stream_ = io.StringIO()
        csv.writer(stream_).writerows(lines)
        cases[f"{INDEX}: {name}"] = INDEX, stream_.getvalue()
    for name, (file, raw) in cases.items():

        def change(found: Path, file: str = file, raw: Content = raw) -> None:
            if file == TABLE:
                (found / MATRIX).unlink()
            write(found / file, raw)

        yield Case(name, partial(_changed, shared, change, search))
