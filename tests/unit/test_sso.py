"""Single sign-on: Keycloak's answers, the compared state, hidden secrets, and the order of roles."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine.gone import no_longer_wanted
from converge.engine.order import chosen
from converge.engine.resource import Action, Unknown
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.resources.compose import Project
from converge.resources.file import File
from converge.resources.serving import Question
from converge.ui import render
from roles import named, names_of
from roles.sso.api import KNOWN, Api
from roles.sso.client_kind import FLOWS, Client, _scope, mapper
from roles.sso.gone import Gone
from roles.sso.kept import Kept
from roles.sso.login import Login
from roles.sso.people_kinds import Group, User
from roles.sso.realm_kinds import RULES, Claim, Realm
from roles.sso.settings import SsoGroup, SsoUser

API = Api(8085, "/auth", "storage", Secret("SENTINEL-admin"))
CLIENT = Client(API, "console", Secret("SENTINEL-client"), ("https://a/c",), ("email", "profile"), ("policy",))
OF_KEYCLOAK = {
    **{key: value for key, value in CLIENT.body.items()},
    "id": "1",
    "defaultClientScopes": ["web-origins", "acr", "roles", "profile", "basic", "email"],
    "protocolMappers": [{"id": "2", **mapper("policy")}],
}
ANNE = {"name": "anne", "email": "anne@example.org", "first_name": "Anne", "last_name": "Example"}


def differences(resource, answer) -> list[str]:
    reading = resource._state(answer)
    wanted = resource.desired()
    assert reading is not None
    return [key for key in wanted if reading.get(key) != wanted[key]]


def test_a_client_as_keycloak_tells_it_is_as_it_should_be():
    assert differences(CLIENT, OF_KEYCLOAK) == []
    assert CLIENT._state(None) is None


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"redirectUris": ["https://a/*"]}, "redirects"),
        ({"redirectUris": ["https://a/c", "https://evil/"]}, "redirects"),
        ({"webOrigins": ["+"]}, "origins"),
        ({"publicClient": True}, "confidential"),
        ({"enabled": False}, "enabled"),
        ({"secret": "another"}, "secret"),
        ({"defaultClientScopes": ["acr", "basic", "roles", "web-origins", "profile"]}, "scopes"),
        ({"protocolMappers": []}, "claims"),
        (
            {"protocolMappers": [{**mapper("policy"), "config": {**mapper("policy")["config"], "claim.name": "p"}}]},
            "claims",
        ),
        ({"protocolMappers": [*OF_KEYCLOAK["protocolMappers"], {"name": "more", "protocolMapper": "x"}]}, "claims"),
        *(({flow: not on}, flow) for flow, on in FLOWS.items()),
        ({"clientAuthenticatorType": "client-jwt"}, "clientAuthenticatorType"),
        ({"bearerOnly": True}, "bearerOnly"),
        ({"consentRequired": True}, "consentRequired"),
        ({"authenticationFlowBindingOverrides": {"browser": "8f1c-without-a-password"}}, "flows of its own"),
        ({"attributes": {"pkce.code.challenge.method": "S256"}}, "PKCE"),
    ],
)
def test_whatever_somebody_changes_by_hand_is_seen(changed, key):
    assert differences(CLIENT, {**OF_KEYCLOAK, **changed}) == [key]


@pytest.mark.parametrize("scopes", ["defaultClientScopes", "optionalClientScopes"])
def test_a_scope_that_writes_the_claim_of_a_policy_is_seen_and_taken_back(scopes):
    """With a fixed value everybody who logs in would have that policy."""
    fixed = {
        "id": "8",
        "name": "x",
        "protocolMapper": "oidc-hardcoded-claim-mapper",
        "config": {"claim.name": "policy"},
    }
    harmless = {"id": "9", "name": "email", "protocolMapper": "x", "config": {"claim.name": "email"}}
    shared = [
        {"id": "5", "name": "email", "protocolMappers": [harmless, fixed]},
        {"id": "6", "name": "none of its own"},
    ]
    answer = {**OF_KEYCLOAK, scopes: [*OF_KEYCLOAK.get(scopes, ()), "email"]}
    assert CLIENT._state(answer, shared)["claims"] == "policy, policy (by the scope email)"
    assert CLIENT._state(answer, [{**shared[0], "protocolMappers": [harmless]}])["claims"] == "policy"
    assert CLIENT._state(answer, [{**shared[0], "name": "of another client"}])["claims"] == "policy"
    assert [(scope["id"], mapper["id"]) for _, scope, mapper in CLIENT._foreign(answer, shared)] == [("5", "8")]


def test_the_secret_of_a_client_is_in_no_plan():
    before = CLIENT._state({**OF_KEYCLOAK, "secret": "SENTINEL-other"})
    assert CLIENT.diff(before) == ["secret: changed, hidden"]
    assert "SENTINEL" not in f"{CLIENT} {API} {before} {CLIENT.desired()} {CLIENT.remembered()}"


def test_a_realm_has_its_rules_whoever_changed_them():
    realm = Realm(API, "Storage")
    answer = {**RULES, "displayName": "Storage", "id": "x"}
    assert differences(realm, answer) == []
    assert differences(realm, {**answer, "attributes": {"frontendUrl": "https://elsewhere"}}) == ["frontendUrl"]
    assert differences(realm, {**answer, "registrationAllowed": True, "bruteForceProtected": False}) == [
        "registrationAllowed",
        "bruteForceProtected",
    ]


@pytest.mark.parametrize(
    ("claim", "differ"),
    [
        ({"multivalued": True, "permissions": {"view": ["admin"], "edit": ["admin"]}}, []),
        (
            {"multivalued": True, "permissions": {"view": ["admin", "user"], "edit": ["admin", "user"]}},
            ["seen by", "changed by"],
        ),
        ({"permissions": {"view": ["admin"], "edit": ["admin"]}}, ["values"]),
    ],
)
def test_nobody_but_an_administrator_may_change_by_what_they_are_judged(claim, differ):
    assert differences(Claim(API, "policy"), {"name": "policy", **claim}) == differ


class FixedAnswers:
    """A session with fixed answers, by path."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers

    def get(self, path: str, **query: object) -> object:
        return self.answers.get(path.strip("/").split("/")[-1])


