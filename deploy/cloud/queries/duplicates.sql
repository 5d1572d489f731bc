-- The records that were delivered more than once, and how often their copies differ: a record_id whose copies differ in more than
-- the time that a device learned later was made twice.
SELECT
    record_id,
    count(*) AS times_delivered,
    count(DISTINCT coalesce(vin, '')) AS vins,
    count(DISTINCT coalesce(time_ms, -1)) AS times,
    min(time_ms) AS first_ms
FROM copies
GROUP BY record_id
HAVING count(*) > 1
ORDER BY times_delivered DESC, record_id
