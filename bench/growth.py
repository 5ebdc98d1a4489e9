"""`python -m bench.growth`: the cost of hints with more pods than this machine can run, by simulation.

Arithmetic is enough for averages. But a busy pod or Redis handles in one turn all that has arrived meanwhile, so the
cost of a message falls as the load grows; a simulation shows the consequences.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

# Microseconds of CPU, measured with uvloop, channels_redis and Redis 7 on the machine of docs/performance.md.
SERVE = 190  # a message of a pod's own visitors, from its frame to its ack
SEND = 120  # one publish
HEAR = 62  # receiving one publish of any pod
HINT = 4  # each message in a received publish
REDIS_TURN, REDIS_COPY, REDIS_WRITE = 20.0, 0.6, 5.4  # per turn; per publish and receiving pod; per receiving pod
SECONDS = 3.0
FULL = 0.9  # of a core: a pod or a Redis that needs more falls ever further behind


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `rate`: messages a second of all pods. `heard_by`: number of pods that receive each pod's publishes."""

    pods: int
    rate: float
    heard_by: int


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a simulation. `hints`, `pod`, `redis`: shares of one core.

    `late`: milliseconds until a pod that hears of every message has heard of it, 99th percentile.
    """

    hints: float
    pod: float
    redis: float
    late: float

    @property
    def full(self) -> bool:
        return max(self.pod, self.redis) > FULL


@dataclass(slots=True)
class Pod:
    messages: list[float] = field(default_factory=list)  # start times of the messages that wait to be served
    heard: list[list[float]] = field(default_factory=list)  # publishes that wait to be read
    hints: list[float] = field(default_factory=list)  # start times of the messages in the next publish
    sending: bool = False
    busy: bool = False
    used: float = 0.0


class Simulation:
    """A simulation of the turns of the pods' event loops and of Redis. Each turn handles everything that waits for it.

    `seconds`: the simulated duration.
    """

    def __init__(self, case: Case, seed: int = 1, seconds: float = SECONDS) -> None:
        self._case = case
        self._end = seconds * 1e6
        self._random = random.Random(seed)
        self._pods = [Pod() for _ in range(case.pods)]
        self._redis: list[tuple[Pod, list[float]]] = []
        self._redis_busy = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._now, self._number = 0.0, 0
        self._hints = self._redis_used = 0.0
        self._late: list[float] = []

    def run(self) -> Result:
        for pod in self._pods:
            self._arrive_later(pod)
        while self._events and self._events[0][0] < self._end:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        pods = len(self._pods) * self._end
        late = sorted(self._late)[int(0.99 * len(self._late))] / 1000 if self._late else float("inf")
        used = sum(pod.used for pod in self._pods)
        return Result(self._hints / pods, used / pods, self._redis_used / self._end, late)

    def _after(self, microseconds: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._now + microseconds, self._number, happen))

    def _arrive(self, pod: Pod) -> None:
        pod.messages.append(self._now)
        self._turn(pod)
        self._arrive_later(pod)

    def _arrive_later(self, pod: Pod) -> None:
        self._after(self._random.expovariate(self._case.rate / self._case.pods) * 1e6, lambda: self._arrive(pod))

    def _turn(self, pod: Pod) -> None:
        publishing = bool(pod.hints) and not pod.sending
        if pod.busy or not (pod.messages or pod.heard or publishing):
            return
        served, pod.messages = pod.messages, []
        heard, pod.heard = pod.heard, []
        pod.hints += served
        hints = len(heard) * HEAR + sum(map(len, heard)) * HINT
        published: list[float] = []
        if pod.hints and not pod.sending:
            published, pod.hints, pod.sending = pod.hints, [], True
            hints += SEND
        took = len(served) * SERVE + hints
        pod.busy, pod.used, self._hints = True, pod.used + took, self._hints + hints
        self._after(took, lambda: self._turned(pod, published, heard))

    def _turned(self, pod: Pod, published: list[float], heard: list[list[float]]) -> None:
        pod.busy = False
        if pod is self._pods[-1]:
            self._late += [self._now - began for publish in heard for began in publish]
        if published:
            self._redis.append((pod, published))
            self._redis_turn()
        self._turn(pod)

    def _redis_turn(self) -> None:
        if self._redis_busy or not self._redis:
            return
        taken, self._redis = self._redis, []
        each = self._case.heard_by
        took = REDIS_TURN + each * REDIS_WRITE + len(taken) * each * REDIS_COPY
        self._redis_busy, self._redis_used = True, self._redis_used + took
        self._after(took, lambda: self._redis_turned(taken))

    def _redis_turned(self, taken: list[tuple[Pod, list[float]]]) -> None:
        self._redis_busy = False
        for sender, publish in taken:
            sender.sending = False
            # The last pod of the list receives every publish: `late` is measured there.
            for pod in [*self._random.sample(self._pods[:-1], self._case.heard_by - 1), self._pods[-1]]:
                pod.heard.append(publish)
        for pod in self._pods:
            self._turn(pod)
        self._redis_turn()


CASES = [
    *(Case(pods, rate, pods) for pods in (10, 30, 100) for rate in (500, 2_000, 5_000, 10_000)),
    *(Case(100, rate, 10) for rate in (2_000, 10_000, 20_000)),
]
HEADING = (
    "pods",
    "pods that receive a publish",
    "messages/s",
    "share of a pod's core: hints",
    "all",
    "of Redis' core",
    "delay, p99",
)


def markdown() -> str:
    lines = [_line(*HEADING), _line(*["---"] * len(HEADING))]
    for case in CASES:
        found = Simulation(case).run()
        figures = [f"{share:.0%}" for share in (found.hints, found.pod, found.redis)]
        late = "grows without limit" if found.full else f"{found.late:.1f} ms"
        lines.append(_line(str(case.pods), str(case.heard_by), f"{case.rate:,.0f}", *figures, late))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(markdown())
