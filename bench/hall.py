"""`python -m bench.hall`: a hall of people on one address comes to the site, at the limits of the manifests.

Two page processes, one for staff and two for WebSockets run behind nginx with the routes of the ingress, each in a
control group with the limits of k8s/base, with real Redis and PostgreSQL. Each visitor loads the page and its files,
connects and taps once, while five staff sign in by the login form. It needs root on Linux. The exit code is 1 if
anybody was refused or got no page.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from bench.contenders import PRODUCT, Surroundings, surroundings
from bench.load import percentiles
from bench.machine import Cores, cpu_seconds, keep_off_the_servers_core, on_every_core
from bench.metering import Figures, Row
from bench.plan import FULL, Plan
from bench.report import HALL
from tests.support.deployments import FOR_TESTS, PASSWORD
from tests.support.hall import Accounts, Hall, come
from tests.support.limited_pods import WORKLOADS, LimitedPod, LimitedSite, limited_site

STAFF = Accounts(("operator", "colleague", "manager", "reader", "operator"), PASSWORD)
FULL_CORES = 0.9  # from this busy share on, times say more about the machine than about the limits
REASONS = 4  # the most frequent ones in a row's note


class HallPod(LimitedPod):
    def command(self) -> Sequence[str]:
        return on_every_core(super().command())


def rows(
    plan: Plan,
    around: Surroundings,
    variables: Mapping[str, str] = MappingProxyType({}),
    cpu: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Row]:
    """Yield a row for each time within which the hall comes, each on newly started servers.

    `variables` and, by role, `cpu` replace settings and CPU limits of the manifests.
    """
    for within in plan.hall_seconds:
        around.redis.client().flushall()
        with limited_site(around.kubernetes, around.redis.url, variables, cpu, HallPod) as site:
            before, cores = _cpu(site), Cores()
            hall = asyncio.run(come(site.origin, plan.hall, within, STAFF))
            used = {role: seconds - before[role] for role, seconds in _cpu(site).items()}
            yield Row("hall", PRODUCT, within, figures(hall) | _costs(hall, site, used), note(hall, min(cores.busy())))


def figures(hall: Hall) -> Figures:
    """Return the counts of `hall`, and percentiles of its times in milliseconds."""
    found: Figures = {
        "people": len(hall.visitors),
        "page_errors": hall.page_errors.total(),
        "refused": hall.refusals.total(),
        "acked": hall.acked,
        "signed_in": hall.signed_in,
    }
    for name in ("page", "connected", "acked"):
        found |= percentiles(name, [time for visit in hall.visitors if (time := getattr(visit, name)) is not None])
    logins = [visit.login for visit in hall.staff if visit.login is not None]
    if logins:
        found |= {"login_seconds": statistics.median(logins), "login_slowest": max(logins)}
    return found


def _cpu(site: LimitedSite) -> Figures:
    return {role: cpu_seconds([pod.pid for pod in site.pods(role)]) for role in WORKLOADS}


def _costs(hall: Hall, site: LimitedSite, used: Figures) -> Figures:
    costs = {f"{role}_cpu": seconds * 1000 / len(hall.visitors) for role, seconds in used.items()}
    return costs | {f"{role}_peak": max(pod.peak_bytes for pod in site.pods(role)) for role in WORKLOADS}


def note(hall: Hall, busy: float) -> str:
    """Return why people were not served, and whether other load on the machine makes the times meaningless."""
    reasons = (hall.page_errors + hall.refusals).most_common(REASONS)
    notes = [f"{count} × {reason}" for reason, count in reasons]
    if busy > FULL_CORES:
        notes.append(f"all cores were {busy:.0%} busy, and the machine was the limit")
    return "; ".join(notes).replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.hall", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--people", type=int, default=FULL.hall, help=f"visitors (default: {FULL.hall})")
    parser.add_argument(
        "--within", type=int, action="append", metavar="SECONDS", help="in which they come (default: 10, then 30)"
    )
    for role, (workload, _) in WORKLOADS.items():
        parser.add_argument(f"--{role}-cpu", metavar="250m", help=f"another CPU limit for a pod of {workload}")
    parser.add_argument(
        "--no-limits", action="store_true", help="lift the limits of visitors and addresses, as most tests do"
    )
    options = vars(parser.parse_args())
    plan = replace(FULL, hall=options["people"], hall_seconds=tuple(options["within"] or FULL.hall_seconds))
    cpu = {role: options[f"{role}_cpu"] for role in WORKLOADS if options[f"{role}_cpu"]}
    keep_off_the_servers_core()
    with surroundings() as around:
        found = []
        for row in rows(plan, around, FOR_TESTS if options["no_limits"] else {}, cpu):
            print(f"{row.size} s: {row.figures} {row.note}", file=sys.stderr, flush=True)
            found.append(row)
    print(HALL.markdown(found))
    if any(row.figures["page_errors"] or row.figures["refused"] for row in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
