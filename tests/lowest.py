"""What an installation must be able to do, whatever the versions of its dependencies.

No test: ``nox -s lowest`` runs it with the lower bound of each, and needs neither pytest nor torch.

Usage: python tests/lowest.py FOLDER EXTRAS
"""

from __future__ import annotations

import subprocess
import sys
import wave
from array import array
from math import sin
from pathlib import Path


def run(*words: object) -> None:
    """A command of the installation, warnings and all; ends the program where it fails."""
    program = Path(sys.executable).with_name("gmme-edge")
    print("$ gmme-edge", *words, flush=True)
    done = subprocess.run([program, *map(str, words)], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"gmme-edge {words[0]} ended with {done.returncode}.")


def write_tone(path: Path, seconds: float = 3.0, rate_hz: int = 48_000) -> Path:
    """At a rate that no shipped model has, so that it is resampled."""
    samples = array("h", (int(9000 * sin(i / 9)) for i in range(int(seconds * rate_hz))))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def use_light_extras(folder: Path) -> None:
    tone, bundle = write_tone(folder / "tone.wav"), folder / "light"
    run("--help")
    run("models")
    run("doctor")
    run("predict", "esc10", tone, "--json")
    run("verify", "digits")
    run("listen", "digits", "--file", tone, "--events", folder / "events.jsonl")
    formats = ("--formats", "csv,jsonl,parquet")
    run("scan", tone, "-m", "digits", "-o", folder / "scan", "--workers", 1, *formats, "--restart")
    run("profile", "digits", "--repetitions", 3, "-o", folder / "latency.json")
    run("compare", folder / "latency.json", "-o", folder / "report.html")
    if not (folder / "key").exists():
        run("sign", "--new-key", folder / "key")
    copy_shipped("digits", bundle)
    run("sign", bundle, "--key", folder / "key")
    run("verify", bundle, "--trust", folder / "key.pub")


def copy_shipped(name: str, to: Path) -> None:
    import shutil

    from gmme_edge.pretrained import resolve

    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(resolve(name), to)


def use_heavy_extras(folder: Path) -> None:
    sounds, checkpoint = folder / "sounds", folder / "checkpoint"
    for label in ("one", "two"):
        (sounds / label).mkdir(parents=True, exist_ok=True)
        for i in range(10):
            length = 0.4 + 0.05 * i + 0.02 * (label == "one")
            write_tone(sounds / label / f"{i}.wav", length)
    data = ("--dataset", "folder", "--data", sounds, "--cache", folder / "cache")
    small = ("--sample-rate", 8000, "--samples", 1024, "--factors", "2,2", "--batch-size", 8)
    network = ("--model", "eat-s-gmme-k6c4", "--task", "speech-commands", *small)
    run("train", *data, *network, "--epochs", 1, "-o", checkpoint, "--restart")
    calibration = ("--calib-dataset", "folder", "--calib-data", sounds)
    asked = ("--precision", "fp32,fp16,int8", "--cache", folder / "cache", *calibration)
    run("export", checkpoint, "-o", folder / "bundle", *asked, "--force")
    run("verify", folder / "bundle")
    run("export", "digits", "-o", folder / "digits", "--precision", "fp32", "--force")
    run("evaluate", checkpoint, *data)


def main(folder: str, extras: str) -> None:
    use = use_heavy_extras if "train" in extras.split(",") else use_light_extras
    use(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
