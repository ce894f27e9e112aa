"""What the tests of the REST face share."""

import pytest

pytest.register_assert_rewrite("tests.rest.asgi", "tests.rest.shapes")

from tests.rest.asgi import Api  # noqa: E402 - after the registration


@pytest.fixture
def api() -> Api:
    """An app with an empty store and no rates."""
    return Api()
