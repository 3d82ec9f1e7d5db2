"""Where a service listens, how it joins the calls of its clients, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import InputError, UsageError
from gmme_edge.inputs import read_file
from gmme_edge.public import own_errors
from gmme_edge.settings import Settings, setting

_BATCHES, _LIMITS = "Batching", "Limits"
_MOST_BYTES = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,512}")


@dataclass(frozen=True, kw_only=True)
class ServeSettings(Settings):
    """Where the service listens, and to whom."""

    panel = "Server"

    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 is every network.")
    port: int = setting(8000, "Port to listen on; 0 takes a free one.", least=0, most=65_535)
    token_file: Path | None = setting(
        None, "A file with the token that clients must send as `Authorization: Bearer …`."
    )
    page: bool = setting(
        True, "Show a page that hears files and the microphone.", "--page/--no-page"
    )
    grace_s: float = setting(
        30.0,
        "Seconds that running requests may take to end when the service is stopped.",
        least=0,
        most=3600,
    )

    def check(self) -> None:
        if not self.host:
            raise UsageError("--host is empty.", "an address; 0.0.0.0 is every network.")

    def token(self) -> str:
        """The token of `token_file`; empty where none is asked for.

        Raises:
            InputError: no such file, or what it holds is no token.
        """
        if self.token_file is None:
            return ""
        with own_errors():
            text = read_file(self.token_file, _MOST_BYTES).decode(errors="replace").strip()
        if not _TOKEN.fullmatch(text):
            raise InputError(
                f"{self.token_file} holds no token.",
                "8 to 512 letters, digits, dots, hyphens, underscores or tildes.",
                "such as `openssl rand -hex 24` writes.",
            )
        return text


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Settings):
    """How windows of several clients share a run of the network."""

    max_batch: int = setting(
        8,
        "Windows of one run; 1 runs every client's by themselves.",
        least=1,
        most=1024,
        panel=_BATCHES,
    )
    max_wait_ms: float = setting(
        5.0,
        "How long a window may wait for those of other clients.",
        least=0,
        most=1000,
        panel=_BATCHES,
    )


@dataclass(frozen=True, kw_only=True)
class LimitSettings(Settings):
    """What a client may ask for."""

    max_body_mb: float = setting(
        32.0,
        "Size of a recording; larger ones are refused (413).",
        least=0.001,
        most=10_000,
        panel=_LIMITS,
    )
    max_duration_s: float = setting(
        600.0,
        "Length of a recording; longer ones are refused (413).",
        least=0.1,
        most=86_400,
        panel=_LIMITS,
    )
    max_requests: int = setting(
        64, "Requests at once; more are refused (429).", least=1, most=1024, panel=_LIMITS
    )
    max_streams: int = setting(
        16, "Streams at once; more are refused (429).", least=0, most=1024, panel=_LIMITS
    )
    max_rate: float = setting(
        100.0,
        "Requests a second of one client address; more are refused (429). 0: any number.",
        least=0,
        most=1_000_000,
        panel=_LIMITS,
    )
    patience_s: float = setting(
        30.0,
        "How long a body may take to arrive, and a stream be silent (408).",
        least=0.1,
        most=3600,
        panel=_LIMITS,
    )
