"""nginx's configuration for MinIO: which node it asks, which answers it accepts, and what stays on one node."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from converge.engine import run as runs
from converge.resources.file import File
from roles.edge.nginx import MOST_SILENT, enough, passes
from roles.edge.role import edge
from tests.authority import Authority

REDIRECTS = 10  # nginx's own limit for one request


def config(host: Any) -> str:
    resources = [want.resource for want in runs.prepare(host, [edge]).wants]
    return next(
        resource.text for resource in resources if isinstance(resource, File) and resource.path.endswith("nginx.conf")
    )


def nodes(number: int) -> dict[str, Any]:
    named = [
        {"name": f"minio{n}", "drive": f"drive{n}", "address": f"172.30.99.{50 + n}"} for n in range(1, number + 1)
    ]
    drives = [
        {"device": f"/dev/disk/by-id/d{n}", "label": f"drive{n}", "path": f"/mnt/drive{n}"}
        for n in range(1, number + 1)
    ]
    return {"minio__nodes": named, "drives": drives}


def locations(text: str) -> dict[str, dict[str, Any]]:
    """By named location: the target of each error, and the number of nodes it skips."""
    by_name = {}
    for name, block in re.findall(r"location (@\w+) \{\n(.*?)\n        \}\n", text, re.DOTALL):
        leads = {
            code: to for codes, to in re.findall(r"error_page ([\d ]+) = (@\w+);", block) for code in codes.split()
        }
        step = re.search(r"proxy_pass http://\$next(\d+);", block)
        waits = "if (!-f /tmp/settled) { return 419; }" in block
        by_name[name] = {"leads": leads, "step": int(step[1]) if step else 0, "waits": waits}
    return by_name


def answered(text: str, answers: list[str], settled: bool = True) -> str:
    """The answer to a client when the nodes answer like this, beginning with the first one asked."""
    named, here = locations(text), "@read"
    for _ in range(REDIRECTS - 1):  # one leads to @read
        code = "404" if here == "@agreed" else answers[named[here]["step"]]
        code = "419" if named[here]["waits"] and not settled else code
        if code not in named[here]["leads"]:
            return code
        here = named[here]["leads"][code]
        if here == "@unknown":
            return "503"
    raise AssertionError("more redirects than nginx allows")


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        ("404 404 404 404", "404"),
        ("200 404 404 404", "200"),
        ("404 200 404 404", "200"),
        ("404 404 200 404", "200"),
        ("404 404 404 200", "200"),
        ("404 404 404 503", "404"),
        ("404 404 503 404", "404"),
        ("404 502 404 404", "404"),
        ("404 404 503 200", "200"),
        ("404 404 503 504", "503"),
        ("404 503 503 404", "503"),
        ("404 503 404 502", "503"),
        ("404 500 500 500", "503"),
        ("403 404 404 404", "403"),
        ("404 403 404 404", "403"),
        ("502 404 404 404", "503"),
    ],
)
def test_a_404_is_believed_when_all_nodes_that_answer_say_it_three_of_four_or_more(storage_host, answers, answer):
    assert answered(config(storage_host()), answers.split()) == answer


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        ("404 404 404 404", "404"),
        ("404 404 404 200", "200"),
        ("404 404 404 503", "503"),
        ("404 404 502 404", "503"),
        ("404 503 404 404", "503"),
        ("404 200 503 503", "200"),
        ("200 503 503 503", "200"),
    ],
)
def test_while_nodes_are_young_a_404_is_believed_only_when_all_of_them_say_it(storage_host, answers, answer):
    assert answered(config(storage_host()), answers.split(), settled=False) == answer


@pytest.mark.parametrize(("number", "needed"), [(2, 2), (3, 2), (4, 3), (6, 4), (8, 4), (16, 4)])
def test_more_nodes_need_more_opinions_and_never_more_redirects_than_nginx_allows(storage_host, number, needed):
    assert enough(number) == needed
    text = config(storage_host(**nodes(number)))
    for silent in range(number - needed + 1):
        answers = ["404", *["503"] * silent, *["404"] * (number - 1 - silent)]
        assert answered(text, answers) == ("404" if silent <= MOST_SILENT else "503")


def test_one_node_is_asked_once(storage_host):
    text = config(storage_host(**nodes(1)))
    assert "@ask" not in text
    assert answered(text, ["404"]) == "404"
    assert answered(text, ["502"]) == "503"


def test_every_question_leads_to_a_place_that_is_there(storage_host):
    for number in (1, 2, 4, 8):
        text = config(storage_host(**nodes(number)))
        assert set(re.findall(r"= (@\w+);", text)) <= set(re.findall(r"location (@\w+) ", text))
        assert set(re.findall(r"\$next\d+", text)) == set(re.findall(r"map \$first (\$next\d+)", text)) or number == 1


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("GET prefix=a&list-type=2", "read"),
        ("HEAD ", "read"),
        ("GET uploadId=abc", "read"),
        ("copyPUT ", "read"),
        ("PUT ", "write"),
        ("PUT partNumber=1&uploadId=abc", "write"),
        ("DELETE ", "write"),
        ("POST delete", "write"),
        ("GET uploads", "upload"),
        ("GET uploads=", "upload"),
        ("GET prefix=a&uploads", "upload"),
        ("GET encoding-type=url&uploads&max-uploads=3", "upload"),
        ("GET prefix=uploads", "read"),
        ("POST uploads", "upload"),
        ("POST uploads=&x-id=CreateMultipartUpload", "upload"),
        ("POST uploadId=abc", "upload"),
        ("DELETE uploadId=abc&x-id=AbortMultipartUpload", "upload"),
        ("DELETE versionId=abc", "write"),
    ],
)
def test_what_a_request_is_follows_from_its_method_and_query(storage_host, asked, kind):
    (rules,) = re.findall(
        r'map "\$copy\$request_method \$args" \$kind \{(.*?)\n    \}', config(storage_host()), re.DOTALL
    )
    kinds = (kind for rule, kind in re.findall(r'"~(.*)" (\w+);', rules) if re.search(rule, asked))
    assert next(kinds, "write") == kind


def test_with_names_of_buckets_in_the_host_the_uploads_belong_to_the_bucket_all_the_same(storage_host):
    text = config(storage_host(minio__environment={"MINIO_DOMAIN": "s3.example.org"}))
    assert r'"~^(?<in_host>.+)\.s3\.example\.org$" $in_host;' in text
    assert "$in_host" not in config(storage_host())


def test_only_with_tls_the_console_is_told_to_be_secure(storage_host, tmp_path):
    Authority(tmp_path).sign("own", ["storage.example.org"])
    tls = {"certificate": str(tmp_path / "own.crt"), "key": str(tmp_path / "own.key")}
    for word in ("proxy_cookie_flags ~ secure;", "error_page 497 =308", "sub_filter"):
        assert word in config(storage_host(edge__tls=tls))
        assert word not in config(storage_host())
    assert "https://" in passes(storage_host(edge__tls=tls))
    assert "https://" not in passes(storage_host())


def turn(**answers: int) -> str:
    """One turn of the script, with these answers of the nodes."""
    return ",".join(f"http://{node}:9000/minio/health/ready {code}" for node, code in answers.items())


def settled(folder: Path, config: str, turns: list[str], file: str = "settled") -> list[bool]:
    """Whether the file is there after each turn of the script."""
    (folder / "nginx.conf").write_text(config)
    programs = {
        "date": "echo $(($(cat n) * 2))",
        "curl": 'n=$(cat n); echo "$@" >>asked; sed -n "$((n + 1))p" turns | tr , "\\n"',
        "sleep": 'n=$(cat n); [ -e FILE ] && echo yes >>seen || echo no >>seen; echo $((n + 1)) >n; [ -n "$(sed -n "$((n + 2))p" turns)" ] || kill $PPID',
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n".replace("FILE", file))
        (folder / name).chmod(0o755)
    (folder / "n").write_text("0\n")
    (folder / "turns").write_text("".join(f"{turn}\n" for turn in turns))
    script = Path(__file__).resolve().parents[2] / "files/nginx-settled.sh"
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["sh", script, "nginx.conf", "settled"], cwd=folder, env=environment, timeout=60, check=False)
    return [line == "yes" for line in (folder / "seen").read_text().split()]


def test_the_cluster_is_settled_20_s_after_the_last_node_came_or_went(storage_host, tmp_path):
    some, all_, fewer = turn(a=200, b=503, c=200), turn(a=200, b=200, c=200), turn(a=200, c=200)
    seen = settled(tmp_path, config(storage_host()), [some] * 3 + [all_] * 12 + [fewer] * 11 + [all_] * 2)
    assert seen == [False] * 3 + [False] * 10 + [True] * 2 + [False] * 10 + [True] + [False] * 2
    asked = (tmp_path / "asked").read_text().split("-q ")[1]
    addresses = [node.address for node in storage_host().settings.minio.nodes]
    assert re.findall(r"-o /dev/null http://([^:/]+):9000/minio/health/ready", asked) == addresses


def test_a_node_is_old_when_it_has_been_there_for_20_s(storage_host, tmp_path):
    first, *_ = (node.address for node in storage_host().settings.minio.nodes)
    here, away = (turn(**{first: code}) for code in (200, 503))
    seen = settled(tmp_path, config(storage_host()), [here] * 12 + [away] + [here] * 3, f"settled-{first}")
    assert seen == [False] * 10 + [True] * 2 + [False] * 4
