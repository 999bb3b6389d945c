"""The user for MinIO's metrics, and the token made of its secret key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from converge.errors import Trouble
from converge.inventory.layers import lift
from converge.inventory.secret import Secret
from roles.minio import metrics
from roles.minio.role import _warnings
from roles.minio.settings import Metrics
from roles.settings.fields import UNREAD

KEY = Secret("a-secret-key-of-metrics")


def host(**given) -> SimpleNamespace:
    minio = SimpleNamespace(metrics=Metrics(**given))
    return SimpleNamespace(name="lab", settings=SimpleNamespace(minio=minio))


def part(text: str) -> dict[str, str]:
    return json.loads(base64.urlsafe_b64decode(text + "=="))


def test_the_token_is_signed_with_the_secret_and_names_its_user() -> None:
    head, claims, signature = metrics.token(KEY).reveal().split(".")
    assert part(head) == {"alg": "HS512", "typ": "JWT"}
    assert part(claims) == {"iss": "prometheus", "sub": "stowage-metrics"}
    right = hmac.new(KEY.reveal().encode(), f"{head}.{claims}".encode(), hashlib.sha512).digest()
    assert base64.urlsafe_b64decode(signature + "==") == right
    assert metrics.token(KEY) == metrics.token(KEY), "a file that holds it does not drift"


def test_the_user_may_do_nothing_but_read_metrics() -> None:
    ((policy, user),) = (chain for chain in metrics.reader(host(secret=KEY), SimpleNamespace()))
    assert [statement["Action"] for statement in policy.settings.statements] == [["admin:Prometheus"]]
    assert (user.settings.policies, user.settings.groups) == (["stowage-metrics"], [])
    assert list(metrics.reader(host(), SimpleNamespace())) == []


def test_a_file_with_the_token_is_for_its_owner_alone_even_where_one_was_for_all(tmp_path, capsys) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    metrics.hand_out(host(secret=KEY), str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_text().strip() == metrics.token(KEY).reveal()
    assert metrics.token(KEY).reveal() not in capsys.readouterr().out


def test_a_token_that_is_missing_keeps_nobody_from_making_it(tmp_path: Path) -> None:
    """It is itself a secret of the settings: they cannot be loaded with all secrets while it is not there."""
    (tmp_path / "secrets/lab").mkdir(parents=True)
    (tmp_path / "secrets/lab/metrics").write_text(KEY.reveal())
    tree = lift({"minio": {"metrics": {"secret": {"file": "secrets/%h/metrics"}}}}, "a file")
    unread = SimpleNamespace(**vars(host(secret=UNREAD)), tree=tree, root=tmp_path)
    metrics.hand_out(unread, str(tmp_path / "token"))
    assert (tmp_path / "token").read_text().strip() == metrics.token(KEY).reveal()


def test_a_token_of_the_present_secret_fits_whoever_made_it(storage_host) -> None:
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"typ": "JWT", "alg": "HS512"}, {"exp": 4000000000, "sub": "stowage-metrics", "iss": "prometheus"})
    )
    signature = base64.urlsafe_b64encode(hmac.new(KEY.reveal().encode(), signed.encode(), hashlib.sha512).digest())
    secrets = {"TOKEN": Secret(f"{signed}.{signature.decode().rstrip('=')}"), "OTHER": Secret("a.b.c")}
    storage_host(minio__metrics={"secret": KEY}, services__watch={"image": "nginx", "secrets": secrets})


@pytest.mark.parametrize(("given", "why"), [({}, "is not set"), ({"auth": "public"}, "nobody is asked for one")])
def test_without_a_secret_there_is_no_token_and_the_reason_is_told(given, why) -> None:
    with pytest.raises(Trouble) as caught:
        metrics.hand_out(host(**given), "")
    assert why in caught.value.why and "--host lab" in caught.value.hint


def test_a_secret_that_nobody_would_be_asked_for_is_refused() -> None:
    with pytest.raises((ValidationError, Exception), match="nobody is asked for a token"):
        Metrics(auth="public", secret=KEY)


def test_public_metrics_are_told_in_the_plan() -> None:
    minio = SimpleNamespace(nodes=[1, 2], metrics=Metrics(auth="public"), root_drive_threshold="1GiB")
    assert list(_warnings(minio)) == ["minio.metrics is public: whoever reaches a node reads the names of all buckets"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"roles": ["base", "drives", "docker", "images", "minio"]}, "roles does not name it"),
        ({"users": [{"name": "stowage-metrics", "password": Secret("long enough")}]}, "reads metrics has this name"),
        ({"minio__metrics": {"secret": Secret("short")}}, "no fewer than 8"),
        (
            {
                "services__watch": {
                    "image": "nginx",
                    "secrets": {"TOKEN": metrics.token(Secret("the secret before it"))},
                }
            },
            "inv minio.metrics-token --file FILE writes the present one",
        ),
    ],
)
def test_a_reader_that_could_not_be_made_is_refused(storage_host, given, why) -> None:
    with pytest.raises(ValidationError, match=why):
        storage_host(**{"minio__metrics": {"secret": KEY}, **given})
