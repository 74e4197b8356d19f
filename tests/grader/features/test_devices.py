"""Where networks run; and Inception's features beside pytorch-fid's own, with random weights of the right shapes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from grader.errors import GraderError
from grader.features import devices, inception


def test_features_equal_those_of_pytorch_fid(inception_weights, tmp_path):
    from pytorch_fid.fid_score import get_activations

    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    files = []
    for number, picture in enumerate(pictures):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(files[-1])
    network, done = inception.load(inception_weights), []
    ours = devices.features(network, pictures, done.append)
    theirs = get_activations(files, network.network, batch_size=2, dims=2048, device="cpu", num_workers=0)
    assert ours.shape == (3, 2048)
    assert ours.dtype == np.float64
    assert sum(done) == 3
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weights_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        inception.load(tmp_path / "evil.pth")
    assert not (tmp_path / "written").exists()


PICTURES = np.random.default_rng(1).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten()).eval()


class Card:
    """A GPU whose `forward` fails, as it does where torch has no kernel for it."""

    def __init__(self, monkeypatch, error, runs=0):
        self.error, self.runs, self.there = error, runs, True
        forward, on_cpu = devices._forward, devices._on_cpu
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.nn.Module.cuda", lambda network: network)
        monkeypatch.setattr(devices, "_forward", lambda *given: self.run() or forward(*given))
        monkeypatch.setattr(devices, "_on_cpu", lambda network: self.leave() or on_cpu(network))
        monkeypatch.setattr(devices, "on_gpu", lambda network: self.there)

    def leave(self):
        self.there = False

    def run(self):
        self.runs -= 1
        if self.runs == -1:
            raise self.error


def test_a_card_that_cannot_run_inception_leaves_it_to_the_cpu(inception_weights, monkeypatch):
    pictures = PICTURES[:4]
    right = devices.features(inception.load(inception_weights), pictures)
    Card(monkeypatch, RuntimeError("no kernel image is available\nCompile with …"))
    with pytest.warns(UserWarning, match=r"^Inception runs on the CPU, the GPU cannot run it \(no kernel image is av"):
        network = inception.load(inception_weights)
    assert devices.name(network) == "CPU"
    np.testing.assert_array_equal(devices.features(network, pictures), right)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: an illegal memory access was encountered"),
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization"),
    ],
    ids=str,
)
def test_a_card_that_fails_on_the_way_leaves_the_rest_to_the_cpu(tiny, monkeypatch, error):
    pictures, done = np.tile(PICTURES, (4, 1, 1, 1)), []
    right = devices.features(tiny, pictures)
    Card(monkeypatch, error, runs=1)
    with pytest.warns(UserWarning, match=str(error)):
        found = devices.features(tiny, pictures, done.append)
    assert done == [50] + [4] * 7 + [2]
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


def test_a_card_that_is_no_more_leaves_a_new_network_to_the_cpu(tiny, monkeypatch):
    """CUDA_VISIBLE_DEVICES changed after torch had counted the cards: it fails where the first network moves."""

    def lost(network):
        raise torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization with error: 0 of 0\n\nat …")

    Card(monkeypatch, None)
    monkeypatch.setattr("torch.nn.Module.cuda", lost)
    with pytest.warns(UserWarning, match="runs on the CPU, the GPU cannot run it .CUDA call failed lazily"):
        assert devices.place(tiny) is tiny
    assert devices.name(tiny) == "CPU"


@pytest.mark.parametrize("use", [devices.place, lambda network: devices.features(network, PICTURES)])
def test_a_card_that_is_gone_with_the_network_is_said_in_a_line(tiny, monkeypatch, use):
    def gone(network):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …")

    Card(monkeypatch, RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel …"))
    monkeypatch.setattr("torch.nn.Module.cpu", gone)
    with pytest.raises(devices.BrokenGPU, match=r"access was encountered\): set CUDA_VISIBLE_DEVICES=-1") as caught:
        use(tiny)
    assert isinstance(caught.value, GraderError) and len(caught.value.problems) == 1
    assert isinstance(caught.value, RuntimeError)  # FID goes without it


def test_an_error_of_the_cpu_is_no_reason_to_try_again(tiny, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not go together")

    monkeypatch.setattr(devices, "_forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not go together"):
        devices.features(tiny, PICTURES)


def test_no_card_rounds_to_tf32(inception_weights, monkeypatch):
    network, seen = inception.load(inception_weights), []
    network.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    devices.features(network, PICTURES[:1])
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32 == before
