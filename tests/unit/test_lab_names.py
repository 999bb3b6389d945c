"""The lab's names and ports: two clones, hosts or runs on one machine never collide."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from converge.errors import Trouble
from lab import claims, clone, drives


def test_two_clones_give_a_host_of_one_name_two_identities() -> None:
    first, second = clone.identity("lab", Path("/home/a/stowage")), clone.identity("lab", Path("/home/b/stowage"))
    assert first != second
    assert first.endswith("-lab")
    assert first == clone.identity("lab", Path("/home/a/stowage"))


@pytest.mark.parametrize("name", ["Lab", "1lab", "lab.2", "lab_2", "", "a" * 21, "lab/..", "lab\n"])
def test_a_name_that_docker_or_the_kernel_would_misread_is_refused(name: str) -> None:
    with pytest.raises(Trouble, match="cannot be the name of a lab host"):
        clone.identity(name)


def test_loop_numbers_come_in_blocks_that_nobody_uses() -> None:
    assert claims.free_loops(set()) == list(range(64, 72))
    assert claims.free_loops({0, 7, 64}) == list(range(72, 80))
    assert claims.free_loops({71, 72, 90}) == list(range(80, 88))


def test_no_loop_numbers_left_is_said() -> None:
    with pytest.raises(Trouble, match="no loop devices are left"):
        claims.free_loops(set(range(1024)))


def test_loop_devices_are_lost_when_their_host_or_their_file_is_gone() -> None:
    attached = {
        3: "/var/lib/snapd/snaps/core.snap",
        64: "/lab/stowage-aaaaaaaa-lab.drive1.0",
        65: "/stowage-aaaaaaaa-t1.drive1.0",
        66: "/lab/stowage-bbbbbbbb-lab.drive1.0",
        67: "/stowage-bbbbbbbb-lab.drive2.0 (deleted)",
        68: "/tmp/else.img (deleted)",
    }
    assert claims.lost(attached, living={"stowage-aaaaaaaa-lab"}, family="stowage-aaaaaaaa") == [65, 67]


def test_a_host_whose_name_starts_another_name_keeps_its_drives() -> None:
    attached = {64: "/lab/stowage-aaaaaaaa-lab.drive1.0", 72: "/lab/stowage-aaaaaaaa-lab-2.drive1.0"}
    assert claims.lost(attached, living={"stowage-aaaaaaaa-lab"}, family="stowage-aaaaaaaa") == [72]


class Engine:
    """The part of a Docker Engine that choosing ports needs."""

    def __init__(self, *bindings: dict[str, list[dict[str, str]]]) -> None:
        self.bindings = bindings

    @property
    def containers(self) -> Engine:
        return self

    def list(self, **_: object) -> list[Container]:
        return [Container(binding) for binding in self.bindings]


class Container:
    def __init__(self, bindings: dict[str, list[dict[str, str]]]) -> None:
        self.attrs = {"HostConfig": {"PortBindings": bindings}}


def test_the_ports_of_a_stopped_host_stay_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_is_free", lambda port: port != 20001)
    stopped = {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20000"}]}
    assert claims.ports(Engine(stopped), (22, 9000)) == {22: 20002, 9000: 20003}


def test_a_port_that_something_listens_on_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not claims._is_free(listener.getsockname()[1])


def test_published_ports_are_read_from_the_container() -> None:
    bindings = {"9000/tcp": [{"HostPort": "20006"}], "22/tcp": [{"HostPort": "20000"}]}
    assert claims.published(Container(bindings)) == {22: 20000, 9000: 20006}


@pytest.mark.parametrize("text", ["0", "5", "two", "-1", "1.5", "", "²"])
def test_a_lab_host_has_four_drives(text: str) -> None:
    assert [drives.number(str(number)) for number in (1, 2, 3, 4)] == [1, 2, 3, 4]
    with pytest.raises(Trouble, match="there is no drive"):
        drives.number(text)
