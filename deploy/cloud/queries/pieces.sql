-- The time of each vehicle, cut at its records: ms from one to the next, and what holds for that piece. way is the distance in mm to
-- the next position, where both are known.
SELECT
    vin, time_ms, next_ms, ms, ms > gap_ms AS gap, speed, next_speed, co2, fuel_rate, lon, lat, next_lon, next_lat, way,
    -- Over 250 km/h, or elsewhere at the same time.
    way * 36 > ms * 2500 AS jump
FROM (
    SELECT
        vin, time_ms, next_ms, next_ms - time_ms AS ms, speed, next_speed, co2, fuel_rate, lon, lat, next_lon, next_lat,
        -- The great circle of the sphere with GRS 80's mean radius. least is told no null, which engines take differently.
        CASE WHEN lon IS NOT NULL AND next_lon IS NOT NULL THEN CAST(round(
            2e0 * 6371008.8e3 * asin(least(1e0, sqrt(
                power(sin((next_lat / 1e7 - lat / 1e7) * (pi() / 180e0) / 2e0), 2e0)
                + cos(lat / 1e7 * (pi() / 180e0)) * cos(next_lat / 1e7 * (pi() / 180e0))
                * power(sin((next_lon / 1e7 - lon / 1e7) * (pi() / 180e0) / 2e0), 2e0)
            )))
        ) AS bigint) END AS way
    FROM (
        SELECT
            vin, time_ms, lon, lat, speed, co2, fuel_rate,
            lead(time_ms) OVER (
                PARTITION BY vin
                ORDER BY time_ms, lon NULLS LAST, lat NULLS LAST, speed NULLS LAST, co2 NULLS LAST, fuel_rate NULLS LAST
            ) AS next_ms,
            lead(lon) OVER (
                PARTITION BY vin
                ORDER BY time_ms, lon NULLS LAST, lat NULLS LAST, speed NULLS LAST, co2 NULLS LAST, fuel_rate NULLS LAST
            ) AS next_lon,
            lead(lat) OVER (
                PARTITION BY vin
                ORDER BY time_ms, lon NULLS LAST, lat NULLS LAST, speed NULLS LAST, co2 NULLS LAST, fuel_rate NULLS LAST
            ) AS next_lat,
            lead(speed) OVER (
                PARTITION BY vin
                ORDER BY time_ms, lon NULLS LAST, lat NULLS LAST, speed NULLS LAST, co2 NULLS LAST, fuel_rate NULLS LAST
            ) AS next_speed
        FROM copies
        WHERE copy = 1 AND time_ms IS NOT NULL
    ) AS followed
    WHERE next_ms IS NOT NULL
) AS measured
CROSS JOIN settings
