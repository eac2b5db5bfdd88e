"""What a picture of a provider takes of a worker's memory on its way, beside the answer that it is in."""

import tracemalloc

from domain.generation.providers.wire import Account, picture
from tests.generation.provider import encoded
from tests.support.photos import photo

_LARGE = 8_000_000


def test_a_picture_is_decoded_without_another_copy_of_its_text() -> None:
    account = Account("http://127.0.0.1:9", "key", "model", timeout=1, max_image_bytes=2 * _LARGE)
    text = encoded(photo()[:-2] + bytes(_LARGE) + b"\xff\xd9")
    tracemalloc.start()
    try:
        made = picture(account, text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made.data) > _LARGE
    assert most < 1.2 * len(made.data)
