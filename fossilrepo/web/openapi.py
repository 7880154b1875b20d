"""The API described for programs, made from its table of routes and its models.

Owns the form (OpenAPI 3.1); says nothing that the table does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fossilrepo import __version__
from fossilrepo.web import api_models
from fossilrepo.web.visit import Who

if TYPE_CHECKING:
    from fossilrepo.web.api_call import Call

_REFERENCE = "#/components/schemas/{model}"
_OBJECT = {"schema": {"type": "object"}}
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@cache
def document(calls: Sequence[Call], base: str) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(base + call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fossilrepo", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": _schemas(calls),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "fossilrepo"},
            },
        },
    }


def _operation(call: Call) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": call.says}
    if call.answer:
        answer["content"] = _json(call.answer)
    elif call.raw:
        answer["content"] = {
            kind: _OBJECT if "json" in kind.split("/") else _BYTES for kind in call.gives
        }
    operation: dict[str, Any] = {
        "operationId": call.action.__name__,
        "summary": call.says,
        "description": f"For: {call.who}.",
        "parameters": _parameters(call),
        "responses": {
            str(call.status): answer,
            "default": {"description": "An error", "content": _json(api_models.Problem)},
        },
        "security": [] if call.who is Who.PUBLIC else [{"token": []}, {"session": []}],
    }
    if call.body:
        operation["requestBody"] = {"required": True, "content": _json(call.body)}
    elif call.raw and call.method == "PUT":
        operation["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": _BYTES},
        }
    return operation


def _parameters(call: Call) -> list[dict[str, Any]]:
    found = [(name, "path") for name in re.findall(r"{(\w+)}", call.path)]
    found += [(name, "query") for name in call.query]
    return [
        {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
        for name, place in found
    ]


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}


def _schemas(calls: Sequence[Call]) -> dict[str, Any]:
    bodies = {call.body for call in calls if call.body}
    answers = {call.answer for call in calls if call.answer} | {api_models.Problem}
    wanted: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in bodies]
    wanted += [(model, "serialization") for model in answers]
    wanted.sort(key=lambda pair: pair[0].__name__)
    _, schema = models_json_schema(wanted, ref_template=_REFERENCE)
    return dict(schema["$defs"])
