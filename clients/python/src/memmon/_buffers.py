"""From an object to where its bytes lie.

Nothing is imported for the sake of an object: numpy arrays and torch tensors are told by what they offer.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple

Place = tuple[int, int]
"""Address of the first byte, and number of bytes."""


class Region(NamedTuple):
    """Memory by its address, for what Python has no object for.

    It is the caller's business that the memory stays mapped as long as it is protected.
    """

    address: int
    length: int


class Piece(NamedTuple):
    """One buffer."""

    name: str
    """Where in the object it was found; empty for the object itself."""
    place: Place | None
    """``None`` for device memory."""
    device: str | None
    """``None`` for memory of the host, else ``cuda:0``."""
    length: int
    """Bytes."""
    hold: object
    """What keeps the bytes where they are; see ``let_go``."""
    locate: Callable[[], Place | None]
    """Where the bytes are now; ``None`` if that cannot be told any more."""
    module: tuple[object, str] | None = None
    """The torch module it is a part of, and the module's own name: its parts may be replaced by others."""

    def let_go(self) -> None:
        """Ends the hold."""
        if isinstance(self.hold, _Export):
            self.hold.end()


def pieces(obj: object) -> list[Piece]:
    """All buffers of an object that have bytes, in the object's order.

    Raises:
        TypeError: if the object, or one inside it, has no buffer that could be protected.
        ValueError: if there is no byte in it, it has gaps, or it has no memory at all.

    """
    found = list(_walk(obj, "", frozenset()))
    if not found:
        raise ValueError(f"{_named(obj, '')} holds no bytes: there is nothing to protect")
    return found


def moved(pieces: list[Piece]) -> list[Piece]:
    """Those whose bytes are elsewhere now, or of which that cannot be told."""
    parts: dict[tuple[int, str], dict[str, object]] = {}

    def now(piece: Piece) -> Place | None:
        if piece.module is None:
            return piece.locate()
        module, name = piece.module
        key = (id(module), name)
        if key not in parts:
            parts[key] = dict(_tensors_of(module, name))
        tensor = parts[key].get(piece.name)
        # Most are what they were, and know where they are.
        return (
            piece.locate()
            if tensor is piece.hold
            else _or_none(lambda: _tensor(tensor, piece.name, whole=False).place)()
        )

    return [piece for piece in pieces if now(piece) != piece.place]


def _walk(obj: object, name: str, outer: frozenset[int]) -> Iterator[Piece]:
    if isinstance(obj, Region):
        piece = _region(obj, name)
    elif isinstance(obj, _Part):
        piece = _tensor(obj.tensor, name, whole=False)
    elif _is_tensor(obj):
        piece = _tensor(obj, name)
    elif _is_module(obj):
        found = _tensors_of(obj, name)
        tensors = ((part, _Part(value) if _is_tensor(value) else value) for part, value in found)
        for part in _parts(tensors, outer | {id(obj)}):
            yield part._replace(module=(obj, name))
        return
    elif (export := _Export.of(obj)) is not None:
        piece = _buffer(obj, name, export)
    elif hasattr(obj, "__array_interface__"):
        piece = _array_interface(obj, name)
    elif isinstance(obj, Mapping) and id(obj) not in outer:
        parts = ((f"{name}[{key!r}]", value) for key, value in obj.items())
        yield from _parts(parts, outer | {id(obj)})
        return
    elif isinstance(obj, Sequence) and not isinstance(obj, str) and id(obj) not in outer:
        parts = ((f"{name}[{index}]", value) for index, value in enumerate(obj))
        yield from _parts(parts, outer | {id(obj)})
        return
    else:
        raise TypeError(
            f"{_named(obj, name)} has no buffer: give bytes, bytearray, memoryview, array, mmap, ctypes, "
            "numpy or torch objects, a torch module, or a list or dict of such"
        )
    if piece.length:
        yield piece
    else:
        piece.let_go()


def _parts(parts: Iterable[tuple[str, object]], outer: frozenset[int]) -> Iterator[Piece]:
    done: list[Piece] = []
    try:
        for part_name, part in parts:
            for piece in _walk(part, part_name, outer):
                done.append(piece)
                yield piece
    except (TypeError, ValueError):
        # The caller gets none of them: without this, the first ones could not be resized any more.
        for piece in done:
            piece.let_go()
        raise


