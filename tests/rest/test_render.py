"""Values as JSON."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.core.objects import Kind, Service, SyncObject
from starlings.rest.render import encode, format_date, render_object

SERVICE = Service(1, "IS" + "1" * 32, "AC" + "2" * 32, None, None, 0, 0)


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_a_date_is_what_the_python_helper_parses_without_its_fraction(at: int) -> None:
    parsed = datetime.strptime(format_date(at), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert parsed.timestamp() == at // 1000


@pytest.mark.parametrize(
    "data", [b"{}", b'{"n":1.0,"n":1e400,"\\u0001":"\xc3\xa9"}', b'{"long":123456789012345678901}']
)
def test_data_go_out_byte_for_byte(data: bytes) -> None:
    document = SyncObject(
        *(2, "ET" + "3" * 32, 1, Kind.DOCUMENT, 'a "name"', data, 1, 30, 0, 0, 0, 0, None, "zoë")
    )
    body = encode(render_object("http://h", SERVICE, document))
    assert b'"revision":"1e","data":' + data + b',"date_expires":null' in body
    assert b'"unique_name":"a \\"name\\""' in body
    assert '"created_by":"zoë"'.encode() in body
