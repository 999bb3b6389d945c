"""Names that a restored database may get."""

from __future__ import annotations

import pytest

from worker.contract import RESTORE_REFUSED
from worker.errors import Failed
from worker.names import SERVERS_OWN, must_fit
from worker.postgres import beside


@pytest.mark.parametrize("name", ["app", "a b", "ü\"x'", "pg_x", "Ana", "app__old", "app__r_", "n" * 51, "%41", "a,b"])
def test_odd_names_that_postgresql_takes_are_taken(name: str) -> None:
    must_fit(name)


@pytest.mark.parametrize(
    "name", [*SERVERS_OWN, *(beside("app", what, "a1b2c3") for what in ("r", "old", "undone")), " ", " a", "a\nb", "-d"]
)
def test_names_of_the_server_ours_and_what_nobody_could_type_again_are_refused(name: str) -> None:
    with pytest.raises(Failed) as caught:
        must_fit(name)
    assert (caught.value.code, caught.value.hint) == (RESTORE_REFUSED, "the same with another name: --as NAME")
