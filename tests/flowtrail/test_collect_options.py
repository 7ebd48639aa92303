"""`flowtrail collect` has every setting of the collector, and hands on what was given."""

import ast
import logging
from pathlib import Path
from typing import Any

import pytest
import typer

from flowtrail.cli import app, collect
from flowtrail.collector import settings as settings_module
from flowtrail.collector.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the collector would have been started with."""
    started: list[Settings] = []
    monkeypatch.setattr("flowtrail.collector.service.run", started.append)
    return started


def parameters() -> dict[str, Any]:
    (command,) = (found for name, found in typer.main.get_command(app.app).commands.items() if name == "collect")  # type: ignore[attr-defined]
    return {parameter.name: parameter for parameter in command.params}


def test_every_setting_is_an_option_with_its_sentence() -> None:
    options = parameters()
    assert set(options) - {"help"} == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert collect.option_name(name) in options[name].opts
        assert field.description, f"{name} has no description"
        assert field.description in options[name].help
        assert collect.environment_name(name) in options[name].help


def test_without_options_the_defaults_hold(started: list[Settings]) -> None:
    assert app.run(["collect"]) == 0
    assert started == [Settings()]


@pytest.mark.usefixtures("started")
def test_the_log_does_not_tell_of_each_servers_start_and_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app.run(["collect"])
    assert not logging.getLogger("uvicorn.error").isEnabledFor(logging.INFO)


def test_what_is_typed_reaches_the_collector(started: list[Settings], tmp_path: Path) -> None:
    typed = ["collect", "--data-dir", str(tmp_path), "--api-port", "0", "--export", "http://127.0.0.1:1/v1/traces"]
    typed += ["--kafka-properties", "sasl.username=me", "--kafka-properties", "sasl.password=a=b"]
    typed += ["--retry-topics", "*.again", "--retry-topics", "retry.*", "--dead-letter-topics", ""]
    assert app.run(typed) == 0
    (settings,) = started
    assert settings.data_dir == tmp_path
    assert settings.api_port == 0
    assert settings.export_url == "http://127.0.0.1:1/v1/traces"
    assert settings.kafka_properties == {"sasl.username": "me", "sasl.password": "a=b"}
    assert settings.retry_topics == ("*.again", "retry.*")
    assert settings.dead_letter_topics == ()


def test_an_option_is_stronger_than_the_environment(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWTRAIL_API_PORT", "1")
    monkeypatch.setenv("FLOWTRAIL_LAG_INTERVAL_MS", "250")
    app.run(["collect", "--api-port", "2"])
    assert (started[0].api_port, started[0].lag_interval_ms) == (2, 250)


def test_a_wrong_environment_is_a_sentence(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWTRAIL_API_PORT", "a port")
    assert app.run(["collect"]) == 2
    assert "--api-port: Input should be a valid integer" in capsys.readouterr().err
    monkeypatch.setenv("FLOWTRAIL_API_PORT", "1")
    monkeypatch.setenv("FLOWTRAIL_RETRY_TOPICS", "[")
    assert app.run(["collect"]) == 2
    assert "retry_topics" in capsys.readouterr().err
    assert started == []


def test_the_settings_need_nothing_of_the_collector() -> None:
    """The command line reads them where only the pages are installed."""
    tree = ast.parse(Path(settings_module.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {str(module).split(".")[0] for module in imported} <= {
        "pathlib",
        "typing",
        "urllib",
        "pydantic",
        "pydantic_settings",
    }
