-- The way of a request's bytes into the tables. `otlp` keeps nothing: what is inserted there runs through the views.
--
-- A view must never throw: it would hold up every request of its batch. So ids are measured before they are cast, numbers
-- are read with OrNull, and a span that cannot be kept (ids of the wrong length, a start outside 2000 to 2100) is left
-- out by the WHERE and counted in `rejected`. A span that ends before it starts, or after 2100, has no duration.

CREATE TABLE IF NOT EXISTS {database}.otlp (
    resource_spans Array(Tuple(
        resource Tuple(attributes Array(Tuple(key String, value Tuple(
            value Enum8('none' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'array_value' = 5, 'kvlist_value' = 6, 'bytes_value' = 7),
            string_value String, bool_value UInt8, int_value Int64, double_value Float64, array_value String, kvlist_value String, bytes_value String)))),
        scope_spans Array(Tuple(
            scope Tuple(name String),
            spans Array(Tuple(
                trace_id String, span_id String, trace_state String, parent_span_id String,
                name String, kind Int32, start_time_unix_nano UInt64, end_time_unix_nano UInt64,
                attributes Array(Tuple(key String, value Tuple(
                    value Enum8('none' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'array_value' = 5, 'kvlist_value' = 6, 'bytes_value' = 7),
                    string_value String, bool_value UInt8, int_value Int64, double_value Float64, array_value String, kvlist_value String, bytes_value String))),
                events Array(Tuple(time_unix_nano UInt64, name String, attributes Array(Tuple(key String, value Tuple(
                    value Enum8('none' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'array_value' = 5, 'kvlist_value' = 6, 'bytes_value' = 7),
                    string_value String, bool_value UInt8, int_value Int64, double_value Float64, array_value String, kvlist_value String, bytes_value String))))),
                links Array(Tuple(trace_id String, span_id String, attributes Array(Tuple(key String, value Tuple(
                    value Enum8('none' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'array_value' = 5, 'kvlist_value' = 6, 'bytes_value' = 7),
                    string_value String, bool_value UInt8, int_value Int64, double_value Float64, array_value String, kvlist_value String, bytes_value String))))),
                status Tuple(message String, code Int32),
                flags UInt32))))))
) ENGINE = Null;

-- Spans that were left out, by reason: `ids` or `time`.
CREATE TABLE IF NOT EXISTS {database}.rejected (
    time DateTime,
    reason LowCardinality(String),
    spans UInt64
) ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY time;

-- Only the batch at the reader's cursor is ever inserted again, so the newest blocks are enough. A block is one partition
-- of one insert: ten thousand let a batch spread over twenty-seven years. The journal forgets a batch once it is inserted,
-- so an insert must be on the disk when it returns, power cut or not; it was no slower than without, above noise.
ALTER TABLE {database}.spans MODIFY SETTING
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE {database}.events MODIFY SETTING
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE {database}.links MODIFY SETTING
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE {database}.edges MODIFY SETTING
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE {database}.resources MODIFY SETTING
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE {database}.rejected MODIFY SETTING
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Spans lie by service and time; a trace is found by this index.
ALTER TABLE {database}.spans ADD INDEX IF NOT EXISTS by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1;
ALTER TABLE {database}.events ADD INDEX IF NOT EXISTS by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1;

DROP VIEW IF EXISTS {database}.edges_view;
DROP VIEW IF EXISTS {database}.events_view;
DROP VIEW IF EXISTS {database}.links_view;
DROP VIEW IF EXISTS {database}.resources_view;
DROP VIEW IF EXISTS {database}.rejected_view;
DROP VIEW IF EXISTS {database}.spans_view;

CREATE MATERIALIZED VIEW {database}.rejected_view TO {database}.rejected AS
SELECT now() AS time, rejected.1 AS reason, rejected.2 AS spans
FROM (
    SELECT
        arrayFlatten(resource_spans.scope_spans.spans.trace_id) AS trace_ids,
        arrayFlatten(resource_spans.scope_spans.spans.span_id) AS span_ids,
        arrayFlatten(resource_spans.scope_spans.spans.start_time_unix_nano) AS starts,
        arrayMap((t, s) -> length(t) = 16 AND length(s) = 8, trace_ids, span_ids) AS are_valid,
        arrayJoin([
            ('ids', arrayCount(is_valid -> NOT is_valid, are_valid)),
            ('time', arrayCount((is_valid, start) -> is_valid AND NOT (start >= 946684800000000000 AND start < 4102444800000000000), are_valid, starts))
        ]) AS rejected
    FROM {database}.otlp
)
WHERE spans > 0;

