"""A researcher's program against a tracking server: `write` logs a run with all that there is, `read` reads it back.

It runs where MLflow is installed; the environment says where the server is, and who asks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient


class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    def predict(self, context: Any, model_input: list[int]) -> list[int]:
        return [2 * number for number in model_input]


def write(name: str) -> None:
    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        mlflow.log_param("rate", 0.1)
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + 1), step)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "note.txt").write_text("größer\n")
            (Path(folder) / "plot.bin").write_bytes(bytes(range(256)) * 40_000)  # in several parts
            mlflow.log_artifacts(folder)
        mlflow.pyfunc.log_model(
            name="model", python_model=Doubler(), registered_model_name=f"{name}-doubler", pip_requirements=[]
        )
    print(run.info.run_id)


def read(name: str) -> None:
    client = MlflowClient()
    experiment = client.get_experiment_by_name(name)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"rate": "0.1"} and run.data.metrics["loss"] == 0.05
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == list(range(20))
    with tempfile.TemporaryDirectory() as folder:
        note = Path(client.download_artifacts(run.info.run_id, "note.txt", folder))
        assert note.read_text() == "größer\n"
        plot = Path(client.download_artifacts(run.info.run_id, "plot.bin", folder))
        assert plot.read_bytes() == bytes(range(256)) * 40_000
    assert [model.version for model in client.search_model_versions(f"name='{name}-doubler'")] == ["1"]
    assert mlflow.pyfunc.load_model(f"models:/{name}-doubler/1").predict([1, 2]) == [2, 4]
    print(run.info.run_id)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2])
