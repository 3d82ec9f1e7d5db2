"""Recordings that are cut, forged, mislabelled or no recordings at all."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from tests.faults.engine import Case, command

SEED = 1509
RATE_HZ = 16_000
# Name → suffix, libsndfile's format, subtype, and byte order where it is not the usual one.
FORMATS = {
    "wav": (".wav", "WAV", "PCM_16", ""),
    "wav float": (".wav", "WAV", "FLOAT", ""),
    "wav 24 bit": (".wav", "WAV", "PCM_24", ""),
    "wav 8 bit": (".wav", "WAV", "PCM_U8", ""),
    "wav adpcm": (".wav", "WAV", "IMA_ADPCM", ""),
    "wavex": (".wav", "WAVEX", "PCM_16", ""),
    "rifx": (".wav", "WAV", "PCM_16", "BIG"),
    "rf64": (".wav", "RF64", "PCM_16", ""),
    "w64": (".w64", "W64", "PCM_16", ""),
    "aiff": (".aiff", "AIFF", "PCM_16", ""),
    "au": (".au", "AU", "PCM_16", ""),
    "caf": (".caf", "CAF", "PCM_16", ""),
    "flac": (".flac", "FLAC", "PCM_16", ""),
    "vorbis": (".ogg", "OGG", "VORBIS", ""),
    "opus": (".opus", "OGG", "OPUS", ""),
    "mp3": (".mp3", "MP3", "MPEG_LAYER_III", ""),
}
FIELDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0")


def prepare(shared: Path) -> None:
    from tests.bundles import make_bundle

    make_bundle(shared / "bundle")
    rng = np.random.default_rng(SEED)
    sound = (0.2 * rng.normal(size=(RATE_HZ // 2, 2))).clip(-1, 1)
    for name, (suffix, format_, subtype, endian) in FORMATS.items():
        path = shared / (name.replace(" ", "-") + suffix)
        soundfile.write(path, sound, RATE_HZ, subtype, endian or None, format_)


@cache
def _classifier(bundle: Path):  # noqa: ANN202
    import gmme_edge

    return gmme_edge.load(bundle, threads=1)


def hear(path: Path, bundle: Path) -> None:
    """Both ways in: all samples at once, and the classifier in blocks."""
    from gmme_edge.audio import read_audio

    found = _classifier(bundle).analyze_file(path)
    if not np.isfinite(found.probabilities).all() or abs(found.probabilities.sum() - 1) > 1e-6:
        raise AssertionError(f"probabilities {found.probabilities}")
    samples = read_audio(path, 8000)
    if not np.isfinite(samples).all() or samples.ndim != 1:
        raise AssertionError(f"samples of shape {samples.shape}, or not finite")


def make_cases(shared: Path) -> list[Case]:
    bundle = shared / "bundle"
    cases = []
    for name, (suffix, *_) in FORMATS.items():
        content = (shared / (name.replace(" ", "-") + suffix)).read_bytes()
        for what, changed in _mutations(content, random.Random(f"{SEED} {name}")):
            cases.append(_file_case(f"{name}, {what}", changed, suffix, bundle))
        for other in (".txt", ".mp3", ".flac", ".ogg", "", ".raw", ".WAV"):
            cases.append(
                _file_case(f"{name}, named sound{other}", content, other, bundle, "success")
            )
    return (
        cases
        + list(_content_cases(bundle))
        + list(_signal_cases(bundle))
        + list(_place_cases(shared))
    )


def _file_case(name: str, content: bytes, suffix: str, bundle: Path, want: str = "any") -> Case:
    def act(folder: Path) -> None:
        path = folder / f"sound{suffix}"
        path.write_bytes(content)
        hear(path, bundle)

    return Case(name, act, want)  # type: ignore[arg-type]


def _mutations(content: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    size = len(content)
    places = {1, 3, 4, 8, 11, 12, 16, 20, 28, 36, 40, 43, 44, 45, size // 2, size - 1, size - 4}
    for cut in sorted(places | {rng.randrange(46, size) for _ in range(4)}):
        yield f"cut to {cut}", content[:cut]
    for at in range(0, 64, 4):
        for field in rng.sample(FIELDS, 2):
            yield f"{field.hex()} at {at}", content[:at] + field + content[at + 4 :]
    for at in rng.sample(range(min(size, 200)), 8):
        bit = rng.randrange(8)
        yield f"bit {bit} of byte {at}", _with_byte(content, at, content[at] ^ 1 << bit)
    for at in rng.sample(range(200, size - 64), 3):
        noise = rng.randbytes(64)
        yield f"noise at {at}", content[:at] + noise + content[at + 64 :]
    yield "twice", content + content
    yield "with noise behind it", content + rng.randbytes(1000)
    yield "behind zeros", bytes(512) + content
    yield "behind a tag", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + content
    yield "without its middle", content[: size // 3] + content[2 * size // 3 :]


def _with_byte(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + bytes([value]) + content[at + 1 :]


def _content_cases(bundle: Path) -> Iterator[Case]:
    rng = random.Random(SEED)
    contents = {
        "empty": b"", "one byte": b"R", "zeros": bytes(5000), "noise": rng.randbytes(5000),
        "text": b"not a sound\n" * 50, "json": b'{"a": 1}', "zip": b"PK\3\4" + rng.randbytes(500),
        "elf": b"\x7fELF" + rng.randbytes(500), "only RIFF": b"RIFF\xff\xff\xff\xffWAVE",
        "only OggS": b"OggS" + bytes(23), "only fLaC": b"fLaC" + bytes(38),
        "frames of MPEG": b"\xff\xfb\x90\0" * 400, "syncs": b"\xff" * 5000,
        "tag alone": b"ID3\4\0\0\0\0\0\x0a" + bytes(10), "chunks of no size":
        b"RIFF\0\0\0\0WAVE" + b"fact\0\0\0\0" * 5000,
    }  # fmt: skip
    for name, content in contents.items():
        for suffix in (".wav", ".flac", ".mp3"):
            yield _file_case(f"{name} as {suffix}", content, suffix, bundle, "refused")


def _signal_cases(bundle: Path) -> Iterator[Case]:
    """Sound files that are well-formed, with samples, rates or channels that no one expects."""
    tone = np.sin(np.arange(4000) / 7)
    signals: dict[str, tuple[np.ndarray, int, str]] = {
        "NaN": (np.append(tone, np.nan), RATE_HZ, "refused"),
        "infinity": (np.append(tone, np.inf), RATE_HZ, "refused"),
        "minus infinity": (np.append(tone, -np.inf), RATE_HZ, "refused"),
        "all NaN": (np.full(100, np.nan), RATE_HZ, "refused"),
        "3e38": (3e38 * np.sign(tone), RATE_HZ, "success"),
        "denormal": (1e-42 * tone, RATE_HZ, "success"),
        "silence": (np.zeros(4000), RATE_HZ, "success"),
        "one sample": (np.ones(1), RATE_HZ, "success"),
        "no sample": (np.zeros(0), RATE_HZ, "refused"),
        "antiphase": (np.stack([tone, -tone], 1), RATE_HZ, "success"),
        "constant": (np.ones(4000), RATE_HZ, "success"),
        "64 channels": (np.tile(tone[:, None], 64), RATE_HZ, "success"),
        "1000 channels": (np.zeros((100, 1000)), RATE_HZ, "success"),
        "a minute": (np.tile(tone, 240), RATE_HZ, "success"),
    } | {
        f"{hz} Hz": (tone, hz, "refused" if not 100 <= hz <= 10_000_000 else "success")
        for hz in (1, 2, 99, 100, 101, 7999, 44_101, 999_983, 10_000_000, 10_000_001, 2**31 - 1)
    }  # fmt: skip
    for name, (samples, rate_hz, want) in signals.items():

        def act(folder: Path, samples: np.ndarray = samples, rate_hz: int = rate_hz) -> None:
            soundfile.write(folder / "s.wav", samples, rate_hz, "FLOAT")
            hear(folder / "s.wav", bundle)

        yield Case(f"samples: {name}", act, want)  # type: ignore[arg-type]

    def long_flac(folder: Path) -> None:
        with soundfile.SoundFile(folder / "s.flac", "w", 8000, 8, "PCM_16") as file:
            for _ in range(60):
                file.write(np.zeros((80_000, 8), np.int16))
        _classifier(bundle).analyze_file(folder / "s.flac")

    yield Case("samples: ten minutes of silence in 8 channels", long_flac, "success")


def _place_cases(shared: Path) -> Iterator[Case]:
    """Paths that are no files, and names that are hard to print; by the command too."""
    bundle, sound = shared / "bundle", shared / "wav.wav"
    places: dict[str, Callable[[Path], object]] = {
        "absent": lambda p: None,
        "a folder": lambda p: p.mkdir(),
        "a pipe": lambda p: os.mkfifo(p),
        "link to /dev/zero": lambda p: p.symlink_to("/dev/zero"),
        "link to /dev/null": lambda p: p.symlink_to("/dev/null"),
        "link to /dev/full": lambda p: p.symlink_to("/dev/full"),
        "link to nothing": lambda p: p.symlink_to("nothing"),
        "link to itself": lambda p: p.symlink_to(p.name),
        "link to a pipe": lambda p: (os.mkfifo(p.with_name("pipe")), p.symlink_to("pipe")),
        "link to /proc/self/mem": lambda p: p.symlink_to("/proc/self/mem"),
        "link to a terminal": lambda p: p.symlink_to("/dev/tty"),
    }
    for name, make in places.items():

        def in_api(folder: Path, make: Callable[[Path], object] = make) -> None:
            make(folder / "s.wav")
            hear(folder / "s.wav", bundle)

        def in_command(folder: Path, make: Callable[[Path], object] = make) -> None:
            make(folder / "s.wav")
            if command("predict", bundle, folder / "s.wav", "--threads", "1") not in (2, 3):
                raise AssertionError("neither usage nor input")

        yield Case(f"place: {name}", in_api, "refused")
        yield Case(f"place: {name}, by command", in_command, "success")
    names = ("[red]x[bold].wav", "[.wav", "a\nb.wav", "caf\udce9.wav", "-o.wav", " .wav",
             "é" * 100 + ".wav", "\x1b[31m.wav", "'\"$(x).wav", "x" * 251 + ".wav", "\u202egnp.wav",
             "😀.wav")  # fmt: skip
    for name in names:

        def named(folder: Path, name: str = name, json: bool = False) -> None:
            (folder / name).write_bytes(sound.read_bytes())
            if command("predict", bundle, folder / name, *["--json"] * json):
                raise AssertionError("not heard")

        yield Case(f"name: {name!a}", named, "success")
        yield Case(f"name: {name!a}, JSON", lambda f, named=named: named(f, json=True), "success")
