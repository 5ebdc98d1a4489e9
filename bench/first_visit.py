"""`make bench-visit`: a first visit of the visitors' page: its requests, its bytes, and its CPU time on the server.

The reference is a page of one word that Django serves on an unmodified daphne, in the same run.
"""

import contextlib
import http.client
import re
import statistics
import sys
from collections.abc import Sequence

from bench.contenders import Peer, ProductOnItsCore, surroundings
from bench.machine import cpu_seconds, keep_off_the_servers_core
from tests.support.services import HOST, started

VISITS, ROUNDS = 200, 5
HEADERS = {"Accept-Encoding": "gzip, deflate, br", "Accept-Language": "de,en;q=0.8", "User-Agent": "bench"}
LINKED = re.compile(rb'(?:href|src)="(/static/[^"]+)"')


def visit(port: int, path: str) -> list[int]:
    """Open `path` like a browser with an empty cache. Return the bytes of each answer's body, the page's first."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)

    def get(path: str) -> bytes:
        connection.request("GET", path, headers=HEADERS)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status)
        return body

    page = get(path)
    sizes = [len(page), *(len(get(linked.decode())) for linked in LINKED.findall(page))]
    connection.close()
    return sizes


def milliseconds(pid: int, port: int, path: str) -> float:
    """Return the server's CPU time of one visit: the mean over VISITS."""
    before = cpu_seconds([pid])
    for _ in range(VISITS):
        visit(port, path)
    return (cpu_seconds([pid]) - before) / VISITS * 1000


def daphne(port: int) -> Sequence[str]:
    return [
        sys.executable,
        "-m",
        "daphne",
        "-v",
        "0",
        "-b",
        HOST,
        "-p",
        str(port),
        "bench.peers.stock_page:application",
    ]


def main() -> None:
    keep_off_the_servers_core()
    stock = Peer("Django's `HttpResponse` on stock daphne", "", daphne)
    with contextlib.ExitStack() as stack:
        around = stack.enter_context(surroundings())
        stack.enter_context(started(stock))
        pods = around.kubernetes.deployed(around.redis.url, pods=1, make=ProductOnItsCore, SERVICE_ROLE="user")
        (pod,) = stack.enter_context(pods).servers
        contenders = {stock: "/", pod: "/user/"}
        sizes = {server: visit(server.port, path) for server, path in contenders.items()}
        rounds = [
            {server: milliseconds(server.pid, server.port, path) for server, path in contenders.items()}
            for _ in range(1 + ROUNDS)
        ][1:]  # the first one warms up
    spent = {server: statistics.median(each[server] for each in rounds) for server in contenders}
    print("| contender | requests | bytes | CPU on the server, ms | ratio |\n|---|---|---|---|---|")
    for server in contenders:
        figures = (
            len(sizes[server]),
            f"{sum(sizes[server]):,}",
            f"{spent[server]:.1f}",
            f"{spent[server] / spent[stock]:.1f}",
        )
        print("|", " | ".join(map(str, (server.name, *figures))), "|")


if __name__ == "__main__":
    main()
