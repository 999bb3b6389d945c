"""Kernel settings in force, read from /proc/sys itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from converge.engine.resource import Action
from converge.resources.sysctl import Sysctl


@pytest.mark.parametrize("key", ["kernel.ostype", "vm.swappiness", "net.ipv4.ip_local_port_range", "kernel/pid_max"])
def test_a_setting_is_what_the_kernel_says(machine, key):
    value = Path("/proc/sys", *key.replace(".", "/").split("/")).read_text()
    wanted = Sysctl(key, value)
    assert machine.plan(wanted).in_sync
    assert machine.plan(Sysctl(key, "something else")).changes[0].action is Action.UPDATE


def test_several_numbers_may_be_parted_by_any_blanks():
    assert Sysctl("net.ipv4.tcp_rmem", " 4096\t131072   6291456\n") == Sysctl(
        "net.ipv4.tcp_rmem", "4096 131072 6291456"
    )


def test_a_setting_that_this_kernel_lacks_is_refused_and_the_others_are_read(machine):
    wanted = [Sysctl("kernel.no_such_setting", "1"), Sysctl("kernel.ostype", "Linux")]
    changes = machine.plan(*wanted).changes
    assert [change.action.value for change in changes] == ["!", " "]
    assert "base.sysctl" in changes[0].hint
    assert changes[0].hint.endswith("sysctl -N -a --pattern kernel")


@pytest.mark.parametrize("value", ["10", "1 2 3", "core.%e; rm -rf /", "$(id)", "it's", "|/usr/bin/dump %p"])
def test_a_value_reaches_the_kernel_as_one_word(machine, value):
    machine.program("sysctl", f"""for word do printf '%s\\n' "$word"; done >{machine.folder}/calls""")
    (step,) = Sysctl("kernel.core_pattern", value).fix({"value": "core"})
    assert machine.run(step.script)[0] == 0
    assert (machine.folder / "calls").read_text() == f"-qw\nkernel.core_pattern={value}\n"
