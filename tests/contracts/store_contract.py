"""What every store must do, written once. The numbers in the names of tests are those of the
invariants in ``starlings.storage.store``.

An adapter's test file derives a class from ``StoreContract`` and gives it the fixture ``store``:
the store with ``LIMITS`` and the fixture ``clock``. Each part of the contract tells of one theme
and needs the fixtures below, so it is run through ``StoreContract`` only.
"""

from __future__ import annotations

import pytest

from starlings.core.limits import Limits, Rates
from starlings.storage.store import Store
from tests.contracts.clock_contract import ClockContract
from tests.contracts.commits_contract import CommitsContract
from tests.contracts.desk import Clock, Desk
from tests.contracts.expiry_contract import ExpiryContract
from tests.contracts.items_contract import ItemsContract
from tests.contracts.log_contract import LogContract
from tests.contracts.objects_contract import ObjectsContract
from tests.contracts.reads_contract import ReadsContract
from tests.contracts.setting import Setting

__all__ = ["LIMITS", "StoreContract"]

LIMITS = Limits(rates=Rates.off())


class StoreContract(
    ObjectsContract,
    ItemsContract,
    ExpiryContract,
    CommitsContract,
    ReadsContract,
    LogContract,
    ClockContract,
):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def desk(self, store: Store, clock: Clock) -> Desk:
        return Desk(store, clock)

    @pytest.fixture
    async def at(self, desk: Desk) -> Setting:
        return Setting(desk, await desk.create_service())
