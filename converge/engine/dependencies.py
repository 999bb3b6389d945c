"""What stands on what: worked out of what each resource says that it gives and that it stands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from converge.engine.resource import Resource

PATH, WITHIN = "path:", "within:"


def links(resources: Iterable[Resource]) -> dict[str, tuple[str, ...]]:
    """The addresses of what each resource stands on, by its own address.

    A fact is an address, or something that is given: `uid:9000`, `path:/mnt/drive1`. Who stands on a path stands on all
    that gives it or a folder above it; who stands on `within:PATH` stands on all that is planned beneath that path.
    """
    all_of_them = list(resources)
    givers: dict[str, list[str]] = {}
    for resource in all_of_them:
        for fact in _facts_of(resource):
            givers.setdefault(fact, []).append(resource.address)
    return {resource.address: tuple(_stands_on(resource, givers)) for resource in all_of_them}


def _facts_of(resource: Resource) -> Iterator[str]:
    yield resource.address
    for fact in resource.gives():
        yield fact
        if fact.startswith(PATH):
            yield from (WITHIN + above for above in _above(fact.removeprefix(PATH)))


def _stands_on(resource: Resource, givers: dict[str, list[str]]) -> dict[str, None]:
    facts = (fact for needed in resource.stands_on() for fact in _meant(needed))
    return dict.fromkeys(giver for fact in facts for giver in givers.get(fact, ()) if giver != resource.address)


def _meant(fact: str) -> Iterator[str]:
    yield fact
    if fact.startswith(PATH):
        yield from (PATH + above for above in _above(fact.removeprefix(PATH)))


def _above(path: str) -> Iterator[str]:
    """The folders above a path, the nearest first; not the root."""
    while path := path.rpartition("/")[0]:
        yield path
