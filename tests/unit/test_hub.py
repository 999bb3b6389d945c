"""OpenGeoAIModelHub: the services whose images the lab cannot get, rendered from the inventory."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from converge.engine.resource import Chain
from converge.errors import Trouble
from converge.inventory.hosts import load
from converge.resources.compose import Project
from converge.resources.file import File
from roles import named
from roles.backup.configuration import services
from roles.backup.sheet import not_in_sets, recovery_sheet
from roles.settings.model import Settings
from runbook.services import restart
from tests.unit.conftest import ROOT


@pytest.fixture
def hub(tmp_path):
    """The lab's hub with all services enabled, and with changes to its settings."""
    for folder in ("files", "templates/homepage", "inventory/group_vars"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "inventory/hosts.yml", tmp_path / "inventory")
    drive = "drives: [{device: /dev/loop70, label: drive1, path: /mnt/drive1}]\n"
    (tmp_path / "inventory/host_vars").mkdir()
    (tmp_path / "inventory/host_vars/opengeo-lab.yml").write_text(f"ansible_host: 127.0.0.1\n{drive}")
    on = [f"services.{name}.enabled=true" for name in ("homepage", "hbbs", "hbbr")]

    def make(*more: str):
        (host,) = load(tmp_path, "opengeo-lab", Settings, [*on, *more], resolve_secrets=False)
        return host

    return make


def wanted(host, name, kind):
    chains = [want for want in named(name, host).wants(host) if isinstance(want, Chain)]
    return [resource for chain in chains for resource in chain if isinstance(resource, kind)]


def test_the_page_of_links_is_made_of_the_routes(hub):
    page = {file.path.rpartition("/")[2]: file for file in wanted(hub(), "homepage", File)}
    assert {"services.yaml", "settings.yaml", "widgets.yaml", "bookmarks.yaml", "docker.yaml"} <= page.keys()
    (group,) = yaml.safe_load(page["services.yaml"].text)
    links = [link["href"] for row in group["opengeo-lab"] for link in row.values()]
    assert links == [f"https://{name}.opengeo.example.org/" for name in ("mlflow", "minio-api", "minio")]
    assert "udp://opengeo-lab:21116" in page["bookmarks.yaml"].text
    assert "docker.sock" not in json.dumps([project.services for project in wanted(hub(), "homepage", Project)])


def test_the_page_of_links_names_nothing_that_cannot_be_opened(hub):
    def links(*more):
        page = {file.path.rpartition("/")[2]: file.text for file in wanted(hub(*more), "homepage", File)}
        (group,), (ports,) = (yaml.safe_load(page[name]) for name in ("services.yaml", "bookmarks.yaml"))
        rows, bookmarks = group["opengeo-lab"], ports["Ports"]
        return [link["href"] for row in rows for link in row.values()], [name for row in bookmarks for name in row]

    assert not any("mlflow" in link for link in links("services.mlflow.enabled=false")[0])
    rows = (
        "{port: 8443, host: ml.example.org, to: 'mlflow:5000'}, {port: 443, host: in.example.org, to: 'mlflow:5000', inside: true},"
        "{port: 8080, host: clear.example.org, to: 'mlflow:5000', tls: false}, {port: 7000, to: 'mlflow:1', tcp: true}"
    )
    off = ("edge.users=null", "edge.traefik=null", *(f"services.{name}.enabled=false" for name in ("hbbs", "hbbr")))
    assert links(f"edge.routes=[{rows}]", *off) == (
        ["https://ml.example.org:8443/", "http://clear.example.org:8080/"],
        ["mlflow"],
    )
    assert links("edge.routes=[{port: 80, to: 'https:443'}, {port: 443, host: a.b, to: 'homepage:3000'}]", *off) == (
        [],
        [],
    ), "the page cannot read a group without a list"


def test_remote_desktops_have_their_raw_ports(hub):
    pages = [project.services[name] for name in ("hbbs", "hbbr") for project in wanted(hub(), name, Project)]
    ports = [port.rpartition(":")[2] for page in pages for port in page["ports"]]
    assert sorted(ports) == ["21115", "21116", "21116/udp", "21117", "21118", "21119"]


def test_the_key_pair_of_remote_desktops_is_in_every_set_and_its_public_half_is_shown(hub, capsys):
    host = hub("services.hbbs.backup={folders: [/root], stop: true}")
    (kept,) = services(host).values()
    assert (kept["folders"], kept["stop"]) == ({"/root": "/srv/stowage/rustdesk"}, True)
    assert not_in_sets(host.settings) == "", "hbbr has the same folder"
    recovery_sheet(host)
    sheet = capsys.readouterr().out
    assert "inv restore latest --service hbbs --host opengeo-lab" in sheet
    assert "configuration/ID/etc/stowage/authority/authority.* /etc/stowage/authority/" in sheet
    hbbs = host.settings.services["hbbs"]
    assert [hbbs.on_host(path) for path in hbbs.shows.values()] == [("/srv/stowage/rustdesk", "id_ed25519.pub")]
    assert "(/srv/stowage/rustdesk)" in not_in_sets(hub().settings)


@pytest.mark.parametrize(
    ("name", "why", "hint"),
    [
        ("hbbr", "services.hbbr.enabled is false", "inv inventory --host opengeo-lab"),
        ("mlfow", "services are minio, traefik", "inv restart mlflow --host opengeo-lab"),
        ("redis", "services are minio, traefik", "inv status --host opengeo-lab"),
    ],
)
def test_nobody_is_told_to_restart_the_storage_for_a_name_that_was_typed_wrong(hub, name, why, hint):
    with pytest.raises(Trouble) as refused:
        restart(hub("services.hbbr.enabled=false"), name, "restart")
    assert refused.value.why.startswith(why) and refused.value.hint.startswith(hint)