def _named(obj: object, name: str) -> str:
    kind = f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
    return f"{name}, a {kind}," if name else f"a {kind}"


def _region(region: Region, name: str) -> Piece:
    address, length = region
    if address <= 0 or length < 0 or address + length > 1 << (8 * ctypes.sizeof(ctypes.c_void_p)):
        raise ValueError(f"{name or 'Region'}: {length} bytes at {address:#x} are not in any address space")
    return Piece(name, (address, length), None, length, region, lambda: (address, length))


# --- The buffer protocol --------------------------------------------------------------------------------


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of the C API, part of the stable ABI since Python 3.11 and unchanged since 3.0."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    )


_PYBUF_STRIDES = 0x0010 | 0x0008
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None


class _Export:
    """A buffer that its owner has handed out: until ``end``, the owner neither moves nor frees it.

    ``ctypes.from_buffer`` would need a writable one, and a memoryview does not tell its address.
    """

    def __init__(self, view: _PyBuffer) -> None:
        self.view: _PyBuffer | None = view

    @classmethod
    def of(cls, obj: object) -> _Export | None:
        """``None`` if the object offers no buffer."""
        view = _PyBuffer()
        try:
            _get_buffer(obj, ctypes.byref(view), _PYBUF_STRIDES)
        except (TypeError, BufferError):
            return None
        except ValueError:
            # numpy: types that the protocol has no format for (datetime64). A released memoryview, too.
            if isinstance(obj, memoryview):
                raise
            return None
        return cls(view)

    def end(self) -> None:
        view, self.view = self.view, None
        if view is not None:
            _release_buffer(ctypes.byref(view))

    def __del__(self) -> None:
        # At interpreter exit the function may be gone already.
        if self.view is not None and _release_buffer is not None:
            self.end()


def _buffer(obj: object, name: str, export: _Export) -> Piece:
    view = export.view
    assert view is not None, "just made"
    try:
        _refuse_objects(obj, name)
        shape = [view.shape[i] for i in range(view.ndim)]
        # ctypes leaves the strides out although they were asked for.
        strides = [view.strides[i] for i in range(view.ndim)] if view.strides else None
        place = _dense(obj, name, view.buf or 0, shape, strides, view.itemsize)
    except (TypeError, ValueError):
        export.end()
        raise

    def locate() -> Place | None:
        # Most owners refuse to move what they have handed out; numpy's resize(refcheck=False) does not.
        try:
            again = _Export.of(obj)
        except ValueError:
            return None
        if again is None or again.view is None:
            return None
        try:
            return place if again.view.buf == view.buf and again.view.len == view.len else None
        finally:
            again.end()

    return Piece(name, place, None, place[1], export, locate)


def _refuse_objects(obj: object, name: str) -> None:
    if getattr(getattr(obj, "dtype", None), "hasobject", False):
        raise TypeError(
            f"{_named(obj, name)} holds pointers to Python objects: protecting it would not protect them"
        )


def _array_interface(obj: object, name: str) -> Piece:
    """Numpy's own protocol (``__array_interface__``, version 3)."""

    def read() -> Place:
        interface: dict[str, Any] = obj.__array_interface__  # type: ignore[attr-defined]
        data = interface.get("data")
        if not isinstance(data, tuple):
            raise TypeError(f"{_named(obj, name)} does not tell its address in __array_interface__")
        itemsize = int("".join(filter(str.isdigit, interface["typestr"].split("[")[0])))
        return _dense(obj, name, data[0], list(interface["shape"]), interface.get("strides"), itemsize)

    _refuse_objects(obj, name)
    place = read()
    return Piece(name, place, None, place[1], obj, _or_none(read))


# --- torch ----------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A tensor that belongs to a module, which may have made it a view of a larger one."""

    tensor: object


def _is_tensor(obj: object) -> bool:
    return all(hasattr(obj, name) for name in ("data_ptr", "element_size", "stride", "device", "shape"))


def _is_module(obj: object) -> bool:
    return all(callable(getattr(obj, name, None)) for name in ("named_parameters", "named_buffers"))


