"""Under which licence the recordings are that a network was trained on, by SPDX's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gmme_edge.errors import UsageError, shorten

KEY = "license"  # in what a checkpoint and a bundle note of their data
_LONGEST, _LONGEST_JOINED = 200, 4000  # characters
_RESTRICTS_COMMERCE = re.compile(
    r"(?<![a-z])NC(?![a-z])|\bNCGL\b|non[\W_]?commercial|not for commercial", re.IGNORECASE
)


class LicenseWarning(UserWarning):
    """A network was trained on recordings whose licence restricts commercial use."""


def check_license(name: str) -> None:
    """Raise `UsageError` unless `name` can be a licence's."""
    if len(name) > _LONGEST or not is_license(name):
        raise UsageError(
            f"--data-license is {shorten(name)}.",
            f"at most {_LONGEST} printable characters, such as CC-BY-4.0 (see spdx.org/licenses).",
        )


def is_license(name: object) -> bool:
    """Whether `name`, which may come from a hostile file, can be shown as a licence's."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_JOINED:
        return False
    return name == name.strip() and name.isprintable()


def license_of(data: object) -> str:
    """Of what a checkpoint or a bundle notes of its data; empty where none is stated."""
    name = data.get(KEY) if isinstance(data, Mapping) else None
    return str(name) if is_license(name) else ""


def join_licenses(*names: str) -> str:
    """All that apply at once, as an SPDX expression: ``CC-BY-3.0 AND CC-BY-SA-4.0``."""
    given = [name for name in names if name]
    simple = not any("(" in name or " OR " in name for name in given)
    parts = dict.fromkeys(" AND ".join(given).split(" AND ") if simple else given)
    if len(parts) == 1:
        return next(iter(parts))
    return " AND ".join(f"({part})" if " OR " in part else part for part in parts)


def noted(*names: str) -> dict[str, Any]:
    """What a checkpoint or a bundle notes of these licences; nothing of none.

    Raises:
        UsageError: they are too many to be read again.
    """
    joined = join_licenses(*names)
    if len(joined) > _LONGEST_JOINED:
        raise UsageError(
            f"The licences of the recordings have {len(joined)} characters together.",
            f"at most {_LONGEST_JOINED}.",
            "--data-license may name one that covers several.",
        )
    return {KEY: joined} if joined else {}


def restriction(network: str, name: str) -> str:
    """What the user of a network should know of its data's licence, as a sentence; else empty."""
    if not _RESTRICTS_COMMERCE.search(name):
        return ""
    return f"{network} was trained on recordings under {name}, which restricts commercial use"
