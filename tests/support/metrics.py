"""Metrics as Prometheus scrapes them."""

from prometheus_client.parser import text_string_to_metric_families

from tests.support.deployments import Server, fetch
from tests.support.services import HOST

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(server: Server) -> Samples:
    """Return every sample by its name and the values of its labels, which are in the order of the labels' names."""
    status, _, body = fetch(f"http://{HOST}:{server.health_port}/metrics")
    assert status == 200
    families = text_string_to_metric_families(body.decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(server: Server, name: str, *labels: str) -> float:
    return scrape(server)[name, labels]
