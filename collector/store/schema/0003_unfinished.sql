-- The span of a processing that was never seen to end says how long its client stayed open, not how long the event took:
-- it is counted, and left out of `edges.durations`. Events that are already stored keep what was counted of them.

ALTER TABLE {database}.events ADD COLUMN IF NOT EXISTS is_unfinished Bool DEFAULT false;

DROP VIEW IF EXISTS {database}.edges_view;
DROP VIEW IF EXISTS {database}.events_view;

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
    row.7 AS record_timestamp_ms,
    is_unfinished
FROM (
    SELECT
        cluster_id, operation, group_name, service, trace_id, span_id, start, duration_ns, status_code, links,
        topic AS span_topic,
        partition AS span_partition,
        offset AS span_offset,
        key AS span_key,
        attributes['flowtrail.consumer.member_id'] AS member_id,
        ifNull(toInt64OrNull(attributes['flowtrail.record.timestamp_ms']), -1) AS own_timestamp_ms,
        attributes['flowtrail.process.unfinished'] = 'true' AS is_unfinished
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
    sumMapIf(map(toUInt16(floor(4 * log2(toFloat64(duration_ns) + 1))), toUInt64(1)), NOT is_unfinished) AS durations,
    max(start) AS last_seen
FROM {database}.events
GROUP BY bucket, cluster_id, service, operation, topic, group_name;
