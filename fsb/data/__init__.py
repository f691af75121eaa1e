"""Data sets of 8-bit images with their preprocessing, and the order of batches."""

from fsb.data.cifar10 import cifar10
from fsb.data.dataset import Dataset
from fsb.data.digits import digits
from fsb.data.faces import faces
from fsb.data.miniimagenet import miniimagenet
from fsb.data.mnist import fashion_mnist, mnist
from fsb.data.mnist_static import mnist_static
from fsb.data.omniglot import omniglot
from fsb.data.own import arrays, images, tfds
from fsb.data.preprocess import Preprocess, dequantised, dynamic, static, threshold
from fsb.data.stream import epoch_indices, feed, resident

__all__ = [
    "Dataset",
    "Preprocess",
    "arrays",
    "cifar10",
    "dequantised",
    "digits",
    "dynamic",
    "epoch_indices",
    "faces",
    "fashion_mnist",
    "feed",
    "images",
    "miniimagenet",
    "mnist",
    "mnist_static",
    "omniglot",
    "resident",
    "static",
    "tfds",
    "threshold",
]
