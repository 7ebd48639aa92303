"""The attribute names that Flowtrail writes on spans and links, and that its collector reads.

OpenTelemetry's semantic conventions for messaging (1.44) come first; a name of our own stands under
`flowtrail.` and only where the conventions have none. Literal names, not imports from the incubating
module: that one renames and drops constants between releases, and these names are a wire format.
"""

from typing import Final

# Conventions: https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
TOPIC: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"  # a string
OFFSET: Final = "messaging.kafka.offset"  # an int
GROUP: Final = "messaging.consumer.group.name"
KEY: Final = "messaging.kafka.message.key"  # text; absent when null or not UTF-8
TOMBSTONE: Final = "messaging.kafka.message.tombstone"  # only when true
MESSAGE_COUNT: Final = "messaging.batch.message_count"  # batch calls only
CLIENT_ID: Final = "messaging.client.id"
CLUSTER_ID: Final = "messaging.kafka.cluster.id"
BODY_BYTES: Final = "messaging.message.body.size"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

# Ours. The record's own timestamp (CreateTime or LogAppendTime, ms since the epoch) tells time in Kafka. On a `send`
# span only where the broker gave it and the client says so; else it is the span's start, or what the program gave.
RECORD_TIMESTAMP_MS: Final = "flowtrail.record.timestamp_ms"
# The group member that polled or processed: on a broker that lists members, whether it is still there.
MEMBER_ID: Final = "flowtrail.consumer.member_id"
# On `commit` spans, one span event for each partition: the position that was committed (the next offset).
COMMIT_EVENT: Final = "commit"
COMMITTED_OFFSET: Final = "flowtrail.committed_offset"
# On a `commit` span, when true: the client committed by itself, in a poll or while it was closed.
AUTOMATIC: Final = "flowtrail.commit.automatic"
# On a `send` span, an event: the producer closed before an answer came, so the record is stored, or it is not.
UNACKNOWLEDGED_EVENT: Final = "unacknowledged"
# On `send` spans in a transaction, and on the `transaction` span: "committed", "aborted" (no read_committed group will
# ever see the event) or "unknown".
TRANSACTION_OUTCOME: Final = "flowtrail.transaction.outcome"
TRANSACTIONAL_ID: Final = "flowtrail.transaction.transactional_id"
ABORTED_OUTCOME: Final = "aborted"
UNKNOWN_OUTCOME: Final = "unknown"
# A header that the program asked for: this, then its name as it is written. A list, since a name may come repeatedly.
HEADER: Final = "messaging.header."

# On `process` spans that the program did not ask for, when true: the work is inferred, from one record or poll to the
# next. When it is not known to have ended (nobody came back for the next one), the span is unfinished: no success.
INFERRED: Final = "flowtrail.process.inferred"
UNFINISHED: Final = "flowtrail.process.unfinished"
# On `send` spans, and where a record's own facts stand: the schema of its key and value as Confluent's serializers
# write it, a registry's number or a GUID, as text.
KEY_SCHEMA: Final = "flowtrail.key.schema_id"
VALUE_SCHEMA: Final = "flowtrail.value.schema_id"
# The same places, for a record that was forwarded for another try or as a dead letter: where the event lay first
# (partition a string, offset an int, like those above), which delivery of it this is (from 1, an int; also where the
# broker counts), and what the last attempt failed with.
ORIGINAL_TOPIC: Final = "flowtrail.original.topic"
ORIGINAL_PARTITION: Final = "flowtrail.original.partition"
ORIGINAL_OFFSET: Final = "flowtrail.original.offset"
DELIVERY_ATTEMPT: Final = "flowtrail.delivery_attempt"
LAST_ERROR_TYPE: Final = "flowtrail.last_error.type"
# "retry" or "dead_letter": by Flowtrail's own `retry_to` and `dead_letter_to`, or by the headers of a framework that
# writes them on dead letters alone, so it is known and not guessed.
FORWARDED: Final = "flowtrail.forwarded"

# On the `close` span of a producer: how many sends had no answer when it returned (an int, also 0). Each of their
# records is stored, or it is not.
UNANSWERED: Final = "flowtrail.close.unanswered"

# On `poll` spans, events at the time when they happened: what befell the consumer since the last poll that returned
# records. On its `close` span, what befell it since, or while it closed; on a `rebalance` span, what no poll took for a
# minute after a rebalance, or until the process exits. A seek tells topic, partition and offset, or where to (SEEK_TO);
# partitions that were assigned, revoked or lost are lists, TOPIC and PARTITION side by side.
SEEK_EVENT: Final = "seek"
SEEK_TO: Final = "flowtrail.seek.to"  # "beginning" or "end"
ASSIGN_EVENT: Final = "assign"
REVOKE_EVENT: Final = "revoke"
LOST_EVENT: Final = "lost"

# Values of OPERATION_NAME / OPERATION_TYPE, by operation.
SEND: Final = ("send", "send")
POLL: Final = ("poll", "receive")
PROCESS: Final = ("process", "process")
COMMIT: Final = ("commit", "settle")
TRANSACTION: Final = ("transaction", "settle")
# No type of the conventions fits: these are about no message.
CLOSE: Final = ("close", "")
REBALANCE: Final = ("rebalance", "")
# The names of those: spans by which a client tells of itself alone.
OF_CLIENT: Final = frozenset({CLOSE[0], REBALANCE[0]})
