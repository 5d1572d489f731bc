-- The delivered lines, for Athena: delivered is the Glue table of the stream's objects, all its columns strings, day its partition
-- (yyyy/MM/dd). Columns that a stream does not have are null there.
SELECT
    record_id,
    "timestamp",
    CAST(round(to_unixtime(TRY(from_iso8601_timestamp("timestamp"))) * 1e3) AS bigint) AS time_ms,
    vin,
    lon,
    lat,
    speed,
    co2,
    fuel_rate,
    day
FROM delivered
