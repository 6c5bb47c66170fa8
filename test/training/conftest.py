"""What every test of training needs: one thread, and a process left as it was found."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training import train
from training.configuration.run import TrainConfig, load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    threads = torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Sequence[str]], int]:
    """Runs the training command with a configuration and arguments; gives its exit code."""

    def run(config: Path, arguments: Sequence[str]) -> int:
        monkeypatch.setattr('sys.argv', ['train', str(config), *arguments])
        try:
            train.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run


@pytest.fixture
def camvid_run(tmp_path: Path, rng: np.random.Generator) -> Callable[..., TrainConfig]:
    """Makes the facts of a run on a small CamVid of noise: its frames by split, and overrides."""

    def make(frames: dict[str, int], *more: str) -> TrainConfig:
        root = tmp_path / 'camvid'
        for split, count in frames.items():
            for k in range(count):
                for folder, top, shape in (
                    (split, 256, (72, 96, 3)),
                    (f'{split}annot', 12, (72, 96)),
                ):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                    image = Image.fromarray(rng.integers(0, top, shape, dtype=np.uint8))
                    image.save(root / folder / f'{k}.png')
        return load_config(
            ROOT / 'training/configs/debug_camvid.yaml',
            [
                f'root={root}', f'zoo={ROOT}/training/configs/debug_zoo.yaml', 'data.partial=true',
                f'cache_dir={tmp_path}', f'output_dir={tmp_path}/out', 'validation.steps=0', *more,
            ],
        )  # fmt: skip

    return make
