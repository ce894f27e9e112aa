"""The memory store keeps the contract."""

from __future__ import annotations

import pytest

from starlings.storage.memory import MemoryStore
from tests.contracts.desk import Clock
from tests.contracts.store_contract import LIMITS, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock) -> MemoryStore:
        return MemoryStore(LIMITS, clock)
