"""The limits of the machine are raised to what the gateways need, never lowered; what cannot be raised is said.

The tables are those of proc(5) and cgroups(7) in a folder of the test, since the machine's own are shared with others.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.core.state.machine_limits import NOTHING, MachineNeeds
from linkspan.drivers.linux.machine_limits import KernelMachineLimits

TABLES = ("net/ipv4/neigh/default", "net/ipv6/neigh/default")
THRESHOLDS = {"gc_thresh1": 128, "gc_thresh2": 512, "gc_thresh3": 1024}
PLENTY = 4_194_304


class Machine:
    """The files of a machine, and the limits in them."""

    def __init__(self, folder: Path) -> None:
        self.sysctl = folder / "sys"
        self.cgroups = folder / "cgroup"
        self.own_cgroups = folder / "own"
        for table in TABLES:
            for name, value in THRESHOLDS.items():
                self.write(f"{table}/{name}", value)
        for key in ("kernel/threads-max", "kernel/pid_max"):
            self.write(key, PLENTY)
        self.own_cgroups.write_text("0::/system.slice/agent.service\n")
        self.limits = KernelMachineLimits(self.sysctl, self.cgroups, self.own_cgroups)

    def write(self, key: str, value: int | str) -> None:
        file = self.sysctl / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")

    def read(self, key: str) -> int:
        return int((self.sysctl / key).read_text())

    def limit_cgroup(self, path: str, value: str) -> None:
        (self.cgroups / path).mkdir(parents=True, exist_ok=True)
        (self.cgroups / path / "pids.max").write_text(f"{value}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def file_limit() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def needs(neighbours: int = 0, threads: int = 0, files: int = 0) -> MachineNeeds:
    return MachineNeeds(neighbours, threads, files)


@pytest.mark.parametrize("table", TABLES)
def test_a_neighbour_table_is_raised_and_never_lowered(machine: Machine, table: str) -> None:
    assert machine.limits.ensure(needs(neighbours=4096)) == ()
    assert [machine.read(f"{table}/{name}") for name in THRESHOLDS] == [2048, 4096, 8192]
    assert machine.limits.ensure(needs(neighbours=1024)) == ()
    assert [machine.read(f"{table}/{name}") for name in THRESHOLDS] == [2048, 4096, 8192]


def test_what_suffices_is_left_alone(machine: Machine) -> None:
    machine.write("net/ipv4/neigh/default/gc_thresh3", PLENTY)
    machine.limits.ensure(needs(neighbours=2048))
    assert machine.read("net/ipv4/neigh/default/gc_thresh3") == PLENTY
    assert machine.limits.ensure(NOTHING) == ()


@pytest.mark.parametrize("key", ["kernel/threads-max", "kernel/pid_max"])
def test_threads_and_processes_are_raised(machine: Machine, key: str) -> None:
    machine.write(key, 32768)
    assert machine.limits.ensure(needs(threads=65536)) == ()
    assert machine.read(key) == 65536


@pytest.mark.parametrize("key", [f"{TABLES[0]}/gc_thresh3", f"{TABLES[1]}/gc_thresh1", "kernel/pid_max"])
def test_what_cannot_be_raised_is_said_with_the_command(machine: Machine, key: str) -> None:
    """As in a container with a read-only /proc/sys: the kernel refuses the value."""
    machine.write(key, 16)
    file = machine.sysctl / key
    file.rename(machine.sysctl / "elsewhere")
    file.symlink_to("/proc/self/stat")  # not a number: a key that is not a limit is left alone
    assert machine.limits.ensure(needs(neighbours=4096, threads=4096)) == ()
    file.unlink()
    file.symlink_to("/proc/sys/kernel/ngroups_max")  # a number that nobody may write
    (refusal,) = machine.limits.ensure(needs(neighbours=PLENTY, threads=PLENTY))
    assert f"sysctl -w {key.replace('/', '.')}=" in refusal


def test_a_look_changes_nothing(machine: Machine) -> None:
    machine.write("kernel/pid_max", 16)
    (machine.sysctl / "kernel" / "pid_max").chmod(0o400)
    machine.limit_cgroup("system.slice", "100")
    refusals = machine.limits.refusals(needs(neighbours=4096, threads=4096))
    assert machine.read("net/ipv4/neigh/default/gc_thresh3") == THRESHOLDS["gc_thresh3"]
    assert machine.read("kernel/pid_max") == 16
    assert ["pids.max" in refusal for refusal in refusals] == [True]  # root may write a file that is read-only
    assert machine.limits.refusals(NOTHING) == ()


@pytest.mark.parametrize(
    ("own", "limited"),
    [
        ("0::/system.slice/agent.service", "system.slice/agent.service"),
        ("0::/system.slice/agent.service", "system.slice"),
        ("8:pids:/box/one\n1:cpu:/", "pids/box"),
    ],
)
def test_a_cgroup_that_allows_too_few_processes_is_said(machine: Machine, own: str, limited: str) -> None:
    machine.own_cgroups.write_text(own + "\n")
    machine.limit_cgroup(limited, "100")
    (refusal,) = machine.limits.ensure(needs(threads=2048))
    assert limited in refusal
    assert "2048" in refusal
    for enough in ("4096", "max"):
        machine.limit_cgroup(limited, enough)
        assert machine.limits.ensure(needs(threads=2048)) == ()


def test_open_files_are_raised_to_what_is_needed(machine: Machine, file_limit: tuple[int, int]) -> None:
    soft, most = file_limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), most))
    assert machine.limits.ensure(needs(files=512)) == ()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512, most)


def test_more_open_files_than_the_kernel_allows_are_said(machine: Machine, file_limit: tuple[int, int]) -> None:
    (refusal,) = machine.limits.ensure(needs(files=1 << 40))
    assert "LimitNOFILE" in refusal
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == file_limit[1]


def test_without_the_machines_files_nothing_is_said(tmp_path: Path) -> None:
    """As in a network namespace of its own, where the neighbour tables cannot be seen."""
    absent = tmp_path / "absent"
    assert KernelMachineLimits(absent, absent, absent).ensure(needs(neighbours=PLENTY, threads=PLENTY)) == ()
