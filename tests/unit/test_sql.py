"""Quoting for SQL, and password hashes like PostgreSQL's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge.inventory.secret import Secret
from roles.postgres.sql import LONGEST_NAME, ident, is_password_of, literal, literals, verifier

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def read_literal(sql: str) -> str:
    """A string constant as PostgreSQL reads it: doubled quotes, and after an E doubled backslashes."""
    escaped = sql.startswith(" E")
    assert escaped == ("\\" in sql)
    body = sql.removeprefix(" E")
    assert body[0] == body[-1] == "'"
    inside = body[1:-1]
    assert "'" not in inside.replace("''", "")
    assert "\\" not in inside.replace("\\\\", "")
    return inside.replace("''", "'").replace("\\\\", "\\")


@given(TEXT)
def test_a_literal_is_read_as_what_was_meant(text: str) -> None:
    assert read_literal(literal(text)) == text


@given(TEXT.filter(lambda text: 0 < len(text.encode()) <= LONGEST_NAME))
def test_a_name_is_read_as_what_was_meant(name: str) -> None:
    quoted = ident(name)
    assert quoted[0] == quoted[-1] == '"'
    assert '"' not in quoted[1:-1].replace('""', "")
    assert quoted[1:-1].replace('""', '"') == name


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "ä" * 32])
def test_a_name_that_would_become_another_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        ident(name)


def test_a_nul_is_refused_in_a_text() -> None:
    with pytest.raises(ValueError, match="NUL"):
        literal("a\0b")


def test_an_empty_list_has_a_type() -> None:
    assert literals([]) == "ARRAY[]::text[]"
    assert literals(["a", "o'b"]) == "ARRAY['a', 'o''b']::text[]"


# Made by PostgreSQL 15: CREATE ROLE ... PASSWORD '...'
STORED = [
    (
        "pencil",
        "SCRAM-SHA-256$4096:Gqn2Z0yfF90RNn45a96pGw==$rBacAfPRIS5EPQ2g52zspnc97vDfinuPGJzf1OgFshk=:AUsO+YzjSESb9WaKNNKLx5pg6VyAMP2S/BoFX4wsQEE=",
    ),
    (
        'it\'s \\ a "pass" $word {0} :x',
        "SCRAM-SHA-256$4096:YrukbBqWY7rA9Bkv/3SBmg==$I9+1f0yVkX2/M4RUmRp1xlmRjHSdggCPHnre/a7nHUc=:xeUZKjXvcZkekgpXKGR4XNiXfa7ctglWLLC1Ca38M+o=",
    ),
    (
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "SCRAM-SHA-256$4096:U7y6o5tUYyrz2s9oZM3/GQ==$/+n/eaOC1JLuoa0KkpGO9vjyOPZoIO6gnOSf48NsHeI=:lvPboBSVlqZGVD+9HUm/oYuVq418XoeKipbYzAtWCmM=",
    ),
]


@pytest.mark.parametrize(("password", "stored"), STORED)
def test_what_a_server_has_stored_is_known_again(password: str, stored: str) -> None:
    assert is_password_of(stored, Secret(password))
    assert not is_password_of(stored, Secret(password + " "))


def test_the_example_of_rfc_7677_has_this_stored_key() -> None:
    import base64
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    _, _, keys = verifier(Secret("pencil"), salt, 4096).split("$")
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(stored, message, "sha256")
    client = bytes(byte ^ other for byte, other in zip(proof, signature, strict=True))
    assert hashlib.sha256(client).digest() == stored
    assert base64.b64encode(hmac.digest(server, message, "sha256")) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_each_verifier_has_a_salt_of_its_own_and_is_that_of_its_password() -> None:
    first, second = verifier(Secret("one password")), verifier(Secret("one password"))
    assert first != second
    assert is_password_of(first, Secret("one password"))
    assert "one password" not in first


@pytest.mark.parametrize("stored", ["", "md5c3fcd3d76192e4007dfb496cca67e13b", "SCRAM-SHA-256$4096:x", "pencil"])
def test_what_is_stored_in_another_way_is_no_password_of_ours(stored: str) -> None:
    assert not is_password_of(stored, Secret("pencil"))
