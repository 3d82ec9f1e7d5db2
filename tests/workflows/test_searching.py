"""Embeddings of an archive, and what is found by them; compared with windows cut by hand."""

from __future__ import annotations

import csv
import functools
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.cli.app import app
from gmme_edge.errors import AudioError, InputError, UsageError
from gmme_edge.runtime.streaming.grid import make_grid
from gmme_edge.workflows import scanning, searching
from gmme_edge.workflows.archive import embeddings, working
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings
from gmme_edge.workflows.settings.searching import SearchSettings
from tests.workflows.test_scanning import MODEL, noise

RATE_HZ = 16_000  # the network's own
RULES = EventSettings(hop_ms=400, on=0.2, gate=False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    names = ("b/20240101_000000.WAV", "a.flac", "c.wav", "d.wav")
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, noise(2 + seed / 3, seed, RATE_HZ), RATE_HZ)
    (folder / "bad.wav").write_text("not audio")
    return folder


def run(archive: Path, output: Path, rules: EventSettings = RULES, **options: Any) -> scanning.Scan:  # noqa: ANN401
    with ThreadPoolExecutor(2) as pool:
        chosen = ScanSettings(output=output, **options)
        return scanning.scan(MODEL, [archive], chosen, rules, executor=pool)


@functools.cache
def scanned(archive: Path) -> Path:
    output = archive.with_name(archive.name + "-found")
    run(archive, output, embeddings="npy")
    return output


def run_once(archive: Path, tmp_path: Path) -> Path:
    """A copy of the folder of a scan with embeddings."""
    return Path(shutil.copytree(scanned(archive), tmp_path / "found"))


def by_hand(path: Path) -> tuple[list[int], np.ndarray]:
    """First samples of all windows of a recording at the network's rate, and their embeddings."""
    sound, rate_hz = soundfile.read(path, dtype="float32")
    with gmme_edge.load(MODEL, threads=1) as classifier:
        size = classifier.window_samples
        starts = make_grid(rate_hz, size, RULES.hop_ms).starts(len(sound))
        padded = np.concatenate([sound, np.zeros(size, np.float32)])
        windows = [padded[at : at + size] for at in starts]
        return list(starts), classifier.embed(windows, rate_hz)


def test_every_window_has_its_embedding_in_both_formats(archive: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = run(archive, tmp_path, embeddings="npy,parquet", timezone="UTC")
    assert found.counts.failed == 1
    matrix = np.load(tmp_path / "embeddings.npy")
    with (tmp_path / "embeddings.csv").open(newline="") as file:
        index = list(csv.DictReader(file))
    assert len(index) == len(matrix) > 8
    at = 0
    for path in sorted((p for p in archive.rglob("*.*") if p.name != "bad.wav"), key=os.fsencode):
        starts, wanted = by_hand(path)
        rows = index[at : at + len(starts)]
        assert {row["path"] for row in rows} == {str(path)}
        assert [float(row["start_s"]) for row in rows] == [round(s / RATE_HZ, 6) for s in starts]
        assert float(rows[-1]["end_s"]) == pytest.approx(soundfile.info(path).duration, abs=1e-6)
        assert rows[0]["start_utc"] == (
            "2024-01-01T00:00:00.000+00:00" if path.suffix == ".WAV" else ""
        )
        np.testing.assert_allclose(matrix[at : at + len(starts)], wanted, atol=2e-4)
        at += len(starts)
    assert at == len(matrix)
    table = parquet.read_table(tmp_path / "embeddings.parquet")
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), matrix)
    lines = [{k: str(v) for k, v in row.items() if k != "embedding"} for row in table.to_pylist()]
    assert lines == index
    assert not (tmp_path / ".embeddings").exists()


