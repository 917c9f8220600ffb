-- The supplier's script for these tables, which we can't change. The command inserts the articles
-- after it.
DROP TABLE IF EXISTS "TBL_ARTIKEL";
DROP TABLE IF EXISTS "TBL_WGR";

CREATE TABLE "TBL_WGR" (
    "WGR_NR"  INTEGER NOT NULL PRIMARY KEY,
    "WGR_TXT" VARCHAR(40) NOT NULL
);
CREATE TABLE "TBL_ARTIKEL" (
    "ARTNR"   CHAR(8) NOT NULL PRIMARY KEY,
    "BEZ1"    VARCHAR(60) NOT NULL,
    "WGR"     INTEGER NOT NULL REFERENCES "TBL_WGR" ("WGR_NR"),
    "EKPREIS" INTEGER NOT NULL,
    "LAGER"   INTEGER NOT NULL
);
CREATE INDEX "IX_ARTIKEL_EKPREIS" ON "TBL_ARTIKEL" ("EKPREIS");

INSERT INTO "TBL_WGR" VALUES
    (10, 'Springs'), (20, 'Hands'), (30, 'Pendulums'), (40, 'Keys'), (50, 'Oil');
