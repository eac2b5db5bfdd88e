"""Which images are cited: named by something that would be poorer without them. Retention keeps these.

The one list. A feature that names images adds its condition here; features above this package are said in SQL
text, because nothing here may import them.
"""

from sqlalchemy import ColumnElement, or_

from domain.images.models import images

CITED_BY: dict[str, ColumnElement[bool]] = {
    "featured": images.c.featured,
}
"""What cites an image, by the word that reports use for it: conditions on `images`."""


def cited() -> ColumnElement[bool]:
    """Whether anything cites an image, as a condition on `images`."""
    return or_(*CITED_BY.values())
