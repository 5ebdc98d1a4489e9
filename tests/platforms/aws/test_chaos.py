"""People who write to the function through a network that keeps failing: no message is lost, doubled or reordered."""

import asyncio
import itertools

import pytest

from tests.support.aws_deployment import AwsDeployment, ProxyToGateway
from tests.support.chaos_proxy import ChaosProxy
from tests.support.traffic import CALM_SECONDS, Crowd, check
from tests.support.waiting import eventually

EACH = 6  # messages of each visitor: the emulation serves few events at a time
ACKS = 3  # between two cuts, however long they take: each cut costs a dozen events


async def keep_cutting(crowd: Crowd, proxy: ChaosProxy) -> None:
    """Cut a random connection whenever ACKS more messages are acked."""
    for goal in itertools.count(ACKS, ACKS):
        await eventually(lambda: sum(len(c.acked) for c in crowd.everybody) >= goal, "people write on", CALM_SECONDS)
        proxy.cut_any()


@pytest.mark.timeout(300)
async def test_a_bad_network_loses_nothing(aws_deployment: AwsDeployment) -> None:
    aws_deployment.forget_conversations()
    begin = len(aws_deployment.log)
    with ProxyToGateway(aws_deployment.websocket_urls[0]) as proxy:
        crowd = Crowd(aws_deployment, proxy)
        for client in crowd.everybody:
            client.heartbeat = 2.0  # a staff ping costs a dozen queries
            client.answer_seconds = 30.0
            client.in_turn = True  # two frames at once may be served in any order
        async with crowd.connected():
            cutting = asyncio.create_task(keep_cutting(crowd, proxy))
            await crowd.talk(EACH)
            cutting.cancel()
            await crowd.up_to_date()
            check(crowd, aws_deployment.database)
        assert sum(client.connections for client in crowd.everybody) > len(crowd.everybody) + proxy.cuts // 2
    assert proxy.cuts > len(crowd.everybody)
    assert "Traceback" not in aws_deployment.log[begin:]