CREATE MATERIALIZED VIEW {database}.resources_view TO {database}.resources AS
SELECT
    cityHash64(resource.resource.attributes) AS resource_id,
    attributes['service.name'] AS service,
    now() AS seen,
    CAST(arrayMap(a -> (a.key, multiIf(
        a.value.value = 'string_value', a.value.string_value,
        a.value.value = 'int_value', toString(a.value.int_value),
        a.value.value = 'bool_value', if(a.value.bool_value, 'true', 'false'),
        a.value.value = 'double_value', toString(a.value.double_value),
        a.value.value = 'none', '',
        base64Encode(concat(a.value.array_value, a.value.kvlist_value, a.value.bytes_value)))), resource.resource.attributes), 'Map(LowCardinality(String), String)') AS attributes
FROM {database}.otlp ARRAY JOIN resource_spans AS resource;

-- Names of older conventions and of other vendors are read beside today's. An operation is told by its type, else by its
-- name, else (older instrumentations say neither) by the span's kind.
CREATE MATERIALIZED VIEW {database}.spans_view TO {database}.spans AS
WITH
    arrayMap((type, s, i, b, d, x, y, z) -> multiIf(
        type = 'string_value', s,
        type = 'int_value', toString(i),
        type = 'bool_value', if(b, 'true', 'false'),
        type = 'double_value', toString(d),
        type = 'none', '',
        base64Encode(concat(x, y, z))),
        value_types, strings, ints, bools, doubles, arrays, maps, blobs) AS texts,
    arrayFirst((text, k) -> k = 'messaging.operation.type' OR k = 'messaging.operation', texts, keys) AS operation_type,
    arrayFirst((text, k) -> k = 'messaging.operation.name', texts, keys) AS operation_name
