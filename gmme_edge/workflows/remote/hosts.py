"""The machines to measure on, from options or from a fleet file.

ssh_config = "ssh.conf"             # what ssh reads instead of yours; optional

[[host]]
ssh = "user@orin.local"             # as ssh takes it; the rest is optional
name = "orin"                       # in tables and files
python = "/usr/bin/python3"
backend = "tensorrt"                # or ort-cpu; default: TensorRT where there is one
power_modes = [0, 2]                # numbers of nvpmodel, measured one after the other
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from gmme_edge.errors import InputError, UsageError, reason
from gmme_edge.inputs import read_toml

_DESTINATION = re.compile(r"(ssh://)?[A-Za-z0-9_.%+\[\]:][A-Za-z0-9_.%+@\[\]:-]{0,254}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Host:
    """One machine; `power_mode` None leaves it as it is."""

    ssh: str
    name: str
    python: str = "python3"
    backend: str | None = None
    power_mode: int | None = None

    @property
    def label(self) -> str:
        mode = "" if self.power_mode is None else f"-mode{self.power_mode}"
        return self.name + mode


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    ssh: str
    name: str = ""
    python: str = "python3"
    backend: str | None = None
    power_modes: list[int] = []


class _Fleet(msgspec.Struct, forbid_unknown_fields=True):
    host: list[_Entry]
    ssh_config: str | None = None


def make_hosts(destinations: tuple[str, ...], python: str = "python3") -> list[Host]:
    """Hosts of ``--remote``.

    Raises:
        UsageError: a destination that ssh could take for something else, or one twice.
    """
    hosts = [_make_host(_Entry(ssh=each, python=python))[0] for each in destinations]
    return _check_names(hosts)


def read_fleet(path: Path) -> tuple[list[Host], Path | None]:
    """The hosts of a fleet file, one per power mode, and what ssh is to read.

    Raises:
        InputError: no such file, no TOML, an unknown or missing field.
        UsageError: as `make_hosts`.
    """
    try:
        fleet = msgspec.convert(_read(path), _Fleet)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{path} is no fleet file: {error}.",
            "[[host]] tables with ssh, and if wanted name, python, backend and power_modes.",
        ) from error
    if not fleet.host:
        raise InputError(f"{path} names no host.", "at least one [[host]].")
    hosts = _check_names([host for entry in fleet.host for host in _make_host(entry)])
    return hosts, path.parent / fleet.ssh_config if fleet.ssh_config else None


def _make_host(entry: _Entry) -> list[Host]:
    if not _DESTINATION.fullmatch(entry.ssh):
        raise UsageError(f"The host {entry.ssh!r}.", "USER@HOST, or a name of your ssh config.")
    if entry.backend not in (None, "tensorrt", "ort-cpu"):
        raise UsageError(f"The backend {entry.backend!r} of a host.", "tensorrt or ort-cpu.")
    if not entry.python or not entry.python.isprintable():
        raise UsageError(f"The Python {entry.python!r} of a host.", "a program's name or path.")
    if any(not 0 <= mode < 100 for mode in entry.power_modes):
        raise UsageError(f"The power modes {entry.power_modes}.", "numbers of nvpmodel.")
    name = entry.name or re.sub(r"[^A-Za-z0-9_.-]+", "-", entry.ssh.rpartition("@")[2]).strip("-.")
    if not _NAME.fullmatch(name):
        raise UsageError(f"The name {name!r} of a host.", "letters, digits, dots and dashes.")
    host = Host(entry.ssh, name, entry.python, entry.backend)
    return [replace(host, power_mode=mode) for mode in entry.power_modes] or [host]


def _check_names(hosts: list[Host]) -> list[Host]:
    labels = [host.label for host in hosts]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(f"Two hosts are called {', '.join(twice)}.", "a name for each.")
    return hosts


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.", "a fleet file.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no TOML: {reason(error)}.", "a fleet file.") from error
