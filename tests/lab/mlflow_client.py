"""A researcher's program: it makes MLflow's own schema in a database, and logs runs there until its input ends.

`python mlflow_client.py URI FOLDER EXPERIMENT COUNT`; it prints the id of every run that is finished, one a line. With a COUNT it
ends by itself. Where the folder is a bucket (s3://NAME), each run leaves an artifact there, and then a tag with its sha256.
"""

from __future__ import annotations

import hashlib
import secrets
import select
import sys
import tempfile
from pathlib import Path
from typing import Any

METRICS = 20


def main(uri: str, folder: str, experiment: str, count: int) -> None:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    bucket = folder.startswith("s3://")
    location = folder if bucket else Path(folder).as_uri()
    number = client.create_experiment(experiment, location, {"größe": 'it\'s "odd"'})
    done = 0
    while done < count or (not count and not select.select([sys.stdin], [], [], 0)[0]):
        run = client.create_run(number, run_name=f"run {done}", tags={"of": experiment})
        metrics = [Metric("loss", 1 / (step + 1), 1_700_000_000_000 + step, step) for step in range(METRICS)]
        params = [Param("rate", "0.1"), Param("note", "ä" * 200)]
        client.log_batch(run.info.run_id, metrics, params, [RunTag("seen", "yes")])
        if bucket:
            client.set_tag(run.info.run_id, "sha256", left(client, run.info.run_id))
        client.set_terminated(run.info.run_id)
        print(run.info.run_id, flush=True)
        done += 1
    if count:
        client.create_registered_model("rain", {"of": experiment}, "what will fall")
        version = client.create_model_version("rain", location, run.info.run_id)
        client.set_registered_model_alias("rain", "best", version.version)


def left(client: Any, run: str) -> str:
    """Stores an artifact, and gives its sha256."""
    body = secrets.token_bytes(50_000)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "out.bin").write_bytes(body)
        client.log_artifact(run, f"{folder}/out.bin", "model")
    return hashlib.sha256(body).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