SELECT
    toFixedString(if(length(raw_trace_id) = 16, raw_trace_id, ''), 16) AS trace_id,
    toFixedString(if(length(raw_span_id) = 8, raw_span_id, ''), 8) AS span_id,
    toFixedString(if(length(raw_parent_span_id) = 8, raw_parent_span_id, ''), 8) AS parent_span_id,
    raw_trace_state AS trace_state,
    raw_flags AS flags,
    raw_name AS name,
    toInt8(if(raw_kind BETWEEN 0 AND 5, raw_kind, 0)) AS kind,
    fromUnixTimestamp64Nano(toInt64(raw_start)) AS start,
    if(raw_end < 4102444800000000000, greatest(raw_end, raw_start), raw_start) - raw_start AS duration_ns,
    service,
    instance,
    scope,
    resource_id,
    toInt8(if(raw_status_code BETWEEN 0 AND 2, raw_status_code, 0)) AS status_code,
    raw_status_message AS status_message,
    arrayFirst((text, k) -> k = 'messaging.system', texts, keys) AS system,
    multiIf(
        operation_type IN ('send', 'publish', 'create'), 'send',
        operation_type = 'receive', 'receive',
        operation_type IN ('process', 'deliver'), 'process',
        operation_type = 'settle', 'settle',
        operation_name IN ('send', 'publish', 'produce'), 'send',
        operation_name IN ('poll', 'receive', 'consume'), 'receive',
        operation_name = 'process', 'process',
        operation_name IN ('commit', 'ack', 'nack', 'settle'), 'settle',
        system = '' OR operation_type != '' OR operation_name != '', '',
        raw_kind = 4, 'send',
        raw_kind = 5, 'receive',
        '') AS operation,
    arrayFirst((text, k) -> k IN ('messaging.destination.name', 'messaging.source.name', 'messaging.destination'), texts, keys) AS topic,
    arrayFirst((text, k) -> k IN ('messaging.consumer.group.name', 'messaging.kafka.consumer.group'), texts, keys) AS group_name,
    greatest(ifNull(toInt32OrNull(arrayFirst((text, k) -> k IN ('messaging.destination.partition.id', 'messaging.kafka.destination.partition', 'messaging.kafka.source.partition', 'messaging.kafka.partition'), texts, keys)), -1), -1) AS partition,
    greatest(ifNull(toInt64OrNull(arrayFirst((text, k) -> k IN ('messaging.kafka.offset', 'messaging.kafka.message.offset'), texts, keys)), -1), -1) AS offset,
    arrayFirst((text, k) -> k = 'messaging.kafka.message.key', texts, keys) AS key,
    arrayFirst((text, k) -> k IN ('messaging.client.id', 'messaging.client_id', 'messaging.kafka.client_id'), texts, keys) AS client_id,
    arrayFirst((text, k) -> k = 'messaging.kafka.cluster.id', texts, keys) AS cluster_id,
    mapFromArrays(keys, texts)::Map(LowCardinality(String), String) AS attributes,
    arrayMap(l -> (
        toFixedString(if(length(l.trace_id) = 16, l.trace_id, ''), 16),
        toFixedString(if(length(l.span_id) = 8, l.span_id, ''), 8),
        CAST(arrayMap(a -> (a.key, multiIf(
            a.value.value = 'string_value', a.value.string_value,
            a.value.value = 'int_value', toString(a.value.int_value),
            a.value.value = 'bool_value', if(a.value.bool_value, 'true', 'false'),
            a.value.value = 'double_value', toString(a.value.double_value),
            a.value.value = 'none', '',
            base64Encode(concat(a.value.array_value, a.value.kvlist_value, a.value.bytes_value)))), l.attributes), 'Map(LowCardinality(String), String)')
    ), arrayFilter(l -> length(l.trace_id) = 16 AND length(l.span_id) = 8, raw_links)) AS links,
    arrayMap(e -> (
        e.time_unix_nano,
        e.name,
        CAST(arrayMap(a -> (a.key, multiIf(
            a.value.value = 'string_value', a.value.string_value,
            a.value.value = 'int_value', toString(a.value.int_value),
            a.value.value = 'bool_value', if(a.value.bool_value, 'true', 'false'),
            a.value.value = 'double_value', toString(a.value.double_value),
            a.value.value = 'none', '',
            base64Encode(concat(a.value.array_value, a.value.kvlist_value, a.value.bytes_value)))), e.attributes), 'Map(LowCardinality(String), String)')
    ), raw_events) AS events
FROM (
    SELECT resource_id, service, instance, in_scope.scope.name AS scope, in_scope.spans AS s
    FROM (
        SELECT
            cityHash64(resource.resource.attributes) AS resource_id,
            resource.resource.attributes.value.string_value[indexOf(resource.resource.attributes.key, 'service.name')] AS service,
            resource.resource.attributes.value.string_value[indexOf(resource.resource.attributes.key, 'service.instance.id')] AS instance,
            resource.scope_spans AS scopes
        FROM {database}.otlp ARRAY JOIN resource_spans AS resource
    ) ARRAY JOIN scopes AS in_scope
) ARRAY JOIN
    s.trace_id AS raw_trace_id,
    s.span_id AS raw_span_id,
    s.parent_span_id AS raw_parent_span_id,
    s.trace_state AS raw_trace_state,
    s.flags AS raw_flags,
    s.name AS raw_name,
    s.kind AS raw_kind,
    s.start_time_unix_nano AS raw_start,
    s.end_time_unix_nano AS raw_end,
    s.status.code AS raw_status_code,
    s.status.message AS raw_status_message,
    s.links AS raw_links,
    s.events AS raw_events,
    s.attributes.key AS keys,
    s.attributes.value.value AS value_types,
    s.attributes.value.string_value AS strings,
    s.attributes.value.int_value AS ints,
    s.attributes.value.bool_value AS bools,
    s.attributes.value.double_value AS doubles,
    s.attributes.value.array_value AS arrays,
    s.attributes.value.kvlist_value AS maps,
    s.attributes.value.bytes_value AS blobs
