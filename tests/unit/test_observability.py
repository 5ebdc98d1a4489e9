"""What one process logs and measures."""

import asyncio
import logging
import time
from contextvars import Context

import pytest

from messaging.observability import names
from messaging.observability.emf import EmfRecorder
from messaging.observability.lag import LoopLag
from messaging.observability.logs import TextFormatter
from tests.support.waiting import eventually


def test_people_get_text_with_the_same_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "here", "levelname": "INFO", "msg": "happened\nto %s", "args": ("a\x1b[2Kb",)}
    )
    record.posts, record.error = {"gone": 2}, "no\u2028way"
    line = Context().run(TextFormatter().format, record)
    assert line.partition(" INFO ")[2] == ("here: happened\\nto a\\x1b[2Kb posts=\"{'gone': 2}\" error='no\\u2028way'")


async def test_a_handler_that_blocks_the_loop_is_seen_by_everybody() -> None:
    lag = LoopLag()
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251  it blocks, that is the point
    await eventually(lambda: lag.seconds > 0.3, "it is seen")
    lag.close()


def test_a_line_for_cloudwatch_has_what_one_invocation_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    recorder = EmfRecorder(version="1.2.3")
    for _ in range(2):
        recorder.count(names.MESSAGES, "user", "accepted")
    recorder.observe(names.ACK_SECONDS, 0.25)
    recorder.observe(names.ACK_SECONDS, 0.5)
    recorder.observe(names.COMMIT_MESSAGES, 1)
    recorder.flush()
    recorder.flush()  # there is nothing left
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
    assert abs(plain["_aws"]["Timestamp"] - time.time() * 1000) < 60_000


def test_every_metric_is_named_as_prometheus_asks_for() -> None:
    metrics = names.METRICS
    assert len({metric.name for metric in metrics}) == len(metrics) > 20
    for metric in metrics:
        assert metric.name.startswith("messaging_")
        assert metric.name.endswith("_total") == isinstance(metric, names.Counter)
