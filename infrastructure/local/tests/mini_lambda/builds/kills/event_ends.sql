-- How each event has ended, and its dead letters; also of those that only one of the two tables knows.
SELECT coalesce(a.event_id, d.event_id) AS event_id, coalesce(a.status, 'not audited') AS status,
       count(d.id) AS letters, max(d.retry_count) AS retries, max(d.payload ->> 'n') AS number
FROM lambda_service.event_audit a
FULL JOIN lambda_service.dead_letter_queue d ON d.event_id = a.event_id
GROUP BY a.id, 1, 2
ORDER BY 1
