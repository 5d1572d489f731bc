-- The records with their copies numbered: 1 is the copy that counts. Of copies that differ that is a dated one, the earliest, the
-- one with the least values.
SELECT
    record_id, vin, time_ms, lon, lat, speed, co2, fuel_rate,
    row_number() OVER (
        PARTITION BY record_id
        ORDER BY
            time_ms NULLS LAST, lon NULLS LAST, lat NULLS LAST, speed NULLS LAST, co2 NULLS LAST, fuel_rate NULLS LAST, vin NULLS LAST
    ) AS copy
FROM records
