"""The workloads of a running contender. Each yields its rows one by one, so that a failure keeps the earlier ones."""

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
FIRST_SOCKETS = 50  # memory is counted from here on: the first connections also load modules
WINDOW_SECONDS = 1.0
DELIVERIES = 3000.0  # a second at most, for any number of staff connections
FEW_VISITORS = 50
LONG_RETURN = 10.0  # seconds: a contender that takes longer to reconnect is not cut off again


Workload = Callable[[Plan, Running], Iterator[Row]]


def session(plan: Plan, running: Running) -> Iterator[Row]:
    """Yield the rows of an open loop at STEADY_RATE, of the median burst, and of a closed loop."""
    with everybody(plan, running) as generator:
        generator.run(Open(WARM_UP_RATE, plan.warm_up))
        yield trial_row("steady", running, generator, Open(STEADY_RATE, plan.seconds))
        bursts = [trial_row("burst", running, generator, Burst()) for _ in range(plan.rounds)]
        yield sorted(bursts, key=lambda row: row.figures["delivery_p99"])[len(bursts) // 2]
        yield trial_row("closed", running, generator, Closed(plan.closed))


def comeback(plan: Plan, running: Running) -> Iterator[Row]:
    """Disconnect all visitors at once, and let all reconnect at once. Yield the median round."""
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
    """Yield the cost of idle connections: memory, and CPU time between the server's pings and on average."""
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
    """Return shares of one core: the mean, and as "quiet" the mean of the quieter half of windows, without pings."""
    shares = []
    for _ in range(max(2, int(plan.watched / WINDOW_SECONDS))):
        meter, began = Meter(running), time.monotonic()
        time.sleep(WINDOW_SECONDS)
        shares.append(meter.used()["server"] / (time.monotonic() - began))
    return {"cpu_mean": statistics.mean(shares), "cpu_quiet": statistics.mean(sorted(shares)[: len(shares) // 2])}


def fan_out(plan: Plan, running: Running) -> Iterator[Row]:
    """Yield the figures of more and more staff connections, with at most DELIVERIES a second to all of them."""
    for admins in plan.fan_out:
        with Generator(running.urls, FEW_VISITORS, admins, running.admin_token) as generator:
            generator.run(Open(10, plan.warm_up))
            time.sleep(plan.settle)
            rate = min(WARM_UP_RATE, DELIVERIES / admins)
            yield trial_row("admins", running, generator, Open(rate, max(plan.seconds, 1 / rate)), admins)


def everybody(plan: Plan, running: Running) -> Generator:
    return Generator(running.urls, plan.visitors, plan.admins, running.admin_token)
