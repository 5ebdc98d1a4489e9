"""Input that is not a frame, or is almost one, generated; and requests for pages that no browser sends."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

ACTIONS = ("identify", "sendMessage", "history", "read", "conversation", "forget", "ping", "setConnectionType")
FIELDS = (
    "type", "v", "id", "token", "since", "before", "limit", "content", "quick", "to", "conversation", "connectionType",
    "upTo", "op", "lang", "data",
)  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Lu"]))  # with halves of surrogate pairs, which JSON can escape
    | st.sampled_from(["user", "admin", "message-1", 2, 1, "0" * 13 + "." + "0" * 11]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4),
    max_leaves=8,
)
almost_frames = st.fixed_dictionaries(
    {"action": st.sampled_from(ACTIONS) | values}, optional=dict.fromkeys(FIELDS, values)
)
garbage = st.text() | st.binary() | (almost_frames | values).map(json.dumps)


@dataclass(frozen=True)
class BadRequest:
    """A request for a page that no browser sends, and the status of the answer that refuses it.

    It is 200 if a form shows the error, and 302 if a list is shown without its filters instead.
    """

    name: str
    path: str
    form: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 400

    def __str__(self) -> str:
        return self.name


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def multipart(charset: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}


PART = b'--x\r\nContent-Disposition: form-data; name="content"\r\n\r\nhello\r\n--x--\r\n'
STRANGE_PART = b"--x\r\nContent-Disposition: form-data; name*=foo''bar\r\n\r\nhello\r\n--x--\r\n"
LISTS = "/admin/messaging"
BAD_REQUESTS = [
    # NUL, which PostgreSQL can't hold
    BadRequest("NUL in a path", "/user/%00"),
    BadRequest("NUL in the path of a file", "/static/%00.css"),
    BadRequest("NUL in the name of a parameter", "/user/?%00=1"),
    BadRequest("NUL in a filter", f"{LISTS}/message/?sender=%00"),
    BadRequest("NUL in a search", f"{LISTS}/conversation/?q=%00"),
    BadRequest("NUL in a key", f"{LISTS}/quickmessage/%00/change/"),
    BadRequest("NUL in a message", "/user/send/", b"content=a%00b", FORM),
    BadRequest("NUL in a login name", "/admin/login/", b"username=%00&password=x", FORM),
    BadRequest("NUL in a cookie", "/admin/", headers={"Cookie": r'sessionid="\000"'}),
    # Content-Type
    *(
        BadRequest(f"a form in the encoding {charset}", "/user/send/", PART, multipart(charset))
        for charset in ("hex", "zlib", "idna", "undefined")
    ),
    BadRequest("a form that is not UTF-8", "/user/send/",
               b"content=x", {"Content-Type": FORM["Content-Type"] + "; charset=hex"}),
    BadRequest("a type that can't be parsed", "/user/", headers={"Content-Type": "text/plain; a*=nothing''b"}),
    BadRequest("a part with a strange name", "/user/send/",
               STRANGE_PART, multipart("utf-8"), status=403),  # no CSRF token
    BadRequest("a daphne-root-path that is no ASCII", "/user/", headers={"daphne-root-path": "\xff"}, status=200),
    # too much
    BadRequest("too many fields", "/user/send/", b"a=1&" * 1_100, FORM),
    BadRequest("a long login name", "/admin/login/", b"username=" + b"x" * 300 + b"&password=x", FORM, status=200),
    # the Django admin: a list that can't be filtered so is shown without filters
    *(
        BadRequest(f"a list with {parameters[:40]}", f"{LISTS}/message/?{parameters}", status=302)
        for parameters in (
            "created_at__year=9999", "created_at__year=99999999999999999999", "created_at__year__gte=99999999999",
            "created_at__gte=yesterday", "seq__range=1", "seq__range=2024",
            "seq=x", "conversation=x",
            "conversation__id__exact=x",
        )
    ),
    BadRequest("a list of another package", "/admin/auth/group/?id__range=1", status=302),
    BadRequest("a list with a regular expression", f"{LISTS}/message/?content__regex=("),
    BadRequest("a list with a forbidden filter", f"{LISTS}/conversation/?claimed_by__password=x"),
    BadRequest("a popup for a field that is no reference", f"{LISTS}/block/?_to_field=until"),
    BadRequest("an action on a key that is none", f"{LISTS}/conversation/",
               b"action=close&index=0&_selected_action=x", FORM),
    BadRequest("an action on a number that is too large", "/admin/auth/user/",
               b"action=delete_selected&_selected_action=99999999999999999999", FORM),
    BadRequest("the page of an object whose key is none", f"{LISTS}/message/x/change/", status=302),
    BadRequest("a new block until a time that is none", f"{LISTS}/block/add/?until=tomorrow", status=200),
    BadRequest("a form for a block that holds nonsense", f"{LISTS}/block/add/",
               b"conversation=x&until_0=x&until_1=x", FORM, 200),
    BadRequest("the site's page of an object whose key is none", "/admin/r/1/x/"),
    # the language
    BadRequest("a language that is none", "/user/language/", b"language=%F0%9F%98%80&next=/user/", FORM, 302),
    BadRequest("a language and an address that is none", "/user/language/", b"language=de&next=http://[", FORM, 302),
]  # fmt: skip
every_bad_request = pytest.mark.parametrize("bad", BAD_REQUESTS, ids=str)
