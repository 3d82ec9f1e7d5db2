"""What NVIDIA's boards say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

_L4T_FILE = Path("/etc/nv_tegra_release")


def parse_l4t(release: str) -> str:
    """``36.4.3`` of ``# R36 (release), REVISION: 4.3, …`` in /etc/nv_tegra_release."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return f"{match[1]}.{match[2]}" if match else ""


def parse_power_mode(nvpmodel: str) -> str:
    """The mode's name in what ``nvpmodel -q`` prints."""
    match = re.search(r"NV Power Mode:\s*(\S+)", nvpmodel)
    return match[1] if match else ""


def l4t_version() -> str:
    """The Jetson's L4T release, for example ``36.4.3``; "" on other machines.

    It is recorded because it is exact, where one JetPack spans several of them.
    """
    try:
        return parse_l4t(_L4T_FILE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def jetpack_version() -> str:
    """``L4T 36.4.3``; "" on other machines."""
    version = l4t_version()
    return f"L4T {version}" if version else ""
