"""Names with any characters, quoted for commands that a person pastes."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker.quoting import ident, listed, literal, names_in, on_host

NAMES = some.text(min_size=1, alphabet=some.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(some.lists(NAMES))
def test_a_list_of_names_is_read_as_it_was_written(names: list[str]) -> None:
    (word,) = shlex.split(listed(names))
    assert names_in(word) == names


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a,b", ["a", "b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('Jürgen\'s "data" %41', ['Jürgen\'s "data" %41']),
        ('"""x""",y', ['"x"', "y"]),
        (",a,,b,", ["a", "b"]),
        ("", []),
    ],
)
def test_a_comma_within_double_quotes_is_part_of_a_name(typed: str, names: list[str]) -> None:
    assert names_in(typed) == names


@pytest.mark.parametrize("typed", ['"a,b', '"a"b', "a\nb"])
def test_a_list_that_cannot_be_read_is_an_error(typed: str) -> None:
    with pytest.raises(ValueError, match=r"new-line|expected"):
        names_in(typed)


def test_plain_names_are_written_plainly() -> None:
    assert listed(["geo", "mlflow"]) == "geo,mlflow"
    assert on_host("postgres", "SELECT 1") == "docker exec postgres psql -U postgres -d postgres -c 'SELECT 1'"


@given(NAMES)
def test_a_command_for_the_host_gives_the_shell_each_word_as_it_is(name: str) -> None:
    arguments = shlex.split(on_host(name, f"DROP DATABASE {ident(name)}", database=name))
    assert arguments[:5] == ["docker", "exec", "postgres", "psql", "-U"]
    assert (arguments[5], arguments[6], arguments[8:]) == (name, "-d", ["-c", f"DROP DATABASE {ident(name)}"])


def test_a_database_that_psql_would_take_for_a_connection_is_named_as_a_database() -> None:
    assert on_host("p", database="a=b").endswith("""-d 'dbname='"'"'a=b'"'"''""")
    assert shlex.split(on_host("p", database="postgres://x"))[-1] == "dbname='postgres://x'"


def test_names_and_texts_in_sql_end_where_they_should() -> None:
    assert ident('My "Db"') == '"My ""Db"""'
    assert (literal("it's"), literal("a\\b'")) == ("'it''s'", "E'a\\\\b'''")
