from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import InputError, UsageError
from gmme_edge.observer import Observer
from gmme_edge.runtime.streaming.stream import Stream
from gmme_edge.workflows import scanning
from gmme_edge.workflows.archive import working
from gmme_edge.workflows.archive.executors import LocalPool, usable_cpus
from gmme_edge.workflows.archive.heard import Job
from gmme_edge.workflows.archive.hearing import hear_with
from gmme_edge.workflows.archive.journal import Journal
from gmme_edge.workflows.settings.listening import EventSettings
from gmme_edge.workflows.settings.scanning import ScanSettings, WorkerSettings
from tests.conftest import shared
from tests.runtime.streaming.fakes import LevelClassifier
from tests.workflows import fatal

MODEL = "digits"  # 1.02 s at 8 kHz
RULES = EventSettings(hop_ms=500, on=0.2, merge_gap_s=0.2, gate=False)


def noise(seconds: float, seed: int, rate_hz: int = 8000, channels: int = 1) -> np.ndarray:
    """Bursts of different colours, so that a network hears different things."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate_hz)
    sound = (
        rng.uniform(-1, 1, (n, channels))
        * np.repeat(rng.uniform(0, 1, n // 1000 + 1), 1000)[:n, None]
    )
    return np.cumsum(sound, axis=0) / 50 if seed % 2 else sound


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings in folders, one of them damaged; and what is no recording."""
    folder = tmp_path_factory.mktemp("archive")
    names = ("b/20240101_000000.WAV", "a/x.flac", "a/deep/y.wav", "z.wav", "a.wav")
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, noise(3 + seed / 3, seed), 8000)
    (folder / "bad.wav").write_text("not audio")
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "z.wav", folder / ".hidden/z.wav")
    return folder


def run(archive: Path, output: Path, rules: EventSettings = RULES, **options: Any) -> scanning.Scan:  # noqa: ANN401
    with ThreadPoolExecutor(2) as pool:
        chosen = ScanSettings(output=output, **options)
        return scanning.scan(MODEL, [archive], chosen, rules, executor=pool)


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "events.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_hand(path: Path, rules: EventSettings = RULES) -> list[tuple[float, str, float]]:
    """The events of one recording, pushed as a microphone would."""
    sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    with gmme_edge.load(MODEL, threads=1) as classifier:
        stream = Stream(classifier, rules.hop_ms, rules.rules(), rules.gate_rules())
        events = []
        for at in range(0, len(sound), 777):
            events += stream.push(sound[at : at + 777], rate_hz)
        events += stream.flush()
    return sorted((round(e.start_s, 6), e.label, round(e.peak, 6)) for e in events)


