"""Figures and pictures of a run for Weights & Biases and MLflow, through Lightning's loggers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from sam_ad_perception.core.settings.yaml_documents import read_yaml
from training.networks.checkpoint import save_atomically

PROJECT = 'sam_ad'
"""Project of Weights & Biases, experiment of MLflow."""
IDENTITIES = 'loggers.yaml'
"""File of a run's folder with the identity that each logger gave the run."""


class RunLogger(Protocol):
    """What a run tells to somebody else than its own folder."""

    def log(self, name: str, values: Mapping[str, float], step: int) -> None:
        """Tell figures.

        Args:
            name: `metrics` or `validation`.
            values: Column to figure.
            step: Steps made.
        """

    def draw(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Tell a picture.

        Args:
            name: What is shown.
            image: (H, W, 3) uint8 RGB.
            step: Steps made.
        """

    def close(self) -> None:
        """Hand over what is buffered."""


class WandbRun:
    """A run of Weights & Biases. `WANDB_MODE=offline` keeps it in the run's folder.

    Args:
        path: The run's folder.
        settings: The resolved configuration.
        identity: Of the run that goes on; empty begins one.

    Raises:
        ModuleNotFoundError: wandb is not installed.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], identity: str) -> None:
        from lightning.pytorch.loggers import WandbLogger

        self.identity = identity or uuid.uuid4().hex[:8]
        self._logger = WandbLogger(
            name=path.name, project=PROJECT, save_dir=path, id=self.identity, resume='allow'
        )
        self._logger.log_hyperparams(dict(settings))

    def log(self, name: str, values: Mapping[str, float], step: int) -> None:
        """See `RunLogger`."""
        self._logger.log_metrics({f'{name}/{key}': value for key, value in values.items()}, step)

    def draw(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """See `RunLogger`."""
        self._logger.log_image(name, [image], step)

    def close(self) -> None:
        """See `RunLogger`."""
        self._logger.experiment.finish()


class MlflowRun:
    """A run of MLflow; `MLFLOW_TRACKING_URI` names a server, else a file in the run's folder.

    Args:
        path: The run's folder.
        settings: The resolved configuration.
        identity: Of the run that goes on; empty begins one.

    Raises:
        ModuleNotFoundError: mlflow is not installed.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], identity: str) -> None:
        from lightning.pytorch.loggers import MLFlowLogger

        server = os.environ.get('MLFLOW_TRACKING_URI', '')
        self._logger = MLFlowLogger(
            experiment_name=PROJECT,
            run_name=path.name,
            tracking_uri=server or f'sqlite:///{path.resolve() / "mlflow.db"}',
            artifact_location=None if server else (path.resolve() / 'mlruns').as_uri(),
            run_id=identity or None,
        )
        self.identity = str(self._logger.run_id)
        if not identity:  # MLflow refuses a parameter that changes
            self._logger.log_hyperparams(dict(settings))

    def log(self, name: str, values: Mapping[str, float], step: int) -> None:
        """See `RunLogger`."""
        self._logger.log_metrics({f'{name}/{key}': value for key, value in values.items()}, step)

    def draw(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """See `RunLogger`."""
        self._logger.experiment.log_image(
            self.identity, image, artifact_file=f'pictures/{name}_{step:08d}.png'
        )

    def close(self) -> None:
        """See `RunLogger`."""
        self._logger.finalize('success')


KINDS: Mapping[str, type[WandbRun] | type[MlflowRun]] = {'wandb': WandbRun, 'mlflow': MlflowRun}


def open_loggers(
    names: Sequence[str], path: Path, settings: Mapping[str, Any]
) -> tuple[RunLogger, ...]:
    """Open the loggers of a run; one that goes on is continued under its identity.

    Args:
        names: Of `configuration.place.LOGGERS`.
        path: The run's folder.
        settings: The resolved configuration.

    Returns:
        One per name.

    Raises:
        ValueError: A package is not installed, or does not take the run.
    """
    file = path / IDENTITIES
    known = read_yaml(file) if file.exists() else {}
    identities = dict(known) if isinstance(known, Mapping) else {}
    opened = []
    for name in names:
        try:
            logger = KINDS[name](path, settings, str(identities.get(name, '')))
        except ModuleNotFoundError as error:
            raise ValueError(f'loggers: {name} needs a package: {error}') from error
        except Exception as error:  # theirs: no account, no server, a damaged database
            raise ValueError(f'loggers: {name} does not take the run: {error}') from error
        identities[name] = logger.identity
        opened.append(logger)
    if opened:
        save_atomically(yaml.safe_dump(identities).encode(), file)
    return tuple(opened)
