"""Nothing lost, nothing twice, order kept: people write to the function through a network that keeps failing."""

from urllib.parse import urlsplit

import pytest

from tests.support.aws_deployment import AwsDeployment
from tests.support.chaos_proxy import ChaosProxy
from tests.support.services import HOST
from tests.support.traffic import Crowd, check

EACH = 8  # messages of each visitor: the emulation serves one event at a time
LONGEST_PAUSE = 1.0  # seconds between two cuts


class ProxyToGateway(ChaosProxy):
    """In front of the WebSocket API."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        super().__init__([(HOST, parts.port)])
        self._path = parts.path

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}{self._path}"


@pytest.mark.timeout(300)
async def test_a_bad_network_loses_nothing(aws_deployment: AwsDeployment) -> None:
    aws_deployment.run("from messaging.models import Message; Message.objects.all().delete()")
    with ProxyToGateway(aws_deployment.websocket_urls[0]) as proxy:
        crowd = Crowd(aws_deployment, proxy)
        for client in crowd.everybody:
            client.heartbeat = 2.0  # an admin's ping is a dozen queries
            client.answer_seconds = 30.0
        async with crowd.connected():
            proxy.start_cutting(LONGEST_PAUSE)
            await crowd.talk(EACH)
            cuts = proxy.cuts
            proxy.stop_cutting()
            await crowd.up_to_date()
            check(crowd, aws_deployment.database)
        assert sum(client.connections for client in crowd.everybody) > len(crowd.everybody) + cuts // 2
    assert "Traceback" not in aws_deployment.log
