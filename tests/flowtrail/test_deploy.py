"""Every command, option, port, path and variable in deploy/ exists.

No container engine runs here: the files are read, and what they name is looked up in the program.
"""

import asyncio
import json
import re
import shlex
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
import typer
import yaml
from starlette.applications import Starlette

from flowtrail.cli.app import app
from flowtrail.collector.api.answers import Health
from flowtrail.collector.api.app import make_app
from flowtrail.collector.configuration import configure, environment_name
from flowtrail.collector.settings import Settings
from flowtrail.collector.store.connection import Store
from flowtrail.collector.telemetry.metrics import METRICS

from . import reference

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PACKAGE_FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "flowtrail"}
ENVIRONMENT = {environment_name(name): name for name in Settings.model_fields}
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def default_ports() -> set[int]:
    (ui_port,) = (parameter.default for parameter in COMMANDS["ui"].params if parameter.name == "port")
    return {ui_port} | {Settings.model_fields[f"{name}_port"].default for name in ("otlp_http", "otlp_grpc", "api")}


def parsed(command: list[str]) -> str:
    """The name of the command that the command line parses as; raises typer's exception when it does not."""
    name, *arguments = command
    COMMANDS[name].make_context(name, list(arguments))
    return name


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def instructions(name: str) -> list[str]:
    return [arguments for instruction, arguments in dockerfile() if instruction == name]


