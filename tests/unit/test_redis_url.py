"""The forms of REDIS_URL."""

import pytest

from messaging.backends.redis.url import RedisURL, parse_redis_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", RedisURL("single", (("h", 6379),))),
        ("rediss://u:p%40ss@h:1/2", RedisURL("single", (("h", 1),), True, "u", "p@ss", 2)),
        (
            "redis+sentinel://:pw@a:1,b/main/3",
            RedisURL("sentinel", (("a", 1), ("b", 26379)), password="pw", db=3, master="main"),
        ),
        ("redis+cluster://a,b:7000", RedisURL("cluster", (("a", 6379), ("b", 7000)))),
    ],
)
def test_redis_urls_name_a_server_sentinels_or_a_cluster(text: str, expected: RedisURL) -> None:
    assert parse_redis_url(text) == expected


@pytest.mark.parametrize("text", ["", "h:6379", "redis+x://h", "redis+sentinel://h", "redis://h/x", "redis://h:port"])
def test_a_wrong_redis_url_names_the_forms_that_are_right(text: str) -> None:
    with pytest.raises(ValueError, match="must have the form redis"):
        parse_redis_url(text)


@pytest.mark.parametrize("character", "#?/")
def test_an_unencoded_character_in_a_password_is_told_with_the_remedy(character: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded") as refused:
        parse_redis_url(f"redis://:se{character}cret@host:6379/0")
    assert "cret" not in str(refused.value)
