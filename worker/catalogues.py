"""What a set does with each column of PostgreSQL's shared catalogues.

Columns of later versions are not in this table. A backup names them as left out until somebody decides.
"""

from __future__ import annotations

from worker.postgres import Connection

RESTORED = "restored"
DUMP = "in the dump of its database"
NAMED = "left out, and named"
MACHINE = "belongs to the machine"
"""Numbers given by the server, and properties of its files and system library: another machine has its own."""

COLUMNS: dict[str, dict[str, str]] = {
    "pg_database": {
        RESTORED: "datname datdba encoding datlocprovider datistemplate datconnlimit dattablespace datcollate datctype"
        " datlocale daticulocale daticurules datacl",
        DUMP: "dathasloginevt",
        NAMED: "datallowconn",
        MACHINE: "oid datlastsysoid datfrozenxid datminmxid datcollversion",
    },
    "pg_authid": {
        RESTORED: "rolname rolsuper rolinherit rolcreaterole rolcreatedb rolcanlogin rolreplication rolbypassrls"
        " rolconnlimit rolpassword rolvaliduntil",
        MACHINE: "oid",
    },
    "pg_auth_members": {
        RESTORED: "roleid member grantor admin_option inherit_option set_option",
        MACHINE: "oid",
    },
    "pg_db_role_setting": {RESTORED: "setdatabase setrole setconfig"},
    "pg_tablespace": {NAMED: "spcname spcowner spcacl spcoptions", MACHINE: "oid"},
    "pg_parameter_acl": {NAMED: "parname paracl", MACHINE: "oid"},
    "pg_shdescription": {RESTORED: "objoid classoid description"},
    "pg_shseclabel": {NAMED: "objoid classoid provider label"},
    "pg_subscription": {
        DUMP: "subname subowner subbinary substream subtwophasestate subdisableonerr subpasswordrequired subrunasowner"
        " subfailover subconninfo subslotname subsynccommit subpublications suborigin",
        NAMED: "subdbid subenabled",
        MACHINE: "oid subskiplsn",
    },
    "pg_replication_origin": {NAMED: "roname", MACHINE: "roident"},
    "pg_shdepend": {
        MACHINE: "dbid classid objid objsubid refclassid refobjid deptype",
    },
}
"""The catalogues that all databases share. Settings, rights and comments that belong to no saved database are named as left out."""

LOCAL = {
    DUMP: "pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_cast pg_class pg_collation pg_constraint"
    " pg_conversion pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension"
    " pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_index pg_inherits pg_init_privs pg_language"
    " pg_largeobject pg_largeobject_metadata pg_namespace pg_opclass pg_operator pg_opfamily pg_partitioned_table"
    " pg_policy pg_proc pg_publication pg_publication_namespace pg_publication_rel pg_range pg_rewrite pg_seclabel"
    " pg_sequence pg_statistic_ext pg_transform pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser"
    " pg_ts_template pg_type pg_user_mapping",
    # ANALYZE measures it again; the publisher knows what a subscription has copied.
    MACHINE: "pg_statistic pg_statistic_ext_data pg_subscription_rel",
}
"""The catalogues of each database: pg_dump, of the same version as the server, handles them."""

QUERY = """
SELECT c.relname AS catalogue, c.relisshared AS shared, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1, 2 ORDER BY 1
"""


def undecided(session: Connection) -> list[str]:
    """The catalogues and columns of this server that the table does not have."""
    missing = []
    local = " ".join(LOCAL.values()).split()
    for row in session.execute(QUERY).fetchall():
        name = row["catalogue"]
        if not row["shared"]:
            missing += [name] if name not in local else []
            continue
        decided = " ".join(COLUMNS.get(name, {}).values()).split()
        missing += [f"{name}.{column}" for column in row["columns"] if column not in decided]
    return missing
