"""Hosts of the command line and of fleet files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gmme_edge.errors import InputError, UsageError
from gmme_edge.workflows.remote.hosts import Host, make_hosts, read_fleet


def fleet(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return path


def test_a_fleet_names_hosts_and_their_power_modes(tmp_path: Path) -> None:
    path = fleet(
        tmp_path,
        """
        ssh_config = "ssh.conf"
        [[host]]
        ssh = "me@orin.local"
        name = "orin"
        backend = "tensorrt"
        power_modes = [0, 2]
        [[host]]
        ssh = "ssh://pi@pi:2222"
        python = "/opt/python3"
        """,
    )
    hosts, config = read_fleet(path)
    assert hosts == [
        Host("me@orin.local", "orin", "python3", "tensorrt", 0),
        Host("me@orin.local", "orin", "python3", "tensorrt", 2),
        Host("ssh://pi@pi:2222", "pi-2222", "/opt/python3"),
    ]
    assert [host.label for host in hosts] == ["orin-mode0", "orin-mode2", "pi-2222"]
    assert config == tmp_path / "ssh.conf"


@pytest.mark.parametrize(
    "destination",
    ["-oProxyCommand=touch x", "a b", "", "a;b", "a\nb", "$(x)", "@", "..", "x" * 300],
)
def test_what_ssh_or_a_shell_could_take_for_something_else_is_refused(destination: str) -> None:
    with pytest.raises(UsageError):
        make_hosts((destination,))


def test_two_hosts_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="called box"):
        make_hosts(("a@box", "b@box"))


@pytest.mark.parametrize(
    "text",
    ["", "host = 1", "[[host]]\nname = 'x'", "[[host]]\nssh = 'a'\nport = 2", "[", "host = []",
     "[[host]]\nssh = 'a'\npower_modes = ['MAXN']"],
)  # fmt: skip
def test_a_file_that_is_no_fleet_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"fleet\.toml"):
        read_fleet(fleet(tmp_path, text))
    with pytest.raises(InputError, match="absent"):
        read_fleet(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "line", ["backend = 'npu'", "power_modes = [-1]", "name = '../x'", "python = ''"]
)
def test_values_of_a_fleet_are_checked(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError):
        read_fleet(fleet(tmp_path, f"[[host]]\nssh = 'a'\n{line}\n"))
