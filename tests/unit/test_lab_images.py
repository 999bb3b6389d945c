"""How the lab's images and programs are named, stamped and reused."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from converge.errors import Trouble
from lab import archives, clone, containers, engine, images, programs, progress, shell, tasks
from lab.archives import Archive


def test_a_build_from_source_says_its_version_in_upstreams_form() -> None:
    assert images.MINIO.release == "RELEASE.2026-02-12T20-18-48Z"
    assert "-X github.com/minio/minio/cmd.Version=2026-02-12T20:18:48Z" in images.MINIO.ldflags
    assert "-X github.com/minio/minio/cmd.ReleaseTag=RELEASE.2026-02-12T20-18-48Z" in images.MINIO.ldflags
    assert "-X github.com/minio/minio/cmd.CommitID=7aac2a2c5b7c" in images.MINIO.ldflags
    assert images.RECIPES["minio"].image == "stowage-lab/minio:RELEASE.2026-02-12T20-18-48Z"


def test_a_tagged_version_is_stamped_as_its_upstream_does() -> None:
    (store, agent) = images.LOGS
    assert (store.release, agent.package) == ("v1.52.1", "./app/vlagent")
    assert agent.ldflags.endswith("/lib/buildinfo.Version=vlagent-v1.52.1")


def test_every_recipe_has_a_dockerfile_on_the_common_base() -> None:
    for recipe in images.RECIPES.values():
        lines = (images.HERE / recipe.folder / "Dockerfile").read_text().splitlines()
        assert any(line.startswith("FROM ${BASE}") for line in lines), recipe.name


def test_an_unknown_image_is_refused_with_those_there_are() -> None:
    with pytest.raises(Trouble, match=r"cannot build 'redis'[\s\S]*knows minio, ") as caught:
        images.build("redis")
    assert "lab/images.py" in caught.value.hint


def test_an_image_is_made_anew_when_a_file_or_its_mode_or_the_base_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "HERE", tmp_path)
    (tmp_path / "one").mkdir()
    file = tmp_path / "one" / "Dockerfile"
    file.write_text("FROM ${BASE}\n")
    recipe = images.Recipe("one", "one:1", "one")
    seen = [images._definition(recipe, "base")]
    file.write_text("FROM ${BASE}\nRUN true\n")
    seen.append(images._definition(recipe, "base"))
    file.chmod(0o755)
    seen.append(images._definition(recipe, "base"))
    seen.append(images._definition(recipe, "newer base"))
    assert len(set(seen)) == 4
    assert images._definition(recipe, "newer base") == seen[-1]


def test_an_image_of_packages_is_made_anew_when_they_or_the_base_change_and_not_for_their_order() -> None:
    def definition(base: str, *packages: str) -> str:
        return images._definition(images.of_packages("stowage-lab/redis:trixie", packages), base)

    first = definition("base", "redis-server", "tini")
    assert first == definition("base", "tini", "redis-server", "tini")
    assert len({first, definition("base", "redis-server"), definition("newer base", "redis-server", "tini")}) == 3


def test_a_recipe_without_packages_keeps_its_definition_beside_those_with() -> None:
    assert images.RECIPES["nginx"].arguments == {}
    assert images.of_packages("stowage-lab/redis:trixie", ["redis-server"]).arguments == {"PACKAGES": "redis-server"}


@pytest.mark.parametrize(
    "reference",
    [
        "stowage-lab/base:trixie",
        "stowage-lab/base:noble",
        "stowage-lab/machine:1",
        "stowage-lab/machine-debian-12:1",
        "stowage-lab/nginx:1.26.3",
    ],
)
def test_packages_never_take_the_place_of_an_image_with_a_recipe(reference: str) -> None:
    with pytest.raises(Trouble, match=f"does not build {reference} from packages"):
        images.of_packages(reference, ["nginx"])


APT = [
    "Reading package lists...",
    "\x1b[91mE: Unable to locate package redis-servr\n\x1b[0m",
    "\x1b[91mE: Package 'libssl1.1' has no installation candidate\n\x1b[0m",
    "The command '/bin/sh -c printf ...' returned a non-zero code: 100",
]


def test_a_package_that_debian_does_not_have_is_named_with_its_image() -> None:
    redis = images.of_packages("stowage-lab/redis:trixie", ["redis-servr", "libssl1.1"])
    trouble = images._failed(redis, redis.image, APT)
    assert trouble.what == "the image stowage-lab/redis:trixie cannot be built"
    assert trouble.why == "Debian 13 has no package redis-servr and no package libssl1.1"
    assert "correct the packages of stowage-lab/redis:trixie" in trouble.hint


def test_another_failure_of_a_build_is_told_with_its_last_words() -> None:
    redis = images.of_packages("stowage-lab/redis:trixie", ["redis-server"])
    trouble = images._failed(redis, redis.image, ["E: Failed to fetch http://deb.debian.org/debian/dists/trixie"])
    assert "Failed to fetch" in trouble.why
    assert "http://deb.debian.org/debian" in trouble.hint


@pytest.fixture
def zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A zip like a publisher's, served on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, mode in (
            ("made-1/bin/run", 0o755),
            ("made-1/conf/a", 0o664),
            ("made-1/../../b", 0o644),
            ("c", 0o644),
        ):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, name)
    return Archive(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest(), "/opt/made")


def test_a_zip_is_fetched_once_and_unpacked_without_its_outermost_folder(zipped: Archive, tmp_path: Path) -> None:
    recipe = images.of_packages("stowage-lab/made:1", ["tini"], zipped, ["/opt/made/bin/run", "a b"])
    assert recipe.arguments == {"PACKAGES": "tini", "INTO": "/opt/made", "RUN": "/opt/made/bin/run 'a b'"}
    for _ in range(2):
        with images._context(recipe, {}) as context, tarfile.open(fileobj=context) as tar:
            modes = {member.name: member.mode for member in tar if member.name.startswith("archive/")}
        assert modes == {"archive/bin/run": 0o755, "archive/conf/a": 0o644}
        (tmp_path / "made.zip").unlink(missing_ok=True)


def test_a_zip_with_another_content_is_refused_and_its_definition_is_another(zipped: Archive) -> None:
    other = replace(zipped, sha256="0" * 64)
    with pytest.raises(Trouble, match="is not what the inventory names"):
        archives.file(other)
    recipes = [images.of_packages("stowage-lab/made:1", ["tini"], archive) for archive in (zipped, other)]
    assert len({images._definition(recipe, "base") for recipe in recipes}) == 2


def test_the_images_of_a_host_are_built_by_recipe_or_from_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inventory" / "host_vars").mkdir(parents=True)
    (tmp_path / "inventory" / "hosts.yml").write_text("all: {hosts: {lab: {ansible_host: 127.0.0.1}}}")
    (tmp_path / "inventory" / "host_vars" / "lab.yml").write_text(
        "images:\n"
        "  nginx: {reference: stowage-lab/nginx:1.26.3, lab: nginx}\n"
        "  redis: {reference: stowage-lab/redis:trixie, lab: {packages: [redis-server]}}\n"
        "  other: {reference: docker.io/library/nginx:1}\n"
    )
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    assert tasks._recipes(tasks._load_host("lab")) == [
        images.RECIPES["nginx"],
        images.of_packages("stowage-lab/redis:trixie", ["redis-server"]),
    ]


def test_the_build_context_holds_the_folder_and_the_programs(tmp_path: Path) -> None:
    binary = tmp_path / "minio-RELEASE-linux-amd64"
    binary.write_text("a program")
    with (
        images._context(images.RECIPES["minio"], {"minio": binary}) as context,
        tarfile.open(fileobj=context) as tar,
    ):
        assert set(tar.getnames()) == {"Dockerfile", "entrypoint", "minio"}


def test_a_program_in_the_cache_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = clone.cache("bin", f"mc-{images.MC.release}-linux-arm64")
    path.write_text("built before")
    monkeypatch.setattr(shell, "run", lambda *_, **__: pytest.fail("built again"))
    assert programs.binary(images.MC, "arm64") == path


def test_old_engines_are_spared_the_capability_that_nested_machines_lack() -> None:
    assert containers.lacking("20.10.24+dfsg1") == ["SYS_RESOURCE"]
    assert containers.lacking("26.1.5+dfsg1") == []


def test_no_engine_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(Trouble, match="no Docker Engine answers") as caught:
        engine.ensure_engine()
    assert "to deploy to production none is needed" in caught.value.why
    assert caught.value.hint


def test_what_the_engine_refuses_is_a_trouble() -> None:
    import docker

    @engine.plainly
    def refused() -> None:
        raise docker.errors.APIError("409", explanation="the name is in use")

    with pytest.raises(Trouble, match="the name is in use"):
        refused()


def test_a_failing_program_ends_with_its_last_words_and_what_to_do() -> None:
    with pytest.raises(Trouble) as caught:
        shell.run("the build", "sh", "-c", "echo first; echo no space left >&2; exit 3", hint="df -h")
    assert "ended with 3" in caught.value.why
    assert caught.value.why.endswith("no space left")
    assert caught.value.hint == "df -h"


def test_a_missing_program_is_no_traceback() -> None:
    with pytest.raises(Trouble, match="No such file or directory"):
        shell.run("the build", "no-such-program-here")


def test_long_work_counts_aloud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with progress.long_work("making it", takes="a minute") as work:
        work.note("unpacking\tlibc6  ")
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  making it (a minute) ..."
    assert lines[1] == "  making it: 0 s, unpacking libc6"
    assert lines[-1] == "  making it: done in 0 s"


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.long_work("a moment"):
        pass
    assert capsys.readouterr().err == ""


def test_the_firmware_is_plain_shell() -> None:
    for script in ("machine/firmware", "machine/keep-packages", "services/minio/entrypoint"):
        subprocess.run(["sh", "-n", str(images.HERE / script)], check=True)


def test_importing_the_lab_does_not_load_the_docker_sdk() -> None:
    line = "import sys, lab.hosts, lab.drives, lab.images; sys.exit('docker' in sys.modules)"
    subprocess.run([sys.executable, "-c", line], check=True, cwd=clone.ROOT)


@pytest.mark.skipif(not shutil.which("flock"), reason="needs util-linux")
def test_a_lock_says_whom_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(progress, "EVERY", 0.05)
    lock = clone.cache("build.lock")
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo; sleep 0.4"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with clone.locked("build"):
            pass
    assert "waiting for another lab's build: 0 s" in capsys.readouterr().err
