-- The delivered lines, for DuckDB: delivered is a view over read_csv or read_json of the objects, all its columns VARCHAR.
SELECT
    record_id,
    "timestamp",
    epoch_ms(TRY_CAST("timestamp" AS TIMESTAMP)) AS time_ms,
    vin,
    lon,
    lat,
    speed,
    co2,
    fuel_rate,
    CAST(NULL AS VARCHAR) AS day
FROM delivered
