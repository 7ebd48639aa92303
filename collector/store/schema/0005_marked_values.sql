-- A list or a map that a view cannot read is kept as its OTLP bytes, in base64 behind a mark that says what they are, so that
-- whoever reads the row can write it as text (`marked_values.py`): a table's shape is not recursive, a program is.
--   otlp-values:  a list of an event or a link        otlp-list:  a list within a span's list
--   otlp-map:     a map, wherever it stands
-- To read them here, as far as two deep, took the loader two fifths longer, for every span. Plain bytes have no mark, nor has
-- anything of resources, which nobody reads.

DROP VIEW IF EXISTS {database}.spans_view;

-- Names of older conventions and of other vendors are read beside today's. An operation is told by its type, else by its
-- name, else (older instrumentations say neither) by the span's kind.
CREATE MATERIALIZED VIEW {database}.spans_view TO {database}.spans AS
WITH
    arrayMap((type, s, n, b, d, x, y, z) -> multiIf(
        type = 'string_value', s,
        type = 'int_value', toString(n),
        type = 'bool_value', if(b, 'true', 'false'),
        type = 'double_value', toString(d),
        type = 'none', '',
        type = 'array_value', arrayStringConcat(arrayMap(i -> multiIf(
            i.value = 'string_value', i.string_value,
            i.value = 'int_value', toString(i.int_value),
            i.value = 'bool_value', if(i.bool_value, 'true', 'false'),
            i.value = 'double_value', toString(i.double_value),
            i.value = 'none', '',
            concat(
                multiIf(i.value = 'array_value', 'otlp-list:', i.value = 'kvlist_value', 'otlp-map:', ''),
                base64Encode(concat(i.array_value, i.kvlist_value, i.bytes_value)))), x), ', '),
        concat(if(type = 'kvlist_value', 'otlp-map:', ''), base64Encode(concat(y, z)))),
        value_types, strings, ints, bools, doubles, lists, maps, blobs) AS texts,
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
            concat(
                multiIf(a.value.value = 'array_value', 'otlp-values:', a.value.value = 'kvlist_value', 'otlp-map:', ''),
                base64Encode(concat(a.value.array_value, a.value.kvlist_value, a.value.bytes_value))))), l.attributes), 'Map(LowCardinality(String), String)')
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
            concat(
                multiIf(a.value.value = 'array_value', 'otlp-values:', a.value.value = 'kvlist_value', 'otlp-map:', ''),
                base64Encode(concat(a.value.array_value, a.value.kvlist_value, a.value.bytes_value))))), e.attributes), 'Map(LowCardinality(String), String)')
    ), raw_events) AS events
FROM (
    SELECT resource_id, service, instance, in_scope.scope.name AS scope, in_scope.spans AS s
    FROM (
        SELECT
            cityHash64(resource.resource.attributes) AS resource_id,
            resource.resource.attributes.value.string_value[indexOf(resource.resource.attributes.key, 'service.name')] AS service,
            resource.resource.attributes.value.string_value[indexOf(resource.resource.attributes.key, 'service.instance.id')] AS instance,
            resource.scope_spans AS scopes
        FROM {database}.requests ARRAY JOIN resource_spans AS resource
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
    s.attributes.value.array_value.values AS lists,
    s.attributes.value.kvlist_value AS maps,
    s.attributes.value.bytes_value AS blobs
WHERE length(raw_trace_id) = 16 AND length(raw_span_id) = 8
    AND raw_start >= 946684800000000000 AND raw_start < 4102444800000000000;
