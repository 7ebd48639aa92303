"""`flowtrail collect` has every setting of the collector, and hands on what was given."""

import ast
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from flowtrail.cli import app
from flowtrail.collector import configuration as configuration_module
from flowtrail.collector import masking as masking_module
from flowtrail.collector import settings as settings_module
from flowtrail.collector.configuration import environment_name, option_name
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
    assert set(options) - {"help", "config", "print_config"} == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert option_name(name) in options[name].opts
        assert field.description, f"{name} has no description"
        assert field.description in options[name].help
        assert environment_name(name) in options[name].help


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


def test_a_named_file_reaches_the_collector(started: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text("api_port = 7")
    assert app.run(["collect", "--config", str(tmp_path / "some.toml")]) == 0
    assert started[0].api_port == 7


def test_a_wrong_file_stops_the_start(
    started: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.toml").write_text("api_prot = 7")
    assert app.run(["collect", "--config", str(tmp_path / "some.toml")]) == 2
    assert "did you mean api_port?" in capsys.readouterr().err
    assert started == []


def test_a_variable_that_sets_nothing_is_told_of_and_does_no_harm(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLOWTRAIL_API_PROT", "7")
    monkeypatch.setenv("FLOWTRAIL_TOKEN", "of the commands")
    monkeypatch.setenv("FLOWTRAIL_CAPTURE_KEYS", "off")  # the tracer's
    assert app.run(["collect"]) == 0
    (told,) = [record.getMessage() for record in caplog.records if "sets nothing" in record.getMessage()]
    assert told.startswith("FLOWTRAIL_API_PROT")
    assert len(started) == 1


def test_what_is_printed_is_a_file_that_sets_the_same(
    started: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--data-dir", str(tmp_path), "--api-port", "7", "--kafka-properties", "sasl.username=me"]
    assert app.run(["collect", *typed, "--print-config"]) == 0
    assert started == []
    (tmp_path / "flowtrail.toml").write_text(capsys.readouterr().out)
    app.run(["collect", *typed])
    app.run(["collect", "--data-dir", str(tmp_path)])
    assert started[0] == started[1]
    assert started[1].api_port == 7


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
    assert "FLOWTRAIL_API_PORT: Input should be a valid integer" in capsys.readouterr().err
    monkeypatch.setenv("FLOWTRAIL_API_PORT", "1")
    monkeypatch.setenv("FLOWTRAIL_RETRY_TOPICS", "[")
    assert app.run(["collect"]) == 2
    assert "retry_topics" in capsys.readouterr().err
    assert started == []


@pytest.mark.parametrize("module", [settings_module, configuration_module, masking_module])
def test_the_settings_need_nothing_of_the_collector(module: ModuleType) -> None:
    """The command line reads them where only the pages are installed."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {str(module).split(".")[0] for module in imported} <= {
        "collections",
        "dataclasses",
        "difflib",
        "masking",
        "pathlib",
        "settings",
        "typing",
        "urllib",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
    }
