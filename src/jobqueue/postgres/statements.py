"""What `schema` puts into the database: the tables beside the engine's, and the functions.

`<engine …>` stands for a statement of the engine's, as it writes it: its parameters are those of
the function around it. Rows of both tables are locked in one order: the engine's first.

`<kept plans>` has each connection plan a statement once. Else some are planned at each call, as
PostgreSQL takes their arrays for longer than they are: that costs more than what they do. For that
reason no function is in SQL, which keeps no plan. A plan may have been made when the tables were
all but empty, and would read all of a table that has grown since: hence `enable_seqscan`. What is
off counts as dear, and what is dear would be compiled at each call: hence `jit`. A function that is
called within another one has that one's settings.

    jobqueue_job      a job, from its acceptance until it is forgotten; `number` is the engine's id
    jobqueue_count    what came of the attempts of one process, by lane and handler
    jobqueue_paused   what is paused
    jobqueue_periodic how far each schedule has come
    jobqueue_moved    jobs that came from a log which may not know it yet
"""

from __future__ import annotations

from .engine_calls import ENGINE

TABLES = """
CREATE TABLE IF NOT EXISTS jobqueue_schema (version int NOT NULL, engine text NOT NULL);
CREATE TABLE IF NOT EXISTS jobqueue_job (
  id text COLLATE "C" PRIMARY KEY,
  number bigint NOT NULL,
  lane smallint NOT NULL,
  handler text,
  about jsonb NOT NULL,
  created float8 NOT NULL,
  identity text COLLATE "C",
  expires timestamptz,
  retries int NOT NULL DEFAULT 0,
  attempts jsonb NOT NULL DEFAULT '[]',
  started float8,
  finished float8,
  outcome text,
  error text,
  trace text,
  result bytea,
  coded bool
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX IF NOT EXISTS jobqueue_job_number ON jobqueue_job (number);
CREATE UNIQUE INDEX IF NOT EXISTS jobqueue_job_identity ON jobqueue_job (identity)
  WHERE identity IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobqueue_job_expires ON jobqueue_job (expires)
  WHERE expires IS NOT NULL;
-- The dead letters among all that wait. On the engine's table: an index with `outcome` in it would
-- have each outcome of each job write to all indexes of ours.
CREATE INDEX IF NOT EXISTS jobqueue_dead ON pgqueuer (id) WHERE status = 'failed';
CREATE TABLE IF NOT EXISTS jobqueue_count (
  process uuid NOT NULL, lane smallint NOT NULL, handler text NOT NULL,
  completed bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0,
  retried bigint NOT NULL DEFAULT 0, cancelled bigint NOT NULL DEFAULT 0,
  expired bigint NOT NULL DEFAULT 0, told timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (process, lane, handler)
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS jobqueue_paused (
  kind text NOT NULL, name text NOT NULL, PRIMARY KEY (kind, name)
);
CREATE TABLE IF NOT EXISTS jobqueue_periodic (
  name text PRIMARY KEY, last float8, settled float8 NOT NULL
);
CREATE TABLE IF NOT EXISTS jobqueue_moved (
  id text COLLATE "C", created float8, PRIMARY KEY (id, created)
);
"""

_ANNOUNCE = """
-- Whoever has these handlers is told that there are jobs, or that there will be some.
CREATE OR REPLACE FUNCTION jobqueue_announce(entrypoints text[], delays interval[])
  RETURNS void
  LANGUAGE plpgsql AS $jobqueue$
DECLARE
  names text;
BEGIN
  IF interval '0' < ANY(delays) THEN
    PERFORM jobqueue_wake();
  END IF;
  IF interval '0' = ANY(delays) THEN
    SELECT json_agg(DISTINCT each) INTO names FROM unnest(entrypoints) each;
    PERFORM pg_notify('jobqueue_new', CASE WHEN octet_length(names) < 7000 THEN names ELSE '' END);
  END IF;
END $jobqueue$;
"""

