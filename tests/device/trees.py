"""Folders that imitate what the kernels of real boards show, by NVIDIA's and the kernel's pages.

Rails: Jetson Linux Developer Guide, "Platform Power and Performance" of each series; the files of a
chip: Documentation/hwmon/{ina3221,ina238}.rst and Documentation/power/powercap.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Tree = dict[str, str]
Rail = tuple[str, int, int]  # label, mV, mA


def write(root: Path, tree: Mapping[str, str]) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def ina3221(index: int, *rails: Rail) -> Tree:
    """One chip of up to three channels; channel 7 is the kernel's own sum of shunt voltages."""
    folder = f"sys/class/hwmon/hwmon{index}"
    tree = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    for n, (label, mv, ma) in enumerate(rails, start=1):
        tree |= {
            f"{folder}/in{n}_label": f"{label}\n",
            f"{folder}/in{n}_input": f"{mv}\n",
            f"{folder}/curr{n}_input": f"{ma}\n",
            f"{folder}/in{n + 3}_input": "240\n",
        }
    return tree


def jetson(model: str, release: str) -> Tree:
    major, _, rest = release.partition(".")
    return {
        "proc/device-tree/model": model + "\0",
        "etc/nv_tegra_release": f"# R{major} (release), REVISION: {rest}, GCID: 1, EABI: aarch64\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48500\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/hwmon/hwmon9/name": "soctherm_oc\n",
        "sys/class/hwmon/hwmon9/oc1_event_cnt": "3\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1984000\n",
        "sys/devices/system/cpu/cpu10/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq": "729600\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": "918000000\n",
    }


def rapl(zone: str, name: str, uj: int, limit_uj: int = 262_143_328_850) -> Tree:
    folder = f"sys/class/powercap/{zone}"
    return {
        f"{folder}/name": f"{name}\n",
        f"{folder}/energy_uj": f"{uj}\n",
        f"{folder}/max_energy_range_uj": f"{limit_uj}\n",
    }


XAVIER_NX = jetson("NVIDIA Jetson Xavier NX Developer Kit", "35.4.1") | ina3221(
    3, ("VDD_IN", 4944, 880), ("VDD_CPU_GPU_CV", 4944, 120), ("VDD_SOC", 4944, 200)
)
AGX_XAVIER = (
    jetson("Jetson-AGX", "35.4.1")
    | ina3221(2, ("GPU", 19000, 10), ("CPU", 19000, 60), ("SOC", 19000, 100))
    | ina3221(4, ("CV", 19000, 5), ("VDDRQ", 5000, 150), ("SYS5V", 5000, 400))
)
ORIN_NANO = jetson("NVIDIA Jetson Orin Nano Developer Kit", "36.4.3") | ina3221(
    1, ("VDD_IN", 5008, 840), ("VDD_CPU_GPU_CV", 5008, 96), ("VDD_SOC", 5008, 256)
)
ORIN_NX = jetson("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "36.4.3") | ina3221(
    4, ("VDD_IN", 5016, 1000), ("VDD_CPU_GPU_CV", 5016, 100), ("VDD_SOC", 5016, 300)
)
AGX_ORIN = (
    jetson("NVIDIA Jetson AGX Orin Developer Kit", "36.4.3")
    | ina3221(5, ("VDD_GPU_SOC", 19800, 160), ("VDD_CPU_CV", 19800, 40), ("VIN_SYS_5V0", 5032, 800))
    | ina3221(6, ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5032, 120), ("NC", 32760, 12))
)
THOR = (
    jetson("NVIDIA Jetson AGX Thor Developer Kit", "38.2.0")
    | ina3221(
        3, ("VDD_GPU", 11880, 0), ("VDD_CPU_SOC_MSS", 11880, 540), ("VIN_SYS_5V0", 5032, 1300)
    )
    | {
        "sys/class/hwmon/hwmon4/name": "ina238\n",
        "sys/class/hwmon/hwmon4/in0_input": "2\n",
        "sys/class/hwmon/hwmon4/in1_input": "27900\n",
        "sys/class/hwmon/hwmon4/curr1_input": "820\n",
        "sys/class/hwmon/hwmon4/power1_input": "22880000\n",
    }
)
TX2_JETPACK_4 = {
    "proc/device-tree/model": "quill\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, GCID: 1, EABI: aarch64\n",
    **{
        f"sys/bus/i2c/drivers/ina3221x/0-004{chip}/iio:device{chip}/{name}": text
        for chip, rails in (
            (0, (("VDD_SYS_GPU", 152), ("VDD_SYS_SOC", 533), ("VDD_4V0_WIFI", 0))),
            (1, (("VDD_IN", 3150), ("VDD_SYS_CPU", 305), ("VDD_SYS_DDR", 700))),
        )
        for n, (label, mw) in enumerate(rails)
        for name, text in ((f"rail_name_{n}", f"{label}\n"), (f"in_power{n}_input", f"{mw}\n"))
    },
}
PI_5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "sys/class/hwmon/hwmon1/name": "rp1_adc\n",
    "sys/class/hwmon/hwmon1/in1_input": "1463\n",
}
PC = (
    rapl("intel-rapl:0", "package-0", 1_000_000)
    | rapl("intel-rapl:0:0", "core", 400_000)
    | rapl("intel-rapl:0:1", "dram", 200_000)
    | rapl("intel-rapl:1", "psys", 2_000_000)
    | {
        "sys/class/dmi/id/sys_vendor": "LENOVO\n",
        "sys/class/dmi/id/product_name": "20XW00ABCD\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "1\n",
    }
)
