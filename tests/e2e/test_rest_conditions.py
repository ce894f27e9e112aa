"""Conditional writes over plain HTTP: every form of If-Match, and entity tags. [REST 3]"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.raw import assert_refused


@dataclass(frozen=True)
class _Target:
    """Something with a revision: made at revision 0, updated once to 1."""

    name: str
    mismatch: int

    def make(self, raw: httpx.Client) -> str:
        """Its path."""
        match self.name:
            case "document":
                path = f"/Documents/{raw.post('/Documents').json()['sid']}"
            case "list item":
                path = f"/Lists/{raw.post('/Lists').json()['sid']}/Items/0"
                raw.post(path.removesuffix("/0"), data={"Data": "{}"})
            case _:
                path = f"/Maps/{raw.post('/Maps').json()['sid']}/Items/k"
                raw.post(path.removesuffix("/k"), data={"Key": "k", "Data": "{}"})
        assert raw.post(path, data={"Data": '{"n":1}'}).json()["revision"] == "1"
        return path


pytestmark = pytest.mark.parametrize(
    "target",
    [_Target("document", 54103), _Target("list item", 54155), _Target("map item", 54205)],
    ids=lambda target: target.name,
)

CURRENT = ["1", '"1"', 'W/"1"', "*"]
STALE = ["0", '"0"', 'W/"0"', "2", "1e"]
NO_REVISION = ["latest", '"latest"', "-1", "0x1", '"1', ",", "1 1"]


@pytest.mark.parametrize("if_match", CURRENT)
def test_an_update_with_a_matching_condition_is_made(
    raw: httpx.Client, target: _Target, if_match: str
) -> None:
    path = target.make(raw)

    updated = raw.post(path, data={"Data": '{"n":2}'}, headers={"If-Match": if_match})

    assert updated.status_code == 200
    assert updated.json()["revision"] == "2"
    assert updated.json()["data"] == {"n": 2}


@pytest.mark.parametrize("if_match", STALE)
def test_an_update_with_another_revision_is_refused(
    raw: httpx.Client, target: _Target, if_match: str
) -> None:
    path = target.make(raw)

    updated = raw.post(path, data={"Data": '{"n":2}'}, headers={"If-Match": if_match})

    assert_refused(updated, 412, target.mismatch)
    assert raw.get(path).json()["data"] == {"n": 1}


@pytest.mark.parametrize("if_match", NO_REVISION)
def test_a_condition_that_is_no_revision_is_refused(
    raw: httpx.Client, target: _Target, if_match: str
) -> None:
    path = target.make(raw)

    assert_refused(raw.post(path, data={"Data": "{}"}, headers={"If-Match": if_match}), 400, 54003)
    assert_refused(raw.delete(path, headers={"If-Match": if_match}), 400, 54003)
    assert raw.get(path).json()["revision"] == "1"


@pytest.mark.parametrize("if_match", STALE)
def test_a_deletion_with_another_revision_is_refused(
    raw: httpx.Client, target: _Target, if_match: str
) -> None:
    path = target.make(raw)

    assert_refused(raw.delete(path, headers={"If-Match": if_match}), 412, target.mismatch)
    assert raw.get(path).status_code == 200


@pytest.mark.parametrize("if_match", CURRENT)
def test_a_deletion_with_a_matching_condition_is_made(
    raw: httpx.Client, target: _Target, if_match: str
) -> None:
    path = target.make(raw)

    assert raw.delete(path, headers={"If-Match": if_match}).status_code == 204
    assert raw.get(path).status_code == 404


def test_the_entity_tag_of_a_response_serves_as_the_next_condition(
    raw: httpx.Client, target: _Target
) -> None:
    path = target.make(raw)
    tag = raw.get(path).headers["etag"]
    assert tag == '"1"'

    first = raw.post(path, data={"Data": "{}"}, headers={"If-Match": tag})
    second = raw.post(path, data={"Data": "{}"}, headers={"If-Match": tag})

    assert first.headers["etag"] == '"2"'
    assert_refused(second, 412, target.mismatch)


def test_a_ttl_alone_obeys_the_condition_too(raw: httpx.Client, target: _Target) -> None:
    path = target.make(raw)

    assert_refused(
        raw.post(path, data={"Ttl": "60"}, headers={"If-Match": "0"}), 412, target.mismatch
    )
    assert raw.get(path).json()["date_expires"] is None


def test_of_many_concurrent_writers_with_one_condition_one_wins(
    raw: httpx.Client, target: _Target
) -> None:
    path = target.make(raw)

    def write(_: int) -> int:
        return raw.post(path, data={"Data": "{}"}, headers={"If-Match": "1"}).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(write, range(20)))

    assert statuses == [200] + [412] * 19
    assert raw.get(path).json()["revision"] == "2"


def test_a_missing_item_is_reported_before_the_condition(
    raw: httpx.Client, target: _Target
) -> None:
    path = target.make(raw)
    raw.delete(path)

    response = raw.post(path, data={"Data": "{}"}, headers={"If-Match": "0"})

    assert_refused(response, 404, 54100, 54151, 54201)