def test_rows_are_the_streams_events_file_by_file(archive: Path, tmp_path: Path) -> None:
    found = run(archive, tmp_path, timezone="+02:00")
    assert (found.counts.heard, found.counts.failed, found.counts.left) == (5, 1, 0)
    heard = rows(tmp_path)
    paths = [row["path"] for row in heard]
    assert paths == sorted(paths) and len(set(paths)) == 5
    for path in set(paths):
        got = [
            (float(r["start_s"]), r["label"], float(r["confidence"]))
            for r in heard
            if r["path"] == path
        ]
        assert got == by_hand(Path(path)) != []
    sha256 = Bundle.open(MODEL).find("model", "fp32").sha256
    assert {row["model_sha256"] for row in heard} == {sha256}
    for row in heard:
        dated = row["path"].endswith("20240101_000000.WAV")
        assert bool(row["start_utc"]) == bool(row["end_utc"]) == dated
        if dated:
            start = datetime(2023, 12, 31, 22, tzinfo=timezone.utc)
            wanted = start + timedelta(seconds=float(row["start_s"]))
            assert abs(datetime.fromisoformat(row["start_utc"]) - wanted).total_seconds() < 2e-3
    (skipped,) = csv.DictReader(io.StringIO((tmp_path / "skipped.csv").read_text()))
    assert skipped["path"].endswith("bad.wav") and "cannot be decoded" in skipped["reason"]
    sidecar = json.loads((tmp_path / "scan.json").read_text())
    assert sidecar["parameters"]["rules"]["on"] == 0.2 and sidecar["model_sha256"] == sha256


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(1, 5000), st.sampled_from([1000, 800, 1500]), st.integers(1, 3), st.integers(0, 9),
    st.lists(st.integers(0, 5000), max_size=5),
)  # fmt: skip
def test_any_recording_is_heard_as_a_stream_hears_it(
    tmp_path: Path, n: int, rate_hz: int, channels: int, seed: int, cuts: list[int]
) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, (n, channels)).astype(np.float32)
    sound *= np.repeat([0.1, 0.9], n // 2 + 1)[:n, None].astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, rate_hz, subtype="FLOAT")
    rules = EventSettings(on=0.4, off=0.3, gate=bool(seed % 2))
    job = Job("", "", "", "", rules)
    found = hear_with(LevelClassifier(), job, tmp_path / "a.wav").rows
    stream = Stream(LevelClassifier(), None, rules.rules(), rules.gate_rules())
    events = []
    for part in np.split(sound, sorted(min(cut, n) for cut in cuts)):
        events += stream.push(part, rate_hz)
    events += stream.flush()
    wanted = sorted((round(e.start_s, 6), e.label, round(e.end_s, 6)) for e in events)
    assert [(row.start_s, row.label, row.end_s) for row in found] == wanted


def test_the_formats_say_the_same(archive: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = run(archive, tmp_path, formats="csv,jsonl,parquet,raven,audacity")
    expected = rows(tmp_path)
    head, *lines = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    assert head["parameters"] == found.head["parameters"]
    assert [{k: str(v) for k, v in line.items() if k != "kind"} for line in lines] == expected
    table = parquet.read_table(tmp_path / "events.parquet")
    assert [{k: str(v) for k, v in row.items()} for row in table.to_pylist()] == expected
    assert json.loads(table.schema.metadata[b"gmme_edge"])["model_sha256"] == head["model_sha256"]
    with (tmp_path / "events.selections.txt").open(newline="") as file:
        raven = list(csv.DictReader(file, delimiter="\t"))
    before_s, lengths = 0.0, {}
    for path in sorted({row["path"] for row in expected}):
        lengths[path], before_s = before_s, before_s + soundfile.info(path).duration
    for got, wanted in zip(raven, expected, strict=True):
        assert got["Begin Path"] == wanted["path"] and got["Label"] == wanted["label"]
        begins = float(wanted["start_s"]) + lengths[wanted["path"]]
        assert float(got["Begin Time (s)"]) == pytest.approx(begins, abs=2e-3)
    labels = (tmp_path / "audacity/a/deep/y.wav.txt").read_text().splitlines()
    assert len(labels) == sum(row["path"].endswith("y.wav") for row in expected)
    assert all(len(line.split("\t")) == 3 for line in labels)


def test_what_was_heard_is_not_heard_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)
    heard: list[str] = []
    hear = working.hear

    def count(job: Job, path: bytes) -> Any:  # noqa: ANN401
        heard.append(Path(os.fsdecode(path)).name)
        return hear(job, path)

    monkeypatch.setattr(working, "hear", count)
    run(copy, tmp_path / "out")
    assert len(heard) == 6
    before = (tmp_path / "out/events.csv").read_bytes()
    run(copy, tmp_path / "out")
    assert len(heard) == 6 and (tmp_path / "out/events.csv").read_bytes() == before
    soundfile.write(copy / "bad.wav", noise(3, 9), 8000)  # mended
    soundfile.write(copy / "new.wav", noise(3, 8), 8000)
    (copy / "z.wav").unlink()
    found = run(copy, tmp_path / "out")
    assert sorted(heard[6:]) == ["bad.wav", "new.wav"]
    assert (found.counts.heard, found.counts.failed) == (6, 0)
    assert not any(row["path"].endswith("z.wav") for row in rows(tmp_path / "out"))
    with pytest.raises(UsageError, match="begun with other options: rules"):
        run(copy, tmp_path / "out", EventSettings(hop_ms=500, on=0.3, gate=False))
    with pytest.raises(UsageError, match="timezone"):
        run(copy, tmp_path / "out", timezone="UTC")
    run(copy, tmp_path / "out", timezone="UTC", restart=True)
    assert len(heard) == 8 + 6


def test_a_later_scan_renews_what_an_earlier_one_wrote(archive: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(archive, tmp_path / "in"))
    run(copy, tmp_path / "out", formats="csv,jsonl", overview=True)
    soundfile.write(copy / "new.wav", noise(3, 8), 8000)
    found = run(copy, tmp_path / "out")
    assert found.files.keys() == {"csv", "jsonl", "overview"}
    for name in ("events.jsonl", "overview.html"):
        assert "new.wav" in (tmp_path / "out" / name).read_text()
    with pytest.raises(UsageError, match="begun with other options: --embeddings"):
        run(copy, tmp_path / "out", embeddings="npy")


def test_a_journal_is_begun_once_however_many_look_at_it(tmp_path: Path) -> None:
    """`scan --status` may come in between; both then found an empty file, and began it."""
    begin = threading.Barrier(4)

    def look(folder: Path) -> int:
        begin.wait()
        with Journal(folder, create=True) as journal:
            return journal.counts().total

    with ThreadPoolExecutor(4) as pool:
        for i in range(20):
            assert list(pool.map(look, [tmp_path / str(i)] * 4)) == [0] * 4


def test_two_scans_do_not_share_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmme_edge.workflows.archive.journal._PATIENCE_S", 0.1)
    with Journal(tmp_path, create=True) as first, Journal(tmp_path) as second:
        first.claim({"rules": 1}, restart=False)
        with pytest.raises(UsageError, match="is in use"):
            second.claim({"rules": 1}, restart=False)
        assert second.counts().total == 0  # reading is always possible
    (tmp_path / "journal.sqlite").write_text("no journal, but long enough to be looked at")
    with pytest.raises(InputError, match="cannot be opened"):
        Journal(tmp_path)


def test_the_progress_tells_the_sound_that_was_heard(tmp_path: Path) -> None:
    """A bar that counts recordings stands still within one of hours."""
    soundfile.write(tmp_path / "a.wav", noise(90, 1), 8000)
    soundfile.write(tmp_path / "b.wav", noise(36, 2), 8000)
    told: list[str] = []
    observer = Observer()
    observer.progress = lambda what, done, n: told.append(what)  # type: ignore[method-assign]
    with LocalPool(1) as pool:
        scanning.scan(
            MODEL, [tmp_path / "a.wav", tmp_path / "b.wav"], ScanSettings(output=tmp_path / "out"),
            EventSettings(hop_ms=1000, gate=False), observer=observer, executor=pool,
        )  # fmt: skip
        assert pool.heard_s == pytest.approx(126, abs=0.01)
    assert told == sorted(told) and re.fullmatch(r"recordings, 0\.0\d h heard", told[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM to the workers too"],
)
def test_a_signal_ends_at_once_and_keeps_what_was_heard(
    number: int, to: Callable[[int, int], None], archive: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    for i in range(8):
        shutil.copytree(archive, many / str(i))
    process = subprocess.Popen(
        [sys.executable, "-m", "gmme_edge.cli.app", *command(many, "-o", tmp_path / "out")],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "out/journal.sqlite").exists() or not noted(tmp_path / "out"):
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.05)
    to(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert not re.search("Traceback|Warning", told) and "the same command goes on" in told, told
    assert 0 < noted(tmp_path / "out") < 48


def test_a_fault_of_ours_costs_one_recording(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gmme_edge.workflows.archive import hearing

    original = hearing.hear_with

    def fail(classifier: Any, job: Job, path: Path, recording: Any) -> Any:  # noqa: ANN401
        if path.name == "z.wav":
            raise ZeroDivisionError("surprise")
        return original(classifier, job, path, recording)

    monkeypatch.setattr(hearing, "hear_with", fail)
    found = run(archive, tmp_path)
    assert (found.counts.heard, found.counts.failed) == (4, 2)
    assert "ZeroDivisionError: surprise" in (tmp_path / "skipped.csv").read_text()


def command(*arguments: object) -> list[str]:
    options = ["-m", MODEL, "--hop-ms", 500, "--on", 0.2, "--merge-gap-s", 0.2, "--no-gate"]
    return [*map(str, ("scan", *arguments, *options))]


def test_the_command_tells_what_failed_and_how_far_it_is(archive: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, command(archive, "-o", tmp_path / "out", "--workers", 1))
    assert done.exit_code == 9, done.stderr
    assert "5 of 6 recordings heard" in done.stdout and "skipped.csv" in done.stderr
    told = runner.invoke(app, ["scan", "--status", "-o", str(tmp_path / "out"), "--json"])
    assert json.loads(told.stdout)["counts"]["heard"] == 5
    assert runner.invoke(app, ["scan", "--status", "-o", str(tmp_path)]).exit_code == 3
    for wrong in (
        ["--formats", "xls"],
        ["--timezone", "Moon"],
        ["--timezone", "+99:99"],
        ["--executor", "ssh://x"],
    ):
        assert runner.invoke(app, command(archive, "-o", tmp_path, *wrong)).exit_code == 2
    (tmp_path / "bad").mkdir()
    shutil.copy(archive / "bad.wav", tmp_path / "bad")
    none = runner.invoke(app, command(tmp_path / "bad", "-o", tmp_path / "none", "--workers", 1))
    assert none.exit_code == 3 and "1 of 1 recordings cannot be heard" in none.stderr
    (tmp_path / "empty").mkdir()
    refused = runner.invoke(app, command(tmp_path / "empty", "-o", tmp_path / "o"))
    assert refused.exit_code == 2 and "no recordings" in refused.stderr


@pytest.mark.slow
def test_a_killed_scan_goes_on_where_it_was(archive: Path, tmp_path: Path) -> None:
    """SIGKILL as soon as something is noted; its workers end with it."""
    many = tmp_path / "many"
    for i in range(8):
        shutil.copytree(archive, many / str(i))
    arguments = command(many, "-o", tmp_path / "out", "--workers", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "gmme_edge.cli.app", *arguments], stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "out/journal.sqlite").exists() or not noted(tmp_path / "out"):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < noted(tmp_path / "out") < 48 and not (tmp_path / "out/events.csv").exists()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives its scan"
        time.sleep(0.1)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 9, done.stderr
    run(many, tmp_path / "whole")
    whole = (tmp_path / "whole/events.csv").read_bytes()
    assert (tmp_path / "out/events.csv").read_bytes() == whole


def noted(output: Path) -> int:
    counts = scanning.status(output).counts
    return counts.heard + counts.failed


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


@pytest.mark.slow
def test_a_killed_worker_costs_one_recording_and_is_tried_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "hear", fatal.hear_or_die)
    for name in ("dies.wav", "once.wav", "fine.wav"):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(archive / "z.wav", tmp_path / "in" / name)
    chosen = ScanSettings(output=tmp_path / "out")
    workers = WorkerSettings(workers=2)
    found = scanning.scan(MODEL, [tmp_path / "in"], chosen, RULES, workers)
    assert (found.counts.heard, found.counts.failed) == (2, 1)
    assert "killed 2 times" in (tmp_path / "out/skipped.csv").read_text()
    assert {Path(row["path"]).name for row in rows(tmp_path / "out")} == {"once.wav", "fine.wav"}


@pytest.fixture
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dask's own
def test_a_cluster_gives_the_same_rows(archive: Path, tmp_path: Path, scheduler: str) -> None:
    chosen = ScanSettings(output=tmp_path / "dask")
    workers = WorkerSettings(executor=scheduler)
    found = scanning.scan(MODEL, [archive], chosen, RULES, workers)
    run(archive, tmp_path / "here")
    assert found.counts.heard == 5
    here = (tmp_path / "here/events.csv").read_bytes()
    assert (tmp_path / "dask/events.csv").read_bytes() == here


def test_field_recordings_are_dated_by_their_names(tmp_path: Path) -> None:
    folder = shared("data/field/recorder-24h")
    files = sorted(folder.glob("*_0[0-2]0000.flac"))
    with ThreadPoolExecutor(1) as pool:
        chosen = ScanSettings(output=tmp_path, timezone="Europe/London")
        rules = EventSettings(on=0.05, hop_ms=1000, gate=False)
        scanning.scan(MODEL, files, chosen, rules, executor=pool)
    found = rows(tmp_path)
    assert {row["path"] for row in found} == {str(path) for path in files}
    for row in found:  # British summer time
        hour = int(Path(row["path"]).stem[-6:-4])
        start = datetime(2019, 5, 22, hour, tzinfo=timezone(timedelta(hours=1)))
        wanted = start + timedelta(seconds=float(row["start_s"]))
        assert abs(datetime.fromisoformat(row["start_utc"]) - wanted).total_seconds() < 2e-3


@pytest.mark.parametrize(
    ("files", "group", "expected"),
    [
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"cpu.max": "50000 100000"}, "0::/", 1),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 1),
        ({"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu:/a", None),
        (
            {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"},
            "3:cpu,cpuacct:/a",
            1,
        ),
        ({"cpu.max": "garbage"}, "0::/", None),
    ],
)
def test_workers_respect_the_control_groups_quota(
    tmp_path: Path, files: dict[str, str], group: str, expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(f"1:name=systemd:/x\n{group}\n")
    affinity = len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path, tmp_path / "own") == min(affinity, expected or affinity)
    assert usable_cpus(tmp_path, tmp_path / "nothing") == affinity
