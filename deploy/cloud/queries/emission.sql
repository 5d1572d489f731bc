-- CO2 in kg and fuel in litres of each vehicle and day (UTC, by the record's own time), with the hours in which they were known. A
-- piece counts for the day on which it begins.
SELECT
    vin,
    day,
    CAST(sum(co2 * ms) AS bigint) / 1e9 AS co2_kg,
    CAST(sum(ms) FILTER (WHERE co2 IS NOT NULL) AS bigint) / 3.6e6 AS co2_hours,
    CAST(sum(fuel_rate * ms) AS bigint) / 3.6e9 AS fuel_l,
    CAST(sum(ms) FILTER (WHERE fuel_rate IS NOT NULL) AS bigint) / 3.6e6 AS fuel_hours
FROM (
    SELECT vin, CAST(DATE '1970-01-01' + CAST(floor(time_ms / 864e5) AS bigint) * INTERVAL '1' DAY AS date) AS day, ms, co2, fuel_rate
    FROM pieces
    WHERE NOT gap AND (co2 IS NOT NULL OR fuel_rate IS NOT NULL)
) AS daily
GROUP BY vin, day
ORDER BY vin NULLS LAST, day
