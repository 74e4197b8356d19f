"""Inception's features against those that pytorch-fid itself computes, with random weights of the right shapes."""

import numpy as np
import pytest
import torch
from PIL import Image

from grader.features import inception


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
    ours = inception.features(network, pictures, done.append)
    theirs = get_activations(files, network, batch_size=2, dims=2048, device="cpu", num_workers=0)
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
