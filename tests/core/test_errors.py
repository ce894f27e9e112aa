"""The one table of refusals and faults."""

from __future__ import annotations

import pytest

from starlings.core.errors import Fault, Reason, Refusal


def test_no_code_is_used_twice() -> None:
    codes = [reason.code for reason in Reason]
    assert len(codes) == len(set(codes))
    assert len(list(Reason)) == len(Reason.__members__)  # nor does one hide as an alias


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_a_status_of_an_error(reason: Reason) -> None:
    assert 400 <= reason.status < 600
    assert reason.title
    assert reason.title[0].isupper()
    assert not reason.title.endswith(".")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (54003, 400), (54006, 413), (54007, 403), (54008, 400), (54009, 429), (54010, 400),
        (54011, 400), (54050, 404), (54051, 400), (54053, 400), (54056, 403), (54100, 404),
        (54101, 400), (54103, 412), (54150, 404), (54151, 404), (54155, 412), (54156, 400),
        (54200, 404), (54201, 404), (54205, 412), (54206, 400), (54208, 409), (54209, 400),
        (54250, 404), (54251, 400), (54300, 404), (54301, 409), (54302, 400), (54351, 400),
        (54354, 404), (54419, 429), (54450, 400), (54451, 400), (54452, 400), (54453, 400),
        (54454, 400), (54458, 400), (54502, 400), (54507, 400), (54509, 400), (54510, 400),
        (20001, 400), (20003, 401), (20404, 404), (20429, 429), (20500, 500), (20503, 503),
        (51215, 401),
    ],
)  # fmt: skip
def test_every_documented_code_is_there_with_its_status(code: int, status: int) -> None:
    [reason] = [reason for reason in Reason if reason.code == code]
    assert reason.status == status


def test_only_faults_are_ours_to_mend() -> None:
    ours = {reason for reason in Reason if reason.status >= 500}
    assert ours == {Reason.INTERNAL_FAULT, Reason.UNAVAILABLE}


def test_an_error_tells_its_reason_and_its_own_sentence() -> None:
    refusal = Refusal(Reason.BAD_TTL, "Invalid Ttl: 7", retry_after_seconds=3)
    assert (refusal.code, refusal.status, refusal.message) == (54011, 400, "Invalid Ttl: 7")
    assert (str(refusal), refusal.retry_after_seconds) == ("Invalid Ttl: 7", 3)
    assert Fault(Reason.UNAVAILABLE).message == "Service unavailable"
    assert repr(refusal) == "Refusal(BAD_TTL, 'Invalid Ttl: 7')"
