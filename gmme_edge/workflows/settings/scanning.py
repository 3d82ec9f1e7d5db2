"""What `scan` listens to, with what, and where its results go."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from datetime import timedelta, timezone, tzinfo
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.runtime.backends import BACKEND_NAMES
from gmme_edge.settings import Settings, setting

FORMATS = ("csv", "jsonl", "parquet", "raven", "audacity")
EMBEDDINGS = ("npy", "parquet")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True, kw_only=True)
class ScanSettings(Settings):
    """Where the results go, and how recordings are dated. What changes them is noted with them."""

    panel = "Scan"

    output: Path = setting(
        MISSING, "Folder for the journal and the results.", "-o", "--output", panel="Output"
    )
    backend: str = setting(
        "ort-cpu",
        f"One of {BACKEND_NAMES}; or auto, the fastest on this machine.",
        panel="Backend",
    )
    precision: str | None = setting(
        None, "Default: the recommended one, else fp32.", panel="Backend"
    )
    formats: str = setting("csv", f"Of {', '.join(FORMATS)}, comma-separated.", panel="Output")
    embeddings: str | None = setting(
        None,
        f"Also keep each computed window's embedding, as {' or '.join(EMBEDDINGS)}, "
        "comma-separated; `similar` searches them.",
        panel="Output",
    )
    overview: bool = setting(
        False,
        "Also write overview.html: when which label was heard, and how it sounds.",
        "--overview",
        panel="Output",
    )
    join: bool = setting(
        False, "Hear recordings as one where each begins when the one before ends.", "--join"
    )
    timezone: str | None = setting(
        None,
        "Of times in file names that name none: UTC, Europe/Berlin or +02:00. Without it "
        "such recordings have no dates.",
    )
    restart: bool = setting(
        False, "Forget what the folder's journal holds, and begin anew.", "--restart"
    )

    def check(self) -> None:
        self.chosen_formats()
        self.chosen_embeddings()
        self.zone()

    def chosen_formats(self) -> tuple[str, ...]:
        return _choose("--formats", self.formats, FORMATS)

    def chosen_embeddings(self) -> tuple[str, ...]:
        """Formats; none where embeddings are not kept."""
        return _choose("--embeddings", self.embeddings, EMBEDDINGS) if self.embeddings else ()

    def zone(self) -> tzinfo | None:
        """The time zone that `timezone` names.

        Raises:
            UsageError: none of that name.
        """
        return None if self.timezone is None else parse_zone(self.timezone)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(Settings):
    """Who does the work; the results do not depend on it."""

    panel = "Workers"

    workers: int | None = setting(
        None,
        "Processes on this machine.  [default: the CPUs that this process may use]",
        least=1,
        most=1024,
    )
    executor: str | None = setting(
        None,
        "An existing Dask or Ray cluster, whose workers see the same files.",
        metavar="dask://HOST:PORT|ray://HOST:PORT",
    )

    def check(self) -> None:
        if self.executor is None:
            return
        if self.workers is not None:
            raise UsageError("--workers with --executor.", "one of them: a cluster has its own.")
        if not re.fullmatch(r"(dask|ray)://.+:\d+", self.executor):
            raise UsageError(
                f"--executor is {self.executor!r}.", "dask://HOST:PORT or ray://HOST:PORT."
            )


def _choose(flag: str, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{flag} names {unknown[0]!r}.", f"of {', '.join(known)}.")
    return names


def parse_zone(text: str) -> tzinfo:
    """UTC, an offset such as +02:00, or a name of the time zone database.

    Raises:
        UsageError: none of these.
    """
    from zoneinfo import ZoneInfo

    if text.upper() in ("UTC", "Z"):
        return timezone.utc
    try:
        if found := _OFFSET.fullmatch(text):
            sign = -1 if found[1] == "-" else 1
            return timezone(sign * timedelta(hours=int(found[2]), minutes=int(found[3])))
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"--timezone is {text!r}.",
            "UTC, an offset such as +02:00, or a name such as Europe/Berlin.",
        ) from error
