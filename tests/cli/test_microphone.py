"""`gmme-edge listen` through PortAudio, from a sound server whose speaker is its microphone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.conftest import shared
from tests.examples.tools import give_up, needs

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
RULES = ("--hop-ms", "200", "--on", "0.8", "--min-duration-s", "0.3")
WAIT_S = 60.0


def wait_for(there: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < end, f"waited {WAIT_S} s for {what}"
        time.sleep(0.1)


def needs_portaudio() -> None:
    """Skip where sounddevice, PortAudio or ALSA's way to PulseAudio is absent; in CI, fail."""
    found = "import sounddevice; sounddevice.query_devices('pulse', 'input')"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True)
    if done.returncode:
        give_up(done.stderr.splitlines()[-1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """PulseAudio with nothing but a speaker that nobody hears, for this process's children."""
    needs("pulseaudio", "paplay")
    with pytest.MonkeyPatch.context() as patch:
        socket = tmp_path / "pulse"
        for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH"):
            patch.setenv(name, str(tmp_path))
        patch.setenv("PULSE_SERVER", f"unix:{socket}")
        modules = (
            f"module-native-protocol-unix socket={socket} auth-anonymous=1",
            "module-null-sink sink_name=speaker rate=48000",
        )
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        log = (tmp_path / "pulse.log").open("wb")
        pulse = subprocess.Popen([*command, *(f"-L{module}" for module in modules)],
                                 stdout=log, stderr=log)  # fmt: skip
        try:
            wait_for(lambda: socket.exists() or pulse.poll() is not None, "the sound server")
            if pulse.poll() is not None:
                pytest.skip(f"no sound server here: {(tmp_path / 'pulse.log').read_text()}")
            needs_portaudio()
            yield pulse
        finally:
            pulse.send_signal(signal.SIGCONT)
            pulse.kill()
            pulse.wait()
            log.close()


@pytest.fixture
def listening(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`listen` once it hears, and its file of events."""
    log = tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [*command(), "listen", "digits", "--device", "pulse", *RULES, "--json", "--events", log],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(
            lambda: (log.exists() and log.read_text()) or process.poll() is not None,
            "the first sound",
        )
        yield process, log
    finally:
        process.kill()
        process.communicate()


def command() -> list[str]:
    return [sys.executable, "-c", "from gmme_edge.cli.app import main; main()"]


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    error = process.communicate(timeout=WAIT_S)[1]
    return process.returncode, error


def write_programme(path: Path) -> None:
    """Digits that the network was not trained on, with pauses, over faint noise."""
    folder = shared("data/FSDD")
    names = (folder / "testing_list.txt").read_text().split()
    rng = np.random.default_rng(3)
    parts = [np.zeros(RATE_HZ)]
    for index in rng.permutation(len(names))[:8]:
        sound, rate_hz = soundfile.read(folder / names[index])
        sound = soxr.resample(sound, rate_hz, RATE_HZ)
        parts += [0.5 * sound / np.abs(sound).max(), np.zeros(3 * RATE_HZ // 2)]
    whole = np.concatenate(parts)
    soundfile.write(path, whole + rng.normal(0, 1e-4, len(whole)), RATE_HZ)


def test_what_is_played_gives_the_events_of_the_file(
    listening: tuple[subprocess.Popen[str], Path], tmp_path: Path
) -> None:
    process, log = listening
    programme = tmp_path / "programme.wav"
    write_programme(programme)
    began = time.time()
    subprocess.run(["paplay", programme], check=True, timeout=WAIT_S)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    code, error = end_of(process)
    assert code == 0, error
    head, *heard = [json.loads(line) for line in log.read_text().splitlines()]
    assert head["source"] == "pulse" and head["source_rate_hz"] == 44_100
    asked = [*command(), "listen", "digits", "--file", programme, *RULES, "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    known = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(known) == 8
    assert [e.get("label", e["kind"]) for e in heard] == [e["label"] for e in known]
    # One delay for all; a window begins every 0.2 s, wherever the programme began in it.
    delays = np.array([h["start_s"] - k["start_s"] for h, k in zip(heard, known, strict=True)])
    assert np.ptp(delays) < 0.41, delays
    ends = np.array([h["end_s"] - k["end_s"] for h, k in zip(heard, known, strict=True)])
    assert np.abs(ends - np.median(delays)).max() < 0.41, ends
    utc = np.datetime64(heard[0]["start_utc"][:-6], "us").astype(float) / 1e6
    assert utc == pytest.approx(began + known[0]["start_s"], abs=1.0)


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGKILL, 7, "delivers no more sound"),  # as a microphone that is pulled out
        (signal.SIGSTOP, 7, "has delivered nothing for 5 s"),
    ],
)
def test_a_microphone_that_goes_away_ends_it(
    number: signal.Signals,
    code: int,
    text: str,
    server: subprocess.Popen[bytes],
    listening: tuple[subprocess.Popen[str], Path],
) -> None:
    server.send_signal(number)
    found, error = end_of(listening[0])
    assert found == code and text in " ".join(error.split())


def test_ctrl_c_ends_it_though_the_sound_server_hangs(
    server: subprocess.Popen[bytes], listening: tuple[subprocess.Popen[str], Path]
) -> None:
    server.send_signal(signal.SIGSTOP)
    listening[0].send_signal(signal.SIGINT)
    assert end_of(listening[0])[0] == 0


def test_a_rate_that_it_has_not_is_told(server: subprocess.Popen[bytes]) -> None:
    done = subprocess.run(
        [*command(), "listen", "digits", "--device", "pulse", "--rate-hz", "100"],
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 7 and "--rate-hz" in done.stderr


def test_it_is_listed(server: subprocess.Popen[bytes]) -> None:
    done = subprocess.run([*command(), "listen", "--list-devices", "--json"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert {"pulse", "default"} <= {device["name"] for device in json.loads(done.stdout)}
