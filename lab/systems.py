"""The systems that a lab host can have, of those that roles/base.py supports."""

from __future__ import annotations

from converge.errors import Trouble
from converge.record import dataclass

DEFAULT = "debian-13"
# The first with what a deploy installs: packages, Docker and the images of its services.
PREPARED = "debian-13-prepared"


@dataclass(frozen=True)
class System:
    """Where a system's packages are, and what debootstrap must know to make it from them."""

    suite: str
    mirror: str
    security: str
    components: str
    keyring: str
    script: str

    @property
    def build_arguments(self) -> dict[str, str]:
        return {key.upper(): value for key, value in vars(self).items()}


def _debian(suite: str) -> System:
    mirror, security = "http://deb.debian.org/debian", "http://security.debian.org/debian-security"
    return System(suite, mirror, security, "main", "/usr/share/keyrings/debian-archive-keyring.gpg", "sid")


def _ubuntu(suite: str) -> System:
    """Of x86 machines: for others Ubuntu's packages are elsewhere."""
    mirror, security = "http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"
    keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    return System(suite, mirror, security, "main universe", keyring, "gutsy")


# Not Ubuntu 26.04: its systemd boots with cgroup v2 only, and a lab host has what this machine has.
SYSTEMS = {
    DEFAULT: _debian("trixie"),
    "debian-12": _debian("bookworm"),
    "ubuntu-24.04": _ubuntu("noble"),
}


NAMES = (*SYSTEMS, PREPARED)


def known(name: str) -> str:
    """The name, when there is such a system."""
    if name not in NAMES:
        raise Trouble(f"the lab has no {name!r}", why=f"it has {', '.join(NAMES)}", hint=f"--system {DEFAULT}")
    return name
