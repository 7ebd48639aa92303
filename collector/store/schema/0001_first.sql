-- Tables. Each statement ends with a semicolon at the end of a line and can run again: a migration may stop half-way.
-- `{database}` is the store's database.
--
--   otlp (raw request bytes) ─▶ spans ─┬─▶ links     both directions of every span link
--                                      └─▶ events ─▶ edges   by coordinates; then counted
--
-- Absent values: '' for text, -1 for partition and offset (Kafka's own "none"), zero bytes for a parent span id.

CREATE TABLE IF NOT EXISTS {database}.spans (
    trace_id FixedString(16) CODEC(ZSTD(1)),
    span_id FixedString(8) CODEC(NONE),
    parent_span_id FixedString(8) CODEC(LZ4),
    trace_state String CODEC(ZSTD(1)),
    flags UInt32 CODEC(ZSTD(1)),
    name LowCardinality(String),
    kind Int8,                                   -- OTLP's SpanKind: 1 internal, 2 server, 3 client, 4 producer, 5 consumer
    start DateTime64(9) CODEC(Delta, ZSTD(1)),
    duration_ns UInt64 CODEC(ZSTD(1)),
    service LowCardinality(String),
    instance LowCardinality(String),             -- service.instance.id
    scope LowCardinality(String),
    resource_id UInt64 CODEC(ZSTD(1)),
    status_code Int8,                            -- 0 unset, 1 ok, 2 error
    status_message String CODEC(ZSTD(1)),
    system LowCardinality(String),
    operation LowCardinality(String),            -- messaging.operation.type: send, receive, process, settle
    topic LowCardinality(String),
    group_name LowCardinality(String),
    partition Int32,
    offset Int64 CODEC(Delta, ZSTD(1)),
    key String CODEC(ZSTD(1)),
    client_id LowCardinality(String),
    cluster_id LowCardinality(String),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    links Array(Tuple(trace_id FixedString(16), span_id FixedString(8), attributes Map(LowCardinality(String), String))) CODEC(ZSTD(1)),
    events Array(Tuple(time_ns UInt64, name LowCardinality(String), attributes Map(LowCardinality(String), String))) CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(start) ORDER BY (service, start, trace_id, span_id);

-- One row for each event that a span speaks of. A span with an offset of its own speaks of that one event; otherwise each
-- link that names a topic and an offset is one; otherwise a messaging span with a topic is one with offset -1.
CREATE TABLE IF NOT EXISTS {database}.events (
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    cluster_id LowCardinality(String),
    operation LowCardinality(String),            -- send, receive, process
    group_name LowCardinality(String),
    service LowCardinality(String),
    trace_id FixedString(16),                    -- of the span
    span_id FixedString(8),
    linked_trace_id FixedString(16),             -- of the event's own context, where the row comes from a link
    linked_span_id FixedString(8),
    start DateTime64(9),                         -- of the span
    duration_ns UInt64,
    status_code Int8,
    key String,
    member_id LowCardinality(String),
    record_timestamp_ms Int64                    -- -1 when unknown
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(start) ORDER BY (topic, partition, offset, operation, group_name, trace_id, span_id, linked_trace_id, linked_span_id);

-- Every span link twice: found from the span that has it ('to') and from the context that it points at ('from').
CREATE TABLE IF NOT EXISTS {database}.links (
    trace_id FixedString(16),
    span_id FixedString(8),
    direction Enum8('to' = 0, 'from' = 1),
    other_trace_id FixedString(16),
    other_span_id FixedString(8),
    start DateTime64(9)                          -- of the span that has the link
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(start) ORDER BY (trace_id, span_id, direction, other_trace_id, other_span_id);

-- Events counted by ten seconds. A duration falls into bucket floor(4·log2(ns + 1)): four a doubling, ±9 %.
CREATE TABLE IF NOT EXISTS {database}.edges (
    bucket DateTime,
    cluster_id LowCardinality(String),
    service LowCardinality(String),
    operation LowCardinality(String),
    topic LowCardinality(String),
    group_name LowCardinality(String),
    messages SimpleAggregateFunction(sum, UInt64),
    errors SimpleAggregateFunction(sum, UInt64),
    durations SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)),
    last_seen SimpleAggregateFunction(max, DateTime64(9))
) ENGINE = AggregatingMergeTree
PARTITION BY toDate(bucket) ORDER BY (bucket, cluster_id, service, operation, topic, group_name);

CREATE TABLE IF NOT EXISTS {database}.resources (
    resource_id UInt64,
    service LowCardinality(String),
    seen DateTime,
    attributes Map(LowCardinality(String), String)
) ENGINE = ReplacingMergeTree(seen) ORDER BY resource_id;

-- What the lag poller saw at the broker. `committed`, `log_start` and `log_end` are positions: the next offset.
CREATE TABLE IF NOT EXISTS {database}.group_offsets (
    time DateTime64(3),
    cluster_id LowCardinality(String),
    group_name LowCardinality(String),
    topic LowCardinality(String),
    partition Int32,
    committed Int64                              -- -1: no commit
) ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY (group_name, topic, partition, time);

CREATE TABLE IF NOT EXISTS {database}.topic_offsets (
    time DateTime64(3),
    cluster_id LowCardinality(String),
    topic LowCardinality(String),
    partition Int32,
    log_start Int64,
    log_end Int64
) ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY (topic, partition, time);

CREATE TABLE IF NOT EXISTS {database}.group_states (
    time DateTime64(3),
    cluster_id LowCardinality(String),
    group_name LowCardinality(String),
    state LowCardinality(String),                -- Kafka's own: Stable, Empty, Dead, …; '' when the broker lists none
    is_listed Bool,                              -- false: this broker does not describe groups, members are unknown
    members Array(Tuple(member_id String, client_id String, host String))
) ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY (group_name, time);
