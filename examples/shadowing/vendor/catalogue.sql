-- The supplier's own script: what they make in their database, and we can't change.
-- :articles is the number of articles; :edition, the edition of the catalogue, 1 or later. Each
-- edition has new prices, and leaves out every 50th article, another one each time.
DROP TABLE IF EXISTS TBL_ARTIKEL;
DROP TABLE IF EXISTS TBL_WGR;

CREATE TABLE TBL_WGR (
    WGR_NR  INTEGER NOT NULL PRIMARY KEY,
    WGR_TXT VARCHAR(40) NOT NULL
);
CREATE TABLE TBL_ARTIKEL (
    ARTNR   CHAR(8) NOT NULL PRIMARY KEY,
    BEZ1    VARCHAR(60) NOT NULL,
    WGR     INTEGER NOT NULL REFERENCES TBL_WGR (WGR_NR),
    EKPREIS INTEGER NOT NULL,
    LAGER   INTEGER NOT NULL
);
CREATE INDEX IX_ARTIKEL_EKPREIS ON TBL_ARTIKEL (EKPREIS);

INSERT INTO TBL_WGR VALUES
    (10, 'Springs'), (20, 'Hands'), (30, 'Pendulums'), (40, 'Keys'), (50, 'Oil');

WITH RECURSIVE numbers (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :articles
)
INSERT INTO TBL_ARTIKEL
SELECT
    printf('A%07d', n),
    (SELECT WGR_TXT FROM TBL_WGR WHERE WGR_NR = 10 + n % 5 * 10) || printf(', size %d', n),
    10 + n % 5 * 10,
    50 + n * 7919 % 4000 + 10 * :edition,
    n * 31 % 120
FROM numbers
WHERE n % 50 != :edition % 50;
