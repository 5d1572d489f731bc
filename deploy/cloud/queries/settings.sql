-- Records are missing where two of a vehicle are further apart than gap_ms.
SELECT CAST(150000 AS bigint) AS gap_ms
