"""What is asked of a contender that serves. Each workload yields rows as it has them, so that a failure keeps them."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from bench.contenders import PRODUCT, Running
from bench.exchange import Burst, Closed, Open
from bench.generator import Generator
from bench.machine import cpu_seconds, resident_bytes
from bench.metering import Figures, Meter, Row, trial_row
from bench.plan import Plan

STEADY_RATE = 200.0  # messages a second
WARM_UP_RATE = 100.0
FIRST_SOCKETS = 50  # memory counts from there on: what a first connection loads is not every connection's
WINDOW_SECONDS = 1.0
DELIVERIES = 3000.0  # a second, to however many admins
FEW_VISITORS = 50
LONG_RETURN = 10.0  # seconds after which a contender is not cut off again


Workload = Callable[[Plan, Running], Iterator[Row]]


def session(plan: Plan, running: Running) -> Iterator[Row]:
    """An open loop of STEADY_RATE, bursts, then a closed loop."""
    with everybody(plan, running) as generator:
        generator.run(Open(WARM_UP_RATE, plan.warm_up))
        yield trial_row("steady", running, generator, Open(STEADY_RATE, plan.seconds))
        bursts = [trial_row("burst", running, generator, Burst()) for _ in range(plan.rounds)]
        yield sorted(bursts, key=lambda row: row.figures["delivery_p99"])[len(bursts) // 2]
        yield trial_row("closed", running, generator, Closed(plan.closed))


def comeback(plan: Plan, running: Running) -> Iterator[Row]:
    """All visitors are cut off at once, and come back at once."""
    with Generator(running.urls, plan.visitors) as generator:
        found = []
        for _ in range(plan.rounds):
            found.append(generator.reconnect())
            if found[-1].seconds > LONG_RETURN:
                break
        middle = sorted(found, key=lambda back: back.seconds)[len(found) // 2]
        failures = sum(back.failures for back in found) / len(found)
        yield Row("reconnect", running.name, plan.visitors, {**asdict(middle), "failures": round(failures, 1)})


def idle(plan: Plan, running: Running) -> Iterator[Row]:
    """Connections that say nothing: what they cost in memory, and the CPU between and with the server's pings."""
    pids = [server.pid for server in running.servers]
    started = {"seconds": running.servers[0].start_seconds, "cpu": cpu_seconds(pids)}
    with Generator(running.urls, min(FIRST_SOCKETS, *plan.connections)) as generator:
        time.sleep(plan.settle)
        base = resident_bytes(pids)
        yield Row("start", running.name, 0, {**started, "rss": base})
        connected = FIRST_SOCKETS
        for size in plan.connections:
            meter, began = Meter(running), time.monotonic()
            generator.grow(size)
            took, used = time.monotonic() - began, meter.used()["server"]
            time.sleep(plan.settle)
            figures = {
                "rss": resident_bytes(pids),
                "rss_each": (resident_bytes(pids) - base) / (size - FIRST_SOCKETS),
                "connects": (size - connected) / took,
                "connect_cpu": used / (size - connected) * 1000,
            }
            connected = size
            if running.name == PRODUCT or size == plan.connections[-1]:
                figures |= watch(plan, running)
            yield Row("idle", running.name, size, figures)


def watch(plan: Plan, running: Running) -> Figures:
    """Shares of one core. "Quiet": the mean of the quieter half of the windows, in which no pings are."""
    shares = []
    for _ in range(max(2, int(plan.watched / WINDOW_SECONDS))):
        meter, began = Meter(running), time.monotonic()
        time.sleep(WINDOW_SECONDS)
        shares.append(meter.used()["server"] / (time.monotonic() - began))
    return {"cpu_mean": statistics.mean(shares), "cpu_quiet": statistics.mean(sorted(shares)[: len(shares) // 2])}


def fan_out(plan: Plan, running: Running) -> Iterator[Row]:
    """The same number of deliveries a second, to more and more admins."""
    for admins in plan.fan_out:
        with Generator(running.urls, FEW_VISITORS, admins, running.admin_token) as generator:
            generator.run(Open(10, plan.warm_up))
            time.sleep(plan.settle)
            rate = min(WARM_UP_RATE, DELIVERIES / admins)
            yield trial_row("admins", running, generator, Open(rate, max(plan.seconds, 1 / rate)), admins)


def everybody(plan: Plan, running: Running) -> Generator:
    return Generator(running.urls, plan.visitors, plan.admins, running.admin_token)
