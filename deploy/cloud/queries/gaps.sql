-- Where records of a vehicle are missing: from when to when, s, and the distance in km from the last position before to the first
-- one after.
SELECT vin, time_ms AS from_ms, next_ms AS to_ms, ms / 1e3 AS seconds, way / 1e6 AS km
FROM pieces
WHERE gap
ORDER BY vin NULLS LAST, time_ms
