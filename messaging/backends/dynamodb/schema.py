"""The schema of the DynamoDB store's table: the differences of an existing table, and the requests to remove them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from messaging.backends.dynamodb.client import EXPIRY, PARTITION, SORT
from messaging.service.contracts import StoreUnavailable

KEYS = [{"AttributeName": PARTITION, "KeyType": "HASH"}, {"AttributeName": SORT, "KeyType": "RANGE"}]
KEY_TYPES = [{"AttributeName": name, "AttributeType": "S"} for name in (PARTITION, SORT)]
ENCRYPTION = {"Enabled": True}
WAIT_SECONDS = 120.0  # for a table to become active, and for all changes, which are made one after another
PAUSE_SECONDS = 0.5

# Another process is changing the table, or DynamoDB is not ready yet: the next check finds what is left to do.
PASSING = {
    "ResourceInUseException",
    "LimitExceededException",
    "ContinuousBackupsUnavailableException",
    "ValidationException",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of a table from its required form.

    `mend`: the request that removes it; None if it goes by itself or, if `final`, can't be removed.
    """

    text: str
    mend: Callable[[], Any] | None = None
    final: bool = False


class Schema:
    """The schema of one table. Its methods block. They raise StoreUnavailable, with DynamoDB's error, if they fail."""

    def __init__(self, table: str, region: str) -> None:
        self._name = table
        self._client = boto3.client("dynamodb", region_name=region)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def differences(self) -> list[str]:
        """Return the differences, without changing anything."""
        return [difference.text for difference in self._look()]

    def migrate(self) -> None:
        """Remove the differences, and wait until none is left. Several processes may do it at once."""
        deadline = time.monotonic() + WAIT_SECONDS
        reasons: dict[str, str] = {}
        while found := self._look():
            texts = [difference.text for difference in found]
            if time.monotonic() > deadline or any(difference.final for difference in found):
                raise StoreUnavailable("; ".join(text + reasons.get(text, "") for text in texts))
            reasons = {difference.text: self._mend(difference) for difference in found}
            time.sleep(PAUSE_SECONDS)

    def _mend(self, difference: Difference) -> str:
        """Try to remove `difference`. Return the reason, in brackets, if it has to be tried again."""
        try:
            if difference.mend is not None:
                difference.mend()
        except ClientError as error:
            if error.response["Error"]["Code"] not in PASSING:
                raise StoreUnavailable(f"{difference.text}: {error}") from error
            return f" ({error})"
        except BotoCoreError as error:
            raise StoreUnavailable(f"{difference.text}: {error}") from error
        return ""

    def _look(self) -> list[Difference]:
        try:
            return list(self._found())
        except (ClientError, BotoCoreError) as error:
            raise StoreUnavailable(f"table {self._name}: {error}") from error

    def _found(self) -> Iterator[Difference]:
        name, client = self._name, self._client
        try:
            table = client.describe_table(TableName=name)["Table"]
        except client.exceptions.ResourceNotFoundException:
            yield Difference(f"table {name} is missing", self._create)
            return
        if table["KeySchema"] != KEYS or not all(kind in table["AttributeDefinitions"] for kind in KEY_TYPES):
            keys = f"the partition key {PARTITION} and the sort key {SORT}, both strings"
            yield Difference(f"table {name} does not have {keys}: it was created for something else", final=True)
            return
        if table["TableStatus"] != "ACTIVE":
            yield Difference(f"table {name} is not active yet: {table['TableStatus']}")
            return
        yield from self._settings(table)

    def _settings(self, table: dict[str, Any]) -> Iterator[Difference]:
        name, client = self._name, self._client
        expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if expiry["TimeToLiveStatus"] not in ("ENABLED", "ENABLING") or expiry["AttributeName"] != EXPIRY:
            specification = {"Enabled": True, "AttributeName": EXPIRY}
            yield Difference(
                f"table {name} does not delete expired items: time to live is not enabled on {EXPIRY}",
                lambda: client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification),
            )
        backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
            recovery = {"PointInTimeRecoveryEnabled": True}
            yield Difference(
                f"table {name} has no point-in-time recovery",
                lambda: client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery),
            )
        if table.get("SSEDescription", {}).get("Status") not in ("ENABLED", "ENABLING", "UPDATING"):
            yield Difference(
                f"table {name} is not encrypted with a KMS key of this account",
                lambda: client.update_table(TableName=name, SSESpecification=ENCRYPTION),
            )

    def _create(self) -> None:
        self._client.create_table(
            TableName=self._name,
            KeySchema=KEYS,
            AttributeDefinitions=KEY_TYPES,
            BillingMode="PAY_PER_REQUEST",
            SSESpecification=ENCRYPTION,
        )
