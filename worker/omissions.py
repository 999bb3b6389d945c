"""Properties of the server that a restore does not bring back: they are named, and their statements are kept in the set.

A restore brings back databases. Properties of the whole server, its machine or another server would change the live server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from worker import catalogues, sets
from worker.job import Job
from worker.postgres import Connection, Row

STREAM = "pg/left_out.json"
FILE = "left_out.sql"
FEW = 5
# Lists of names in settings stay lists; quoted again, a list would be one name.
VALUE = """CASE WHEN {name} IN ('search_path', 'temp_tablespaces', 'shared_preload_libraries', 'session_preload_libraries',
  'local_preload_libraries', 'unix_socket_directories') AND {value} <> '' THEN {value} ELSE quote_literal({value}) END"""
SETTING = VALUE.format(name="split_part(s, '=', 1)", value="substr(s, strpos(s, '=') + 1)")


@dataclass(frozen=True)
class Kind:
    """One kind of omission; the query gives its `name` and the `statement` that makes it."""

    called: str
    query: str
    since: int = 0


KINDS = (
    Kind(
        "settings by ALTER SYSTEM",
        f"""SELECT name, format('ALTER SYSTEM SET %s = %s;', name, {VALUE.format(name="name", value="setting")}) AS statement
        FROM (SELECT DISTINCT ON (name) name, setting FROM pg_file_settings WHERE name IS NOT NULL AND sourcefile ~ '/postgresql\\.auto\\.conf$'
          ORDER BY name, seqno DESC) f ORDER BY 1""",
    ),
    Kind(
        "settings of all roles",
        f"""SELECT split_part(s, '=', 1) AS name, format('ALTER ROLE ALL SET %s TO %s;', split_part(s, '=', 1), {SETTING})
          AS statement
        FROM pg_db_role_setting, unnest(setconfig) s WHERE setrole = 0 AND setdatabase = 0 ORDER BY 1""",
    ),
    Kind(
        "comments on predefined roles",
        """SELECT rolname AS name, format('COMMENT ON ROLE %I IS %L;', rolname, description) AS statement
        FROM pg_shdescription JOIN pg_authid r ON r.oid = objoid AND classoid = 'pg_authid'::regclass
        WHERE rolname ~ '^pg_' ORDER BY 1""",
    ),
    Kind(
        "rights to set parameters",
        """SELECT format('%s to %s', parname, w.name) AS name,
          format('GRANT %s ON PARAMETER %s TO %s%s;', privilege_type,
            (SELECT string_agg(quote_ident(p), '.') FROM unnest(string_to_array(parname, '.')) p), w.name,
            CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
        FROM pg_parameter_acl, aclexplode(paracl) a, LATERAL (SELECT CASE WHEN grantee = 0 THEN 'PUBLIC'
          ELSE quote_ident(pg_get_userbyid(grantee)) END AS name) w WHERE grantee <> 10 ORDER BY 1""",
        since=15,
    ),
    Kind(
        "tablespaces",
        """SELECT spcname AS name, concat_ws(' ', CASE WHEN spcname !~ '^pg_' THEN format('CREATE TABLESPACE %I OWNER %I LOCATION %L;',
            spcname, pg_get_userbyid(spcowner), pg_tablespace_location(t.oid)) END,
          CASE WHEN spcoptions IS NOT NULL THEN format('ALTER TABLESPACE %I SET (%s);', spcname, array_to_string(spcoptions, ', ')) END,
          (SELECT string_agg(format('GRANT %s ON TABLESPACE %I TO %s%s;', privilege_type, spcname,
              CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), ' ') FROM aclexplode(spcacl) WHERE grantee <> spcowner),
          'COMMENT ON TABLESPACE ' || quote_ident(spcname) || ' IS ' || quote_literal(shobj_description(t.oid, 'pg_tablespace')) || ';')
          AS statement
        FROM pg_tablespace t WHERE spcname !~ '^pg_' OR spcoptions IS NOT NULL OR spcacl IS NOT NULL
          OR shobj_description(t.oid, 'pg_tablespace') IS NOT NULL ORDER BY 1""",
    ),
    Kind(
        "security labels",
        """SELECT format('of %s on %s %s', provider, lower(kind), called) AS name,
          format('SECURITY LABEL FOR %I ON %s %I IS %L;', provider, kind, called, label) AS statement
        FROM pg_shseclabel, LATERAL (
          SELECT 'ROLE' AS kind, rolname AS called FROM pg_authid WHERE classoid = 'pg_authid'::regclass AND oid = objoid UNION ALL
          SELECT 'DATABASE', datname FROM pg_database WHERE classoid = 'pg_database'::regclass AND oid = objoid UNION ALL
          SELECT 'TABLESPACE', spcname FROM pg_tablespace WHERE classoid = 'pg_tablespace'::regclass AND oid = objoid) o
        ORDER BY 1""",
    ),
    Kind(
        "what postgres and template1 were set to",
        f"""SELECT format('%s of %s', split_part(s, '=', 1), datname) AS name, format('ALTER %s SET %s TO %s;',
            CASE WHEN setrole = 0 THEN format('DATABASE %I', datname)
              ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(setrole), datname) END, split_part(s, '=', 1), {SETTING})
            AS statement
        FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) s
        WHERE datname IN ('postgres', 'template0', 'template1') UNION ALL
        SELECT format('rights in %s', datname), format('REVOKE ALL ON DATABASE %I FROM PUBLIC;', datname) || coalesce((
            SELECT string_agg(format(' GRANT %s ON DATABASE %I TO %s%s;', privilege_type, datname,
              CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '') FROM aclexplode(datacl)), '')
        FROM pg_database d WHERE (datname = 'postgres' AND datacl IS NOT NULL)
          OR (datname = 'template1' AND replace(datacl::text, quote_ident(pg_get_userbyid(datdba)), 'x') <> '{{=c/x,x=CTc/x}}')
        UNION ALL
        SELECT format('owner and limit of %s', datname), format('ALTER DATABASE %I OWNER TO %I; ALTER DATABASE %I CONNECTION LIMIT %s;',
          datname, pg_get_userbyid(datdba), datname, datconnlimit)
        FROM pg_database WHERE datname IN ('postgres', 'template1') AND (datconnlimit <> -1 OR datdba <> 10) UNION ALL
        SELECT format('comment on %s', datname), format('COMMENT ON DATABASE %I IS %L;', datname, said)
        FROM pg_database d, LATERAL (SELECT shobj_description(d.oid, 'pg_database') AS said) c
        WHERE (datname, coalesce(said, '')) NOT IN (('postgres', 'default administrative connection database'),
            ('template1', 'default template for new databases'), ('template0', 'unmodifiable empty database'))
          AND datname IN ('postgres', 'template0', 'template1') ORDER BY 1""",
    ),
    Kind(
        "replication slots",
        """SELECT slot_name AS name, CASE WHEN slot_type = 'physical' THEN format('SELECT pg_create_physical_replication_slot(%L);', slot_name)
            ELSE format('SELECT pg_create_logical_replication_slot(%L, %L);', slot_name, plugin) END AS statement
        FROM pg_replication_slots WHERE NOT temporary ORDER BY 1""",
    ),
    Kind(
        "replication origins",
        """SELECT roname AS name, format('SELECT pg_replication_origin_create(%L);', roname) AS statement
        FROM pg_replication_origin WHERE roname !~ '^pg_[0-9]+' ORDER BY 1""",
    ),
    Kind(
        "subscriptions, which come back disabled",
        """SELECT format('%s of %s', subname, datname) AS name, format('ALTER SUBSCRIPTION %I ENABLE;', subname) AS statement
        FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE subenabled ORDER BY 1""",
    ),
    Kind(
        "prepared transactions, which are in no dump",
        """SELECT format('%s of %s', gid, database) AS name, format('-- prepared by %s', owner) AS statement
        FROM pg_prepared_xacts ORDER BY 1""",
    ),
)
UNKNOWN = "what this Stowage does not know of this PostgreSQL"


def find(session: Connection) -> list[Row]:
    """All omissions on this server: kind, name, statement. A statement may hold a secret, a name never does."""
    major, rows = session.info.server_version // 10000, list[Row]()
    for kind in KINDS:
        if major >= kind.since:
            rows += _of(session, kind)
    return rows + [{"kind": UNKNOWN, "name": name, "statement": ""} for name in catalogues.undecided(session)]


def _of(session: Connection, kind: Kind) -> list[Row]:
    """The omissions of one kind. An unreadable kind is named as well, and does not stop the backup."""
    try:
        return [{"kind": kind.called, **row} for row in session.execute(kind.query).fetchall()]
    except psycopg.Error as error:
        return [{"kind": kind.called, "name": f"cannot be read, {str(error).splitlines()[0]}", "statement": ""}]


def names(rows: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """The names by their kind."""
    by_kind: dict[str, list[str]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row["name"])
    return by_kind


def lines(by_kind: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each kind."""
    return [
        f"{kind}: {', '.join(names[:FEW])}{f' and {len(names) - FEW} more' if len(names) > FEW else ''}"
        for kind, names in by_kind.items()
    ]


def lacking(session: Connection, rows: Sequence[Row]) -> list[Row]:
    """The omissions of a set that this server does not have in the same form."""
    here = {(row["kind"], row["name"], row["statement"]) for row in find(session)}
    return [row for row in rows if (row["kind"], row["name"], row["statement"]) not in here]


def packed(rows: Sequence[Row]) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def fetched(job: Job, manifest: sets.Manifest, source: str) -> list[Row]:
    """The omissions of a set; none for a set of the configuration alone, or a dump made by hand."""
    if STREAM not in manifest.components.get("postgres", {}):
        return []
    reader = sets.reader(job.targets[source], job.keys, manifest)
    return list(json.loads(b"".join(reader.read(manifest.components["postgres"][STREAM]))))


def lay_beside(job: Job, manifest: sets.Manifest, source: str, folder: Path) -> None:
    """Writes a file with the statements of what this server lacks, for a person to choose from; only root can read it."""
    if not (rows := fetched(job, manifest, source)):
        return
    with job.server.connect() as session:
        rows = lacking(session, rows)
    if not rows:
        return
    path = folder / manifest.id / FILE
    folder.mkdir(mode=0o700, exist_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(script(rows))
    for line in lines(names(rows)):
        job.journal.say(f"left out: {line}")
    job.journal.say(f"the statements that would bring what was left out are in {path}")


def script(rows: Sequence[Row]) -> str:
    """The statements with a line above each kind."""
    return "".join(
        f"-- {kind}: {', '.join(called)}\n" + "".join(f"{row['statement']}\n" for row in rows if row["kind"] == kind)
        for kind, called in names(rows).items()
    )
