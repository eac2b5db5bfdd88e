"""Which images are cited: named by something that would be poorer without them. Retention keeps these.

The one list. A feature that names images adds its condition here; features above this package are said in SQL
text, because nothing here may import them.
"""

from sqlalchemy import Boolean, ColumnElement, literal_column, or_

from domain.images.models import images

_BY_A_SCENE = """(EXISTS (SELECT FROM scenes WHERE scenes.imported_image_id = images.id
 AND scenes.expires_at > now()) OR EXISTS (SELECT FROM scenes JOIN image_generations AS made
 ON made.id = scenes.generation_id WHERE made.image_id = images.id AND scenes.expires_at > now()))"""

CITED_BY: dict[str, ColumnElement[bool]] = {
    # Deleted all the same, it goes; restored in time, it is featured again.
    "featured": images.c.featured & images.c.deleted_at.is_(None),
    "scene": literal_column(_BY_A_SCENE, Boolean()) & images.c.deleted_at.is_(None),
}
"""What cites an image, by the word that reports use for it: conditions on `images`."""


def cited() -> ColumnElement[bool]:
    """Whether anything cites an image, as a condition on `images`."""
    return or_(*CITED_BY.values())
