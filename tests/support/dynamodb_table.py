"""A test's own DynamoDB table on the emulator of AWS."""

from dataclasses import dataclass
from typing import Any, TypedDict

from messaging.backends.dynamodb.schema import KEY_TYPES, KEYS
from tests.support.ministack import REGION, Ministack


class TableOptions(TypedDict):
    """The options of every backend that stores something in the table."""

    table: str
    region: str


@dataclass(frozen=True)
class DynamoDBTable:
    """A table on `ministack`. The `dynamodb_table` fixture sets the environment variables that lead boto3 there."""

    name: str
    ministack: Ministack
    region: str = REGION

    @property
    def options(self) -> TableOptions:
        return {"table": self.name, "region": self.region}

    def create(self) -> None:
        """Create the table by one request: the backups and encryption that `messaging_migrate` adds take a second."""
        self.ministack.client("dynamodb").create_table(
            TableName=self.name, KeySchema=KEYS, AttributeDefinitions=KEY_TYPES, BillingMode="PAY_PER_REQUEST"
        )

    def items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.ministack.client("dynamodb").scan(TableName=self.name)["Items"]
        return items

    def empty(self) -> None:
        client = self.ministack.client("dynamodb")
        for item in self.items():
            client.delete_item(TableName=self.name, Key={name: item[name] for name in ("group", "connection_id")})
