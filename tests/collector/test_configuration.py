"""Options from arguments, the environment and a file: which one counts, and what is said of a wrong one."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowtrail.collector.configuration import BadConfiguration, Configuration, configure, shown


def written(folder: Path, text: str, name: str = "flowtrail.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def wrong(*arguments: Any) -> str:
    """What is said of options that make no sense."""
    with pytest.raises(BadConfiguration) as raised:
        configure(*arguments)
    return str(raised.value)


def test_arguments_beat_the_environment_that_beats_the_file_that_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "api_port = 3\nretention_days = 3\nlag_interval_ms = 3\n")
    monkeypatch.setenv("FLOWTRAIL_API_PORT", "2")
    monkeypatch.setenv("FLOWTRAIL_RETENTION_DAYS", "2")
    found = configure({"api_port": 1}, {}, file)
    settings = found.settings
    assert (settings.api_port, settings.retention_days, settings.lag_interval_ms) == (1, 2, 3)
    assert settings.otlp_http_port == 4318
    assert found.origins["api_port"] == ("--api-port", "FLOWTRAIL_API_PORT", str(file))
    assert found.origins["retention_days"] == ("FLOWTRAIL_RETENTION_DAYS", str(file))
    assert found.origins["lag_interval_ms"] == (str(file),)
    assert found.origins["otlp_http_port"] == ("default",)


def test_each_kafka_property_comes_from_the_strongest_place_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, '[kafka_properties]\n"a" = "file"\n"b" = "file"\n"c" = "file"\n')
    monkeypatch.setenv("FLOWTRAIL_KAFKA_PROPERTIES", '{"a": "environment", "b": "environment"}')
    properties = configure({"kafka_properties": {"a": "argument"}}, {}, file).settings.kafka_properties
    assert properties == {"a": "argument", "b": "environment", "c": "file"}


def test_a_list_comes_from_one_place_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, 'retry_topics = ["a", "b"]')
    assert configure({}, {}, file).settings.retry_topics == ("a", "b")
    monkeypatch.setenv("FLOWTRAIL_RETRY_TOPICS", '["c"]')
    assert configure({}, {}, file).settings.retry_topics == ("c",)


def test_a_file_in_the_data_directory_is_found(tmp_path: Path) -> None:
    written(tmp_path, "api_port = 3")
    assert configure({"data_dir": tmp_path}, {}).settings.api_port == 3


def test_a_file_in_the_working_directory_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "api_port = 3")
    monkeypatch.chdir(tmp_path)
    assert configure({}, {}).settings.api_port == 8680


def test_a_file_that_was_found_by_the_data_directory_cannot_set_another(tmp_path: Path) -> None:
    written(tmp_path, f'data_dir = "{tmp_path / "other"}"')
    assert "was found by data_dir, and sets another" in wrong({"data_dir": tmp_path}, {})
    written(tmp_path, f'data_dir = "{tmp_path}"')
    assert configure({"data_dir": tmp_path}, {}).settings.data_dir == tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("api_prot", "there is no option api_prot; did you mean api_port?"),
        ("api-port", "there is no option api-port; did you mean api_port?"),
        ("zzz", "there is no option zzz; `flowtrail collect --print-config` lists all"),
    ],
)
def test_a_wrong_name_in_a_file_stops_and_names_the_nearest(name: str, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"{name} = 1")
    assert wrong({}, {}, file) == f"{file}: {said}"


def test_a_wrong_name_in_the_environment_is_a_warning_that_names_the_nearest() -> None:
    (warning,) = configure({}, {"FLOWTRAIL_API_PROT": "1"}).warnings
    assert warning == "FLOWTRAIL_API_PROT sets nothing: there is no such option; did you mean FLOWTRAIL_API_PORT?"
    (warning,) = configure({}, {"FLOWTRAIL_ENDPOINT": "x"}).warnings
    assert warning.startswith("FLOWTRAIL_ENDPOINT sets nothing")


def test_variables_of_others_are_no_wrong_names() -> None:
    others = {
        "PATH": "/bin",
        "FLOWTRAIL_API_PORT": "1",
        "FLOWTRAIL_URL": "http://x",
        # What Kubernetes says of a service called flowtrail.
        "FLOWTRAIL_SERVICE_HOST": "10.0.0.1",
        "FLOWTRAIL_SERVICE_PORT_OTLP": "4318",
        "FLOWTRAIL_PORT": "tcp://10.0.0.1:4318",
        "FLOWTRAIL_PORT_4318_TCP_ADDR": "10.0.0.1",
    }
    assert configure({}, others, None, {"FLOWTRAIL_URL"}).warnings == ()


def test_a_wrong_value_is_told_with_the_place_that_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, "api_port = 70000")
    assert wrong({}, {}, file).startswith(f"{file}: api_port: Input should be less than")
    monkeypatch.setenv("FLOWTRAIL_API_PORT", "70000")
    assert wrong({}, {}, file).startswith("FLOWTRAIL_API_PORT: Input should be less than")
    assert wrong({"api_port": 70000}, {}, file).startswith("--api-port: Input should be less than")


def test_options_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    assert wrong({}, {}, written(tmp_path, "journal_max_bytes = 10")).startswith(
        "the settings: max_body_bytes must not"
    )


def test_a_file_that_is_not_there_or_no_toml_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert wrong({}, {}, missing) == f"{missing} cannot be read: No such file or directory"
    assert "is not TOML: " in wrong({}, {}, written(tmp_path, "api_port ="))
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    assert "is not TOML: " in wrong({}, {}, tmp_path / "binary.toml")
    assert "kafka_properties: " in wrong({}, {}, written(tmp_path, "kafka_properties = 1"))


SECRETS = {
    "store_dsn": "https://me:hush@hush@db:8443?password=hush&secure=1",
    "export_url": "https://me:hush@jaeger/v1/traces?api_key=hush",
    "kafka_properties": {
        "sasl.username": "me",
        "sasl.password": "hush",
        "ssl.key.pem": "hush",
        "ssl.key.password": "hush",
        "sasl.oauthbearer.client.secret": "hush",
        "sasl.oauthbearer.config": "hush",
    },
}


def told(configuration: Configuration) -> dict[str, Any]:
    return tomllib.loads(shown(configuration))


def test_what_is_shown_is_toml_of_every_option_with_its_places() -> None:
    configuration = configure({"api_port": 1, "redact": ('drop key:"a"\n\u007f',)}, {})
    assert told(configuration).keys() == configuration.origins.keys()
    assert told(configuration)["redact"] == ['drop key:"a"\n\u007f']
    assert "# --api-port\napi_port = 1\n" in shown(configuration)
    assert "# default\nretention_days = 7\n" in shown(configuration)


def test_what_is_shown_holds_no_secret() -> None:
    text = shown(configure(SECRETS, {}))
    assert "hush" not in text
    assert tomllib.loads(text)["store_dsn"] == "https://***@db:8443?password=***&secure=1"
    assert tomllib.loads(text)["kafka_properties"]["sasl.username"] == "me"
    assert "# --store-dsn; secrets are masked\n" in text


def test_a_path_with_an_at_sign_is_no_secret(tmp_path: Path) -> None:
    assert told(configure({"data_dir": tmp_path / "a@b"}, {}))["store_dsn"] == f"chdb://{tmp_path}/a@b/store"
