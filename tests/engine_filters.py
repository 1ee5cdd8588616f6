"""What a list of containers or volumes is narrowed down by, as Docker reads `filters`.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerList
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from engine_answers import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine_answers import Question
    from engine_container import Container


def filters(question: Question, *known: str) -> dict[str, list[str]]:
    """The values of each filter; Docker takes a list of them, or what it once was, a mapping of each to true.

    Raises:
        Refused: There is another filter, or they are no JSON.
    """
    try:
        given = json.loads(question.query.get("filters") or "{}")
    except ValueError:
        raise Refused(500, "unexpected end of JSON input") from None
    for name in given:
        if name not in known:
            raise Refused(400, f"Invalid filter '{name}'")
    return {name: list(given.get(name, ())) for name in known}


def fits(container: Container, wanted: Mapping[str, list[str]]) -> bool:
    """Whether a container is to be in the list."""
    by_id = not wanted["id"] or container.id.startswith(tuple(wanted["id"]))
    by_status = not wanted["status"] or container.status in wanted["status"]
    return by_id and by_status and named(container.name, wanted) and labelled(container.labels, wanted)


def named(name: str, wanted: Mapping[str, list[str]]) -> bool:
    """Whether one of the expressions is found in the name; a container's may be meant with its slash."""
    names = (name, f"/{name}")
    return not wanted["name"] or any(re.search(each, name) for each in wanted["name"] for name in names)


def labelled(labels: Mapping[str, str], wanted: Mapping[str, list[str]]) -> bool:
    """Whether all the labels are there; those with a value, with it."""
    pairs = (each.partition("=") for each in wanted["label"])
    return all(name in labels and (not sign or labels[name] == value) for name, sign, value in pairs)