def test_somebody_has_exactly_these_groups_and_claims():
    anne = User(
        API, SsoUser(**ANNE, password=Secret("SENTINEL-anne"), groups=["readers"], claims={"policy": ["b", "a"]})
    )
    somebody = {"id": "1", "username": "anne", "enabled": True, "email": "anne@example.org", "firstName": "Anne"}
    somebody |= {"lastName": "Example", "attributes": {"policy": ["a", "b"]}}
    answers = FixedAnswers(users=[somebody], groups=[{"path": "/readers", "id": "2"}])
    assert anne._state(answers) == anne.desired()
    more = FixedAnswers(users=[{**somebody, "enabled": False}], groups=[{"path": "/readers"}, {"path": "/admins"}])
    assert anne.diff(anne._state(more)) == ["enabled: no -> yes", "groups: admins, readers -> readers"]
    assert anne._state(FixedAnswers(users=[])) is None
    assert "SENTINEL" not in f"{anne} {anne.desired()}"
    assert "must choose another" in anne.note(None)


def test_an_address_that_somebody_else_has_is_told_before_keycloak_refuses_it():
    anne = User(API, SsoUser(**ANNE, password=Secret("SENTINEL-anne")))
    holder = {"id": "2", "username": "anne.maiden", "email": "anne@example.org"}
    reading = anne._state(FixedAnswers(users=[holder]))
    assert isinstance(reading, Unknown) and reading.lasting and "anne.maiden has the address" in reading.why
    moved = {"id": "1", "username": "anne", "enabled": True, "email": "old@example.org"}
    assert isinstance(anne._state(FixedAnswers(users=[moved, holder])), Unknown)
    assert not isinstance(anne._state(FixedAnswers(users=[moved])), Unknown)