def _tensors_of(module: Any, name: str) -> Iterator[tuple[str, object]]:  # noqa: ANN401 - torch must not be imported
    prefix = f"{name}." if name else ""
    for named in (module.named_parameters(), module.named_buffers()):
        # What is registered as a buffer may be None until it is first set.
        yield from ((prefix + part, tensor) for part, tensor in named if tensor is not None)


def _tensor(tensor: Any, name: str, *, whole: bool = True) -> Piece:  # noqa: ANN401 - torch must not be imported
    """With ``whole``, one with gaps is an error; else it stands for all from its first to its last byte."""
    device, kind = str(tensor.device), str(getattr(tensor.device, "type", tensor.device)).split(":")[0]
    layout = str(getattr(tensor, "layout", "torch.strided"))
    if not layout.endswith("strided"):
        raise TypeError(f"{_named(tensor, name)} is {layout}: protect its indices() and values()")
    if kind == "meta":
        raise ValueError(f"{_named(tensor, name)} is on the device meta: it has no memory")
    itemsize = int(tensor.element_size())
    if kind != "cpu":
        length = itemsize
        for size in tensor.shape:
            length *= int(size)
        return Piece(name, None, device, length, tensor, lambda: None)

    known = (int(tensor.data_ptr()), tuple(tensor.shape), tuple(tensor.stride()))
    shape, strides = [int(size) for size in known[1]], [int(step) * itemsize for step in known[2]]
    if whole:
        place = _dense(tensor, name, known[0], shape, strides, itemsize)
    else:
        offset, length = address_span(shape, strides, itemsize)
        place = known[0] + offset, length
    if place[1] and not place[0]:
        raise ValueError(f"{_named(tensor, name)} has no storage (data_ptr() is 0)")

    def locate() -> Place | None:
        # A model is looked at before every use, and has hundreds of these.
        return place if known == (tensor.data_ptr(), tensor.shape, tensor.stride()) else None

    return Piece(name, place, None, place[1], tensor, _or_none(locate))


# --- Strides --------------------------------------------------------------------------------------------


def _dense(  # noqa: PLR0913, PLR0917 - what an array is
    obj: object, name: str, address: int, shape: list[int], strides: Sequence[int] | None, itemsize: int
) -> Place:
    span = dense_span(shape, strides, itemsize)
    if span is None:
        raise ValueError(
            f"{_named(obj, name)} of shape {tuple(shape)} has gaps or overlaps in memory "
            f"(strides {tuple(strides or ())}): protect the array it is a view of, or a contiguous copy"
        )
    return address + span[0], span[1]


def dense_span(shape: Sequence[int], strides: Sequence[int] | None, itemsize: int) -> tuple[int, int] | None:
    """Where an array's bytes are, as the offset of the lowest from the first element, and their number.

    Any order of dimensions and direction will do (C, Fortran, transposed, reversed), as long as the bytes lie
    together; ``None`` if there are gaps or overlaps. Strides are in bytes; ``None`` stands for C order.
    """
    if any(size == 0 for size in shape) or itemsize == 0:
        return 0, 0
    length = itemsize
    if strides is None:
        for size in shape:
            length *= size
        return 0, length
    offset = 0
    # A dimension of size 1 is never stepped along: its stride means nothing.
    for step, size in sorted((abs(step), size) for step, size in zip(strides, shape) if size > 1):
        if step != length:
            return None
        length *= size
    for step, size in zip(strides, shape):
        if size > 1 and step < 0:
            offset += step * (size - 1)
    return offset, length


def address_span(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """As ``dense_span``, with whatever is in the gaps."""
    if any(size == 0 for size in shape) or itemsize == 0:
        return 0, 0
    steps = [step * (size - 1) for step, size in zip(strides, shape)]
    first = sum(step for step in steps if step < 0)
    return first, sum(step for step in steps if step > 0) - first + itemsize


def _or_none(read: Callable[[], Place | None]) -> Callable[[], Place | None]:
    def locate() -> Place | None:
        try:
            return read()
        except Exception:  # noqa: BLE001, RUF100 - whatever the object's own code raises
            return None

    return locate


Buffer = object
"""Anything that ``pieces`` takes; there is no type for it before Python 3.12."""

if sys.implementation.name != "cpython":
    raise ImportError(f"memmon needs the buffers of CPython's C API, not {sys.implementation.name}")
