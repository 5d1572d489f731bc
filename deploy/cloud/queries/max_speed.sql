-- The maximum speed of each VIN, km/h.
SELECT vin, max(speed) / 1e3 AS max_kmh
FROM copies
WHERE copy = 1
GROUP BY vin
ORDER BY vin NULLS LAST
