-- What obdfleet report prints: a row for each vehicle. Times are Unix ms; fuel_units are 1/3,600,000,000 L.
SELECT
    counted.vin, records, duplicates, undated, first_ms, last_ms, max_speed,
    coalesce(distance_mm, 0) AS distance_mm,
    coalesce(jumps, 0) AS jumps,
    coalesce(speed_mm, 0) AS speed_mm,
    coalesce(moving_ms, 0) AS moving_ms,
    coalesce(idle_ms, 0) AS idle_ms,
    coalesce(blind_ms, 0) AS blind_ms,
    coalesce(gaps, 0) AS gaps,
    coalesce(gap_ms, 0) AS gap_ms,
    coalesce(longest_gap_ms, 0) AS longest_gap_ms,
    coalesce(co2_ug, 0) AS co2_ug,
    coalesce(co2_ms, 0) AS co2_ms,
    coalesce(fuel_units, 0) AS fuel_units,
    coalesce(fuel_ms, 0) AS fuel_ms
FROM (
    SELECT
        vin,
        count(*) FILTER (WHERE copy = 1) AS records,
        count(*) FILTER (WHERE copy > 1) AS duplicates,
        count(*) FILTER (WHERE copy = 1 AND time_ms IS NULL) AS undated,
        min(time_ms) FILTER (WHERE copy = 1) AS first_ms,
        max(time_ms) FILTER (WHERE copy = 1) AS last_ms,
        max(speed) FILTER (WHERE copy = 1) AS max_speed
    FROM copies
    GROUP BY vin
) AS counted
LEFT JOIN (
    SELECT
        vin,
        CAST(sum(way) FILTER (WHERE NOT jump) AS bigint) AS distance_mm,
        count(*) FILTER (WHERE jump) AS jumps,
        CAST(sum(CAST(round((speed + coalesce(next_speed, speed)) * ms / 7200e0) AS bigint))
            FILTER (WHERE NOT gap AND speed >= 3000) AS bigint) AS speed_mm,
        CAST(sum(ms) FILTER (WHERE NOT gap AND speed >= 3000) AS bigint) AS moving_ms,
        CAST(sum(ms) FILTER (WHERE NOT gap AND speed < 3000) AS bigint) AS idle_ms,
        CAST(sum(ms) FILTER (WHERE NOT gap AND speed IS NULL) AS bigint) AS blind_ms,
        count(*) FILTER (WHERE gap) AS gaps,
        CAST(sum(ms) FILTER (WHERE gap) AS bigint) AS gap_ms,
        max(ms) FILTER (WHERE gap) AS longest_gap_ms,
        CAST(sum(co2 * ms) FILTER (WHERE NOT gap) AS bigint) AS co2_ug,
        CAST(sum(ms) FILTER (WHERE NOT gap AND co2 IS NOT NULL) AS bigint) AS co2_ms,
        CAST(sum(fuel_rate * ms) FILTER (WHERE NOT gap) AS bigint) AS fuel_units,
        CAST(sum(ms) FILTER (WHERE NOT gap AND fuel_rate IS NOT NULL) AS bigint) AS fuel_ms
    FROM pieces
    GROUP BY vin
) AS summed ON coalesce(counted.vin, '') = coalesce(summed.vin, '')
ORDER BY counted.vin NULLS LAST
