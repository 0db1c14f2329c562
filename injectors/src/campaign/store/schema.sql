-- The database of a campaign. docs/campaigns.md says what each table and column means.

-- What the campaign is: names with JSON values.
CREATE TABLE provenance (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The plan. Never changes once the database has its name.
CREATE TABLE points (
    number INTEGER PRIMARY KEY,
    fault TEXT NOT NULL,
    -- The moment; all four are null where the fault-free run ends before it.
    thread INTEGER, moment INTEGER, pc TEXT, arrivals INTEGER,
    weight REAL NOT NULL,
    stratum TEXT,
    class INTEGER,
    verdict TEXT,
    -- The point whose outcome this one has because they are of one class; null if it has its own.
    leader INTEGER,
    -- What the text of the fault says.
    kind TEXT NOT NULL, place TEXT, bit INTEGER, bits INTEGER
);
CREATE INDEX points_by_moment ON points (thread, moment, number)
    WHERE verdict IS NULL AND leader IS NULL AND moment IS NOT NULL;

-- One row for each experiment that was carried out, in the order in which they ended.
CREATE TABLE results (
    number INTEGER PRIMARY KEY REFERENCES points (number),
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    start TEXT NOT NULL,
    exit_status INTEGER, signal INTEGER, "limit" TEXT,
    activated TEXT NOT NULL,
    latency INTEGER,
    changed TEXT, mask TEXT,
    thread INTEGER, moment INTEGER, pc TEXT, instruction TEXT, opcode TEXT,
    module TEXT, symbol TEXT, source TEXT,
    cpu_seconds REAL NOT NULL, wall_seconds REAL NOT NULL,
    replay TEXT NOT NULL,
    record TEXT NOT NULL
);

-- Points that were not run because their outcome was known, run all the same to see whether it is right.
CREATE TABLE validations (
    number INTEGER PRIMARY KEY REFERENCES points (number),
    expected TEXT NOT NULL,
    outcome TEXT NOT NULL,
    record TEXT NOT NULL
);

-- What changes while the campaign runs. size: how many points count.
CREATE TABLE state (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

-- Every point that counts, with its outcome; null where it is not known yet.
CREATE VIEW experiments AS
SELECT
    p.number, p.fault, p.weight, p.stratum, p.class, p.verdict,
    CASE
        WHEN p.verdict IS NOT NULL THEN 'masked'
        WHEN p.moment IS NULL THEN 'not reached'
        ELSE r.outcome
    END AS outcome,
    CASE
        WHEN p.verdict IS NOT NULL THEN p.verdict
        WHEN p.moment IS NULL THEN 'not reached'
        WHEN p.leader IS NOT NULL AND r.number IS NOT NULL THEN 'class'
        WHEN r.number IS NOT NULL THEN 'run'
    END AS known,
    r.number AS run,
    p.thread, p.moment, p.pc, p.arrivals, p.leader,
    p.kind, p.place, p.bit, p.bits,
    r.changed, r.mask, r.instruction, r.opcode, r.module, r.symbol, r.source,
    r.reason, r.start, r.exit_status, r.signal, r."limit", r.activated, r.latency,
    r.cpu_seconds, r.wall_seconds, r.replay, r.record
FROM points p LEFT JOIN results r ON r.number = coalesce(p.leader, p.number)
    AND p.verdict IS NULL AND p.moment IS NOT NULL
WHERE p.number < (SELECT value FROM state WHERE name = 'size');
