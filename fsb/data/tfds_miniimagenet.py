"""A tensorflow-datasets builder for mini-ImageNet that works without TensorFlow.

TFDS has no mini-ImageNet. To prepare it once and read it like any other TFDS data set::

    MiniImagenet(file_format="array_record").download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir="FOLDER")
    )
    tfds.data_source("mini_imagenet", split="train")
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from fsb.data.miniimagenet_sources import WANTED, opened
from fsb.errors import FsbError

_SIDE = 84
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


class MiniImagenet(tfds.core.GeneratorBasedBuilder):
    """64/16/20 classes of ImageNet at 84 x 84.

    Source: Vinyals et al. 2016 (Matching Networks for One Shot Learning), arXiv:1606.04080; split:
    Ravi & Larochelle 2017 (Optimization as a Model for Few-Shot Learning),
    https://openreview.net/forum?id=rJY0-Kcll.
    """

    name = "mini_imagenet"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"manual_dir must hold one of: {WANTED}"

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="100 classes of ImageNet, 600 images each, 84x84.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIDE, _SIDE, 3), encoding_format="png"),
                    "label": tfds.features.Text(),
                }
            ),
            homepage="https://arxiv.org/abs/1606.04080",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        folder = Path(dl_manager.manual_dir)
        return {ours: self._generate_examples(folder, theirs) for ours, theirs in _SPLITS.items()}

    def _generate_examples(self, folder: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        from PIL import Image

        with opened(folder) as source:
            if source is None:
                raise FsbError(f"mini_imagenet: {self.MANUAL_DOWNLOAD_INSTRUCTIONS} ({folder})")
            part = source.parts[split]
            for index, (label, image) in enumerate(zip(part.labels, part.images(), strict=True)):
                if isinstance(image, np.ndarray):
                    image = Image.fromarray(image)
                if image.size != (_SIDE, _SIDE):
                    image = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
                # Encode here, as TFDS needs TensorFlow to encode an array.
                content = io.BytesIO()
                image.save(content, "PNG")
                yield index, {"image": content.getvalue(), "label": label}
