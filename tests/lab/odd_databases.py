"""Databases that a parallel load, an empty search_path or a count by partition does not suit."""

from __future__ import annotations

NAMES = ("hard", "latin", "liar")
MADE = """
CREATE DATABASE hard TEMPLATE template0;
CREATE DATABASE liar TEMPLATE template0;
CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C';
"""
HARD = """
CREATE EXTENSION postgis;
CREATE EXTENSION postgis_topology;
SELECT topology.CreateTopology('city', 4326) > 0;
CREATE TABLE land (id serial PRIMARY KEY, name text);
SELECT topology.AddTopoGeometryColumn('city', 'public', 'land', 'topo', 'POLYGON') > 0;
INSERT INTO land (name, topo)
  SELECT 'a', topology.toTopoGeom('SRID=4326;POLYGON((0 0,1 0,1 1,0 1,0 0))'::geometry, 'city', 1);
CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'black', 'white', 'grey');
CREATE TABLE things (c colour[], n int) PARTITION BY HASH (c);
CREATE TABLE things0 PARTITION OF things FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE things1 PARTITION OF things FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO things SELECT ARRAY[(enum_range(NULL::colour))[1 + n % 6]], n FROM generate_series(1, 3000) n;
CREATE TABLE allowed (word text PRIMARY KEY);
INSERT INTO allowed VALUES ('a');
CREATE FUNCTION fine(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT FROM allowed WHERE word = $1); END';
CREATE TABLE a_words (word text CHECK (fine(word)));
INSERT INTO a_words SELECT 'a' FROM generate_series(1, 100);
CREATE TABLE made (what text);
CREATE TABLE logins (who text);
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.made VALUES (tg_tag); END';
CREATE FUNCTION welcome() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.logins VALUES (session_user); END';
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note();
CREATE EVENT TRIGGER welcomed ON login EXECUTE FUNCTION welcome();
ALTER EVENT TRIGGER noted ENABLE ALWAYS;
ALTER EVENT TRIGGER welcomed ENABLE ALWAYS;
CREATE SEQUENCE ticks;
CREATE MATERIALIZED VIEW view AS SELECT nextval('public.ticks') FROM generate_series(1, 3);
"""
LATIN = """
CREATE SEQUENCE "zähler";
SELECT nextval('"zähler"') > 0;
CREATE TABLE "größe" (id serial, "zähl" text);
INSERT INTO "größe" ("zähl") SELECT 'ä' FROM generate_series(1, 50);
"""
# Its rows violate its CHECK by now.
LIAR = """
CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE TABLE facts (n int CHECK (fine(n)));
INSERT INTO facts SELECT generate_series(1, 10);
CREATE OR REPLACE FUNCTION fine(int) RETURNS boolean LANGUAGE sql AS 'SELECT false';
"""
