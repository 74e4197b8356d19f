"""Where networks run; and Inception's features beside pytorch-fid's own, with random weights of the right shapes."""

import numpy as np
import pytest
import torch
from PIL import Image

from grader.features import devices, inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A state dict as pytorch-fid's own, but random."""
    from pytorch_fid import inception as theirs

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr("torchvision.models.Inception3.load_state_dict", lambda self, state: None)
        network = theirs.fid_inception_v3()
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_features_equal_those_of_pytorch_fid(weights, tmp_path):
    from pytorch_fid.fid_score import get_activations

    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    files = []
    for number, picture in enumerate(pictures):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(files[-1])
    network, done = inception.load(weights), []
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


class Card:
    """A GPU whose `forward` fails, as it does where torch has no kernel for it."""

    def __init__(self, monkeypatch, error, runs=0):
        self.error, self.runs, forward = error, runs, devices._forward
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.nn.Module.cuda", lambda network: network)
        monkeypatch.setattr(devices, "_forward", lambda *given: self.run() or forward(*given))

    def run(self):
        self.runs -= 1
        if self.runs == -1:
            raise self.error


def test_a_card_that_cannot_run_inception_leaves_it_to_the_cpu(weights, monkeypatch):
    right = devices.features(inception.load(weights), PICTURES)
    Card(monkeypatch, RuntimeError("no kernel image is available\nCompile with …"))
    with pytest.warns(UserWarning, match=r"^Inception runs on the CPU, the GPU cannot run it \(no kernel image is av"):
        network = inception.load(weights)
    assert devices.name(network) == "CPU"
    np.testing.assert_array_equal(devices.features(network, PICTURES), right)


def test_a_card_whose_memory_runs_out_leaves_the_rest_to_the_cpu(weights, monkeypatch):
    network, done = inception.load(weights), []
    right = devices.features(network, PICTURES)
    Card(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory"), runs=1)
    with pytest.warns(UserWarning, match="CUDA out of memory"):
        found = devices.features(network, PICTURES, done.append)
    assert done == [4] * 5
    np.testing.assert_array_equal(found, right)


def test_no_card_rounds_to_tf32(weights, monkeypatch):
    network, seen = inception.load(weights), []
    network.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    devices.features(network, PICTURES[:1])
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32 == before
