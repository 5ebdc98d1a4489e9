"""The message path of mode `aws` on the emulator: the deployment of `make aws-deploy`, with the real package."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from aws.packaging import PACKAGES
from bench import cold_start
from bench.contenders import PRODUCT, DurablePostgres
from bench.exchange import Closed
from bench.generator import Generator
from bench.metering import Row
from bench.plan import Plan
from tests.support.aws_deployment import STAGE, PostgresWithTLS, deployed
from tests.support.ministack import Ministack
from tests.support.services import MissingProgram, started


class DurablePostgresWithTLS(DurablePostgres, PostgresWithTLS):
    pass


def package() -> Path:
    """Return the path of the newest package. Raise MissingProgram if there is none."""
    found = sorted(PACKAGES.glob(f"{STAGE}-*.zip"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise MissingProgram("Mode `aws` needs the Lambda package. Build it: `make aws-package`.")
    return found[-1]


def warm_frames(plan: Plan) -> Iterator[Row]:
    """Yield the package's size and the figures of a warm process of the function.

    One visitor writes again after each ack; one staff connection reads.
    """
    yield Row("package", PRODUCT, 0, {"bytes": package().stat().st_size})
    ministack, postgres = Ministack(), DurablePostgresWithTLS()
    with started(ministack, postgres), deployed(ministack, postgres) as deployment:
        token = deployment.session("operator").token
        with Generator(deployment.websocket_urls, visitors=1, admins=1, admin_token=token) as generator:
            generator.run(Closed(1))
            outcome = generator.run(Closed(plan.frames))
    yield Row("aws", PRODUCT, 0, {**asdict(outcome)})


def cold_starts(plan: Plan) -> Iterator[Row]:
    """Yield the seconds of the fastest new process of the function, from its import to a visitor's first frame."""
    with tempfile.TemporaryDirectory() as directory, cold_start.surroundings() as environment:
        function = cold_start.unpacked(package(), Path(directory))
        (times,) = cold_start.fastest([function], environment, plan.cold_starts)
    yield Row("cold start", PRODUCT, 0, {"seconds": cold_start.to_first_frame(times) / 1000})
