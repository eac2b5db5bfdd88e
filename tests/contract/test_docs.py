"""What the guides show must be true: operations are valid for the schema, links lead somewhere."""

import re
from pathlib import Path

import pytest
from graphql import parse, validate

from tests.contract.documents import graphql_schema

_ROOT = Path(__file__).parents[2]
_GUIDES = [_ROOT / "README.md", _ROOT / "CHANGELOG.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_OPERATION = re.compile(r"```graphql\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)")


def _operations() -> list[tuple[str, str]]:
    return [
        (guide.relative_to(_ROOT).as_posix(), operation)
        for guide in _GUIDES
        for operation in _OPERATION.findall(guide.read_text())
    ]


@pytest.mark.parametrize(("guide", "operation"), _operations())
def test_an_operation_that_is_shown_is_valid(guide: str, operation: str) -> None:
    errors = validate(graphql_schema(), parse(operation))
    assert errors == [], guide


@pytest.mark.parametrize("guide", _GUIDES, ids=lambda guide: guide.relative_to(_ROOT).as_posix())
def test_a_link_leads_somewhere(guide: Path) -> None:
    assert [link for link in _LINK.findall(guide.read_text()) if not (guide.parent / link).exists()] == []