_ENQUEUE = """
-- Gives no row if all are accepted as new; else what is in the way. Arrays are what a call for many
-- jobs costs its caller most: `entrypoints` has one entry if all jobs have the same; `delays` and
-- `expire` are NULL if no job has one, `abouts` if there is nothing to tell but the ids. Where an
-- array is too short, `unnest` gives NULL.
CREATE OR REPLACE FUNCTION jobqueue_enqueue(entrypoints text[], payloads bytea[],
  delays interval[], abouts text[], ids text[], createds float8[], identities text[],
  conflicts text[], size int, expire interval[])
  RETURNS TABLE (place int, what text, other text)
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
#variable_conflict use_column
DECLARE
  taken int[]; others text[]; lane int; fresh bigint; waiting bigint; first record; state text;
  jobs int := cardinality(ids); distinct_names text[] := entrypoints; priorities int[];
  headers jsonb[];
BEGIN
  delays := coalesce(delays, array_fill(interval '0', ARRAY[jobs]));
  IF cardinality(entrypoints) = 1 THEN
    priorities := array_fill(2 - left(entrypoints[1], 1)::int, ARRAY[jobs]);
    entrypoints := array_fill(entrypoints[1], ARRAY[jobs]);
  ELSE
    priorities := ARRAY(SELECT 2 - left(e, 1)::int FROM unnest(entrypoints) e);
  END IF;
  IF abouts IS NULL THEN
    headers := ARRAY(SELECT jsonb_build_object('id', i) FROM unnest(ids) i);
  ELSE
    headers := ARRAY(SELECT a::jsonb FROM unnest(abouts) a);  -- quicker than by a cast of the array
  END IF;
  IF size IS NOT NULL THEN
    FOR lane, fresh IN SELECT p, count(*) FROM unnest(priorities, delays) t(p, d)
                       WHERE d = interval '0' GROUP BY p LOOP
      SELECT count(*) INTO waiting FROM (
        SELECT 1 FROM pgqueuer WHERE status = 'queued' AND priority = lane AND attempts = 0
          AND execute_after <= now() LIMIT size) full_at;
      IF waiting + fresh > size THEN
        RETURN QUERY SELECT 0, 'full', NULL::text;
        RETURN;
      END IF;
    END LOOP;
  END IF;
  FOR round IN 1..5 LOOP
    BEGIN
      -- At first only one id is looked up, which tells of a call that is made again. The index
      -- refuses the others, and they are all looked up in the next round.
      RETURN QUERY SELECT 0, 'known', j.id::text FROM jobqueue_job j
        WHERE j.id = ANY(CASE WHEN round = 1 THEN ids[1:1] ELSE ids END);
      IF FOUND THEN
        RETURN;
      END IF;
      taken := '{}'; others := '{}';
      IF identities IS NULL THEN
        INSERT INTO jobqueue_job (id, number, lane, handler, about, created, expires)
        SELECT u.id, e.id, 2 - u.priority, nullif(substr(u.entrypoint, 3), ''), u.about, u.created,
               now() + u.expire
        FROM jobqueue_engine_enqueue(priorities, entrypoints, payloads, delays, '{}', headers) e
        JOIN unnest(ids, priorities, entrypoints, headers, createds, expire) WITH ORDINALITY
          AS u(id, priority, entrypoint, about, created, expire, ord) ON u.ord = e.ord;
        PERFORM jobqueue_announce(distinct_names, delays);
        RETURN;
      END IF;
      FOR n IN 1..jobs LOOP
        IF identities[n] IS NOT NULL THEN
          SELECT j.id, j.number INTO first FROM jobqueue_job j WHERE j.identity = identities[n];
          IF FOUND THEN
            IF conflicts[n] = 'replace' THEN
              SELECT q.status INTO state FROM pgqueuer q WHERE q.id = first.number FOR UPDATE;
            ELSE
              SELECT q.status INTO state FROM pgqueuer q WHERE q.id = first.number;
            END IF;
            IF conflicts[n] = 'replace' AND state = 'queued' THEN
              PERFORM jobqueue_drop(ARRAY[first.number], 'cancelled',
                'job ' || ids[n] || ' took its place');
            ELSIF conflicts[n] = 'raise' THEN
              taken := ARRAY[n]; others := ARRAY[first.id];
              RAISE EXCEPTION 'taken' USING ERRCODE = 'JQ001';
            ELSE
              taken := taken || n; others := others || first.id;
              CONTINUE;
            END IF;
          END IF;
        END IF;
        INSERT INTO jobqueue_job (id, number, lane, handler, about, created, identity, expires)
        SELECT ids[n], e.id, 2 - priorities[n], nullif(substr(entrypoints[n], 3), ''), headers[n],
               createds[n], identities[n], now() + expire[n]
        FROM jobqueue_engine_enqueue(ARRAY[priorities[n]], ARRAY[entrypoints[n]],
          ARRAY[payloads[n]], ARRAY[delays[n]], '{}', ARRAY[headers[n]]) e;
      END LOOP;
      PERFORM jobqueue_announce(distinct_names, delays);
      RETURN QUERY SELECT t.n, 'like', t.o FROM unnest(taken, others) t(n, o);
      RETURN;
    EXCEPTION WHEN SQLSTATE 'JQ001' THEN  -- none of them is accepted
      RETURN QUERY SELECT taken[1], 'taken', others[1];
      RETURN;
    WHEN unique_violation THEN
      NULL;  -- another one was quicker: now it is seen
    END;
  END LOOP;
  RAISE EXCEPTION 'the same jobs are enqueued again and again by others' USING ERRCODE = '40001';
END $jobqueue$;
"""

