"""What NVIDIA's boards, and others, say of themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gmme_edge.device.system import ROOT, output_of, read

# NVIDIA's archive of releases: which JetPack a release of L4T (Jetson Linux) belongs to.
_JETPACKS = {"32": "4", "34": "5.0", "35": "5", "36": "6", "38": "7", "39": "7"}


def parse_l4t(release: str) -> str:
    """``36.4.3`` of ``# R36 (release), REVISION: 4.3, …`` in /etc/nv_tegra_release."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return f"{match[1]}.{match[2]}" if match else ""


def parse_power_mode(nvpmodel: str) -> str:
    """The mode's name in what ``nvpmodel -q`` prints."""
    match = re.search(r"NV Power Mode:\s*(\S+)", nvpmodel)
    return match[1] if match else ""


def l4t_version(root: Path = ROOT) -> str:
    """The Jetson's L4T release, for example ``36.4.3``; "" on other machines.

    It is recorded because it is exact, where one JetPack spans several of them.
    """
    return parse_l4t(read(root / "etc/nv_tegra_release"))


def jetpack_version(root: Path = ROOT) -> str:
    """``L4T 36.4.3``; "" on other machines."""
    version = l4t_version(root)
    return f"L4T {version}" if version else ""


def describe_jetson(root: Path = ROOT) -> dict[str, str]:
    """Model, L4T, JetPack and power mode; empty on other machines.

    JetPack's exact version is that of its package, which minimal systems lack; there the major
    version follows from L4T.
    """
    l4t = l4t_version(root)
    if not l4t:
        return {}
    package = output_of("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack").strip()
    facts = {
        "model": board_name(root),
        "l4t": l4t,
        "jetpack": package or _JETPACKS.get(l4t.partition(".")[0], ""),
        "power_mode": parse_power_mode(output_of("nvpmodel", "-q")),
    }
    return {name: value for name, value in facts.items() if value}


def board_name(root: Path = ROOT) -> str:
    """Of the device tree (ARM boards) or of the firmware (PCs and servers); "" where unknown."""
    tree = read(root / "proc/device-tree/model")
    firmware = (read(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name"))
    return tree or " ".join(word for word in firmware if word)


def cuda_version(root: Path = ROOT) -> str:
    """Of the toolkit in /usr/local/cuda; "" where there is none."""
    try:
        return str(json.loads(read(root / "usr/local/cuda/version.json"))["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return ""