WHERE length(raw_trace_id) = 16 AND length(raw_span_id) = 8
    AND raw_start >= 946684800000000000 AND raw_start < 4102444800000000000;

CREATE MATERIALIZED VIEW {database}.links_view TO {database}.links AS
SELECT
    row.1 AS trace_id,
    row.2 AS span_id,
    row.3 AS direction,
    row.4 AS other_trace_id,
    row.5 AS other_span_id,
    start
FROM (
    SELECT
        spans.start AS start,
        arrayJoin(arrayConcat(
            arrayMap(l -> (spans.trace_id, spans.span_id, 'to', l.trace_id, l.span_id), spans.links),
            arrayMap(l -> (l.trace_id, l.span_id, 'from', spans.trace_id, spans.span_id), spans.links))) AS row
    FROM {database}.spans AS spans
);

-- The message's own context: the link that names these coordinates, else the only link.
CREATE MATERIALIZED VIEW {database}.events_view TO {database}.events AS
WITH
    arrayMap(l -> (
        if(l.attributes['messaging.destination.name'] = '', span_topic, l.attributes['messaging.destination.name']),
        greatest(ifNull(toInt32OrNull(l.attributes['messaging.destination.partition.id']), span_partition), -1),
        ifNull(toInt64OrNull(if(l.attributes['messaging.kafka.offset'] = '', l.attributes['messaging.kafka.message.offset'], l.attributes['messaging.kafka.offset'])), -1),
        l.trace_id,
        l.span_id,
        if(l.attributes['messaging.kafka.message.key'] = '', span_key, l.attributes['messaging.kafka.message.key']),
        ifNull(toInt64OrNull(l.attributes['flowtrail.record.timestamp_ms']), own_timestamp_ms)
    ), links) AS linked,
    arrayFilter(e -> e.1 != '' AND e.3 >= 0, linked) AS of_links,
    arrayFirst(e -> e.2 = span_partition AND e.3 = span_offset, linked) AS of_same,
    if(of_same.1 != '' AND of_same.3 >= 0, of_same, if(length(linked) = 1, linked[1], of_same)) AS own_link,
    multiIf(
        span_offset >= 0, [(span_topic, span_partition, span_offset, own_link.4, own_link.5, span_key, if(own_timestamp_ms >= 0, own_timestamp_ms, if(own_link.1 = '', -1, own_link.7)))],
        notEmpty(of_links), of_links,
        [(span_topic, span_partition, toInt64(-1), own_link.4, own_link.5, span_key, own_timestamp_ms)]) AS rows
SELECT
    row.1 AS topic,
    row.2 AS partition,
    row.3 AS offset,
    cluster_id,
    operation,
    group_name,
    service,
    trace_id,
    span_id,
    row.4 AS linked_trace_id,
    row.5 AS linked_span_id,
    start,
    duration_ns,
    status_code,
    row.6 AS key,
    member_id,
    row.7 AS record_timestamp_ms
FROM (
    SELECT
        cluster_id, operation, group_name, service, trace_id, span_id, start, duration_ns, status_code, links,
        topic AS span_topic,
        partition AS span_partition,
        offset AS span_offset,
        key AS span_key,
        attributes['flowtrail.consumer.member_id'] AS member_id,
        ifNull(toInt64OrNull(attributes['flowtrail.record.timestamp_ms']), -1) AS own_timestamp_ms
    FROM {database}.spans
    WHERE operation IN ('send', 'receive', 'process') AND system IN ('kafka', '')
) ARRAY JOIN rows AS row
WHERE row.1 != '';

CREATE MATERIALIZED VIEW {database}.edges_view TO {database}.edges AS
SELECT
    toStartOfInterval(toDateTime(start), INTERVAL 10 SECOND) AS bucket,
    cluster_id,
    service,
    operation,
    topic,
    group_name,
    count() AS messages,
    countIf(status_code = 2) AS errors,
    sumMap(map(toUInt16(floor(4 * log2(toFloat64(duration_ns) + 1))), toUInt64(1))) AS durations,
    max(start) AS last_seen
FROM {database}.events
GROUP BY bucket, cluster_id, service, operation, topic, group_name;
