"""aws/template.yaml as plain Python values, and back as text."""

import json
from collections.abc import Callable
from typing import Any

import yaml

from tests.support.paths import ROOT

Template = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """A loader that reads CloudFormation's short forms as long ones: `!Sub x` as `{"Fn::Sub": "x"}`."""


def _long_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, object]:
    function = name if name in ("Ref", "Condition") else f"Fn::{name}"
    match node:
        case yaml.ScalarNode(value=value) if name == "GetAtt":
            return {function: value.split(".", 1)}
        case yaml.ScalarNode(value=value):
            return {function: value}
        case yaml.SequenceNode():
            return {function: loader.construct_sequence(node, deep=True)}
    raise AssertionError(node)


_Loader.add_multi_constructor("!", _long_form)


def load() -> Template:
    template: Template = yaml.load((ROOT / "aws/template.yaml").read_text(), _Loader)  # noqa: S506  a SafeLoader
    return template


def written(template: Template) -> str:
    return json.dumps(template)


def statement(template: Template, sid: str) -> dict[str, Any]:
    """Return the statement `sid` of the function's IAM policy."""
    return next(found for found in _statements(template) if found["Sid"] == sid)


def _statements(template: Template) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = template["Resources"]["Role"]["Properties"]["Policies"][0]["PolicyDocument"][
        "Statement"
    ]
    return found


def without(sid: str) -> Callable[[Template], None]:
    """Return a change that removes the statement `sid` from the function's IAM policy."""

    def change(template: Template) -> None:
        _statements(template).remove(statement(template, sid))

    return change
