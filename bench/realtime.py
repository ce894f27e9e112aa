"""Fan-out, requests and memory of the socket face, measured beside a bare C program in one run.

    python bench/realtime.py [--rounds 3] [--seconds 2] [--subscribers 1,100,1000,5000] [--part …]

The server (ours, or the bare one) is pinned to core 0, the load to core 1. The bare program writes
the same bytes to the same number of sockets with one write(2) each; it stores nothing, ours commits
each event to disk before it is delivered. A second bare program syncs each event to a file first.
Rounds alternate; medians are shown, and the ratio of the two in the same round. Where the load's
core is busy (load near 1) it is the limit; the processor time of the server for a delivery (cpu)
tells more then, and so does ``--acknowledge joined`` (see load.c).

Parts: fanout; spread (many objects with one subscriber each, beside few); rpc; memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlings.core.commands import UpdateDocument
from starlings.core.events import Event, EventType
from starlings.core.limits import OFF
from starlings.core.objects import Actor, Kind, ObjectRef, SyncObject
from starlings.node.clock import SYSTEM_SOURCES
from starlings.node.node import Node
from starlings.storage.sqlite.store import SqliteStore
from starlings.ws.render import EventEncoder

HERE = Path(__file__).parent
RATE = "deliveries_per_second"
SPREAD_CONNECTIONS = 1_000
Figures = dict[str, float]
Options = argparse.Namespace
DATA = json.dumps({"text": "x" * 150, "n": 1}, separators=(",", ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--subscribers", default="1,100,1000,5000")
    parser.add_argument("--in-flight", default="1,8")
    parser.add_argument("--acknowledge", choices=["each", "joined"], default="each")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--part", default="fanout,spread,rpc,memory")
    options = parser.parse_args()
    parts = options.part.split(",")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        compile_programs(work)
        if "fanout" in parts:
            for subscribers in map(int, options.subscribers.split(",")):
                for in_flight in map(int, options.in_flight.split(",")):
                    fan_out(work, subscribers, in_flight, options)
        if "spread" in parts:
            spread(work, options)
        if "rpc" in parts:
            requests(work, 100, options)
        if "memory" in parts:
            idle_memory(work, 10_000)


def compile_programs(work: Path) -> None:
    for name in ("load", "bare"):
        subprocess.run(
            ["cc", "-O2", "-D_GNU_SOURCE", "-o", str(work / name), str(HERE / f"{name}.c")],
            check=True,
        )


class OurServer:
    """A server process on core 0 with an empty store, and the frames that clients send to it."""

    def __init__(self, work: Path) -> None:
        self.data = Path(tempfile.mkdtemp(dir=work))
        self.frames = Path(tempfile.mkdtemp(dir=work))
        command = ["serve", "--port", "0", "--data", str(self.data), "--limits", "off"]
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", sys.executable, "-m", "starlings", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        self.credentials = json.loads((self.data / "credentials.json").read_text())
        token = subprocess.run(
            [
                *(sys.executable, "-m", "starlings", "token", "--identity", "bench"),
                *("--data", str(self.data), "--ttl", "3600"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        self._write(
            "upgrade.bin",
            b"GET /v3/wsconnect HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        self._write("init.bin", frame({"method": "init", "id": "TM0", "token": token}))

    def create_documents(self, count: int) -> list[str]:
        """The SIDs of new documents."""
        with ThreadPoolExecutor(min(count, 16)) as pool:
            return list(pool.map(lambda _: self._create_document(), range(count)))

    def prepare_fan_out(self) -> None:
        sids = self.create_documents(1)
        self._write("subscribe.bin", subscription(sids))
        self._write("publish.bin", update_of(sids[0]))

    def prepare_spread(self, connections: int, objects: int) -> None:
        sids = self.create_documents(objects)
        for place in range(connections):
            self._write(f"subscribe-{place}.bin", subscription(sids[place::connections]))
        for place, sid in enumerate(random.Random(1).sample(sids, min(1_000, objects))):
            self._write(f"publish-{place}.bin", update_of(sid))

    def prepare_requests(self, count: int) -> None:
        for place, sid in enumerate(self.create_documents(count)):
            self._write(f"request-{place}.bin", update_of(sid))

    def memory_kib(self) -> int:
        pid = self.process.pid
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        shutil.rmtree(self.data)

    def _create_document(self) -> str:
        form = urllib.parse.urlencode({"Data": DATA}).encode()
        request = urllib.request.Request(f"{self.url}/v1/Services/default/Documents", data=form)
        login = f"{self.credentials['account_sid']}:{self.credentials['auth_token']}"
        request.add_header("Authorization", "Basic " + b64encode(login.encode()).decode())
        with urllib.request.urlopen(request) as answer:
            return str(json.load(answer)["sid"])

    def _write(self, name: str, content: bytes) -> None:
        (self.frames / name).write_bytes(content)


def frame(header: dict[str, Any], payload: str = "") -> bytes:
    """A masked WebSocket message of the client protocol."""
    header = {**header, "payload_size": len(payload)}
    if payload:
        header["payload_type"] = "application/json"
    text = json.dumps(header, separators=(",", ":")).encode()
    body = b"TWILSOCK V3.0 %d\r\n%b\r\n%b" % (len(text), text, payload.encode())
    size = len(body)
    head = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + body


def tunnelled(method: str, path: str, payload: str) -> bytes:
    request = {"host": "bench", "path": path, "method": method, "params": {}, "headers": {}}
    return frame({"method": "message", "id": "TM1", "http_request": request}, payload)


def subscription(sids: list[str]) -> bytes:
    """Requests to subscribe to documents, as many to a request as the official client puts."""
    frames = []
    for start in range(0, len(sids), 50):
        entries = [
            {"object_sid": sid, "object_type": "document", "last_event_id": None}
            for sid in sids[start : start + 50]
        ]
        wanted = {"action": "establish", "correlation_id": 1 + start, "requests": entries}
        frames.append(tunnelled("POST", "/v4/Subscriptions", json.dumps(wanted)))
    return b"".join(frames)


def update_of(sid: str) -> bytes:
    return tunnelled("POST", f"/v3/Documents/{sid}", f'{{"data":{DATA}}}')


def run_load(work: Path, server_pid: int, *arguments: object) -> dict[str, float]:
    """What the load measured, and ``cpu``: the server's processor seconds per second meanwhile."""
    command = ["taskset", "-c", "1", str(work / "load"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        if load.stdout.readline() != "measuring\n":
            raise RuntimeError("the load failed")
        before, began = processor_seconds(server_pid), time.monotonic()
        output = load.stdout.readline()
        used = processor_seconds(server_pid) - before
        figures = {key: float(value) for key, value in (one.split("=") for one in output.split())}
        figures["cpu"] = used / (time.monotonic() - began)
    return figures


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def our_fan_out(work: Path, kind: str, count: int, in_flight: int, options: Options) -> Figures:
    """``kind``: ``fanout`` to so many subscribers, ``spread`` over so many objects."""
    server = OurServer(work)
    try:
        if kind == "fanout":
            server.prepare_fan_out()
        else:
            server.prepare_spread(SPREAD_CONNECTIONS, count)
            count = SPREAD_CONNECTIONS
        return run_load(
            work,
            server.process.pid,
            *(kind, "127.0.0.1", server.port, count, in_flight),
            *(options.seconds, options.acknowledge, server.frames),
        )
    finally:
        server.stop()


def bare_fan_out(
    work: Path, subscribers: int, in_flight: int, options: Options, is_durable: bool
) -> Figures:
    """The bare program with an event of the same bytes."""
    target = SyncObject(
        1, "ET" + "0" * 32, 1, Kind.DOCUMENT, None, None, 1, 1, 0, 0, 0, 0, None, "bench"
    )
    event = Event(
        1, 1, 1, EventType.DOCUMENT_UPDATED, 0, None, DATA.encode(), None, "bench", None, None
    )
    content = EventEncoder("https://starlings", 0).encode_event(target, event, "IS" + "0" * 32)
    folder = Path(tempfile.mkdtemp(dir=work))
    (folder / "frame.bin").write_bytes(content)
    (folder / "publish.bin").write_bytes(b"P")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["taskset", "-c", "0", str(work / "bare"), str(port)]
    command += [str(folder / "frame.bin"), str(subscribers)]
    if is_durable:
        command.append(str(folder / "log"))
    bare = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert bare.stdout is not None
        bare.stdout.readline()
        return run_load(
            work,
            bare.pid,
            *("fanout", "127.0.0.1", port, subscribers, in_flight),
            *(options.seconds, options.acknowledge, folder),
        )
    finally:
        bare.kill()
        bare.wait()
        shutil.rmtree(folder)


def fan_out(work: Path, subscribers: int, in_flight: int, options: Options) -> None:
    ours: list[Figures] = []
    bare: list[Figures] = []
    durable: list[Figures] = []
    for _ in range(options.rounds):
        bare.append(bare_fan_out(work, subscribers, in_flight, options, is_durable=False))
        ours.append(our_fan_out(work, "fanout", subscribers, in_flight, options))
        durable.append(bare_fan_out(work, subscribers, in_flight, options, is_durable=True))
    ratios = [one[RATE] / other[RATE] for one, other in zip(ours, bare, strict=True)]
    durable_ratios = [one[RATE] / other[RATE] for one, other in zip(ours, durable, strict=True)]
    print(
        f"fanout subscribers={subscribers} in_flight={in_flight} acks={options.acknowledge}"
        f" ours={median(ours, RATE):.0f}/s bare={median(bare, RATE):.0f}/s"
        f" ratio={statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        f" ratio_to_durable={statistics.median(durable_ratios):.2f}"
        f" cpu={per_delivery(ours):.2f}/{per_delivery(bare):.2f}us"
        f" load={median(ours, 'load'):.2f}/{median(bare, 'load'):.2f}"
        f" p50={median(ours, 'p50_ms'):.2f}/{median(bare, 'p50_ms'):.2f}ms"
        f" p99={median(ours, 'p99_ms'):.2f}/{median(bare, 'p99_ms'):.2f}ms",
        flush=True,
    )


def spread(work: Path, options: Options) -> None:
    """Many objects with one subscriber each, and as many connections with one object each."""
    for in_flight in (1, 64):
        few, many = (
            our_fan_out(work, "spread", objects, in_flight, options)
            for objects in (SPREAD_CONNECTIONS, options.objects)
        )
        print(
            f"spread in_flight={in_flight} objects={SPREAD_CONNECTIONS}/{options.objects}"
            f" rate={few[RATE]:.0f}/{many[RATE]:.0f}/s ratio={many[RATE] / few[RATE]:.2f}"
            f" cpu={per_delivery([few]):.0f}/{per_delivery([many]):.0f}us"
            + (f" p50={few['p50_ms']:.2f}/{many['p50_ms']:.2f}ms" if in_flight == 1 else ""),
            flush=True,
        )


def requests(work: Path, connections: int, options: Options) -> None:
    """Durable document writes over sockets, beside the store's own rate with as many writers."""
    over_sockets, alone = [], []
    for _ in range(options.rounds):
        alone.append(asyncio.run(store_rate(work, connections, options.seconds)))
        server = OurServer(work)
        try:
            server.prepare_requests(connections)
            over_sockets.append(
                run_load(
                    work,
                    server.process.pid,
                    "rpc",
                    "127.0.0.1",
                    server.port,
                    connections,
                    options.seconds,
                    server.frames,
                )
            )
        finally:
            server.stop()
    rate = "requests_per_second"
    ratios = [one[rate] / other for one, other in zip(over_sockets, alone, strict=True)]
    print(
        f"rpc connections={connections} ours={median(over_sockets, rate):.0f}/s"
        f" store={statistics.median(alone):.0f}/s ratio={statistics.median(ratios):.2f}"
        f" p50={median(over_sockets, 'p50_ms'):.2f}ms p99={median(over_sockets, 'p99_ms'):.2f}ms",
        flush=True,
    )


async def store_rate(work: Path, writers: int, seconds: float) -> float:
    """Updates per second of as many documents, straight at the store, on core 0."""
    os.sched_setaffinity(0, {0})
    store = await SqliteStore.open(Path(tempfile.mkdtemp(dir=work)), OFF, SYSTEM_SOURCES.now)
    node = Node(store, OFF, SYSTEM_SOURCES)
    actor = Actor("bench")
    service = await node.get_service("AC" + "0" * 32, "default")
    done = 0
    until = time.monotonic() + seconds

    async def write(target: SyncObject) -> None:
        nonlocal done
        ref = ObjectRef(service.oid, Kind.DOCUMENT, target.sid)
        while time.monotonic() < until:
            await store.execute(UpdateDocument(ref, DATA.encode(), None, None, actor))
            done += 1

    targets = [
        (await node.create_object(service, Kind.DOCUMENT, None, None, None, actor, None)).object
        for _ in range(writers)
    ]
    started = time.monotonic()
    until = started + seconds
    await asyncio.gather(*(write(target) for target in targets))
    took = time.monotonic() - started
    await store.close()
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    return done / took


def idle_memory(work: Path, connections: int) -> None:
    server = OurServer(work)
    try:
        before = server.memory_kib()
        command = ["taskset", "-c", "1", str(work / "load"), "idle", "127.0.0.1"]
        load = subprocess.Popen(
            [*command, str(server.port), str(connections), "30", str(server.frames)],
            stdout=subprocess.PIPE,
        )
        assert load.stdout is not None
        load.stdout.readline()
        time.sleep(2)
        after = server.memory_kib()
        load.kill()
        load.wait()
        print(
            f"memory connections={connections} before={before}KiB after={after}KiB"
            f" per_connection={(after - before) / connections:.1f}KiB",
            flush=True,
        )
    finally:
        server.stop()


def median(figures: list[Figures], key: str) -> float:
    return statistics.median(one[key] for one in figures)


def per_delivery(figures: list[Figures]) -> float:
    """The server's processor time for one, in microseconds."""
    return statistics.median(one["cpu"] / one[RATE] * 1e6 for one in figures)


if __name__ == "__main__":
    main()