def test_capital_letters_of_an_address_are_no_difference():
    """Keycloak stores it without."""
    anne = User(API, SsoUser(**{**ANNE, "email": "Anne@Example.org"}, password=Secret("SENTINEL-anne")))
    answers = FixedAnswers(
        users=[{"id": "1", "username": "anne", "enabled": True, "email": "anne@example.org"}], groups=[]
    )
    assert anne._state(answers)["email"] == anne.desired()["email"]


PEOPLE = {
    "first_name": ["Ö", "Jean-Luc", "O'Brien", "Anne Ma", "李", "x" * 255],
    "email": ["a@b", "a.b-c_d%e+f@sub-1.example.org", f"{'x' * 64}@example.org"],
}
NOBODY = {
    "first_name": ["", " ", " Anne", "Anne ", 'A"B', "A;B", "A\\B", "A\nB", "A§", "x" * 256],
    "email": [
        "a",
        "a@",
        "@b",
        "a..b@c",
        ".a@b",
        "a.@b",
        "a@b..c",
        "a@-b",
        "a@b-",
        "a@b.",
        "ä@b",
        "a@b c",
        f"{'x' * 65}@b",
    ],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in PEOPLE.items() for value in values])
def test_people_have_names_of_all_sorts(key, value):
    assert getattr(SsoUser(**{**ANNE, "password": Secret("SENTINEL-x"), key: value}), key) == value


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in NOBODY.items() for value in values])
def test_what_keycloak_would_refuse_half_way_is_refused_before_anything_is_connected_to(key, value):
    with pytest.raises(ValidationError, match=key):
        SsoUser(**{**ANNE, "password": Secret("SENTINEL-x"), key: value})


def test_a_realm_that_is_gone_is_not_made_anew_empty(host):
    made = host()
    (realm,) = wants(made, "sso", Realm)
    role, planned = named("sso", made), planning.wanted(named("sso", made), made)
    readings = {want.resource.address: None if want.resource == realm else want.resource.desired() for want in planned}
    plan = planning.make("prod", [role], planned, readings, {realm.address: f"sso {realm.remembered()}"})
    (change,) = [change for change in plan.changes if change.resource == realm]
    assert change.action is Action.REFUSED and "inv restore" in change.hint
    assert planning.make("prod", [role], planned, readings, {}).changes[4].action is Action.CREATE


def test_a_scope_that_the_realm_does_not_have_is_an_error_with_those_that_it_has():
    answers = FixedAnswers(**{"client-scopes": [{"name": "email", "id": "1"}, {"name": "profile", "id": "2"}]})
    with pytest.raises(Trouble, match="no scope emali") as caught:
        _scope(answers, "/clients/1", set(), {"email", "emali"})
    assert "email, profile" in caught.value.why


def test_a_group_stands_on_the_claims_that_it_has():
    group = Group(API, SsoGroup(name="readers", claims={"policy": ["reader"]}))
    assert group.stands_on() == ["realm:storage", "claim:policy"]
    assert group.desired() == {"claims": "policy: reader"}


@pytest.fixture
def host(storage_host):
    """A storage server with Keycloak."""

    def make(**changes) -> SimpleNamespace:
        base = storage_host().settings
        keycloak = {"image": "keycloak", "ports": [{"port": 8085, "to": 8080}], "needs": ["databases"]}
        kept = "/auth/realms/storage/certs"
        given = {
            "roles": [*base.roles, "sso"],
            "images__keycloak": {"reference": "example.org/keycloak:26"},
            "services": {"keycloak": {**keycloak, "answers": {"http": ":9000/auth/health/ready"}}},
            "edge": {
                "url": "https://storage.example.org",
                "routes": [
                    {"port": 9000, "to": "minio-api"},
                    {"port": 80, "path": "/minio-console", "to": "minio-console"},
                    {"port": 8090, "inside": True, "to": "keycloak:8080", "kept": [kept]},
                ],
            },
            "minio__openid": {
                "config_url": "http://nginx:8090/auth/realms/storage/.well-known/openid-configuration",
                "client": "minio-console",
                "secret": Secret("SENTINEL-client"),
            },
            "sso": {
                "realm": "storage",
                "secret": Secret("SENTINEL-admin"),
                "claims": ["policy"],
                "clients": [
                    {
                        "name": "minio-console",
                        "secret": Secret("SENTINEL-client"),
                        "redirects": ["/minio-console/oauth_callback", "https://other.example.org/back"],
                        "claims": ["policy"],
                    }
                ],
                "groups": [{"name": "readers", "claims": {"policy": ["reader"]}}],
                "users": [{**ANNE, "password": Secret("SENTINEL-anne"), "groups": ["readers"]}],
            },
        }
        for path, value in changes.items():
            section, _, key = path.partition("__")
            if key and isinstance(given.get(section), dict):
                given[section] = {**given[section], key: value}
            else:
                given[path] = value
        return storage_host(**given)

    return make


