"""The contents that no log may have: messages, identities, secrets, and lines that a client composed."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.support.connections import Connection, ack, admin, connect, error, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod, fetch
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, started
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

# Long enough for SECRET_KEY, found nowhere else, and without characters that a log would write differently.
CONTENT, SECRET, PASSWORD = (f"canary-{name}-{new_id()}{new_id()}" for name in ("content", "secret", "password"))
PRINTABLE = re.compile(r"[ -~]*")
FORGED = "2026-11-22 10:00:00,000 WARNING forged: line"
SEPARATORS = ["\r", "\x0b", "\x0c", "\x1c", "\x1b[2K\x1b[1G", "\x85", "\u2028", "%0a", "%0d%0a", "%1b[2K", "\\n"]


@pytest.fixture
def redis_with_password() -> Iterator[Redis]:
    redis = Redis()
    with started(redis):
        with redis.client() as client:
            client.config_set("requirepass", PASSWORD)
        yield redis


@pytest.fixture
def secretive(kubernetes: Kubernetes, redis_with_password: Redis) -> Iterator[Deployment[Pod]]:
    secrets = {"SECRET_KEY": SECRET, "REDIS_PASSWORD": PASSWORD}
    # Limits are kept in Redis, and the proxy's header is trusted, so both could end up in a log.
    more = {"RATE_LIMIT_VISITOR": "1000/0.001", "TRUSTED_PROXY_COUNT": "1", "MESSAGING_LOG_LEVEL": "DEBUG"}
    with kubernetes.deployed(redis_with_password.url, secrets | more) as deployment:
        yield deployment


async def test_no_log_has_what_people_write_or_a_secret(
    secretive: Deployment[Pod], redis_with_password: Redis, postgres: Postgres
) -> None:
    here, there = secretive.websocket_urls
    token = await secretive.admin_token()
    async with visitor(here) as page, admin(there, token) as operator:
        await misbehave(here)
        await mistake(page)
        assert (await operator.receive())["content"] == CONTENT
        await operator.say(CONTENT, to=page.conversation)
        assert (await page.receive())["content"] == CONTENT
        await lose_the_database(secretive, page)
        await asyncio.to_thread(redis_with_password.kill)
        await say_at_last(page)
        async with visitor(there, page.token) as again:
            await again.request("history", id="h")
        for pod in secretive.servers:
            await asyncio.to_thread(pod.end, signal.SIGTERM)
        visitor_token = page.token
    outputs = secretive.log + redis_with_password.log + postgres.log
    canaries = {
        "content": CONTENT, "visitor token": visitor_token, "admin token": token, "secret": SECRET, "password": PASSWORD
    }  # fmt: skip
    assert [name for name, canary in canaries.items() if canary in outputs] == []
    assert "server stops" in outputs
    assert "channel layer down" in outputs
    assert "database unavailable" in outputs


async def misbehave(url: str) -> None:
    """Send frames and tokens that make no sense, until the server closes the connection."""
    unfinished = f'{{"action": "{CONTENT}"'
    frames: list[str | bytes] = [f'["{CONTENT}"]', f'{{"action": ["{CONTENT}"]}}', CONTENT.encode(), *[unfinished] * 5]
    async with connect(url) as stranger:
        for frame in frames:
            await stranger.send_raw(frame)
        assert (await stranger.until_closed())[1] == 4400
    async with connect(url) as stranger:
        assert await stranger.request("identify", v=2, type="admin", token=CONTENT) == error("unauthorized")
    async with visitor(url) as stranger:
        await stranger.send_raw(f'{{"action": "sendMessage", "content": "{CONTENT * 300}"}}')
        assert (await stranger.until_closed())[1] == 4413


async def mistake(page: Connection) -> None:
    """Send a message, the same again, another one under its id, one that is too long, and an unknown action."""
    id = new_id()
    await page.say(CONTENT, id=id)
    assert await page.request("sendMessage", id=id, content=CONTENT) == ack(id, duplicate=True)
    assert await page.request("sendMessage", id=id, content=f"{CONTENT}!") == error("id_conflict", id=id)
    assert (await page.request("sendMessage", id=new_id(), content=CONTENT * 30))["code"] == "too_long"
    assert (await page.request(CONTENT))["code"] == "unknown_action"


async def lose_the_database(deployment: Deployment, page: Connection) -> None:
    """Lock the database until the server has given up, then end all of its sessions."""
    id = new_id()
    with psycopg.connect(deployment.database, autocommit=True) as session:
        with session.transaction():
            session.execute("LOCK TABLE messaging_message IN ACCESS EXCLUSIVE MODE")
            answer = await page.request("sendMessage", id=id, content=CONTENT)
            await eventually(lambda: "database unavailable" in deployment.log, "the server gives up")
        assert answer == error("unavailable", id=id, retryAfterMs=1000)
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await say_at_last(page)


async def say_at_last(page: Connection) -> None:
    """Send a message until it is acked, and ignore all other frames."""
    id = new_id()
    answer = partial(page.request, "sendMessage", id=id, content=CONTENT)
    await eventually(answer, "it is acked", until=lambda told: (told["type"], told.get("id")) == ("ack", id))


def test_nobody_else_composes_a_line_of_the_log(secretive: Deployment[Pod]) -> None:
    pod = secretive.servers[0]
    for separator in SEPARATORS:
        text = f"a{separator}{FORGED}"
        for request in (
            f"GET /{text.replace(' ', '%20')} HTTP/1.1\r\nHost: {HOST}\r\n",
            f"GET /{text} HTTP/1.1\r\nHost: {HOST}\r\n",
            f"GET /nothing HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {text}\r\nOrigin: http://{text}\r\n",
            f"POST /admin/login/ HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{text}\r\nReferer: {text}\r\n",
            f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{text}\r\nX-Forwarded-For: {text}\r\n{HANDSHAKE}",
        ):
            send(pod, request)
    pod.end(signal.SIGTERM)
    lines = pod.log.splitlines()
    assert [line for line in lines if not PRINTABLE.fullmatch(line)] == []
    assert {tuple(json.loads(line))[:4] for line in lines} == {("time", "level", "logger", "message")}
    assert any("forged" in line for line in lines)
    assert "server stops" in lines[-1]


CHANGES = ["group added", "group added", "group deleted", "group deleted"]
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)


def send(pod: Pod, request: str) -> None:
    """Send a request and wait for the first byte of its answer, or for the end of the connection."""
    with socket.create_connection((HOST, pod.port), timeout=60) as raw:
        raw.sendall(f"{request}\r\n".encode())
        raw.recv(1)


def events(pod: Pod, message: str) -> list[dict[str, Any]]:
    """Return the lines of the log whose message is `message`."""
    return [line for line in map(json.loads, pod.log.splitlines()) if line["message"] == message]


async def test_what_is_logged_for_one_connection_never_has_the_ids_of_another(secretive: Deployment[Pod]) -> None:
    pod = secretive.servers[0]
    async with visitor(pod.websocket_url) as ada, visitor(pod.websocket_url) as bob:
        pages = {"ada": ada, "bob": bob}
        sent = {page.id: [f"{name}-{new_id()}" for _ in range(20)] for name, page in pages.items()}
        for first, second in zip(sent[ada.id], sent[bob.id], strict=True):
            await ada.send("sendMessage", id=first, content=CONTENT)  # both are being served at the same time
            await bob.send("sendMessage", id=second, content=CONTENT)
        for page in pages.values():
            await page.receive_many(20)
    logged: dict[str, list[str]] = {page: [] for page in sent}
    for line in events(pod, "frame served"):
        if line.get("frame", "").startswith(("ada-", "bob-")):
            logged[line["connection"]].append(line["frame"])
    assert logged == sent
    assert {(line["service"], line["version"]) for line in events(pod, "frame served")} == {("all", "dev")}


def test_a_request_has_an_id_in_the_log_and_in_its_answer(secretive: Deployment) -> None:
    pod = secretive.servers[0]
    given, own = new_id(), "not\tone"
    for id in (given, own):
        fetch(f"{pod.origin}/nothing-{new_id()}", **{"X-Request-ID": id})
    first, second = (line for line in map(json.loads, pod.log.splitlines()) if line["message"].startswith("Not Found"))
    assert (first["request"], first["logger"], first["status_code"]) == (given, "django.request", 404)
    assert re.fullmatch("[0-9a-f]{32}", second["request"])
    answer = {name.lower(): value for name, value in secretive.headers("/user/").items()}
    assert re.fullmatch("[0-9a-f]{32}", answer["x-request-id"])


async def test_what_staff_change_and_hand_out_is_in_the_audit_log(secretive: Deployment[Pod]) -> None:
    pod = secretive.servers[0]
    operator = secretive.session("operator")
    await secretive.admin_token()
    for name in (CONTENT, f"{CONTENT}-2"):
        operator.request("/admin/auth/group/add/", {"name": name})
    groups = [line["object"] for line in events(pod, "group added")]
    operator.request("/admin/auth/group/", {"action": "delete_selected", "_selected_action": groups, "post": "yes"})
    async with visitor(pod.websocket_url) as page:
        await page.say(CONTENT)
    operator.request(
        "/admin/messaging/message/", {"action": "export_csv", "select_across": "1", "_selected_action": "1"}
    )
    audit = [line for line in map(json.loads, pod.log.splitlines()) if line["logger"] == "messaging.audit"]
    said = [(line["message"], line["staff"]) for line in audit]
    staff = audit[0]["staff"]
    assert said == [(event, staff) for event in ("staff logged in", *CHANGES, "messages exported")]
    assert [line["object"] for line in events(pod, "group deleted")] == groups
    assert (audit[-1]["format"], audit[-1]["messages"]) == ("csv", 1)
    assert len({line["request"] for line in audit}) == len(audit) - 1  # one request deleted both groups
    assert CONTENT not in pod.log


async def test_what_staff_do_to_conversations_is_in_the_audit_log(secretive: Deployment[Pod]) -> None:
    here, there = secretive.websocket_urls
    ops = ["claim", "release", "close", "reopen", "block", "unblock"]
    token = await secretive.admin_token()
    async with visitor(here) as page, admin(there, token) as operator:
        await page.say(CONTENT)
        await operator.receive()
        for op in [op for op in ops for _ in range(2)]:  # each op twice: repeating it changes nothing
            id = new_id()
            await operator.send("conversation", id=id, conversation=page.conversation, op=op)
            while (await operator.receive()).get("id") != id:
                pass
    changes = events(secretive.servers[1], "conversation changed")
    assert [line["op"] for line in changes] == [*ops[:4], "block", "block", "unblock"]  # a second block begins anew
    assert {line["object"] for line in changes} == {page.conversation}
    assert {line["connection"] for line in changes} == {operator.id}
    assert len({line["frame"] for line in changes}) == len(changes)
    assert len({line["staff"] for line in changes}) == 1
