"""Which other machines measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, is_given, setting

_PANEL = "Other machines"


@dataclass(frozen=True, kw_only=True)
class RemoteSettings(Settings):
    """Machines that the system's ssh reaches; each gets the bundle and one script, for the run."""

    remote: tuple[str, ...] = setting(
        (), "Measure there instead: USER@HOST; may be given again.", "--remote", panel=_PANEL
    )
    fleet: Path | None = setting(
        None, "Measure on the machines of this TOML file, in their power modes.", panel=_PANEL
    )
    ssh_config: Path | None = setting(None, "What ssh reads instead of yours.", panel=_PANEL)
    remote_python: str = setting("python3", "Python of the machines of --remote.", panel=_PANEL)

    def check(self) -> None:
        if self.remote and self.fleet:
            raise UsageError("--remote with --fleet.", "one of the two.")
        if self.remote_python != "python3" and not self.remote:
            raise UsageError("--remote-python without --remote.", "both, or neither.")
        if is_given(self, "ssh_config") and not self.is_asked_for:
            raise UsageError("--ssh-config without --remote.", "both, or neither.")

    @property
    def is_asked_for(self) -> bool:
        return bool(self.remote or self.fleet)
