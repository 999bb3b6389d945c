"""Docker Engine from a signed repository such as Docker's own, proven with one that is made and signed here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.conftest import CLONE, Clone, fresh, storage_server

FLAGS = (
    "--set=docker.source=docker",
    "--set=docker.repository=file:///srv/docker",
    "--set=docker.repository_key=inventory/secrets/docker.asc",
)

# The names are Docker's; what they hold is what Debian's own packages hold.
MAKE = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null; apt-get install -y -qq --no-install-recommends gnupg apt-utils >/dev/null
repository=/srv/docker/dists/trixie/stable/binary-$(dpkg --print-architecture); mkdir -p $repository /srv/docker/pool
cd /tmp; apt-get -qq download docker.io docker-cli docker-compose containerd
make() { # OWN_NAME DEBIANS_NAME DEPENDS
  dpkg-deb -R /tmp/$2_*.deb /tmp/$1
  sed -i -E "/^(Breaks|Conflicts|Replaces|Provides|Recommends|Suggests):/d; s/^Package: .*/Package: $1/; s/^Depends: .*/Depends: $3/" /tmp/$1/DEBIAN/control
  dpkg-deb -b /tmp/$1 /srv/docker/pool/$1.deb >/dev/null
}
make docker-ce docker.io "containerd.io, iptables, adduser"; make docker-ce-cli docker-cli libc6
make containerd.io containerd runc; make docker-compose-plugin docker-compose libc6
cd /srv/docker; apt-ftparchive packages pool >$repository/Packages
apt-ftparchive -o APT::FTPArchive::Release::Suite=trixie -o APT::FTPArchive::Release::Components=stable release dists/trixie >/tmp/Release
mv /tmp/Release dists/trixie/Release
for name in good other; do gpg --batch --quiet --passphrase '' --quick-gen-key $name@example.org ed25519 sign never; done
"""
SIGN = "cd /srv/docker/dists/trixie; gpg --batch --yes --quiet -u {0}@example.org --clearsign -o InRelease Release; chmod -R a+rX /srv/docker"


@pytest.fixture(scope="module")
def host() -> Iterator[Clone]:
    there = fresh(CLONE.with_name("test-repository"), storage_server)
    there.on_host(MAKE)
    (there.root / "inventory/secrets/docker.asc").write_text(there.on_host("gpg --armor --export good@example.org"))
    yield there
    there.inv("lab.down", code=None)


def test_a_repository_signed_by_somebody_else_installs_nothing(host: Clone) -> None:
    host.on_host(SIGN.format("other"))
    screen = host.inv("docker", "--yes", *FLAGS, code=1)
    assert "packages:docker failed" in screen
    assert "NO_PUBKEY" in screen or "not signed" in screen or "signature" in screen.lower()
    assert host.on_host("command -v docker", check=False) == ""


def test_a_repository_signed_with_the_given_key_brings_docker_and_compose(host: Clone) -> None:
    host.on_host(SIGN.format("good"))
    host.inv("docker", "--yes", *FLAGS)
    assert "docker-ce" in host.on_host("dpkg-query -W -f '${Package} ' docker-ce docker-compose-plugin")
    assert host.on_host("docker compose version --short").startswith("2.")
    assert "nothing to do" in host.inv("docker", "--yes", *FLAGS)


def test_docker_without_the_signing_key_is_refused_before_any_connection(host: Clone) -> None:
    screen = host.inv("docker", "--check", "--set=docker.source=docker", code=1)
    assert "repository_key" in screen
    assert "nothing was connected to or changed" in screen
