"""Who is tried when: webhooks/dispatcher.py, over a real store and scripted targets."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from starlings.core import commands as c
from starlings.core.errors import Fault, Reason
from starlings.core.limits import OFF
from starlings.core.objects import SYSTEM, Actor, Kind, ObjectRef, Service
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.storage.outbox import OutboxCounts
from starlings.storage.sqlite.database import FILE_NAME
from starlings.storage.sqlite.outbox import list_webhooks, retry_webhooks
from starlings.storage.sqlite.store import SqliteStore
from starlings.webhooks import dispatcher as module
from starlings.webhooks.delivery import Deliverer, Outcome
from starlings.webhooks.dispatcher import Dispatcher, Policy
from tests.webhooks.samples import ACCOUNT, AUTH_TOKEN

CLIENT = Actor("bob", "EP1", is_unrestricted=False)
OK = Outcome(True, "status 200")
FAILED = Outcome(False, "status 500")
DAY = 86_400.0
EMPTY = OutboxCounts(0, 0)

Answer = Callable[[str, Mapping[str, str], str], Awaitable[Outcome]]


class Script(Deliverer):
    """A deliverer whose targets answer as a test says. ``log`` has the successes in order."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(may_be_private=True, connections=1)
        self._answer = answer
        self.attempts: list[tuple[str, str]] = []
        """URL and idempotency token."""
        self.log: list[Mapping[str, str]] = []
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight: Counter[str] = Counter()

    async def deliver(
        self, url: str, parameters: Mapping[str, str], auth_token: str, idempotency_token: str
    ) -> Outcome:
        assert auth_token == AUTH_TOKEN
        self.attempts.append((url, idempotency_token))
        self.in_flight[url] += 1
        self.most_in_flight[url] = max(self.most_in_flight[url], self.in_flight[url])
        try:
            outcome = await self._answer(url, parameters, idempotency_token)
        finally:
            self.in_flight[url] -= 1
        if outcome.is_delivered:
            self.log.append(parameters)
        return outcome


