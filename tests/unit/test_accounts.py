"""The accounts of staff, of any user model: their keys in frames, and the names that visitors and other staff read."""

import uuid

import pytest

from messaging.models import Message, display_name, public_name
from messaging.service.contracts import PRINCIPAL_LIMIT, staff_group, staff_id


class Account:
    """An account that logs in as `ada`. `names`: its methods that return names."""

    def __init__(self, **names: str | None) -> None:
        for method, name in names.items():
            setattr(self, method, lambda name=name: name)

    def get_username(self) -> str:
        return "ada"


@pytest.mark.parametrize(
    ("account", "author", "name"),
    [
        (Account(), "", "ada"),
        (Account(get_full_name=" Ada Lovelace "), "Ada Lovelace", "Ada Lovelace"),
        (Account(get_full_name="", get_short_name="Ada"), "Ada", "Ada"),
        (Account(get_full_name=None), "", "ada"),
        (Account(get_full_name="ada"), "", "ada"),
        (Account(get_full_name="ada@example.org", get_short_name="ada"), "", "ada"),
        (Account(get_full_name="A" * 301), "A" * 150, "A" * 150),
    ],
)
def test_visitors_read_a_name_and_nothing_that_one_logs_in_with(account: Account, author: str, name: str) -> None:
    assert (public_name(account), display_name(account)) == (author, name)
    assert len(author) <= (Message._meta.get_field("author").max_length or 0)


def test_a_key_is_a_number_where_every_client_can_read_it_exactly_and_else_a_text() -> None:
    key = uuid.uuid4()
    assert [staff_id(each) for each in (7, 2**53 - 1, 2**53, key)] == [7, 2**53 - 1, str(2**53), str(key)]


def test_accounts_with_long_keys_have_principals_of_their_own() -> None:
    keys: list[int | str] = [7, str(uuid.uuid4()), *(f"{'a' * 300}{number}@example.org" for number in range(2))]
    principals = {staff_group(key) for key in keys}
    assert len(principals) == len(keys)
    assert max(map(len, principals)) <= PRINCIPAL_LIMIT