def roles_of(made) -> list:
    return chosen("prod", names_of(made.settings), lambda name: named(name, made)).roles


def test_minio_comes_behind_all_that_it_must_find_of_its_identity_provider(host, storage_host):
    order = [role.name for role in roles_of(host())]
    for earlier, later in (("databases", "keycloak"), ("keycloak", "sso"), ("edge", "sso"), ("sso", "minio")):
        assert order.index(earlier) < order.index(later)
    plain = [role.name for role in roles_of(storage_host())]
    assert plain.index("minio") < plain.index("edge"), "without single sign-on all stays as it was"


def test_while_keycloak_is_away_minio_is_not_held_back(host):
    (minio,) = [role for role in roles_of(host()) if role.name == "minio"]
    assert not {"sso", "keycloak", "edge"} & set(minio.needs)


def wants(made, name: str, kind: type) -> list:
    return [want.resource for want in runs.prepare(made, [named(name, made)]).wants if isinstance(want.resource, kind)]


def test_a_path_to_return_to_lies_beneath_the_address_of_the_edge(host):
    (client,) = wants(host(), "sso", Client)
    assert client.redirects == (
        "https://storage.example.org/minio-console/oauth_callback",
        "https://other.example.org/back",
    )


def test_what_minio_must_find_is_asked_for_at_the_edge_once_there_is_a_realm(host):
    (kept,) = wants(host(), "sso", Kept)
    assert kept.address == "kept::8090/auth/realms/storage/certs"
    assert set(kept.stands_on()) == {"container:nginx", "realm:storage"}
    assert kept.desired() == {str(Question(http=kept.name)): "well"}
    assert kept.desired().items() <= kept._state("200", unproven=True).items()
    assert kept._state("404", unproven=False) is kept._state(None, unproven=False) is None


def test_the_nodes_have_the_secret_in_a_file_and_nowhere_else(host):
    (project,) = wants(host(), "minio", Project)
    environment = project.services["minio1"]["environment"]
    assert environment["MINIO_CONFIG_ENV_FILE"] == "/run/secrets/minio/openid.env"
    assert environment["MINIO_BROWSER_REDIRECT_URL"] == "https://storage.example.org/minio-console"
    assert "SENTINEL" not in str(project.services)
    (file,) = [want for want in wants(host(), "minio", File) if want.path.endswith("openid.env")]
    assert file.mode == "0400" and "SENTINEL" not in str(file)
    assert 'MINIO_IDENTITY_OPENID_CLIENT_SECRET="SENTINEL-client"\n' in file.text
    assert 'MINIO_IDENTITY_OPENID_SCOPES="openid,profile,email"\n' in file.text
    assert file.path in project.read_at_start


