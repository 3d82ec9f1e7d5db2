"""What is installed, what this machine is, and which backends work on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmme_edge.device.facts import LIBRARIES, describe_device, installed_versions
from gmme_edge.installation import install_command, pip_command
from gmme_edge.runtime.backends import BACKENDS, why_unavailable
from gmme_edge.runtime.choosing import remembered_choices

_NO_ENGINES = ("soundfile", "soxr", "onnx")


def examine() -> dict[str, Any]:
    """The findings as JSON values; a backend's `problem` is null where it works."""
    packages = (*LIBRARIES, *_NO_ENGINES)
    versions = installed_versions(packages)
    return {
        "packages": {name: versions.get(name) for name in packages},
        "device": describe_device(),
        "backends": [{"name": name, "problem": why_unavailable(name)} for name in BACKENDS],
        "chosen": [choice._asdict() for choice in remembered_choices()],
        "warnings": find_conflicts(versions),
    }


def find_conflicts(versions: Mapping[str, str]) -> list[str]:
    """Installed distributions that overwrite each other's files."""
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        both = pip_command("uninstall", "onnxruntime", "onnxruntime-gpu")
        return [
            "onnxruntime and onnxruntime-gpu are both installed and share one folder: the later "
            f"one wins, often without CUDA. Fix: {both}, then {install_command('gpu')}."
        ]
    return []