async def always(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
    await asyncio.sleep(0)
    return OK


async def never(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
    return FAILED


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of milliseconds where the server waits for seconds."""
    monkeypatch.setattr(module, "backoff_seconds", lambda failures, chance: 0.002 * failures)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_STORE_PAUSE_SECONDS", 0.01)


class Desk:
    """A store with services, objects and a dispatcher."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.node = Node(store, OFF, SYSTEM_SOURCES, store.outbox)

    async def service(self, url: str = "http://a.test") -> Service:
        settings = c.ServiceSettings(webhook_url=url)
        return await self.node.create_service(ACCOUNT, settings, Actor(SYSTEM), None)

    async def objects(self, service: Service, count: int, *, items: int = 0) -> list[ObjectRef]:
        """Maps by a client, with items; each change fires."""
        refs = [ObjectRef(service.oid, Kind.MAP, f"m{number}") for number in range(count)]
        for ref in refs:
            await self.node.create_object(service, Kind.MAP, ref.name, None, None, CLIENT, None)
        for number in range(items):
            for ref in refs:
                await self.put(ref, f"k{number}")
        return refs

    async def put(self, ref: ObjectRef, key: str) -> None:
        await self.node.execute(c.PutMapItem(ref, key, b"{}", None, None, CLIENT))

    @asynccontextmanager
    async def dispatching(
        self,
        script: Script,
        max_age_seconds: float = DAY,
        find_auth_token: Callable[[str], str | None] = {ACCOUNT: AUTH_TOKEN}.get,
    ) -> AsyncIterator[Dispatcher]:
        policy = Policy(max_age_seconds, DAY)
        outbox = self.store.outbox
        dispatcher = Dispatcher(self.store, outbox, script, find_auth_token, SYSTEM_SOURCES, policy)
        await dispatcher.start()
        task = asyncio.get_running_loop().create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def wait_until_empty(self, counts: OutboxCounts = EMPTY) -> None:
        await wait_until(self.store.outbox.count, counts)


async def wait_until(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Raises TimeoutError unless what is looked at becomes as wanted."""
    async with asyncio.timeout(20):
        while (found := await look()) != wanted:
            del found
            await asyncio.sleep(0.005)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now)
    yield Desk(store)
    await store.close()


def orders(script: Script) -> dict[str, list[str]]:
    """The items told of each map, in the order of their delivery."""
    found = defaultdict(list)
    for parameters in script.log:
        found[parameters["MapUniqueName"]].append(parameters.get("ItemKey", "-"))
    return found


async def test_what_waits_at_the_start_and_what_comes_later_is_delivered_in_order(
    desk: Desk,
) -> None:
    service = await desk.service()
    refs = await desk.objects(service, 6, items=20)
    script = Script(always)
    async with desk.dispatching(script) as dispatcher:
        for number in range(20, 40):
            for ref in refs:
                await desk.put(ref, f"k{number}")
        await desk.wait_until_empty()
        assert dispatcher.statistics().delivered == 6 * 41
    expected = ["-", *(f"k{number}" for number in range(40))]
    assert orders(script) == {ref.name: expected for ref in refs}


async def test_order_holds_though_every_first_attempt_fails(desk: Desk) -> None:
    seen: set[str] = set()

    async def flaky(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        is_new = token not in seen
        seen.add(token)
        await asyncio.sleep(0.001)
        return FAILED if is_new else OK

    refs = await desk.objects(await desk.service(), 5, items=6)
    script = Script(flaky)
    async with desk.dispatching(script) as dispatcher:
        await desk.wait_until_empty()
        assert dispatcher.statistics().failed == 5 * 7
    assert orders(script) == {ref.name: ["-", *(f"k{n}" for n in range(6))] for ref in refs}
    assert set(Counter(token for _, token in script.attempts).values()) == {2}


async def test_a_target_gets_four_at_a_time_and_one_object_once(desk: Desk) -> None:
    objects: Counter[str] = Counter()

    async def look(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        objects[parameters["MapSid"]] += 1
        assert objects[parameters["MapSid"]] == 1
        await asyncio.sleep(0.002)
        objects[parameters["MapSid"]] -= 1
        return OK

    await desk.objects(await desk.service(), 10, items=3)
    script = Script(look)
    async with desk.dispatching(script):
        await desk.wait_until_empty()
    assert script.most_in_flight == {"http://a.test": 4}
    assert len(script.log) == 40


async def test_an_object_that_always_fails_holds_up_no_other(desk: Desk) -> None:
    async def refuse_m0(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        await asyncio.sleep(0)
        return FAILED if parameters["MapUniqueName"] == "m0" else OK

    await desk.objects(await desk.service(), 8, items=5)
    script = Script(refuse_m0)
    async with desk.dispatching(script):
        await desk.wait_until_empty(OutboxCounts(6, 0))
        assert "m0" not in orders(script)
        assert len(script.log) == 7 * 6


async def test_targets_that_hang_hold_up_no_other_and_are_tried_one_at_a_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_IN_FLIGHT", 12)

    async def hang(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        if url == "http://good.test":
            return OK
        await asyncio.sleep(0.02)
        return FAILED

    for number in range(6):
        await desk.objects(await desk.service(f"http://bad{number}.test"), 6)
    good = await desk.service("http://good.test")
    refs = await desk.objects(good, 3)
    script = Script(hang)
    async with desk.dispatching(script) as dispatcher:

        async def down() -> int:
            return dispatcher.statistics().targets_down

        await wait_until(down, 6)
        script.most_in_flight.clear()
        for number in range(30):
            await desk.put(refs[number % 3], f"k{number}")

        async def told() -> int:
            return len(script.log)

        await wait_until(told, 33)
    del script.most_in_flight["http://good.test"]
    assert max(script.most_in_flight.values()) <= 4, "probes: those begun before it was down"
    assert script.most_in_flight.total() <= 6 + 6


async def test_what_failed_for_too_long_becomes_a_dead_letter_and_the_next_one_is_tried(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.objects(await desk.service(), 1, items=2)
    async with desk.dispatching(Script(never), max_age_seconds=0.05) as dispatcher:
        await desk.wait_until_empty(OutboxCounts(0, 3))
        assert dispatcher.statistics().given_up == 3
    dead = list_webhooks(tmp_path / FILE_NAME, True, 0, 9)
    assert [(one.type, one.error) for one in dead] == [
        ("map_created", "status 500"),
        ("map_item_added", "status 500"),
        ("map_item_added", "status 500"),
    ]


async def test_what_was_never_tried_is_given_up_once_its_target_was_down_for_so_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "backoff_seconds", lambda failures, chance: 3600.0)
    await desk.objects(await desk.service(), 50)
    script = Script(never)
    async with desk.dispatching(script, max_age_seconds=1.0) as dispatcher:

        async def down() -> int:
            return dispatcher.statistics().targets_down

        await wait_until(down, 1)
        await dispatcher.clean()
        assert (await desk.store.outbox.count()).dead == 0

        async def count_after_cleaning() -> OutboxCounts:
            await dispatcher.clean()
            return await desk.store.outbox.count()

        await wait_until(count_after_cleaning, OutboxCounts(0, 50))
    assert len(script.attempts) < 20


async def test_an_operators_retry_is_heard_and_keeps_the_token(desk: Desk, tmp_path: Path) -> None:
    answers = [FAILED, OK]

    async def script_of_two(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        return answers.pop(0)

    await desk.objects(await desk.service(), 1)
    script = Script(script_of_two)
    async with desk.dispatching(script, max_age_seconds=0.0):
        await desk.wait_until_empty(OutboxCounts(0, 1))
        assert retry_webhooks(tmp_path / FILE_NAME, None, SYSTEM_SOURCES.now()) == 1
        await desk.wait_until_empty()
    assert len(set(script.attempts)) == 1
    assert len(script.attempts) == 2


async def test_a_target_that_comes_back_gets_all_in_order(desk: Desk) -> None:
    is_up = False

    async def later(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        return OK if is_up else FAILED

    refs = await desk.objects(await desk.service(), 3, items=3)
    script = Script(later)
    async with desk.dispatching(script) as dispatcher:

        async def down() -> int:
            return dispatcher.statistics().targets_down

        await wait_until(down, 1)
        is_up = True
        await desk.wait_until_empty()
        assert dispatcher.statistics().targets_down == 0
    assert orders(script) == {ref.name: ["-", "k0", "k1", "k2"] for ref in refs}


async def test_of_more_than_may_wait_a_target_that_comes_back_gets_the_newest_in_order(
    tmp_path: Path,
) -> None:
    store = await SqliteStore.open(tmp_path, OFF, SYSTEM_SOURCES.now, most_webhooks=20)
    try:
        desk = Desk(store)
        refs = await desk.objects(await desk.service(), 2, items=30)
        script = Script(always)
        async with desk.dispatching(script) as dispatcher:
            await desk.wait_until_empty()
            assert dispatcher.statistics().dropped == 2 * 31 - 20
        newest = [f"k{number}" for number in range(20, 30)]
        assert orders(script) == {ref.name: newest for ref in refs}
    finally:
        await store.close()


async def test_without_its_url_a_webhook_is_a_dead_letter_without_its_service_nothing(
    desk: Desk, tmp_path: Path
) -> None:
    kept, removed = await desk.service(), await desk.service("http://b.test")
    for service in (kept, removed):
        await desk.objects(service, 1)
    settings = c.ServiceSettings(webhook_url=None)
    await desk.node.execute(c.UpdateService(kept.oid, settings, Actor(SYSTEM)))
    await desk.node.execute(c.RemoveService(removed.oid, Actor(SYSTEM)))
    script = Script(always)
    async with desk.dispatching(script):
        await desk.wait_until_empty(OutboxCounts(0, 1))
    (dead,) = list_webhooks(tmp_path / FILE_NAME, True, 0, 9)
    assert (dead.service_sid, dead.error) == (kept.sid, "the service has no webhook URL")
    assert script.attempts == []


async def test_nothing_is_remembered_of_a_service_that_was_removed(desk: Desk) -> None:
    is_tried, is_removed = asyncio.Event(), asyncio.Event()

    async def fail_when_it_is_removed(*_: object) -> Outcome:
        is_tried.set()
        await is_removed.wait()
        return FAILED

    script = Script(fail_when_it_is_removed)
    async with desk.dispatching(script) as dispatcher:
        service = await desk.service()
        await desk.objects(service, 1)
        await is_tried.wait()
        await desk.node.store.execute(c.RemoveService(service.oid, Actor(SYSTEM)))
        is_removed.set()

        async def count_targets() -> int:
            return len(dispatcher._targets)

        await wait_until(count_targets, 0)
        assert dispatcher.statistics().failed == 1
        assert await desk.store.outbox.count() == EMPTY


async def test_a_new_url_is_used_for_what_waits(desk: Desk) -> None:
    async def one_is_good(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        return OK if url == "http://new.test" else FAILED

    service = await desk.service("http://old.test")
    await desk.objects(service, 2)
    async with desk.dispatching(Script(one_is_good)) as dispatcher:

        async def failed() -> bool:
            return dispatcher.statistics().failed > 0

        await wait_until(failed, True)
        settings = c.ServiceSettings(webhook_url="http://new.test")
        await desk.node.execute(c.UpdateService(service.oid, settings, Actor(SYSTEM)))
        await desk.wait_until_empty()


async def test_while_nothing_can_be_settled_nothing_is_delivered_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = desk.store.outbox.settle
    failures = 20

    async def full(*arguments: object) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Fault(Reason.UNAVAILABLE)
        await settle(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.store.outbox, "settle", full)
    await desk.objects(await desk.service(), 1, items=3)
    script = Script(always)
    async with desk.dispatching(script):
        await desk.wait_until_empty()
    assert failures == 0
    assert len(script.attempts) == 4


async def test_an_account_without_a_token_fails_softly(desk: Desk) -> None:
    await desk.objects(await desk.service(), 1)
    script = Script(always)
    async with desk.dispatching(script, 0.05, lambda _: None):
        await desk.wait_until_empty(OutboxCounts(0, 1))
    assert script.attempts == []


async def test_an_error_of_ours_is_a_failed_attempt(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        raise ZeroDivisionError

    await desk.objects(await desk.service(), 1)
    async with desk.dispatching(Script(broken), max_age_seconds=0.05):
        await desk.wait_until_empty(OutboxCounts(0, 1))
    assert "could not be sent" in caplog.text


async def test_what_is_under_way_at_the_end_is_finished_and_settled(desk: Desk) -> None:
    begun = asyncio.Event()

    async def slow(url: str, parameters: Mapping[str, str], token: str) -> Outcome:
        begun.set()
        await asyncio.sleep(0.1)
        return OK

    await desk.objects(await desk.service(), 1, items=5)
    script = Script(slow)
    async with desk.dispatching(script):
        await begun.wait()
    assert len(script.log) == 1
    assert await desk.store.outbox.count() == OutboxCounts(5, 0)
