"""The logs and the measurements of one process."""

import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable
from contextvars import Context
from unittest.mock import Mock

import pytest

from messaging.observability import metrics
from messaging.observability.emf import EmfRecorder
from messaging.observability.lag import WINDOW_SECONDS, LoopLag
from messaging.observability.logs import TextFormatter


def test_people_get_text_with_the_same_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "here", "levelname": "INFO", "msg": "happened\nto %s", "args": ("a\x1b[2Kb",)}
    )
    record.posts, record.error = {"gone": 2}, "no\u2028way"
    line = Context().run(TextFormatter().format, record)
    assert line.partition(" INFO ")[2] == ("here: happened\\nto a\\x1b[2Kb posts=\"{'gone': 2}\" error='no\\u2028way'")


class Loop:
    """An event loop whose time the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Mock:
        self.due = when, callback
        return Mock(spec=TimerHandle)

    def run(self, late: float = 0.0) -> None:
        """Call the scheduled callback `late` seconds after its time."""
        assert self.due is not None
        when, callback = self.due
        self.now = when + late
        callback()


def test_a_handler_that_blocks_the_loop_is_seen_until_the_window_after_it_has_ended() -> None:
    loop = Loop()
    lag = LoopLag(loop)
    seen = []
    for late in (0.01, 0.5, 0.02):
        loop.run(late)
        seen.append(round(lag.seconds, 3))
    while loop.now < WINDOW_SECONDS + 1:
        loop.run()
    seen.append(round(lag.seconds, 3))
    while loop.now < 2 * WINDOW_SECONDS + 1:
        loop.run()
    seen.append(round(lag.seconds, 3))
    assert seen == [0.01, 0.5, 0.5, 0.5, 0]


def test_a_line_for_cloudwatch_has_what_one_invocation_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    began = time.time()
    recorder = EmfRecorder(version="1.2.3")
    for _ in range(2):
        recorder.count(metrics.MESSAGES, "user", "accepted")
    recorder.observe(metrics.ACK_SECONDS, 0.25)
    recorder.observe(metrics.ACK_SECONDS, 0.5)
    recorder.observe(metrics.COMMIT_MESSAGES, 1)
    recorder.flush()
    recorder.flush()  # nothing is left to write
    by_role, plain = [vars(record) for record in caplog.records]
    assert {name: by_role[name] for name in ("role", "result", "messaging_messages_total")} == {
        "role": "user", "result": "accepted", "messaging_messages_total": 2
    }  # fmt: skip
    assert by_role["_aws"]["CloudWatchMetrics"] == [
        {
            "Namespace": "messaging",
            "Dimensions": [["role", "result"]],
            "Metrics": [{"Name": "messaging_messages_total", "Unit": "Count"}],
        }
    ]
    assert (plain["messaging_message_ack_seconds"], plain["messaging_commit_messages"]) == ([0.25, 0.5], [1])
    assert plain["_aws"]["CloudWatchMetrics"] == [
        {
            "Namespace": "messaging",
            "Dimensions": [[]],
            "Metrics": [
                {"Name": "messaging_message_ack_seconds", "Unit": "Seconds"},
                {"Name": "messaging_commit_messages", "Unit": "Count"},
            ],
        }
    ]
    assert int(began * 1000) <= plain["_aws"]["Timestamp"] <= time.time() * 1000


def test_every_metric_is_named_as_prometheus_asks_for() -> None:
    assert len({metric.name for metric in metrics.METRICS}) == len(metrics.METRICS) > 20
    named_by_library = {metrics.MIGRATIONS_APPLIED, metrics.MIGRATIONS_UNAPPLIED}
    for metric in {*metrics.METRICS} - named_by_library:
        assert metric.name.startswith("messaging_")
        assert metric.name.endswith("_total") == isinstance(metric, metrics.Counter)
