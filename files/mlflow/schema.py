"""Ends with 0 when the tables in MLflow's database are those of the version that is installed here, or when there are none yet."""

import os
import sys
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

newest = ScriptDirectory(str(Path(mlflow.__file__).parent / "store/db_migrations")).get_current_head()
with sqlalchemy.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]).connect() as connection:
    current = MigrationContext.configure(connection).get_current_revision()
    # Alembic's own table is there after a first start that failed.
    there = [name for name in sqlalchemy.inspect(connection).get_table_names() if not name.startswith("alembic_")]
print(f"the schema is {current}, and {mlflow.__version__} wants {newest}")
sys.exit(bool(there) and current != newest)
