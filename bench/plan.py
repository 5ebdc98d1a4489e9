"""The size of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The size of a run. Times are in seconds.

    A search changes the rate by the factor `stride` until one rate is sustained and a higher one is not, and ends when
    the two are within a factor of `precision`. `attempts`: how often a trial that is not sustained is tried, because
    other load on the machine may be the cause. `rounds` of bursts and of reconnects: the median counts. `connections`,
    `fan_out` (staff connections) and `processes` are the sizes of these workloads.
    """

    name: str
    visitors: int
    admins: int
    seconds: float  # of a trial whose figures are reported
    probe: float  # of a trial during a search
    attempts: int
    stride: float
    precision: float
    warm_up: float
    closed: float
    rounds: int
    connections: tuple[int, ...]
    settle: float  # before idle connections are measured
    watched: float  # how long the CPU of idle connections is measured: in a full run, at least one round of pings
    fan_out: tuple[int, ...]
    processes: tuple[int, ...]
    frames: float  # how long frames are sent to the function of mode `aws`
    cold_starts: int
    hall: int  # visitors who come, all on one address
    hall_seconds: tuple[int, ...]  # within which they come: the sizes of this workload


FULL = Plan(
    name="full",
    visitors=1000,
    admins=10,
    seconds=10,
    probe=3,
    attempts=2,
    stride=1.5,
    precision=1.1,
    warm_up=1,
    closed=5,
    rounds=3,
    connections=(1000, 5000, 10_000),
    settle=2,
    watched=22,
    fan_out=(1, 10, 100, 1000),
    processes=(1, 2, 4),
    frames=10,
    cold_starts=5,
    hall=1000,
    hall_seconds=(10, 30),
)
QUICK = Plan(
    name="quick",
    visitors=100,
    admins=10,
    seconds=1,
    probe=1,
    attempts=1,
    stride=3,
    precision=3,
    warm_up=0.3,
    closed=1,
    rounds=1,
    connections=(100, 500),
    settle=0.2,
    watched=2,
    fan_out=(1, 100),
    processes=(1, 2),
    frames=2,
    cold_starts=1,
    hall=50,
    hall_seconds=(5,),
)
