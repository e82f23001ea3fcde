"""Where bytes lie, for everything that can be protected, and the errors for everything that cannot."""

import array
import ctypes
import io
import itertools
import mmap
import tempfile

import numpy as np
import pytest
from stand_ins import Device, Module, Tensor

import memmon
from memmon._buffers import Region, address_span, dense_span, pieces


def place(obj):
    [piece] = pieces(obj)
    assert piece.locate() == piece.place
    piece.let_go()
    return piece.place


def test_ctypes_knows_the_address():
    buffer = (ctypes.c_char * 5000)()
    assert place(buffer) == (ctypes.addressof(buffer), 5000)
    assert place(memoryview(buffer)) == (ctypes.addressof(buffer), 5000)
    assert place(memoryview(buffer)[10:20]) == (ctypes.addressof(buffer) + 10, 10)
    assert place(memoryview(buffer)[::-1]) == (ctypes.addressof(buffer), 5000)


def test_standard_types():
    data = bytearray(100)
    assert place(data) == (ctypes.addressof((ctypes.c_char * 100).from_buffer(data)), 100)
    numbers = array.array("d", [1.0] * 50)
    assert place(numbers) == (numbers.buffer_info()[0], 400)
    assert place(b"x" * 77)[1] == 77
    with mmap.mmap(-1, 8192) as mapping:
        assert place(mapping)[1] == 8192
    with tempfile.TemporaryFile() as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ) as mapping:
            assert place(mapping)[1] == 4096
    assert place(io.BytesIO(b"y" * 10).getbuffer())[1] == 10


def test_numpy():
    a = np.arange(24, dtype="f4").reshape(2, 3, 4)
    address = a.__array_interface__["data"][0]
    for view in (a, a.T, a[::-1], a[:, ::-1, ::-1], a.transpose(1, 0, 2), a.reshape(-1)):
        assert place(view) == (address, 96)
    assert place(a[1]) == (address + 48, 48)
    assert place(np.asfortranarray(a))[1] == 96
    assert place(np.float64(3.0))[1] == 8
    dates = np.array(["2020-01-01", "2021-01-01"], dtype="M8[s]")
    assert place(dates) == (dates.__array_interface__["data"][0], 16)
    a.flags.writeable = False
    assert place(a) == (address, 96)


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (b"", ValueError, "a bytes holds no bytes"),
        (bytearray(), ValueError, "nothing to protect"),
        (memoryview(b"abc")[1:1], ValueError, "nothing to protect"),
        (np.zeros((3, 0)), ValueError, "nothing to protect"),
        ([], ValueError, "nothing to protect"),
        ([b"", b""], ValueError, "nothing to protect"),
        (np.zeros((4, 4))[:, ::2], ValueError, r"has gaps or overlaps.*strides \(32, 16\)"),
        (np.zeros((4, 4))[:, 1:3], ValueError, "contiguous copy"),
        (np.broadcast_to(np.zeros(3), (5, 3)), ValueError, "gaps or overlaps"),
        (memoryview(b"abcdef")[::2], ValueError, "gaps"),
        (np.array([object()]), TypeError, "pointers to Python objects"),
        ("text", TypeError, "a str has no buffer"),
        (7, TypeError, "an? int has no buffer"),
        (None, TypeError, "has no buffer"),
        ([b"abc", [b"def", 3.5]], TypeError, r"\[1\]\[1\], a float, has no buffer"),
        ({"w": b"abc", "x": "y"}, TypeError, r"\['x'\], a str, has no buffer"),
        (Region(0, 10), ValueError, "not in any address space"),
        (Region(4096, -1), ValueError, "not in any address space"),
        (Tensor((4, 4), stride=(8, 2)), ValueError, "gaps"),
        (Tensor((4,), device=Device("meta")), ValueError, "has no memory"),
        (Tensor((4,), layout="torch.sparse_coo"), TypeError, r"indices\(\) and values\(\)"),
    ],
)
def test_what_cannot_be_protected(bad, error, text):
    with pytest.raises(error, match=text):
        memmon.protect(bad, "bad")
    assert memmon.protected_bytes() == 0


def test_a_released_memoryview():
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        memmon.protect(view, "gone")


def test_an_error_in_one_part_lets_go_of_the_others():
    first = bytearray(100)
    with pytest.raises(TypeError):
        memmon.protect([first, "text"], "bad")
    first.extend(b"still mine to resize")


def test_a_sequence_that_contains_itself():
    endless = [b"abc"]
    endless.append(endless)
    with pytest.raises(TypeError, match=r"\[1\], a list"):
        memmon.protect(endless, "endless")


def test_torch_tensor():
    tensor = Tensor((4, 8))
    assert place(tensor) == (tensor.data_ptr(), 128)
    assert place(Tensor((4, 8), stride=(1, 4)))[1] == 128
    assert place(Tensor(()))[1] == 4


