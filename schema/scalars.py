"""Scalars of our own, for values that have a form."""

from typing import Any, NewType

import strawberry
from graphql import GraphQLError

from domain.kit.errors import Invalid
from domain.kit.macs import checked_mac

MacAddress = NewType("MacAddress", str)


def _parsed(value: Any) -> str:
    try:
        return checked_mac(value)
    except Invalid as refusal:
        raise GraphQLError(refusal.message) from None


MAC_ADDRESS = strawberry.scalar(
    name="MacAddress",
    description=(
        "A MAC address, lower-case and hyphen-separated: `a4-cf-12-0b-9e-01`. Upper case, colons and dots are "
        "understood, too; answers have the one form."
    ),
    serialize=str,
    parse_value=_parsed,
)
