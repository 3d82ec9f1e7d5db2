"""What the examples in other languages are built and run with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from gmme_edge.files import sha256_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PACKAGES = EXAMPLES / "node_modules"
VECTORS = ROOT / "docs" / "reference" / "stream-vectors.json"
PRETRAINED = ROOT / "gmme_edge" / "pretrained"


def needs(*tools: str) -> None:
    """Skip where a program or npm package (`npm:NAME`) is absent; where CI promises it, fail."""
    for tool in tools:
        package = tool.removeprefix("npm:")
        if not ((PACKAGES / package).is_dir() if package != tool else shutil.which(tool)):
            give_up(f"{tool} is not installed")


def needs_file(path: Path) -> None:
    """The same for a file."""
    if not path.is_file():
        give_up(f"{path} is not here")


def give_up(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def run(*words: object, given: str | bytes = "", code: int = 0, timeout: int = 300) -> str:
    """Its standard output, or standard error where it is to fail."""
    data = given.encode() if isinstance(given, str) else given
    done = subprocess.run([str(word) for word in words], input=data, capture_output=True,
                          timeout=timeout, cwd=ROOT)  # fmt: skip
    out, error = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, f"{words}\n{out}\n{error}"
    return error if code else out


def copy_of(bundle: Path, to: Path) -> Path:
    return Path(shutil.copytree(bundle, to))


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def admit(folder: Path, name: str) -> None:
    """Make the manifest say that the file is as it is now, and that the outputs must agree."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        if file["path"] == name:
            file["sha256"] = sha256_of(folder / name)
            file["size_bytes"] = (folder / name).stat().st_size
    manifest["parity"] = {"fp32": {"limit": 1e-3}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
