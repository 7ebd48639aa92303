"""What the contract's sentences ask of a Kafka client: one shape over three libraries, blocking, in plain values.

A driver translates, and adds nothing: each method is one call of the library's own, so that what is seen of a span is
seen of that call. Records are the library's own objects; `Driver.coordinates` and its neighbours read them. Errors are
the library's own too.

A library that needs an event loop runs it inside the driver. `body`, in `each` and `each_batch`, is plain code that is
called in the midst of the library's own loop, in the context which that loop has.
"""

import enum
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

# "plain": the library's own class, as it was imported. "subclass": ours. "instrumented": what the library's name stands
# for after `flowtrail.instrument()`.
Way: TypeAlias = Literal["plain", "subclass", "instrumented"]

TIMEOUT_S = 20


class Ability(enum.Enum):
    """What not every client can do. A sentence about one is left out for the others, by the reason that they give."""

    TRANSACTIONS = "transactions"
    ITERATION = "its own iteration over records"
    BATCHES = "polls that return several records"
    ASYNC_COMMIT = "a commit that is answered later"
    BEGIN_OFFSETS = "seek to the beginning and to the end"
    NEW_PROTOCOL = "the group protocol of KIP-848"
    CLUSTER_ID = "the cluster's id, known without asking the broker"
    VALUE_SERIALIZER = "a serializer that the producer calls"
    AUTO_COMMIT = "a word when it commits by itself"
    COMMIT_ON_CLOSE = "a word when it commits while it is closed"
    THREADS = "one producer for several threads"


class Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int


class Stored(NamedTuple):
    """Where a record lies. The offset is None where the producer asked for no acknowledgement."""

    partition: int | None
    offset: int | None


@dataclass(frozen=True, slots=True)
class Broker:
    """Where clients connect; `is_embedded` is the broker inside this process, else it is Apache Kafka."""

    bootstrap_servers: str
    is_embedded: bool


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """What a sentence may ask of a producer; None is the library's default."""

    client_id: str | None = None
    transactional_id: str | None = None
    longest_request_bytes: int | None = None
    linger_ms: int | None = None
    value_serializer: Callable[[Any], bytes | None] | None = None
    delivery_timeout_ms: int | None = None
    # Instead of the broker's.
    bootstrap_servers: str | None = None


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What a sentence may ask of a consumer, which reads from the earliest record on."""

    client_id: str | None = None
    group: str | None = None
    # The most that one poll may return.
    most_records: int | None = None
    # None: it does not commit by itself.
    auto_commit_ms: int | None = None
    reads_committed: bool = False
    # The group of the new protocol, KIP-848: there the broker says how often members speak up.
    new_protocol: bool = False
    heartbeat_ms: int | None = None


class DrivenProducer(ABC):
    """A producer. `native` is the library's object."""

    native: Any

    @abstractmethod
    def send(
        self,
        topic: Any,
        value: Any = None,
        key: Any = None,
        headers: Any = None,
        partition: Any = None,
        timestamp_ms: Any = None,
    ) -> Stored:
        """Send, by keywords, what is not None; wait for the answer. The arguments reach the library as they are."""

    @abstractmethod
    def send_by_position(
        self, topic: Any, value: Any, key: Any, headers: Any, partition: Any, timestamp_ms: Any
    ) -> Stored:
        """The same with every argument by position, in the library's own order."""

    @abstractmethod
    def send_without_waiting(
        self,
        topic: Any,
        value: Any = None,
        key: Any = None,
        headers: Any = None,
        partition: Any = None,
        timestamp_ms: Any = None,
    ) -> None:
        """The same as `send`, but do not wait. May be called in a `body`, and by several threads at once."""

    @abstractmethod
    def flush(self) -> None:
        """Wait until everything is answered."""

    @abstractmethod
    def close(self) -> None:
        """Close; again is harmless."""

    # Of a producer with a `transactional_id`, made ready by the driver.

    @abstractmethod
    def begin_transaction(self) -> None: ...

    @abstractmethod
    def send_offsets(self, consumer: "DrivenConsumer", positions: Mapping[Place, int]) -> None:
        """Let the transaction commit positions (the next offset to read) for the consumer's group."""

    @abstractmethod
    def commit_transaction(self) -> None: ...

    @abstractmethod
    def abort_transaction(self) -> None: ...


