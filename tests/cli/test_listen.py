from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.installation import install_command
from gmme_edge.runtime.streaming.stream import Stream
from gmme_edge.workflows.listening import listen
from gmme_edge.workflows.microphone import list_devices
from gmme_edge.workflows.settings.listening import EventSettings, ListenSettings
from tests.artifacts import incremental_bundle
from tests.runtime.streaming.fakes import LevelClassifier


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["listen", *map(str, arguments)])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    soundfile.write(path, sound, 16_000)
    return path


def test_a_recording_gives_the_events_of_a_stream(recording: Path, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    rules = ("--hop-ms", 400, "--on", 0.05, "--no-gate")
    done = run("digits", "--file", recording, *rules, "--json", "--events", log)
    assert done.exit_code == 0, done.output
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    head, *logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert logged == shown and {e["kind"] for e in shown} == {"event"}
    assert done.stderr.endswith(f"without activity; {len(shown)} events.\n")
    quiet = run("digits", "--file", recording, "--on", 1, "--no-gate")
    assert quiet.stdout == "" and quiet.stderr.endswith("without activity; no events.\n")
    assert max(e["end_sample"] for e in shown) == 32_000
    assert head["kind"] == "stream" and len(head["model_sha256"]) == 64
    assert (head["hop_us"], head["gate"], head["rules"]["on"]) == (400_000, None, 0.05)
    run("digits", "--file", recording, *rules, "--events", log)
    assert len(log.read_text().splitlines()) == 2 * (1 + len(logged))  # appended


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--rule", "one=2"), 2, "cannot be read"),
        (("--rule", "one:on=2"), 2, "on is 2.0"),
        (("--rule", "dog:on=0.5"), 2, "'dog'"),
        (("--deny", "dog"), 2, "'dog'"),
        (("--hop-ms", "2000"), 2, "at most one window"),
        (("--device", "1"), 2, "a file or a microphone"),
        (("--off", "0.9"), 2, "off is 0.9"),
    ],
)
def test_wrong_options_are_told(recording: Path, arguments: tuple, code: int, text: str) -> None:
    done = run("digits", "--file", recording, *arguments)
    assert done.exit_code == code and text in done.output


def test_what_is_no_audio_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("no")
    assert run("digits", "--file", tmp_path / "x.wav").exit_code == 3
    assert run("digits", "--file", tmp_path / "none.wav").exit_code == 3


def test_a_recording_is_heard_to_its_end_or_not_at_all(recording: Path, tmp_path: Path) -> None:
    """What its header says is not believed: as `predict` does it."""
    content = recording.read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    done = run("digits", "--file", tmp_path / "cut.wav", "--json")
    assert done.exit_code == 3 and "is truncated" in done.stderr and done.stdout == ""
    (tmp_path / "named.raw").write_bytes(content)
    assert run("digits", "--file", tmp_path / "named.raw").exit_code == 0
    os.mkfifo(tmp_path / "pipe.wav")
    done = run("digits", "--file", tmp_path / "pipe.wav")
    assert done.exit_code == 3 and "is a pipe or a device, no file" in done.stderr


