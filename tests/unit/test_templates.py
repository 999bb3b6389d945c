"""Templates: an error in one is reported with its file and line."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.templates import render


@pytest.fixture
def templates(tmp_path):
    """A host with these templates: name and text."""

    def host(**texts: str) -> SimpleNamespace:
        (tmp_path / "templates").mkdir()
        for name, text in texts.items():
            (tmp_path / "templates" / f"{name}.j2").write_text(text)
        return SimpleNamespace(name="prod", root=tmp_path)

    return host


def trouble_of(host, name="a.j2", **values) -> Trouble:
    with pytest.raises(Trouble, match="a template cannot be rendered") as caught:
        render(host, name, **values)
    assert caught.value.where == "prod"
    assert caught.value.untouched
    return caught.value


def test_values_are_rendered_as_they_are_with_the_host_among_them(templates):
    host = templates(a="{{ host.name }}: {{ value }}\n{% if value %}\n  yes\n{% endif %}\nend\n")
    assert render(host, "a.j2", value='<it\'s & "$x">') == 'prod: <it\'s & "$x">\n  yes\nend\n'


def test_the_last_line_end_is_kept_and_none_is_added(templates):
    host = templates(a="a\n", b="b")
    assert (render(host, "a.j2"), render(host, "b.j2")) == ("a\n", "b")


@pytest.mark.parametrize(
    "line", ["{% endfor %}", "{% no_such_tag %}", "{{ 1 | no_such_filter }}", "{{ a b }}", "{{ 'open }}", "{{ ) }}"]
)
def test_a_broken_template_is_told_with_its_file_and_line(templates, line):
    trouble = trouble_of(templates(a=f"one\ntwo\n{line}\nfour\n"))
    assert trouble.why.startswith("templates/a.j2:3: ")
    assert trouble.hint == "mend templates/a.j2:3"


@pytest.mark.parametrize("line", ["{{ unclosed", "{% if x %}", "{# no end", "{% block a %}"])
def test_what_is_never_closed_is_told_with_its_file_and_a_line_behind_it(templates, line):
    assert re.match(r"templates/a\.j2:[345]: ", trouble_of(templates(a=f"one\ntwo\n{line}\nfour\n")).why)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ host.nothing }}", "has no attribute 'nothing'"),
        ("{{ nothing.more }}", "'nothing' is undefined"),
        ("{% for one in nothing %}{% endfor %}", "'nothing' is undefined"),
        ("{% if nothing %}{% endif %}", "'nothing' is undefined"),
        ("{{ nodes[3].name }}", "no element 3"),
    ],
)
def test_a_name_that_is_not_defined_is_told_with_its_file_and_line(templates, line, says):
    trouble = trouble_of(templates(a=f"one\ntwo\n{line}\n"), nodes=[])
    assert trouble.why.startswith("templates/a.j2:3: ")
    assert says in trouble.why
    assert trouble.hint == "mend templates/a.j2:3"


@pytest.mark.parametrize(
    "line", ["{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{{ host() }}", "{{ host.name.nosuch() }}", "{% include 5 %}"]
)
def test_what_fails_while_it_is_rendered_is_told_with_its_file_and_line(templates, line):
    assert trouble_of(templates(a=f"one\ntwo\n{line}\n")).why.startswith("templates/a.j2:3: ")


def test_an_error_in_an_included_template_names_that_one(templates):
    host = templates(a="one\n{% include 'b.j2' %}\n", b="one\ntwo\n{{ nothing }}\n")
    assert trouble_of(host).why.startswith("templates/b.j2:3: ")


def test_a_template_that_is_missing_is_told_by_name(templates):
    host = templates(a="{% include 'none.j2' %}")
    assert "none.j2" in trouble_of(host, "none.j2").why
    assert "none.j2" in trouble_of(host).why


@pytest.mark.parametrize("text", ["{{ key }}", "{{ key ~ '' }}", "{{ '%s' % key }}"])
def test_a_secret_is_not_rendered_and_its_stand_in_is_no_configuration(templates, text):
    with pytest.raises(Trouble, match="cannot be rendered") as caught:
        render(templates(a=text), "a.j2", key=Secret("SENTINEL"))
    assert "a secret stands in it" in caught.value.why
    assert "SENTINEL" not in str(caught.value)
