"""A hall that comes to a site at once: the mode `--hall` of `python -m bench.demo`."""

import asyncio
import resource
from collections.abc import Iterator

from tests.support.hall import Accounts, Hall, come


def rehearse(site: str, people: int, within: float, accounts: Accounts, *, forget: bool) -> Hall:
    """Let `people` come to `site` within so many seconds. Return what became of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # a visitor has up to seven connections
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return asyncio.run(come(site, people, within, accounts, forget=forget))


def report(hall: Hall) -> Iterator[str]:
    """Yield the lines that say who was served, how fast, and what happened to the others."""
    visitors, staff = hall.visitors, hall.staff
    yield f"acknowledged: {hall.acked} of {len(visitors)} visitors, each a tap on the first quick message"
    if staff:
        yield f"signed in: {hall.signed_in} of {len(staff)} staff"
    for reason, count in (hall.page_errors + hall.refusals).most_common():
        yield f"failed: {count} with {reason}"
    for what, times in (
        ("page complete", [visit.page for visit in visitors]),
        ("connected", [visit.connected for visit in visitors]),
        ("tap acknowledged", [visit.acked for visit in visitors]),
        ("staff's login", [visit.login for visit in staff]),
    ):
        if found := sorted(time for time in times if time is not None):
            median, most, slowest = (found[int(share * (len(found) - 1))] for share in (0.5, 0.95, 1))
            yield f"{what}: median {median:.2f} s, 95 % within {most:.2f} s, slowest {slowest:.2f} s"


def succeeded(hall: Hall) -> bool:
    return not hall.page_errors and not hall.refusals
