"""Two accounts on one server: neither reaches, lists or shares the other's services. [54056]"""

from __future__ import annotations

from pathlib import Path

import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from tests.e2e.server import ServerProcess

OTHER = {"STARLINGS_ACCOUNT_SID": "AC" + "b" * 32, "STARLINGS_AUTH_TOKEN": "f" * 32}


def test_a_service_of_another_account_is_refused_and_not_listed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        mine = server.credentials
        server.stop()
    with ServerProcess(tmp_path, environment=OTHER) as server:
        first = Client(mine.account_sid, mine.auth_token)
        second = Client(OTHER["STARLINGS_ACCOUNT_SID"], OTHER["STARLINGS_AUTH_TOKEN"])
        for client in (first, second):
            client.sync.base_url = server.base_url
        service = first.sync.v1.services.create(friendly_name="private")
        with pytest.raises(TwilioRestException) as refused:
            second.sync.v1.services(service.sid).fetch()
        assert (refused.value.status, refused.value.code) == (403, 54056)
        defaults = [client.sync.v1.services("default").fetch() for client in (first, second)]
        assert defaults[0].sid != defaults[1].sid
        assert [one.sid for one in second.sync.v1.services.list()] == [defaults[1].sid]
        server.stop()