def test_torch_module_with_tied_weights_counts_them_once():
    tied = Tensor((1024, 8))
    module = Module({"a": tied, "b": tied, "c": Tensor((10,))}, {"mean": Tensor((3,)), "unset": None})
    with memmon.protect(module, "model") as guard:
        status = guard.status()
        assert status.locked
        assert status.bytes == 2 * 32768 + 40 + 12
        assert status.pages <= 8 + 1 + 2 * 2
        assert memmon.protected_bytes() == status.pages * memmon._mm.PAGE
    assert memmon.protected_bytes() == 0


def test_torch_module_with_views_is_protected_from_their_first_to_their_last_byte():
    expanded, strided = Tensor((500, 8), stride=(0, 1)), Tensor((100, 4), stride=(16, 2))
    backwards = Tensor((2, 3))
    module = Module({"weight": Tensor((10,))}, {"expanded": expanded, "strided": strided, "flat": backwards})
    with memmon.protect(module, "model") as guard:
        status = guard.status()
        assert status.locked, status
        assert status.bytes == 40 + 8 * 4 + (99 * 16 + 3 * 2 + 1) * 4 + 24
        assert not guard.moved()
        strided.move()
        assert guard.moved() == ["strided"]
    with pytest.raises(ValueError, match="gaps or overlaps"):
        memmon.protect(expanded, "by itself")


def test_device_memory_is_said_to_be_unswappable():
    with memmon.protect(Tensor((4, 8), device=Device("cuda", 1)), "gpu") as guard:
        status = guard.status()
    assert (status.device_bytes, status.devices) == (128, ("cuda:1",))
    assert (status.bytes, status.pages, status.locked, status.tagged) == (0, 0, False, False)
    mixed = Module({"a": Tensor((1024,)), "b": Tensor((8,), device=Device("cuda", 0))}, {})
    with memmon.protect(mixed, "both") as guard:
        status = guard.status()
        assert (status.locked, status.bytes, status.device_bytes) == (True, 4096, 32)


def test_a_tensor_that_moved_is_reported():
    tensor = Tensor((1000,))
    module = Module({"weight": tensor}, {})
    with memmon.protect(module, "model") as guard:
        assert not [why for why in guard.refused if "moved" in why]
        assert guard.locked
        tensor.move()
        status = guard.status()
        [why] = [why for why in status.refused if "moved" in why]
        assert why.startswith("weight moved in memory")
        assert (status.locked, status.tagged) == (False, False), "the old memory is, and nobody needs it"


def test_a_parameter_that_was_replaced_is_reported():
    """As `load_state_dict(assign=True)` does: the old tensor has not moved, the module has another."""
    module = Module({"weight": Tensor((1000,)), "bias": Tensor((10,))}, {})
    with memmon.protect([module], "model") as guard:
        module._parameters["weight"] = Tensor((1000,))
        status = guard.status()
        assert not status.locked
        assert [why for why in status.refused if "[0].weight moved" in why], status.refused


def test_a_model_that_moved_is_protected_again_when_next_used():
    module = Module({"weight": Tensor((5000,))}, {})
    model = memmon.ModelInUse(module, "model", idle=3600)
    with model as first:
        assert first.locked
    with model as same:
        assert same is first, "nothing has moved"
    module._parameters["weight"] = Tensor((5000,))
    with model as guard:
        assert guard is not first
        assert guard.locked
        assert first.released
        # Others are using it: what they have stays as it is.
        module._parameters["weight"].move()
        with model as other:
            assert other is guard
    module._parameters["weight"] = "no tensor at all"
    with model as kept:
        assert kept is guard, "this is no reason to fail an inference"
    model.release()
    assert memmon.protected_bytes() == 0


def test_numpy_resized_behind_the_back_is_reported():
    a = np.zeros(10)
    with memmon.protect(a, "a") as guard:
        a.resize(1_000_000, refcheck=False)
        assert [why for why in guard.refused if "moved" in why]


def test_dense_span_against_enumeration():
    """Every small array: dense if and only if its elements cover a run of bytes, each once."""
    steps = [-8, -4, -2, 0, 2, 4, 6, 8]
    tried = dense = 0
    for shape in itertools.product([0, 1, 2, 3], repeat=2):
        for strides in itertools.product(steps, repeat=2):
            starts = [i * strides[0] + j * strides[1] for i in range(shape[0]) for j in range(shape[1])]
            covered = sorted(start + byte for start in starts for byte in range(2))
            whole = not covered or covered == list(range(covered[0], covered[0] + len(covered)))
            expected = ((covered[0], len(covered)) if covered else (0, 0)) if whole else None
            assert dense_span(shape, strides, 2) == expected, (shape, strides)
            span = (covered[0], covered[-1] + 1 - covered[0]) if covered else (0, 0)
            assert address_span(shape, strides, 2) == span, (shape, strides)
            tried += 1
            dense += whole
    assert dense > 100
    assert tried - dense > 100
