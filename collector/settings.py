"""Every option of the collector: name, default, unit, and what 0 or empty means.

Set by the environment as FLOWTRAIL_<NAME>, or by the argument of the same name; a wrong value stops the start.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]

MIB: Final = 1024 * 1024
# The store inside the collector takes some 300 MiB at rest, and as much again, and more, while it loads a batch.
LEAST_MEMORY_BYTES: Final = 1536 * MIB


def are_brokers(servers: str) -> bool:
    """Whether a text names brokers: `host:port`, several separated by commas."""
    return all(map(_is_host_and_port, servers.split(",")))


def _is_host_and_port(server: str) -> bool:
    """Whether this is `host:port`, also `[::1]:9092`, and with librdkafka's protocol before it: `SSL://host:port`."""
    server = server.strip()
    try:
        parts = urlsplit(server if "://" in server else f"//{server}")
        return bool(parts.hostname and parts.port) and parts.netloc == server.rpartition("//")[2]
    except ValueError:  # a port that is no number, or too large
        return False


class Settings(BaseSettings):
    """The collector's options. Raises pydantic's ValidationError, which names the option and what is wrong with it."""

    model_config = SettingsConfigDict(env_prefix="FLOWTRAIL_", frozen=True, extra="forbid", validate_default=True)

    data_dir: Path = Field(
        Path("flowtrail-data"),
        description="Directory of the journal and of the embedded store; made when it is not there. One "
        "collector at a time.",
    )
    store_dsn: str = Field(
        "",
        description="Where spans are kept: `chdb:///path` runs ClickHouse inside the collector, "
        "`http(s)://user:password@host:port` "
        "is a server. Empty: `chdb://` in the folder `store` of `data_dir`.",
    )
    database: str = Field(
        "flowtrail", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the database in the store."
    )
    retention_days: int = Field(
        7, ge=0, description="Spans, events and lag older than this many days are dropped. 0: everything is kept."
    )
    otlp_http_host: str = Field("127.0.0.1", description="Address that the OTLP/HTTP receiver listens on.")
    otlp_http_port: Port = Field(4318, description="Port of the OTLP/HTTP receiver. 0: any free port.")
    otlp_grpc_host: str = Field("127.0.0.1", description="Address that the OTLP/gRPC receiver listens on.")
    otlp_grpc_port: Port = Field(4317, description="Port of the OTLP/gRPC receiver. 0: any free port.")
    other_signals: Literal["drop", "refuse"] = Field(
        "drop",
        description="What becomes of metrics and logs, which are not kept. `drop`: they are taken and dropped, and "
        "their senders hear nothing of it. `refuse`: senders are told how many were not taken (a partial success).",
    )
    api_host: str = Field("127.0.0.1", description="Address that the HTTP API listens on.")
    api_port: Port = Field(8680, description="Port of the HTTP API. 0: any free port.")
    max_body_bytes: int = Field(
        64 * MIB,
        gt=0,
        description="Largest request body in bytes, after decompression; a larger one is refused for good (413).",
    )
    journal_max_bytes: int = Field(
        1024 * MIB,
        gt=0,
        description="Most bytes of requests that wait in the journal. When it is full, senders are told to "
        "come back (503).",
    )
    journal_max_age_s: int = Field(
        0,
        ge=0,
        description="Requests older than this many seconds are not exported any more, but skipped and counted; the "
        "store gets them however old they are. 0: they are exported however old.",
    )
    journal_keep_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Most bytes of requests that stay in the journal once they are stored and exported, so that "
        "`flowtrail journal replay` can read them again. 0: none stay.",
    )
    export_url: str = Field(
        "",
        description="OTLP/HTTP traces endpoint that every request is sent on to, such as "
        "`http://jaeger:4318/v1/traces`. "
        "Empty: nothing is exported.",
    )
    bootstrap_servers: str = Field(
        "",
        description="Kafka brokers, `host:port` separated by commas, that are asked for commits and log "
        "ends. Empty: no broker is polled.",
    )
    kafka_properties: dict[str, str | int | float | bool] = Field(
        {},
        description="Further librdkafka properties for the broker connection, such as security settings, as "
        "a JSON object. "
        "Empty: librdkafka's defaults.",
    )
    lag_interval_ms: int = Field(
        5000, gt=0, description="Milliseconds from one poll of the broker's commits and log ends to the next."
    )
    silent_after_ms: int = Field(
        30_000,
        gt=0,
        description="A group whose broker lists no members counts as gone after this many milliseconds of silence.",
    )
    dead_letter_topics: tuple[str, ...] = Field(
        ("*.dlq", "*-dlq", "*_dlq", "*.dlt", "*-dlt", "*_dlt", "*.dead-letter", "*-dead-letter"),
        description="Patterns (`*` and `?`, any case) of the topics where records end that nobody could "
        "process, as a JSON list. "
        "Empty: no topic counts as one.",
    )
    retry_topics: tuple[str, ...] = Field(
        ("*.retry", "*-retry", "*_retry", "*.retry.*", "*-retry-*", "*_retry_*"),
        description="Patterns (`*` and `?`, any case) of the topics where failed records wait for another "
        "attempt, as a JSON list. "
        "Empty: no topic counts as one.",
    )

    # Who may come in, and how: docs/securing.md
    intake_tokens_file: str = Field(
        "",
        description="File of the tokens that senders of spans show, one `name token` a line; read again when it "
        "changes. Empty: no tokens are asked for.",
    )
    api_tokens_file: str = Field(
        "",
        description="File of the tokens that those who ask the API show, as `intake_tokens_file`; it may be the same. "
        "Empty: no tokens are asked for.",
    )
    api_hosts: tuple[str, ...] = Field(
        (),
        description="Patterns (`*` and `?`, any case) of names by which the API may be asked, beside addresses and "
        "names without a dot, as a JSON list. Empty: no others.",
    )
    tls_certificate_file: str = Field(
        "",
        description="PEM file of the certificate of both receivers and the API, with those that vouch for it; taken "
        "up anew when it changes. Empty: no TLS.",
    )
    tls_key_file: str = Field("", description="PEM file of the certificate's key, without a password.")
    tls_client_ca_file: str = Field(
        "",
        description="PEM file of the authority whose certificates senders show to the receivers. Empty: they are "
        "asked for none.",
    )
    tls_client_certificates: Literal["required", "optional"] = Field(
        "required",
        description="Whether senders must show a certificate where `tls_client_ca_file` is set. `optional`: over "
        "HTTP one that is shown must be good; over gRPC none is asked for.",
    )

    max_sender_bytes_s: int = Field(
        0,
        ge=0,
        description="Most bytes a second, as they come, that each token may send for longer than ten seconds; without "
        "tokens all senders together. More is told to come back (429). 0: no limit.",
    )
    max_memory_bytes: int = Field(
        2048 * MIB,
        ge=0,
        description="Bound on the collector's resident memory in bytes: when it is short, senders are told to come "
        "back (429). Bodies under way take a quarter of it at most. 0: no bound.",
    )

    # What is kept of a request that comes in: docs/securing.md
    redact: tuple[str, ...] = Field(
        (),
        description="Rules of what must not be kept, such as `drop key:http.request.header.*`, `hash key:enduser.id` "
        "or `mask value:[0-9]{16}`, as a JSON list. Empty: all is kept.",
    )
    redact_secret_file: str = Field(
        "", description="File of the secret that `hash` rules hash with. Empty: such rules are refused."
    )
    max_request_spans: int = Field(
        0, ge=0, description="Most spans of a request; those after it are rejected for good. 0: no limit."
    )
    max_attributes: int = Field(
        1000,
        ge=0,
        description="Most attributes of a span, link, event, scope or resource; those after it are dropped. "
        "0: no limit.",
    )
    max_links: int = Field(10_000, ge=0, description="Most links of a span; those after it are dropped. 0: no limit.")
    max_events: int = Field(1000, ge=0, description="Most events of a span; those after it are dropped. 0: no limit.")
    max_value_bytes: int = Field(
        64 * 1024, ge=0, description="Most bytes of a text in an attribute; the rest is cut off. 0: no limit."
    )

    # What the log says: docs/watching-flowtrail.md
    log_format: Literal["text", "json"] = Field(
        "text", description="How the log is written. `text`: lines for people. `json`: one object a line."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least grave of what is logged. `debug`: also what the libraries have to say."
    )

    @field_validator("export_url")
    @classmethod
    def _is_http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("must be an http:// or https:// URL, such as http://127.0.0.1:4318/v1/traces")
        return url

    @field_validator("bootstrap_servers")
    @classmethod
    def _is_list_of_brokers(cls, servers: str) -> str:
        if servers and not are_brokers(servers):
            raise ValueError("must be host:port, several separated by commas, such as 127.0.0.1:9092")
        return servers

    @field_validator("store_dsn")
    @classmethod
    def _is_store_dsn(cls, dsn: str) -> str:
        if dsn and urlsplit(dsn).scheme not in {"chdb", "http", "https"}:
            raise ValueError("must begin with chdb://, http:// or https://")
        return dsn

    @field_validator("kafka_properties")
    @classmethod
    def _leaves_the_brokers_alone(
        cls, properties: dict[str, str | int | float | bool]
    ) -> dict[str, str | int | float | bool]:
        if "bootstrap.servers" in properties:
            raise ValueError("bootstrap.servers is an option of its own: bootstrap_servers")
        return properties

    @model_validator(mode="after")
    def _defaults_from_others(self) -> Self:
        if self.max_body_bytes > self.journal_max_bytes:
            raise ValueError("max_body_bytes must not be larger than journal_max_bytes: such a body would never fit")
        if 0 < self.max_memory_bytes < LEAST_MEMORY_BYTES or 0 < self.max_memory_bytes < 16 * self.max_body_bytes:
            raise ValueError(
                f"max_memory_bytes must be 0, or at least {LEAST_MEMORY_BYTES} and 16 times max_body_bytes: else the "
                "largest body would never fit"
            )
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise ValueError("tls_certificate_file and tls_key_file go together: one of them is empty")
        if self.tls_client_ca_file and not self.tls_certificate_file:
            raise ValueError("tls_client_ca_file needs tls_certificate_file: without TLS nobody shows a certificate")
        if not self.store_dsn:
            # The model is frozen for its users; here it is still being made.
            object.__setattr__(self, "store_dsn", f"chdb://{self.data_dir.absolute() / 'store'}")
        return self
