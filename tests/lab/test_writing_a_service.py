"""The guide to writing a service, followed literally: its files, its commands, and their documented output."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Clone
from tests.unit.test_docs import FENCE, SERVICE, write

PROMPT = "root@lab:~# "
SEEN = "docker inspect redis; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
"""What other users can see of a program: its arguments and variables."""


def follow(clone: Clone, text: str) -> None:
    """Writes each file, runs each command, and finds each line of its documented output, in order."""
    screen = ""
    for language, name, body in FENCE.findall(text):
        if name:
            write(clone.root / name, language, body)
        elif language == "sh":
            for line in body.splitlines():
                screen = typed(clone, line)
        elif language == "console":
            for part in body.split(PROMPT)[1:]:
                command, _, answer = part.partition("\n")
                shown(clone.on_host(command), answer)
        else:
            shown(screen, body)


def typed(clone: Clone, line: str) -> str:
    """The output of a command of the guide. Its comment has the exit code, if that is not 0."""
    command, _, comment = line.partition(" #")
    arguments = command.split()
    if arguments[0] != "inv":
        subprocess.run(command, shell=True, check=True, cwd=clone.root)
        return ""
    code = int(comment.partition("exit code ")[2][:1] or 0)
    return clone.inv(*arguments[1:], *(["--yes"] if arguments[1] == "deploy" else []), code=code)


def shown(screen: str, lines: str) -> None:
    place = 0
    for line in lines.splitlines():
        position = screen.find(line.strip(), place)
        assert position >= 0, f"{line!r} is not where the guide has it:\n{screen}"
        place = position + len(line.strip())


@pytest.fixture
def settings(clone: Clone) -> Iterator[Path]:
    """The settings of a deployed host, restored together with the host, also after a failed test."""
    path = clone.root / "inventory/group_vars/lab.yml"
    before = path.read_text()
    clone.inv("deploy", "--yes")
    yield path
    path.write_text(before)
    clone.inv("deploy", "--yes")


PAGES = "curl -s -o /dev/null -m 10 -w '%{http_code}' -H 'Host: pages.example.org' http://127.0.0.1/"
S3 = "curl -s -o /dev/null -m 10 -w '%{http_code}' http://127.0.0.1:9000/minio/health/live"


def the_edge_finds_a_service_again(clone: Clone) -> None:
    """A recreated service has another address, and nginx gets no notice; a missing service does not stop nginx."""
    workers = "docker top nginx -o pid,args | grep 'worker process$'"
    before = clone.on_host(workers)
    clone.on_host("docker network disconnect stowage pages; docker network connect --ip 172.30.99.240 stowage pages")
    assert clone.on_host(f"sleep 3; {PAGES}") == "200"
    assert clone.on_host(workers) == before
    assert clone.on_host(f"docker stop pages >/dev/null; docker restart nginx >/dev/null; sleep 3; {PAGES}") == "502"
    assert clone.on_host(S3) == "200"
    assert clone.on_host(f"docker start pages >/dev/null; sleep 3; {PAGES}") == "200"


APART = [
    *("--set=networks.stowage.subnet=172.30.99.0/24", "--set=networks.apart.subnet=172.30.98.0/24"),
    *(f"--set={page}.networks=[stowage]" for page in ("minio", "services.redis", "services.pages")),
    "--set=services.echo.networks=[apart]",
]
"""The service of this test is on a separate network, which the edge joins."""
ECHO = r"""use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
while (my $line = $server->accept) {
    sysread $line, my $asked, 65536;
    if ($asked =~ m(^GET /echo/ws )  and $asked =~ /upgrade: websocket/i) {
        syswrite $line, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        while (sysread $line, my $said, 100) { syswrite $line, uc $said }
    }
    close $line;
}
"""
"""A service that answers 101 to a WebSocket, and then echoes everything in capitals."""


def the_edge_passes_a_websocket_and_refuses_what_is_too_large(clone: Clone, settings: Path) -> None:
    """Bytes pass in both directions after the service's 101."""
    (clone.root / "files/echo.pl").write_text(ECHO)
    page = "  echo: {image: nginx, command: [perl, /etc/echo/echo.pl], files: {/etc/echo/echo.pl: files/echo.pl}}\n"
    row = "    - {port: 80, path: /echo, to: 'echo:8000', websocket: true, body_limit: 1MiB}\n"
    text = settings.read_text().replace("\nservices:\n", f"\nservices:\n{page}", 1)
    settings.write_text(text.replace("    - {port: 80, path: /docs", f"{row}    - {{port: 80, path: /docs", 1))
    clone.inv("deploy", "--yes", *APART)
    assert "nothing to do" in clone.inv("check", *APART)
    assert clone.on_host(S3) == "200"
    ask = "GET /echo/ws HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n"
    talk = f"exec 3<>/dev/tcp/127.0.0.1/80; printf '{ask}' >&3; sleep 2; printf hello >&3; timeout 3 cat <&3 || :"
    output = clone.on_host(f'bash -c "{talk}"')
    assert output.startswith("HTTP/1.1 101"), output
    assert output.endswith("HELLO")
    large = "head -c 2M /dev/zero | curl -s -o /dev/null -w '%{http_code}' --data-binary @- http://127.0.0.1/echo"
    assert clone.on_host(large) == "413"


def test_the_services_of_the_guide_run_are_mended_and_leave_their_data(clone: Clone, settings: Path) -> None:
    adding, heading, taking_off = SERVICE.read_text().partition("## Taking them off again\n")
    assert heading
    before = settings.read_text()
    follow(clone, adding)
    assert clone.secret("redis") in clone.on_host("cat /etc/stowage/redis/secrets/REDIS_PASSWORD")
    assert clone.secret("redis") not in clone.on_host(SEEN)
    the_edge_finds_a_service_again(clone)
    the_edge_passes_a_websocket_and_refuses_what_is_too_large(clone, settings)
    settings.write_text(before)
    follow(clone, taking_off)
    assert "redis" not in clone.on_host("docker ps -a --format '{{.Names}}'").split()
