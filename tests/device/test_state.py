"""The state of real boards, as their kernels show it, and of machines that show nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gmme_edge.device import boards, cpu, state
from tests.device import trees


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (boards, state):
        monkeypatch.setattr(module, "output_of", lambda *_: "")


def test_a_jetsons_clocks_temperatures_and_counters(tmp_path: Path) -> None:
    found = state.observe_state(trees.write(tmp_path, trees.ORIN_NANO))
    assert found["cpu_governors"] == {"performance": 1, "schedutil": 1}
    assert found["cpu_clocks_mhz"] == [1984, 729.6]  # cpu10 after cpu0, not before cpu2
    assert found["gpu_clocks_mhz"] == {"17000000.gpu": 918}
    assert found["temperatures_c"] == {"cpu-thermal": 48.5}  # a GPU that sleeps has none
    assert found["throttle_events"] == {"oc1 over-current": 3}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("tree", "board", "jetpack"),
    [(trees.XAVIER_NX, "NVIDIA Jetson Xavier NX Developer Kit", "5"),
     (trees.AGX_ORIN, "NVIDIA Jetson AGX Orin Developer Kit", "6"),
     (trees.THOR, "NVIDIA Jetson AGX Thor Developer Kit", "7"),
     (trees.PI_5, "Raspberry Pi 5 Model B Rev 1.0", None), (trees.PC, "LENOVO 20XW00ABCD", None)],
)  # fmt: skip
def test_a_board_says_what_it_is(
    tmp_path: Path, tree: trees.Tree, board: str, jetpack: str | None
) -> None:
    root = trees.write(tmp_path, tree)
    assert boards.board_name(root) == board
    assert boards.describe_jetson(root).get("jetpack") == jetpack


def test_cuda_is_that_of_the_toolkit(tmp_path: Path) -> None:
    file = "usr/local/cuda/version.json"
    trees.write(tmp_path, {file: '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}'})
    assert boards.cuda_version(tmp_path) == "12.6.11"
    trees.write(tmp_path, {file: "[]"})
    assert boards.cuda_version(tmp_path) == ""


def test_counters_of_pcs_and_of_a_raspberry_pi(tmp_path: Path) -> None:
    pc, pi = tmp_path / "pc", tmp_path / "pi"
    assert state.observe_state(trees.write(pc, trees.PC))["throttle_events"] == {"core too hot": 3}
    flags = state.observe_state(trees.write(pi, trees.PI_5))["throttle_events"]
    assert flags == {"firmware's flags": 0x50005}


def test_without_cpufreq_the_clocks_are_those_of_cpuinfo(tmp_path: Path) -> None:
    trees.write(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2445.428\n\ncpu MHz\t\t: 800.0\n"})
    assert state.cpu_clocks_mhz(tmp_path) == [2445.428, 800]


def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    assert set(state.observe_state(tmp_path)) <= {"load_average"}


def test_what_a_gpu_says_of_itself() -> None:
    csv = (
        "NVIDIA H100, P0, 1980, 2619, 45, 312.40, 0x0000000000000004\n"
        "Orin (nvgpu), [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]\nnot a line\n"
    )
    assert state.parse_gpu_states(csv) == [
        {"name": "NVIDIA H100", "performance_state": "P0", "clock_mhz": 1980,
         "memory_clock_mhz": 2619, "temperature_c": 45, "power_w": 312.4,
         "throttled": ["power cap"]},
        {"name": "Orin (nvgpu)"},
    ]  # fmt: skip


def test_throttling_is_what_rose_and_what_nobody_set() -> None:
    before = {"throttle_events": {"core too hot": 2}}
    hot = {"throttled": ["power cap", "too hot (driver)"]}
    assert state.throttled(before, before) == []
    assert state.throttled(before, {"throttle_events": {"core too hot": 3}}) == ["core too hot"]
    assert state.throttled({}, {"gpus": [hot, hot]}) == ["too hot (driver)"]


@pytest.mark.parametrize(
    ("tree", "limit"),
    [
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "536870912\n"}, 1 << 29),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0),
        (
            {
                "proc/self/cgroup": "4:memory:/b\n",
                "sys/fs/cgroup/memory/b/memory.limit_in_bytes": "1048576\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            1 << 20,
        ),
        ({}, 0),
    ],
)
def test_the_smallest_memory_limit_of_the_groups_counts(
    tmp_path: Path, tree: trees.Tree, limit: int
) -> None:
    assert cpu.memory_limit(trees.write(tmp_path, tree)) == limit


def test_affinity_is_written_as_taskset_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {8, 0, 1, 2}, raising=False)
    assert cpu.affinity() == "0-2,8"