_ENDS = """
-- Each process adds to rows of its own, so that none waits for another.
CREATE OR REPLACE FUNCTION jobqueue_tell(who uuid, numbers bigint[], outcomes text[])
  RETURNS void
  LANGUAGE plpgsql AS $jobqueue$
BEGIN
  INSERT INTO jobqueue_count AS c
    (process, lane, handler, completed, failed, retried, cancelled, expired)
  SELECT who, j.lane, coalesce(j.handler, ''), count(*) FILTER (WHERE u.o = 'completed'),
    count(*) FILTER (WHERE u.o = 'failed'), count(*) FILTER (WHERE u.o = 'retried'),
    count(*) FILTER (WHERE u.o IN ('cancelled', 'expired')),
    count(*) FILTER (WHERE u.o = 'expired')
  FROM unnest(numbers, outcomes) u(n, o) JOIN jobqueue_job j ON j.number = u.n
  GROUP BY 2, 3
  ON CONFLICT (process, lane, handler) DO UPDATE SET told = now(),
    completed = c.completed + EXCLUDED.completed, failed = c.failed + EXCLUDED.failed,
    retried = c.retried + EXCLUDED.retried, cancelled = c.cancelled + EXCLUDED.cancelled,
    expired = c.expired + EXCLUDED.expired;
END $jobqueue$;

-- The outcome of jobs that wait: nobody runs them. With their rows locked.
CREATE OR REPLACE FUNCTION jobqueue_drop(numbers bigint[], what text, why text)
  RETURNS void
  LANGUAGE plpgsql AS $jobqueue$
BEGIN
  PERFORM jobqueue_engine_log(numbers, array_fill('canceled'::pgqueuer_status,
    ARRAY[cardinality(numbers)]), array_fill(NULL::jsonb, ARRAY[cardinality(numbers)]));
  UPDATE jobqueue_job SET outcome = 'cancelled', finished = extract(epoch FROM now()),
    identity = NULL, error = coalesce(why, error), trace = CASE WHEN why IS NULL THEN trace END
  WHERE number = ANY(numbers);
  PERFORM jobqueue_tell('00000000-0000-0000-0000-000000000000', numbers,
    array_fill(what, ARRAY[cardinality(numbers)]));
  PERFORM pg_notify('jobqueue_done', array_to_string(numbers, ','));
END $jobqueue$;

-- The outcomes of attempts, of those jobs that `manager` still owns: the fence.
CREATE OR REPLACE FUNCTION jobqueue_settle(manager uuid, numbers bigint[], outcomes text[],
  errors text[], traces text[], results bytea[], codeds bool[], starts float8[], ends float8[])
  RETURNS bigint[]
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
DECLARE
  owned bigint[]; statuses pgqueuer_status[]; kept text[];
BEGIN
  owned := ARRAY(SELECT id FROM pgqueuer WHERE id = ANY(numbers) AND queue_manager_id = manager
                 ORDER BY id FOR UPDATE);
  IF cardinality(owned) = 0 THEN
    RETURN owned;
  END IF;
  SELECT array_agg(n ORDER BY n), array_agg((CASE o WHEN 'completed' THEN 'successful'
      WHEN 'failed' THEN 'failed' ELSE 'canceled' END)::pgqueuer_status ORDER BY n),
      array_agg(o ORDER BY n)
    INTO owned, statuses, kept FROM unnest(numbers, outcomes) t(n, o) WHERE n = ANY(owned);
  PERFORM jobqueue_engine_log(owned, statuses,
    array_fill(NULL::jsonb, ARRAY[cardinality(owned)]));
  UPDATE jobqueue_job j SET error = coalesce(u.error, j.error),
    trace = coalesce(u.trace, j.trace), result = u.result, coded = u.coded, started = u.started,
    finished = u.finished, identity = NULL,
    outcome = CASE u.outcome WHEN 'expired' THEN 'cancelled' ELSE u.outcome END
  FROM unnest(numbers, outcomes, errors, traces, results, codeds, starts, ends)
    AS u(number, outcome, error, trace, result, coded, started, finished)
  WHERE j.number = u.number AND u.number = ANY(owned);
  PERFORM jobqueue_tell(manager, owned, kept);
  PERFORM pg_notify('jobqueue_done', array_to_string(owned, ','));
  RETURN owned;
END $jobqueue$;

-- An attempt failed and another is to follow. Gives 'retried', 'cancelled' or 'lost'.
CREATE OR REPLACE FUNCTION jobqueue_retry(manager uuid, job bigint, picked timestamptz,
  delay interval, problem text, told text, start float8, finish float8)
  RETURNS text
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
DECLARE
  stop bool;
BEGIN
  SELECT headers ? 'stop' INTO stop FROM pgqueuer
    WHERE id = job AND queue_manager_id = manager AND updated = picked FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'lost';
  END IF;
  IF stop THEN
    PERFORM jobqueue_settle(manager, ARRAY[job], ARRAY['cancelled'], ARRAY[problem], ARRAY[told],
      ARRAY[NULL::bytea], ARRAY[NULL::bool], ARRAY[start], ARRAY[finish]);
    RETURN 'cancelled';
  END IF;
  PERFORM jobqueue_engine_retry(job, delay, NULL);
  UPDATE jobqueue_job SET retries = retries + 1, error = problem, trace = told, started = start,
    attempts = CASE WHEN jsonb_array_length(attempts) < 10 THEN attempts ELSE attempts - 0 END
      || jsonb_build_array(jsonb_build_array(retries, start, finish, problem))
  WHERE number = job;
  PERFORM jobqueue_tell(manager, ARRAY[job], ARRAY['retried']);
  PERFORM jobqueue_wake();
  RETURN 'retried';
END $jobqueue$;

-- Jobs that had not started in time.
CREATE OR REPLACE FUNCTION jobqueue_expire() RETURNS void
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
DECLARE
  late bigint[];
BEGIN
  late := ARRAY(SELECT q.id FROM jobqueue_job j JOIN pgqueuer q ON q.id = j.number
    WHERE j.expires < now() AND j.outcome IS NULL AND q.status = 'queued' AND q.attempts = 0
    ORDER BY q.id LIMIT 400 FOR UPDATE OF q SKIP LOCKED);
  IF cardinality(late) > 0 THEN
    PERFORM jobqueue_drop(late, 'expired', NULL);
    UPDATE jobqueue_job SET error = 'expired after ' || (about->>'expires')::float8 || ' s',
      trace = NULL WHERE number = ANY(late);
  END IF;
END $jobqueue$;
"""

