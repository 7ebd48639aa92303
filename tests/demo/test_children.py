"""What the demo's processes get from the one that starts them."""

import json
from pathlib import Path

import pytest

from flowtrail.demo.children import Child

PRINT_ENVIRONMENT = "import json, os\nprint(json.dumps(dict(os.environ)))\n"


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a child whose parent has settings of a person's own."""
    (tmp_path / "environment_of_child.py").write_text(PRINT_ENVIRONMENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LANGUAGE", "nn")
    # A setting is found whatever its case.
    for name in ("FLOWTRAIL_STORE_DSN", "flowtrail_export_url", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"):
        monkeypatch.setenv(name, "of another program")
    given = {"FLOWTRAIL_API_PORT": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    child = Child("child", "environment_of_child", [], given, tmp_path)
    child.wait()
    found: dict[str, str] = json.loads((tmp_path / "child.log").read_text())
    return found


def test_what_is_set_for_other_collectors_and_services_is_not_meant_for_the_demo(printed: dict[str, str]) -> None:
    settings = {name: value for name, value in printed.items() if name.upper().startswith(("FLOWTRAIL_", "OTEL_"))}
    assert settings == {"FLOWTRAIL_API_PORT": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


def test_the_rest_of_the_environment_stays(printed: dict[str, str]) -> None:
    assert printed["LANGUAGE"] == "nn"
    assert "PATH" in printed