def test_the_image_copies_what_is_in_the_tree() -> None:
    copied = [source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {"flowtrail", *PACKAGE_FOLDERS.values()} <= set(copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)


def test_the_image_installs_an_extra_that_exists() -> None:
    (extra,) = re.findall(r"pip install .*'\.\[(\w+)\]'", "\n".join(instructions("RUN")))
    assert extra in PROJECT["optional-dependencies"]


def test_the_image_runs_a_python_that_the_project_supports() -> None:
    (minimum,) = re.findall(r">=3\.(\d+)", PROJECT["requires-python"])
    versions = [int(minor) for minor in re.findall(r"python:3\.(\d+)", "\n".join(instructions("FROM")))]
    assert versions
    assert all(version >= int(minimum) for version in versions)
    assert len(set(versions)) == 1


def test_the_image_starts_a_command_that_exists() -> None:
    (entrypoint,), (command,) = instructions("ENTRYPOINT"), instructions("CMD")
    assert json.loads(entrypoint)[0] in PROJECT["scripts"]
    assert parsed(json.loads(entrypoint)[1:] + json.loads(command)) == "collect"


def test_the_image_sets_only_options_that_exist() -> None:
    given = dict(assignment.split("=", 1) for line in instructions("ENV") for assignment in shlex.split(line))
    ours = {name: value for name, value in given.items() if name.startswith("FLOWTRAIL_")}
    assert set(ours) <= set(ENVIRONMENT)
    assert given["FLOWTRAIL_DATA_DIR"] in instructions("VOLUME")
    Settings.model_validate({ENVIRONMENT[name]: value for name, value in ours.items()})


def test_the_image_exposes_the_default_ports() -> None:
    (exposed,) = instructions("EXPOSE")
    assert {int(port) for port in exposed.split()} == default_ports()


def test_the_image_does_not_run_as_root() -> None:
    (user,) = instructions("USER")
    assert int(user) > 0


def test_the_image_has_no_health_of_its_own_since_its_commands_listen_on_different_ports() -> None:
    assert instructions("HEALTHCHECK") == []


def test_every_program_of_ours_is_asked_for_its_health_on_a_port_of_its_own() -> None:
    for name, service in OURS.items():
        (port,) = re.findall(r"127\.0\.0\.1(?::|', )(\d+)", service["healthcheck"]["test"][-1])
        assert int(port) in reachable(name)


def test_the_collector_is_asked_for_a_path_that_the_api_answers() -> None:
    (url,) = re.findall(r"http://[^']+", OURS["collect"]["healthcheck"]["test"][-1])
    parts = urlsplit(url)
    assert parts.port == Settings.model_fields["api_port"].default
    # Being alive needs neither the store nor the collector's health: only a name is read while the API is made.
    store, health = cast(Store, SimpleNamespace(database="flowtrail")), cast(Health, None)
    assert asyncio.run(status_of(make_app(store, Settings(), lambda: health), parts.path)) == 200


async def status_of(app: Starlette, path: str) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        return (await client.get(path)).status_code


def test_every_program_of_the_composition_parses() -> None:
    assert {name: parsed(service["command"]) for name, service in OURS.items()} == {"collect": "collect", "ui": "ui"}


def test_every_variable_of_ours_in_the_composition_is_an_option() -> None:
    for service in OURS.values():
        given = service.get("environment", {})
        assert set(given) <= set(ENVIRONMENT)
        Settings.model_validate({ENVIRONMENT[name]: value for name, value in given.items()})


def reachable(name: str) -> set[int]:
    """Ports of a service that others in the composition may reach."""
    service = SERVICES[name]
    ports = {int(str(port).rsplit(":", 1)[1]) for port in service.get("ports", [])}
    ports |= {int(port) for port in service.get("expose", [])}
    listeners = service.get("environment", {}).get("KAFKA_LISTENERS", "")
    return ports | {int(port) for port in re.findall(r"//:(\d+)", listeners)}


def test_every_address_in_the_composition_is_a_service_that_listens_there() -> None:
    addresses = [
        (name, host, int(port))
        for name, service in SERVICES.items()
        for text in [*service.get("environment", {}).values(), *service.get("command", [])]
        for host, port in re.findall(r"([a-z][a-z0-9-]*):(\d{4,5})", str(text))
    ]
    assert {host for _, host, _ in addresses} == {"kafka", "jaeger", "collect"}
    assert [address for address in addresses if address[2] not in reachable(address[1])] == []


def test_every_port_is_bound_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert default_ports() <= {int(port.rsplit(":", 1)[1]) for port in ports}


def test_every_dependency_has_a_health_to_wait_for() -> None:
    for service in SERVICES.values():
        for name in service.get("depends_on", {}):
            assert "healthcheck" in SERVICES[name], f"{name} never becomes healthy"


def test_the_composition_keeps_the_data_where_the_image_writes_it() -> None:
    (data_dir,) = instructions("VOLUME")
    (mounted,) = OURS["collect"]["volumes"]
    volume, path = mounted.split(":")
    assert volume in COMPOSE["volumes"]
    assert path == data_dir


def test_the_composition_builds_from_this_dockerfile() -> None:
    build = OURS["collect"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).exists()


def test_every_foreign_image_is_pinned() -> None:
    foreign = [service["image"] for service in SERVICES.values() if service["image"] != "flowtrail"]
    assert all(re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+", image) for image in foreign)


def test_the_reference_file_holds_every_option_with_its_default_and_sentence() -> None:
    assert (DEPLOY / "flowtrail.env").read_text() == reference.environment_file(), "run `make reference`"


@pytest.mark.parametrize("line", re.findall(r"^#([A-Z_]+=.*)$", reference.environment_file(), re.MULTILINE))
def test_a_line_of_the_reference_file_means_the_default(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = line.split("=", 1)
    monkeypatch.delenv(name, raising=False)
    without = Settings()
    monkeypatch.setenv(name, value)
    assert Settings() == without


def test_the_reference_in_toml_holds_every_option_with_its_default_and_sentence() -> None:
    assert (DEPLOY / "flowtrail.toml").read_text() == reference.toml_file(), "run `make reference`"


def test_the_lines_of_the_reference_in_toml_mean_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"^#(?! )", "", reference.toml_file(), flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(re.sub(r"^#( {4}\S)", r"\1", text, flags=re.MULTILINE))
    configuration = configure({}, {}, tmp_path / "all.toml")
    assert configuration.settings == Settings()
    assert {places[0] for places in configuration.origins.values()} == {str(tmp_path / "all.toml")}


def test_the_page_on_watching_holds_every_metric() -> None:
    text = reference.WATCHING_PAGE.read_text()
    assert text == reference.watching_page(text), "run `make reference`"


def test_the_alerts_ask_for_metrics_and_labels_that_are_there_and_are_explained() -> None:
    rules = [
        rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]
    assert len(rules) == 3
    for rule in rules:
        (name,) = re.findall(r"flowtrail_\w+", rule["expr"])
        labels = re.findall(r"(\w+)=~?\"", rule["expr"])
        assert set(labels) <= set(METRICS[name].labels)
        assert f"`{rule['alert']}`" in reference.WATCHING_PAGE.read_text()
