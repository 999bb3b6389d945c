"""Ends with 0 when the tables in MLflow's database are those of the version that is installed here, or when there are none yet; with 3 when
a newer version has made them."""

import os
import sys
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store/db_migrations"))
newest = scripts.get_current_head()
with sqlalchemy.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]).connect() as connection:
    current = MigrationContext.configure(connection).get_current_revision()
    # Alembic's own table is there after a first start that failed.
    there = [name for name in sqlalchemy.inspect(connection).get_table_names() if not name.startswith("alembic_")]
print(f"the schema is {current}, and {mlflow.__version__} wants {newest}")
if current and current not in {script.revision for script in scripts.walk_revisions()}:
    print("that is of a newer MLflow: name that one in images, or restore a set of before its upgrade")
    sys.exit(3)
sys.exit(bool(there) and current != newest)