WRONG = {
    "no such page": ({"sso__service": "keycloack"}, "sso.service", "no service keycloack; keycloak is near"),
    "no way in": ({"services__keycloak": {"image": "nginx"}}, "sso.service", "no row to 8080"),
    "no address": ({"edge__url": None}, "sso.clients.0.redirects.0", "set edge.url"),
    "no such claim": ({"sso__claims": []}, "sso.clients.0.claims.0", "sso.claims has no policy"),
    "no such policy": (
        {"sso__groups": [{"name": "readers", "claims": {"policy": ["redaer"]}}]},
        "sso.groups.0.claims.policy.0",
        "policies has no redaer; reader is near",
    ),
    "no such group": ({"sso__groups": []}, "sso.users.0.groups.0", "sso.groups has no readers"),
    "Keycloak's own realm": ({"sso__realm": "master"}, "sso.realm", "Keycloak's own"),
    "Keycloak's own client": (
        {"sso__clients": [{"name": "admin-cli", "secret": Secret("SENTINEL-x"), "redirects": ["https://a/b"]}]},
        "sso.clients.0.name",
        "Keycloak's own",
    ),
    "a scope that is always there": (
        {
            "sso__clients": [
                {"name": "x-y", "secret": Secret("SENTINEL-x"), "redirects": ["https://a/b"], "scopes": ["openid"]}
            ]
        },
        "sso.clients.0.scopes.0",
        "always there",
    ),
    "one address of two": (
        {"sso__users": [{**ANNE, "name": name, "password": Secret("SENTINEL-x")} for name in ("anne", "anna")]},
        "sso.users.1.email",
        "anne@example.org stands twice",
    ),
    "a secret that a file of variables cannot hold": (
        {"minio__openid": {"config_url": "http://a/b", "client": "x", "secret": Secret('a"b')}},
        "minio.openid.secret",
        "none of",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_at_its_place_with_the_reason(host, case):
    changes, where, why = WRONG[case]
    with pytest.raises(ValidationError) as caught:
        host(**copy.copy(changes))
    problems = {".".join(map(str, path)): text for path, text in caught.value.errors()[0]["ctx"]["error"].problems}
    assert why in problems[where]


def test_two_of_one_name_are_refused(host):
    twice = [
        {**ANNE, "name": name, "email": f"{at}@example.org", "password": Secret("SENTINEL-x")}
        for at, name in enumerate(("anne", "Anne"))
    ]
    with pytest.raises(ValidationError) as caught:
        host(sso__users=twice)
    (problem,) = caught.value.errors()[0]["ctx"]["error"].problems
    assert problem[0] == ("sso", "users", 1, "name")


def test_a_secret_in_a_variable_is_refused(storage_host):
    with pytest.raises(ValidationError, match=r"minio\.openid takes a reference"):
        storage_host(minio__environment={"MINIO_IDENTITY_OPENID_CLIENT_SECRET": "x"})


def test_a_plan_shows_what_was_changed_by_hand_and_no_secret(host):
    made = host()
    role = named("sso", made)
    planned = planning.wanted(role, made)
    well = {want.resource.address: want.resource.desired() for want in planned}
    client = next(want.resource for want in planned if isinstance(want.resource, Client))
    drifted = {**client.desired(), "redirects": "https://evil/*", "secret": "secret 0"}
    lines = "\n".join(render.plan(planning.make("prod", [role], planned, {**well, client.address: drifted}, {})))
    assert "~ sso-client:minio-console" in lines and "https://evil/*" in lines and "secret: changed, hidden" in lines
    assert "SENTINEL" not in lines


def gone_of(made, kind: str, name: str) -> Gone | None:
    return named("sso", made).gone(made, kind, name)


def test_who_is_taken_out_of_the_settings_is_removed_people_before_their_groups(host):
    made = host()
    memory = dict.fromkeys(
        ("sso-client:old", "sso-group:writers", "sso-user:bob", "sso-user:anne", "realm:x", "claim:y"), "sso 0"
    )
    wanted = {"sso-user:anne"}
    removed = no_longer_wanted(made, memory, wanted, {"sso": named("sso", made)})
    assert [want.resource.address for want in removed] == ["sso-user:bob", "sso-group:writers", "sso-client:old"]
    assert all(want.resource.desired() is None for want in removed)


def test_a_name_with_other_capitals_is_the_same_person_for_keycloak(host):
    assert gone_of(host(), "sso-user", "Anne") is None


def test_a_host_that_no_longer_has_single_sign_on_keeps_its_people(host, storage_host):
    assert gone_of(storage_host(), "sso-user", "bob") is None
    made = host(roles=[*storage_host().settings.roles])
    assert gone_of(made, "sso-user", "bob") is None


@pytest.mark.parametrize(
    ("members", "within", "why"),
    [
        ([], [], None),
        (["anne", "bob"], [], None),
        (["dora"], [], "user dora is in it"),
        (["anne"], ["night"], "group night is in it"),
    ],
)
def test_a_group_stays_while_somebody_is_in_it_whom_the_settings_do_not_name(host, members, within, why):
    gone = gone_of(host(), "sso-group", "writers")
    answers = FixedAnswers(
        groups=[{"name": "writers", "id": "7"}],
        members=[{"username": name} for name in members],
        children=[{"name": name} for name in within],
    )
    refusal = gone.refusal(gone._state(answers, {"bob"}))
    assert (refusal and why in refusal.why) if why else refusal is None
    assert gone._state(FixedAnswers(groups=[]), set()) is None
    assert gone.stands_on() == ["sso-user:anne"], "who is named leaves it first"


def test_a_client_by_which_minio_asks_is_not_removed(host):
    answers = FixedAnswers(clients=[{"clientId": name, "id": "3"} for name in ("minio-console", "other")])
    refused = {
        name: gone.refusal(gone._state(answers, set()))
        for name in ("minio-console", "other")
        if (gone := gone_of(host(), "sso-client", name))
    }
    assert refused["other"] is None and "minio.openid.client" in refused["minio-console"].why


class Keycloak:
    """A link to a host with a Keycloak that knows one secret, and with a file of those that it may know."""

    def __init__(self, monkeypatch, secret: str, kept: str) -> None:
        self.target, self.secret, self.kept, self.tried = SimpleNamespace(name="prod"), secret, kept, []
        self.client = {"id": "9", "clientId": "stowage", "secret": secret}
        monkeypatch.setattr("roles.sso.api.pool", lambda link, patience, again: self)

    def send(self, command: str, chunks: object) -> tuple[int, bytes, bytes]:
        assert KNOWN in command
        return 0, self.kept.encode(), b""

    def request(self, method: str, url: str, body: str = "", **more: object) -> SimpleNamespace:
        def answer(status: int, answers: object) -> SimpleNamespace:
            return SimpleNamespace(status=status, data=json.dumps(answers).encode())

        if url.endswith("/token"):
            self.tried.append(parse_qs(body)["client_secret"][0])
            return answer(200, {"access_token": "t"}) if self.tried[-1] == self.secret else answer(401, {})
        if method == "GET":
            return answer(200, [self.client])
        self.client = json.loads(body)
        self.secret = self.client["secret"]
        return answer(204, None)


def test_a_new_secret_is_set_with_the_one_that_the_host_remembers_and_read_back(monkeypatch):
    keycloak, login = Keycloak(monkeypatch, "SENTINEL-old", "SENTINEL-older\nSENTINEL-old\n"), Login(API)
    (before,) = Login.ask(keycloak, [login])
    assert before != login.desired() and login.diff(before) == ["secret: changed, hidden"]
    keep, change = login.fix(before)
    assert f">>{KNOWN}" in keep.script, "both are on the host before Keycloak takes the new one"
    change.run(keycloak)
    assert keycloak.client == {"id": "9", "clientId": "stowage", "secret": "SENTINEL-admin"}
    assert keycloak.tried == ["SENTINEL-admin", "SENTINEL-old", "SENTINEL-admin"], "the newest that it knows, once"
    assert Login.ask(keycloak, [login]) == [login.desired()]
    assert "SENTINEL" not in f"{login} {before} {login.desired()}"


def test_a_secret_that_nobody_knows_any_more_is_one_clear_error(monkeypatch):
    with pytest.raises(Trouble, match="does not know the secret") as caught:
        Login.ask(Keycloak(monkeypatch, "SENTINEL-another", "\nSENTINEL-old\n"), [Login(API)])
    assert "SENTINEL" not in str(caught.value) and "docs/runbook.md" in caught.value.hint


def test_the_host_keeps_the_secret_once_keycloak_has_taken_it(host):
    (file,) = [one for one in wants(host(), "sso", File) if one.path == KNOWN]
    assert file.text == "SENTINEL-admin\n" and (file.owner, file.mode) == ("root", "0400")
    (chain,) = [want.before for want in planning.wanted(named("sso", host()), host()) if want.resource == file]
    assert chain[0] == "sso-login:stowage"