class DrivenConsumer(ABC):
    """A consumer. `native` is the library's object."""

    native: Any

    @abstractmethod
    def assign(self, *places: Place) -> None: ...

    @abstractmethod
    def subscribe(
        self,
        topic: str,
        on_assigned: Callable[[list[Place]], None] | None = None,
        on_revoked: Callable[[list[Place]], None] | None = None,
    ) -> None:
        """Join the group, with a rebalance listener when a callback is given. The topic is on the broker already."""

    @abstractmethod
    def poll(self, timeout_ms: int = 200) -> list[Any]:
        """Call the library's poll once: several records where it can, else one; an empty list when none came."""

    @abstractmethod
    def each(self, count: int, body: Callable[[Any], None], *, comes_back: bool = True) -> None:
        """Run the library's own loop over single records, with `body` in it, until `count` records came.

        The loop then comes back once more for a record (there is none), and ends; or, unless `comes_back`, it is left
        right after the last body. What `body` raises leaves the loop, and this method. Iteration, where the library
        has it; else a loop of polls that return one record.
        """

    @abstractmethod
    def each_batch(self, count: int, body: Callable[[list[Any]], None], *, comes_back: bool = True) -> None:
        """The same by a loop of polls that return batches; `body` sees those that are not empty."""

    @abstractmethod
    def commit(self, positions: Mapping[Place, int] | None = None) -> None:
        """Commit and wait for the answer; None: what was polled."""

    @abstractmethod
    def commit_async(
        self, positions: Mapping[Place, int] | None, answered: Callable[[BaseException | None], None]
    ) -> None:
        """Commit; `answered` comes later, while the consumer polls. With `Ability.ASYNC_COMMIT`."""

    @abstractmethod
    def committed(self, place: Place) -> int | None:
        """The group's committed position, None when there is none; asks the broker."""

    @abstractmethod
    def seek(self, place: Place, offset: int) -> None: ...

    @abstractmethod
    def seek_to_beginning(self, place: Place) -> None:
        """With `Ability.BEGIN_OFFSETS`."""

    @abstractmethod
    def close(self) -> None:
        """Close; again is harmless."""


class Driver(ABC):
    """One Kafka library, driven on one broker. `close` it at the end, after its clients."""

    name: ClassVar[str]
    # Nothing, unless the library says so.
    can: ClassVar[frozenset[Ability]] = frozenset()
    # Why not, for each ability that is missing.
    cannot: ClassVar[Mapping[Ability, str]] = {}

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    @abstractmethod
    def producer_class(self, way: Way) -> type: ...

    @abstractmethod
    def consumer_class(self, way: Way) -> type: ...

    @abstractmethod
    def make_producer(self, way: Way, options: ProducerOptions) -> DrivenProducer: ...

    @abstractmethod
    def make_consumer(self, way: Way, options: ConsumerOptions) -> DrivenConsumer: ...

    @abstractmethod
    def namespaces(self) -> Sequence[object]:
        """Every module and class that `instrument` may change: `uninstrument` must leave their attributes as before."""

    @abstractmethod
    def looks(self) -> Sequence["Look"]:
        """How the library's classes looked before anything of ours: producer first, then consumer, then others."""

    def close(self) -> None:  # noqa: B027  # most have nothing to stop
        """Stop what the driver itself runs; by default nothing."""

    # Of a record.

    @abstractmethod
    def coordinates(self, record: Any) -> tuple[str, int, int]:
        """Topic, partition, offset."""

    @abstractmethod
    def headers(self, record: Any) -> list[tuple[str, bytes | None]]: ...

    @abstractmethod
    def key(self, record: Any) -> Any: ...

    @abstractmethod
    def value(self, record: Any) -> Any: ...

    @abstractmethod
    def timestamp_ms(self, record: Any) -> int: ...


@dataclass(frozen=True, slots=True)
class Look:
    """A class as the program sees it: its attributes' names, and how its methods are called."""

    plain: type
    names: tuple[str, ...]
    signatures: Mapping[str, str | None]

    @classmethod
    def of(cls, kind: type, plain: type | None = None) -> "Look":
        """The look of `kind`; `plain` is the library's class that it stands for."""
        public = [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]
        signatures = {name: signature(getattr(kind, name)) for name in (*public, "__init__")}
        return cls(plain or kind, tuple(dir(kind)), {"": signature(kind)} | signatures)


def signature(thing: Callable[..., Any]) -> str | None:
    """How something is called, as `inspect` tells it; None where the library, written in C, does not say."""
    try:
        return str(inspect.signature(thing))
    except ValueError:
        return None
