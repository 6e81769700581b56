"""Functions of the database that hold the engine's own statements; see `statements`."""

from __future__ import annotations

ENGINE = """
CREATE OR REPLACE FUNCTION jobqueue_engine_enqueue(int[], text[], bytea[], interval[], text[],
  jsonb[]) RETURNS TABLE (ord bigint, id bigint)
  LANGUAGE plpgsql AS $jobqueue$
#variable_conflict use_column
BEGIN
  RETURN QUERY <engine enqueue>;
END $jobqueue$;

-- Without `enable_sort` it walks along the index of each handler's jobs, which has them in order,
-- also by a plan that was made when there were none.
CREATE OR REPLACE FUNCTION jobqueue_engine_dequeue(int, text[], uuid, interval)
  RETURNS SETOF pgqueuer
  LANGUAGE plpgsql <kept plans> SET enable_sort = off SET enable_bitmapscan = off AS $jobqueue$
BEGIN
  RETURN QUERY <engine dequeue>;
END $jobqueue$;

CREATE OR REPLACE FUNCTION jobqueue_engine_log(bigint[], pgqueuer_status[], jsonb[])
  RETURNS void
  LANGUAGE plpgsql AS $jobqueue$
BEGIN
  <engine log>;
END $jobqueue$;

CREATE OR REPLACE FUNCTION jobqueue_engine_retry(bigint, interval, jsonb)
  RETURNS void
  LANGUAGE plpgsql AS $jobqueue$
BEGIN
  <engine retry>;
END $jobqueue$;

CREATE OR REPLACE FUNCTION jobqueue_engine_requeue(bigint[])
  RETURNS void
  LANGUAGE plpgsql AS $jobqueue$
BEGIN
  <engine requeue>;
END $jobqueue$;

-- The engine's trigger tells of no UPDATE: whoever makes a job runnable by one tells.
CREATE OR REPLACE FUNCTION jobqueue_wake() RETURNS void LANGUAGE plpgsql AS $jobqueue$
BEGIN
  PERFORM pg_notify('jobqueue_help', '');
END $jobqueue$;
"""
