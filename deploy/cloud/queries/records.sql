-- The lines that are whole, in whole units: lon and lat 1e-7 degrees, speed m/h, co2 mg/s, fuel_rate mL/h. NaN is null.
SELECT
    record_id,
    vin,
    time_ms,
    CASE WHEN lat IS NOT NULL THEN CAST(round(lon * 1e7) AS bigint) END AS lon,
    CASE WHEN lon IS NOT NULL THEN CAST(round(lat * 1e7) AS bigint) END AS lat,
    CAST(round(speed * 1e3) AS bigint) AS speed,
    CAST(round(co2 * 1e3) AS bigint) AS co2,
    CAST(round(fuel_rate * 1e3) AS bigint) AS fuel_rate
FROM (
    SELECT
        lower(record_id) AS record_id,
        nullif(nullif(vin, 'NaN'), 'nan') AS vin,
        time_ms,
        "timestamp" AS time_text,
        nullif(nullif(lon, 'NaN'), 'nan') AS lon_text,
        nullif(nullif(lat, 'NaN'), 'nan') AS lat_text,
        nullif(nullif(speed, 'NaN'), 'nan') AS speed_text,
        nullif(nullif(co2, 'NaN'), 'nan') AS co2_text,
        nullif(nullif(fuel_rate, 'NaN'), 'nan') AS fuel_text,
        TRY_CAST(nullif(nullif(lon, 'NaN'), 'nan') AS double) AS lon,
        TRY_CAST(nullif(nullif(lat, 'NaN'), 'nan') AS double) AS lat,
        TRY_CAST(nullif(nullif(speed, 'NaN'), 'nan') AS double) AS speed,
        TRY_CAST(nullif(nullif(co2, 'NaN'), 'nan') AS double) AS co2,
        TRY_CAST(nullif(nullif(fuel_rate, 'NaN'), 'nan') AS double) AS fuel_rate
    FROM lines
) AS typed
WHERE length(record_id) = 36
    AND TRY_CAST(record_id AS uuid) IS NOT NULL
    -- The first devices sent a time of day, which is no point in time.
    AND (time_ms BETWEEN 0 AND 7258118399999 OR time_ms IS NULL AND (time_text IS NULL OR time_text NOT LIKE '%-%'))
    AND (lon_text IS NULL OR lon BETWEEN -180 AND 180)
    AND (lat_text IS NULL OR lat BETWEEN -90 AND 90)
    AND (speed_text IS NULL OR speed BETWEEN 0 AND 1000)
    AND (co2_text IS NULL OR co2 BETWEEN 0 AND 10000)
    AND (fuel_text IS NULL OR fuel_rate BETWEEN 0 AND 10000)
