"""The control API as an OpenAPI 3.1 document, made of the same types that read and write its bodies."""

import json
from functools import lru_cache
from typing import Any

from dormouse_contract.problems import PROBLEM_MEDIA_TYPE, Problem
from dormouse_contract.wire import MODEL_NAME_PATTERN, ModelList, ModelSnapshot, PolicyLoan, ResidencyOrder
from pydantic.json_schema import models_json_schema

_REFUSALS = {
    400: "no HTTP that can be read",
    401: "a token is needed",
    403: "read-only here, or another host",
    404: "no such model",
    405: "no such method here",
    409: "in use, overtaken by a newer order, or changed weights",
    413: "the body is too large",
    415: "a page sent a body that is not JSON",
    421: "an order for another pod",
    422: "the body is not as the contract says",
    503: "can't now; Retry-After says when to ask again",
}


# Mounts and proxies give one server a few prefixes; to make the description takes as long as many requests.
@lru_cache(maxsize=8)
def control_api_json(prefix: str) -> bytes:
    return json.dumps(control_api(prefix)).encode()


def control_api(prefix: str) -> dict[str, Any]:
    """Of the routes that `control_router(prefix=…)` serves."""
    # ModelList leaves out what is absent by a serializer, of which pydantic knows no schema: as it is read, then.
    bodies = [(one, "validation") for one in (ResidencyOrder, PolicyLoan, ModelList)]
    answers = [(one, "serialization") for one in (ModelSnapshot, Problem)]
    refs, definitions = models_json_schema(
        [*bodies, *answers],  # type: ignore[list-item]
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )

    def schema(model: type) -> dict[str, Any]:
        return refs[model, "validation" if (model, "validation") in refs else "serialization"]

    def answer(model: type, text: str) -> dict[str, Any]:
        return {"description": text, "content": {"application/json": {"schema": schema(model)}}}

    problem = {"content": {PROBLEM_MEDIA_TYPE: {"schema": refs[Problem, "serialization"]}}}

    def operation(name: str, answers: dict[int, dict[str, Any]], body: type | None = None) -> dict[str, Any]:
        refusals = {status: {"description": text, **problem} for status, text in _REFUSALS.items()}
        responses = {str(status): what for status, what in sorted({**refusals, **answers}.items())}
        made: dict[str, Any] = {"operationId": name, "responses": responses}
        if body is not None:
            content = {"application/json": {"schema": refs[body, "validation"]}}
            made["requestBody"] = {"required": True, "content": content}
        return made

    snapshot = answer(ModelSnapshot, "the snapshot")
    name = {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": MODEL_NAME_PATTERN},
    }
    moved = {
        200: answer(ModelSnapshot, "the weights are there; the snapshot"),
        202: answer(ModelSnapshot, "on their way; the snapshot"),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Dormouse control API", "version": "v1"},
        "paths": {
            f"{prefix}/v1/models": {"get": operation("listModels", {200: answer(ModelList, "all models")})},
            f"{prefix}/v1/models/{{model}}": {"parameters": [name], "get": operation("readModel", {200: snapshot})},
            f"{prefix}/v1/models/{{model}}/residency": {
                "parameters": [name],
                "put": operation("orderResidency", moved, ResidencyOrder),
            },
            f"{prefix}/v1/models/{{model}}/policy": {
                "parameters": [name],
                "put": operation("lendPolicy", {200: snapshot}, PolicyLoan),
            },
        },
        "components": {"schemas": definitions.get("$defs", {})},
    }
