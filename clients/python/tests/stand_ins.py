"""What torch's tensors and modules offer, as far as memmon asks: torch itself is too large to install."""

import ctypes
import math


class Device:
    """torch.device."""

    def __init__(self, kind, index=None):
        self.type, self.index = kind, index

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"


class Tensor:
    """torch.Tensor of 32-bit numbers; strides in elements, as torch has them. Not iterable as a Sequence."""

    def __init__(self, shape, stride=None, device=None, layout="torch.strided"):
        self.shape, self.device, self.layout = shape, device or Device("cpu"), layout
        self._stride = stride or tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        self.move()

    def move(self):
        """As `tensor.data = other` does."""
        extent = 1 + sum((size - 1) * step for size, step in zip(self.shape, self._stride))
        self._old, self._storage = getattr(self, "_storage", None), (ctypes.c_float * extent)()

    def data_ptr(self):
        if self.device.type not in {"cpu", "cuda"}:
            return 0
        return ctypes.addressof(self._storage)

    def element_size(self):
        return 4

    def stride(self):
        return self._stride


class Module:
    """torch.nn.Module."""

    def __init__(self, parameters, buffers):
        self._parameters, self._buffers = parameters, buffers

    def named_parameters(self):
        # As torch: a tied parameter is named once unless asked otherwise; a module of memmon must cope with both.
        return iter(self._parameters.items())

    def named_buffers(self):
        return iter(self._buffers.items())