_STEERING = """
CREATE OR REPLACE FUNCTION jobqueue_cancel(ids text[])
  RETURNS TABLE (id text, what text)
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
#variable_conflict use_column
DECLARE
  job record; state text; asked bigint[] := '{}';
BEGIN
  FOR job IN SELECT j.id, j.number FROM jobqueue_job j WHERE j.id = ANY(ids)
             ORDER BY j.number LOOP
    SELECT q.status INTO state FROM pgqueuer q WHERE q.id = job.number FOR UPDATE;
    IF NOT FOUND OR state = 'failed' THEN
      RETURN QUERY SELECT job.id, 'ended';
    ELSIF state = 'queued' THEN
      PERFORM jobqueue_drop(ARRAY[job.number], 'cancelled', NULL);
      RETURN QUERY SELECT job.id, 'cancelled';
    ELSE
      UPDATE pgqueuer SET headers = headers || '{"stop": true}' WHERE id = job.number;
      asked := asked || job.number;
      RETURN QUERY SELECT job.id, 'asked';
    END IF;
  END LOOP;
  IF cardinality(asked) > 0 THEN
    PERFORM pg_notify('jobqueue_stop', array_to_string(asked, ','));
  END IF;
END $jobqueue$;

CREATE OR REPLACE FUNCTION jobqueue_requeue(ids text[]) RETURNS SETOF text
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
DECLARE
  failed bigint[];
BEGIN
  failed := ARRAY(SELECT q.id FROM jobqueue_job j JOIN pgqueuer q ON q.id = j.number
    WHERE j.id = ANY(ids) AND q.status = 'failed' ORDER BY q.id FOR UPDATE OF q);
  PERFORM jobqueue_engine_requeue(failed);
  UPDATE pgqueuer SET headers = headers - 'stop' WHERE id = ANY(failed) AND headers ? 'stop';
  UPDATE jobqueue_job j SET outcome = NULL, error = NULL, trace = NULL, started = NULL,
    finished = NULL, retries = 0, attempts = '[]',
    identity = CASE WHEN NOT EXISTS (SELECT 1 FROM jobqueue_job o
                                     WHERE o.identity = j.about->>'identity')
               THEN j.about->>'identity' END
  WHERE number = ANY(failed);
  PERFORM jobqueue_wake();
  RETURN QUERY SELECT j.id::text FROM jobqueue_job j WHERE j.number = ANY(failed);
END $jobqueue$;

CREATE OR REPLACE FUNCTION jobqueue_discard(ids text[]) RETURNS SETOF text
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
DECLARE
  failed bigint[];
BEGIN
  failed := ARRAY(SELECT q.id FROM jobqueue_job j JOIN pgqueuer q ON q.id = j.number
    WHERE j.id = ANY(ids) AND q.status = 'failed' ORDER BY q.id FOR UPDATE OF q);
  IF cardinality(failed) > 0 THEN
    PERFORM jobqueue_engine_log(failed, array_fill('deleted'::pgqueuer_status,
      ARRAY[cardinality(failed)]), array_fill(NULL::jsonb, ARRAY[cardinality(failed)]));
    RETURN QUERY DELETE FROM jobqueue_job j WHERE j.number = ANY(failed) RETURNING j.id::text;
  END IF;
END $jobqueue$;

CREATE OR REPLACE FUNCTION jobqueue_run_now(ids text[]) RETURNS SETOF text
  LANGUAGE plpgsql <kept plans> AS $jobqueue$
BEGIN
  RETURN QUERY UPDATE pgqueuer q SET execute_after = now() FROM jobqueue_job j
    WHERE j.id = ANY(ids) AND q.id = j.number AND q.status = 'queued' AND q.execute_after > now()
    RETURNING j.id::text;
  PERFORM jobqueue_wake();
END $jobqueue$;
"""

_KEPT_PLANS = "SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan"
FUNCTIONS = tuple(
    each.replace("<kept plans>", _KEPT_PLANS)
    for each in (ENGINE, _ANNOUNCE, _ENQUEUE, _ENDS, _STEERING)
)