def test_what_its_user_should_know_of_a_recording_is_a_note(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    soundfile.write(tmp_path / "a.wav", np.stack([sound, -sound], axis=1), 16_000)
    done = run("digits", "--file", tmp_path / "a.wav")
    assert done.exit_code == 0, done.output
    told = " ".join(done.stderr.split())
    assert f"note: {tmp_path / 'a.wav'}: its channels cancel each other" in told
    assert "AudioWarning" not in told


def test_events_for_a_pipe_that_nobody_reads_are_refused(recording: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run("digits", "--file", recording, "--events", tmp_path / "pipe")
    assert done.exit_code == 3 and str(tmp_path / "pipe") in " ".join(done.stderr.split())


def test_a_full_disk_is_named_by_its_file(recording: Path) -> None:
    done = run("digits", "--file", recording, "--events", "/dev/full")
    assert done.exit_code == 3
    assert "error: /dev/full: No space left on device." in " ".join(done.stderr.split())


def test_rules_of_one_label_change_only_what_they_name() -> None:
    settings = EventSettings(on=0.6, merge_gap_s=1.0, rule=("a:b:on=0.9,min-duration-s=2",))
    rule = settings.rules().of("a:b")
    assert (rule.on, rule.min_duration_s, rule.merge_gap_s) == (0.9, 2.0, 1.0)


def test_without_sounddevice_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = run("digits")
    assert done.exit_code == 4 and install_command("mic") in done.output


class FakeCard:
    """Sounddevice as far as it is used: delivers blocks from a thread, faster than real time."""

    class PortAudioError(Exception):
        pass

    def __init__(
        self,
        blocks: list[tuple[np.ndarray, float, bool]],
        fails: bool = False,
        hangs: bool = False,
    ) -> None:
        self.blocks, self.fails, self.hangs = blocks, fails, hangs

    def query_devices(self, device: object = None, kind: str = "") -> object:
        facts = {"name": "fake", "max_input_channels": 1, "default_samplerate": 1000.0}
        if device == "absent":
            raise ValueError("No input device matching 'absent'")
        return facts if kind else [facts, {**facts, "max_input_channels": 0}]

    def InputStream(self, callback, finished_callback, **_: object) -> FakeCard:  # noqa: N802, ANN001
        if self.fails:
            raise self.PortAudioError("Invalid sample rate")
        self.callback, self.finished = callback, finished_callback
        return self

    def start(self) -> None:
        def deliver() -> None:
            for data, begins_s, overflow in self.blocks:
                times = SimpleNamespace(inputBufferAdcTime=begins_s)
                status = SimpleNamespace(input_overflow=overflow)
                self.callback(data[:, None], len(data), times, status)
            if not self.hangs:
                self.finished()

        self.thread = threading.Thread(target=deliver)
        self.thread.start()

    def close(self) -> None:
        self.thread.join()


def hear_card(
    monkeypatch: pytest.MonkeyPatch, card: FakeCard, **settings: object
) -> tuple[list, Exception | None]:
    monkeypatch.setitem(sys.modules, "sounddevice", card)  # type: ignore[arg-type]
    heard: list = []

    def show(stream: Stream, ended: list) -> None:
        heard.extend(ended)
        time.sleep(0.002)

    try:
        listen(
            LevelClassifier(),  # type: ignore[arg-type]
            EventSettings(hop_ms=100, on=0.9, gate=False, allow=("top",)),
            ListenSettings(**settings),  # type: ignore[arg-type]
            show,
        )
    except PlatformError as error:
        return heard, error
    return heard, None


def test_a_microphone_that_goes_away_leaves_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [(np.ones(100, np.float32), k / 10, False) for k in range(10)]
    (event,), error = hear_card(monkeypatch, FakeCard(blocks))
    assert (event.start_sample, event.end_sample) == (0, 1000)
    assert event.start_utc is not None
    assert "no more sound" in str(error)


@pytest.mark.parametrize("n_blocks", [0, 10])
def test_a_microphone_that_delivers_nothing_is_told(
    n_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gmme_edge.workflows.microphone._SILENCE_S", 0.5)
    blocks = [(np.ones(100, np.float32), k / 10, False) for k in range(n_blocks)]
    heard, error = hear_card(monkeypatch, FakeCard(blocks, hangs=True))
    assert len(heard) == (n_blocks > 0) and "not even silence" in str(error)


def test_sound_that_the_card_lost_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [(np.ones(500, np.float32), 0.0, False), (np.ones(500, np.float32), 2.5, True)]
    heard, _ = hear_card(monkeypatch, FakeCard(blocks))
    assert heard[-1].end_sample == 3000  # the clock goes on
    assert sum(e.lost_samples for e in heard if e.to_dict()["kind"] == "gap") in (2000, 2500)


def test_a_slow_listener_drops_the_oldest_and_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [(np.ones(100, np.float32), k / 10, False) for k in range(200)]
    heard, _ = hear_card(monkeypatch, FakeCard(blocks), backlog_s=0.5)
    gaps = [e for e in heard if e.to_dict()["kind"] == "gap"]
    assert gaps and heard[-1].end_sample == 20_000
    last = gaps[-1]
    assert last.end_sample == 19_500  # what was left is the newest half second


def test_a_microphone_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _, error = hear_card(monkeypatch, FakeCard([], fails=True))
    assert "Invalid sample rate" in str(error) and "--list-devices" in str(error)
    _, error = hear_card(monkeypatch, FakeCard([]), device="absent")
    assert "absent" in str(error)
    assert [d["name"] for d in list_devices()] == ["fake"]
    with pytest.raises(UsageError):
        ListenSettings(file=Path("x"), device="1")


def test_incremental_windows(root: Path, tmp_path: Path) -> None:
    """The hop is the bundle's, the summary counts, and the log says how the scale was held."""
    bundle, log = incremental_bundle(root), tmp_path / "events.jsonl"
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000)
    rules = ("--file", path, "--no-gate", "--on", 0.01, "--incremental")
    done = run(bundle, *rules, "--events", log)
    assert done.exit_code == 0, done.output
    assert "74 of 74 windows computed (72 of them in part), 0 without" in done.stderr
    head = json.loads(log.read_text().splitlines()[0])
    assert (head["hop_us"], head["hold_db"]) == (12_000, 1.0)
    done = run(bundle, *rules, "--hold-db", 0)
    assert "(72 of them" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--hold-db", 3), "--incremental"),
        (("--incremental", "--hop-ms", 100), "12 ms"),
        (("--incremental", "--precision", "fp16"), "ort-cpu and fp32"),
        (("--incremental", "--backend", "openvino"), "ort-cpu and fp32"),
    ],
)
def test_what_incremental_windows_cannot_have(
    root: Path, recording: Path, arguments: tuple[object, ...], text: str
) -> None:
    done = run(incremental_bundle(root), "--file", recording, *arguments)
    assert done.exit_code == 2 and text in done.output
    assert "Traceback" not in done.output


def test_a_bundle_without_incremental_graphs(recording: Path) -> None:
    done = run("digits", "--file", recording, "--incremental")
    assert done.exit_code == 2 and "--incremental-hop-ms" in done.output
