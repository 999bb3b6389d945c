"""The storage server on the other systems that are supported, each as its distribution ships it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab import load
from tests.lab.conftest import Clone, fresh, storage_server

# Docker's names with the contents of Debian 13's packages, which run on Debian 12, too.
# Packed without compression: xz would take minutes on a busy machine.
MAKE = """
set -e
export DEBIAN_FRONTEND=noninteractive
echo 'deb http://deb.debian.org/debian trixie main' >/etc/apt/sources.list.d/newer.list
apt-get update -qq >/dev/null; apt-get install -y -qq --no-install-recommends gnupg apt-utils -t bookworm >/dev/null
repository=/srv/docker/dists/bookworm/stable/binary-$(dpkg --print-architecture); mkdir -p $repository /srv/docker/pool
cd /tmp; apt-get -qq download -t trixie docker.io docker-cli docker-compose containerd
rm /etc/apt/sources.list.d/newer.list; apt-get update -qq >/dev/null
make() { # OWN_NAME DEBIANS_NAME DEPENDS
  dpkg-deb -R /tmp/$2_*.deb /tmp/$1
  sed -i -E "/^(Breaks|Conflicts|Replaces|Provides|Recommends|Suggests):/d; s/^Package: .*/Package: $1/; s/^Depends: .*/Depends: $3/" /tmp/$1/DEBIAN/control
  dpkg-deb -Znone -b /tmp/$1 /srv/docker/pool/$1.deb >/dev/null
}
make docker-ce docker.io "containerd.io, iptables, adduser, tini"; make docker-ce-cli docker-cli libc6
make containerd.io containerd runc; make docker-compose-plugin docker-compose libc6
cd /srv/docker; apt-ftparchive packages pool >$repository/Packages
apt-ftparchive -o APT::FTPArchive::Release::Suite=bookworm -o APT::FTPArchive::Release::Components=stable release dists/bookworm >/tmp/Release
mv /tmp/Release dists/bookworm/Release
for name in good other; do gpg --batch --quiet --passphrase '' --quick-gen-key $name@example.org ed25519 sign never; done
"""
SIGN = "cd /srv/docker/dists/bookworm; gpg --batch --yes --quiet -u {0}@example.org --clearsign -o InRelease Release; chmod -R a+rX /srv/docker"
# All other settings of Docker's repository are as `inv host.add` writes them for Debian 12.
HERE = "--set=docker.repository=file:///srv/docker"


@pytest.fixture(scope="module")
def debian_12() -> Iterator[Clone]:
    there = fresh("test-debian-12", storage_server, "debian-12")
    there.on_host(MAKE)
    (there.root / "inventory/docker.asc").write_text(there.on_host("gpg --armor --export good@example.org"))
    yield there
    there.inv("lab.down", code=None)


def test_a_repository_signed_by_somebody_else_installs_nothing(debian_12: Clone) -> None:
    debian_12.on_host(SIGN.format("other"))
    screen = debian_12.inv("docker", "--yes", HERE, code=1)
    assert "packages:docker failed" in screen
    assert "NO_PUBKEY" in screen or "not signed" in screen or "signature" in screen.lower()
    assert debian_12.on_host("command -v docker", check=False) == ""


def test_a_repository_signed_with_the_given_key_brings_docker_and_compose(debian_12: Clone) -> None:
    debian_12.on_host(SIGN.format("good"))
    debian_12.inv("docker", "--yes", HERE)
    assert "docker-ce" in debian_12.on_host("dpkg-query -W -f '${Package} ' docker-ce docker-compose-plugin")
    assert debian_12.on_host("docker compose version --short").startswith("2.")
    assert "nothing to do" in debian_12.inv("docker", "--yes", HERE)


def test_the_storage_server_runs_on_debian_12(debian_12: Clone) -> None:
    debian_12.inv("deploy", "--yes", HERE)
    debian_12.inv("lab.reboot")
    load.writable(debian_12)
    until = time.monotonic() + 300  # nodes that started one after the other need a moment to find each other
    while "nothing to do" not in debian_12.inv("check", HERE, code=None) and time.monotonic() < until:
        time.sleep(2)
    assert "nothing to do" in debian_12.inv("deploy", "--yes", HERE)


def test_debian_12_without_dockers_key_is_told_how_to_fetch_it(debian_12: Clone) -> None:
    (debian_12.root / "inventory/docker.asc").unlink()
    screen = debian_12.inv("docker", "--check", code=1)
    assert "curl -fsSL https://download.docker.com/linux/debian/gpg -o inventory/docker.asc" in screen
    assert "nothing was changed" in screen


@pytest.fixture(scope="module")
def ubuntu() -> Iterator[Clone]:
    there = fresh("test-ubuntu", storage_server, "ubuntu-24.04")
    yield there
    there.inv("lab.down", code=None)


def test_packages_of_debian_13_are_refused_on_ubuntu_with_those_that_fit(ubuntu: Clone) -> None:
    screen = ubuntu.inv("docker", "--yes", "--set=docker.packages=[docker.io, docker-cli, docker-compose]", code=3)
    assert "ubuntu 24.04 has no compose v2 in its package docker-compose" in screen
    assert '"docker-compose-v2"' in screen
    assert ubuntu.on_host("command -v docker", check=False) == ""


def test_the_storage_server_runs_on_ubuntu(ubuntu: Clone) -> None:
    ubuntu.inv("deploy", "--yes")
    ubuntu.inv("lab.reboot")
    load.well(ubuntu)
    assert "nothing to do" in ubuntu.inv("deploy", "--yes")


def test_a_folder_that_was_removed_beneath_a_running_container_is_put_right_in_one_deploy(ubuntu: Clone) -> None:
    ubuntu.on_host("rm -r /etc/stowage/nginx/conf")
    ubuntu.inv("deploy", "--yes")
    assert ubuntu.changes(code=0) == {}
    ubuntu.on_host("docker exec nginx nginx -t -c /etc/stowage/nginx.conf")


# Debian's and Ubuntu's own registry package, for requests from this host.
REGISTRY = """
set -e
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker-registry >/dev/null
printf 'version: 0.1\\nstorage: {filesystem: {rootdirectory: /var/lib/docker-registry}}\\nhttp: {addr: ":5000"}\\n' >/etc/docker/registry/config.yml
systemctl restart docker-registry; timeout 30 sh -c 'until curl -fsS localhost:5000/v2/; do sleep 0.5; done' >/dev/null 2>&1
docker tag stowage-lab/nginx:1.26.3 localhost:5000/nginx:1.26
docker push localhost:5000/nginx:1.26 | sed -n 's/.*digest: \\(sha256:[0-9a-f]*\\) .*/\\1/p'
docker rm -f nginx >/dev/null; docker rmi stowage-lab/nginx:1.26.3 localhost:5000/nginx:1.26 >/dev/null
"""


def test_an_image_is_pulled_by_its_digest_and_known_again(ubuntu: Clone) -> None:
    digest = ubuntu.on_host(REGISTRY).strip()
    named = "--set=images.nginx.reference=localhost:5000/nginx:{}"
    pulled = "--set=images.nginx.ship=false"
    screen = ubuntu.inv("deploy", "--yes", named.format("1.27"), pulled, code=1)
    assert "image:localhost:5000/nginx:1.27 failed" in screen
    assert "is the name right, and does the host reach the registry?" in screen
    ubuntu.inv("deploy", "--yes", named.format(f"1.26@{digest}"), pulled)
    assert digest in ubuntu.on_host("docker inspect -f '{{.Config.Image}}' nginx")
    assert "nothing to do" in ubuntu.inv("deploy", "--yes", named.format(f"1.26@{digest}"), pulled)
