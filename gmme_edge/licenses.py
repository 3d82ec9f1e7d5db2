"""Under which licence the recordings are that a network learnt from, by SPDX's names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from gmme_edge.errors import UsageError, shorten

KEY = "license"  # in what a checkpoint and a bundle note of their data
_LONGEST = 200  # characters, of several joined
_FORBIDS_COMMERCE = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)


class LicenseWarning(UserWarning):
    """A network may not be used for everything, because of what it learnt from."""


def check_license(name: str) -> None:
    """Raise `UsageError` unless `name` can be a licence's."""
    if not is_license(name):
        raise UsageError(
            f"--data-license is {shorten(name)}.",
            f"at most {_LONGEST} printable letters, such as CC-BY-4.0 (see spdx.org/licenses).",
        )


def is_license(name: object) -> bool:
    """Whether `name`, which may come from a hostile file, can be shown as a licence's."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
        return False
    return name == name.strip() and name.isprintable()


def license_of(data: object) -> str:
    """Of what a checkpoint or a bundle notes of its data; empty where none is stated."""
    name = data.get(KEY) if isinstance(data, Mapping) else None
    return str(name) if is_license(name) else ""


def join_licenses(*names: str) -> str:
    """All that apply at once, in SPDX's way: ``CC-BY-3.0 AND CC-BY-SA-4.0``."""
    parts = [part for name in names for part in name.split(" AND ") if part]
    return " AND ".join(dict.fromkeys(parts))


def noted(*names: str) -> dict[str, Any]:
    """What a checkpoint or a bundle notes of these licences; nothing of none."""
    joined = join_licenses(*names)
    return {KEY: joined} if joined else {}


def restriction(network: str, name: str) -> str:
    """What the licence of its data forbids a network's user, as a sentence; else empty."""
    if not _FORBIDS_COMMERCE.search(name):
        return ""
    return f"{network} learnt from recordings under {name}: not for commercial use"


def warn_of_restriction(network: str, name: str, stacklevel: int = 2) -> None:
    """State `restriction` as a `LicenseWarning`, once for each caller."""
    if forbidden := restriction(network, name):
        warnings.warn(forbidden, LicenseWarning, stacklevel=stacklevel + 1)
