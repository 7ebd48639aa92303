"""The OpenAPI 3.1 description of the API, made from the route table and the answers' models."""

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from .answers import Answer, Health, Problem
from .routes import Path


def describe(paths: Sequence[Path], version: str) -> dict[str, Any]:
    """Return the description as a JSON object."""
    models: list[type[Answer]] = list(dict.fromkeys([*(path.answer for path in paths), Health, Problem]))
    references, definitions = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flowtrail",
            "version": version,
            "description": "Where events went through Kafka, and why a flow failed or is stuck.",
        },
        "paths": {
            path.openapi_path: {"get": _operation(path, references[path.answer, "serialization"])} for path in paths
        }
        | {
            "/healthz": {"get": _alive()},
            "/readyz": {"get": _ready(references[Health, "serialization"])},
        },
        "components": {"schemas": definitions.get("$defs", {})},
    }


def _operation(path: Path, answer: dict[str, Any]) -> dict[str, Any]:
    responses = {
        "200": {"description": path.summary, "content": {"application/json": {"schema": answer}}},
        "400": _problem("A parameter is wrong; the detail says which."),
        "500": _problem("A defect of the collector; its log says more."),
        "503": _problem("The store cannot be asked now; try again."),
        "504": _problem("The question took too long and was ended; ask for a shorter time."),
    }
    if path.may_be_missing:
        responses["404"] = _problem("Not stored, or not arrived yet; the detail says what to do.")
    if path.has_version:
        responses["304"] = {"description": "Unchanged since the version in If-None-Match."}
    return {
        "operationId": path.handler.__name__.lstrip("_"),
        "summary": path.summary,
        "parameters": [parameter.schema() for parameter in path.parameters],
        "responses": dict(sorted(responses.items())),
    }


def _alive() -> dict[str, Any]:
    schema = {"type": "object", "properties": {"alive": {"const": True}}, "required": ["alive"]}
    return {
        "operationId": "alive",
        "summary": "Whether the process answers at all.",
        "responses": {"200": {"description": "It does.", "content": {"application/json": {"schema": schema}}}},
    }


def _ready(health: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": health}}
    not_ready = _problem("Not ready: the reason, or that it could not say in time.")
    not_ready["content"] |= content
    return {
        "operationId": "ready",
        "summary": "Whether requests are accepted and questions answered.",
        "responses": {"200": {"description": "Ready.", "content": content}, "503": not_ready},
    }


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
