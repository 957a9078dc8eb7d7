-- SPDX-License-Identifier: Apache-2.0
-- The demo's only table, with more rows than a list shows.
CREATE TABLE todos (
    id    bigserial PRIMARY KEY,
    title text NOT NULL,
    done  boolean NOT NULL DEFAULT false
);
INSERT INTO todos (title, done)
SELECT 'todo number ' || n, n % 3 = 0 FROM generate_series(1, 20) AS n;