def test_embeddings_are_kept_across_a_stop_and_need_their_own_journal(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, heard = working.hear, []

    def stop(job: Any, path: bytes) -> Any:  # noqa: ANN401
        heard.append(path)
        if len(heard) == 3:
            raise KeyboardInterrupt
        return original(job, path)

    run(archive, tmp_path / "whole", embeddings="npy")
    monkeypatch.setattr(working, "hear", stop)
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        chosen = ScanSettings(output=tmp_path / "out", embeddings="npy")
        scanning.scan(MODEL, [archive], chosen, RULES, executor=pool)
    run(archive, tmp_path / "out", embeddings="npy")
    for name in ("embeddings.npy", "embeddings.csv"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == whole
    with pytest.raises(UsageError, match="--embeddings"):
        run(archive, tmp_path / "out")
    with pytest.raises(UsageError, match="names 'xls'"):
        ScanSettings(output=tmp_path, embeddings="xls")


def test_an_archive_is_searched_by_a_stretch_of_a_recording(archive: Path, tmp_path: Path) -> None:
    run(archive, tmp_path, embeddings="npy,parquet")
    sound, rate_hz = soundfile.read(archive / "d.wav", dtype="float32")
    wanted = SearchSettings(start_s=0.8, end_s=0.8 + 16_384 / RATE_HZ, top=3)
    found = searching.find_similar(tmp_path, archive / "d.wav", wanted)
    assert found[0].path == str(archive / "d.wav") and found[0].start_s == 0.8
    assert found[0].similarity == pytest.approx(1, abs=1e-4)
    soundfile.write(
        tmp_path / "query.wav", sound[12_800 : 12_800 + 16_384], rate_hz, subtype="FLOAT"
    )
    told = CliRunner().invoke(
        app, ["similar", str(tmp_path), str(tmp_path / "query.wav"), "-n", "3", "--json"]
    )
    assert json.loads(told.stdout) == [match.to_dict() for match in found]
    for name in ("embeddings.npy", "embeddings.csv"):
        (tmp_path / name).unlink()
    assert searching.find_similar(tmp_path, archive / "d.wav", wanted) == found
    with pytest.raises(AudioError, match="ends after"):
        searching.find_similar(tmp_path, archive / "d.wav", SearchSettings(start_s=60))
    (tmp_path / "embeddings.parquet").unlink()
    with pytest.raises(InputError, match="holds no embeddings"):
        searching.find_similar(tmp_path, archive / "d.wav", wanted)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scan.json", b'{"schema": 1, "embedding_width": 3}'),
        ("scan.json", b'{"schema": 1, "embedding_width": 3, "parameters": []}'),
        ("embeddings.npy", b""),
        ("embeddings.npy", b"x" * 200),
        ("embeddings.csv", b""),
        ("embeddings.csv", b"path\na\nb\n"),
        ("embeddings.csv", b"path,start_s,end_s,start_utc\n" + b"a,b,c,d\n" * 99),
        ("embeddings.csv", b"\xff" * 99),
        ("embeddings.parquet", b""),
        ("embeddings.parquet", b"PAR1" + bytes(99) + b"PAR1"),
    ],
)
def test_a_damaged_archive_is_told(
    archive: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = run_once(archive, tmp_path)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
        (folder / "embeddings.npy").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(InputError):
        searching.find_similar(folder, archive / "d.wav")


def test_a_folder_without_a_scan_is_told_with_the_call_that_makes_one(tmp_path: Path) -> None:
    for folder, told in ((tmp_path, "has no scan.json."), (tmp_path / "no", "does not exist.")):
        with pytest.raises(InputError, match=told) as refused:
            searching.find_similar(folder, tmp_path / "a.wav")
        assert "--embeddings npy" in refused.value.fix


@pytest.mark.parametrize("name", ["absent.wav", "bad.wav"])
def test_a_query_that_cannot_be_heard_is_exit_code_3(
    archive: Path, tmp_path: Path, name: str
) -> None:
    folder = run_once(archive, tmp_path)
    told = CliRunner().invoke(app, ["similar", str(folder), str(archive / name)])
    assert told.exit_code == 3 and name in told.stderr


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 99), st.sampled_from([1, 7, 64]))
def test_the_search_is_that_of_all_pairs(
    tmp_path_factory: pytest.TempPathFactory, n: int, top: int, seed: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("search")
    matrix = rng.normal(size=(n, 4)).astype(np.float32)
    starts = np.sort(rng.uniform(0, 20, n)).round(3)
    files = np.sort(rng.integers(0, 2, n))
    np.save(folder / embeddings.MATRIX, matrix)
    rows = [f"{f}.wav,{s},{s + 1.5}," for f, s in zip(files, starts, strict=True)]
    (folder / embeddings.INDEX).write_text("\n".join([",".join(embeddings.COLUMNS), *rows]) + "\n")
    query = rng.normal(size=4).astype(np.float32)
    cosines = matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
    left, wanted = list(np.argsort(-cosines)), []
    while left and len(wanted) < top:  # take the best, and drop what overlaps it
        best = left.pop(0)
        wanted.append((f"{files[best]}.wav", starts[best]))
        left = [k for k in left if files[k] != files[best] or abs(starts[k] - starts[best]) >= 1.5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_BLOCK", block)
        found = searching.search(folder, query, top)
    assert [(match.path, match.start_s) for match in found] == wanted
