"""The score where it was trained: FID, AFD, and the grader's verdict where the grader is installed."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import urllib.request
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from kit.faces import PLACES, decode, files_of, find_faces, is_ignored, read_faces
from kit.files import atomic_write
from kit.progress import watched

INCEPTION = (  # FID's network: file, where it is published, sha256
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
CASCADE = (  # the detector that comes nearest to the course's
    "lbpcascade_animeface.xml",
    "https://raw.githubusercontent.com/nagadomi/lbpcascade_animeface/master/",
    "9376d30ac38db6bda2a68b88b3b76bbd7e6aa33af47f7f5c76bc88ca75f1ce30",
)
MOST_FACES = 10_000  # to compare with: more change FID by little
ON_REQUEST = "it takes some minutes on a CPU: call score_run(run, fid=True)"


def score_run(run, faces=None, reference=None, fid=None):
    """Prints FID against `faces`, uint8 [N, 3, 64, 64], AFD and the grader's verdict, of a run's submission.tgz.

    faces are those it was trained on, unless given; `reference` is a file or folder for the grader to compare with, in
    place of the course's faces. Without a GPU, FID is computed only with fid=True. A part that cannot be had says so in
    a line, and nothing is raised. With KIT_OFFLINE set nothing is downloaded, with KIT_SCORE=0 nothing is measured.
    """
    if "NBGRADER_EXECUTION" in os.environ or os.environ.get("KIT_SCORE") == "0":
        return
    archive = run.folder / "submission.tgz"
    if not archive.exists():
        print(f"no {archive}: run the cell of Your submission first")
        return
    if run.last.exists() and archive.stat().st_mtime < run.last.stat().st_mtime:
        print(f"{archive} is older than the last checkpoint: run the cell of Your submission again")

    on_gpu = run.device.type == "cuda"
    with_fid = on_gpu if fid is None else fid

    def distance():
        if not with_fid:
            return ON_REQUEST
        real = read_faces(find_faces(run.settings.faces))[0] if faces is None else faces
        real = real[torch.linspace(0, len(real) - 1, min(len(real), MOST_FACES)).long().to(real.device)]
        network = inception(run.device)
        value = frechet_distance(*(features(network, some, run.device) for some in (read_archive(archive), real)))
        return f"{value:.1f} against {len(real):,} training faces, lower is better"

    def detected():
        share = detection_ratio(read_archive(archive))
        return f"{share:.3f} of the pictures have a face that lbpcascade finds, higher is better"

    def judged():
        weights = at_hand(*INCEPTION) if with_fid and on_gpu else None  # of all faces: on a CPU it takes hours
        return verdict(archive, run.folder, reference or drawn_faces(run.settings.faces), weights)

    help_offline = "switch the internet on, or attach {} as a data set"
    say("FID", distance, "pip install pytorch-fid, and " + help_offline.format(INCEPTION[0]))
    say("AFD", detected, help_offline.format(CASCADE[0]))
    say("grader", judged, "docs/running.md says how to install it")


def say(name, part, remedy):
    """Prints what a part of the score says; or why it says nothing, and what helps."""
    try:
        print(f"{name}: {part()}")
    except (Exception, SystemExit) as error:  # whatever the machine lacks, the notebook has done its work
        reason = str(getattr(error, "reason", error)).strip() or type(error).__name__  # urlopen wraps it
        reason = reason.splitlines()[-1]
        print(f"{name}: not measured ({reason}); {remedy}")


def read_archive(path):
    """The pictures of a submission as they were packed: uint8 [N, 3, 64, 64]."""
    with tarfile.open(path) as archive:
        pictures = [decode(archive.extractfile(entry).read(), 64) for entry in archive]  # [64, 64, 3] each
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def features(network, pictures, device):
    """Features [N, d], float64, of pictures uint8 [N, 3, 64, 64], by a network that takes 0 … 1 and returns a
    list with [N, d, …], as pytorch-fid's does."""
    with torch.no_grad():
        parts = [network(part.to(device).float() / 255)[0].flatten(1).double().cpu() for part in pictures.split(100)]
    return torch.cat(parts)


def frechet_distance(fake, real):
    """|μ_f − μ_r|² + tr(Σ_f + Σ_r − 2 √(Σ_r Σ_f)) of features [N, d] and [M, d] (Heusel et al., 2017,
    https://arxiv.org/abs/1706.08500). The trace of the root comes from a matrix [N, N] with the same eigenvalues."""
    centred = (fake - fake.mean(0)) / (len(fake) - 1) ** 0.5
    covariance = real.T.cov()  # [d, d]
    eigenvalues = torch.linalg.eigvalsh(centred @ covariance @ centred.T)  # [N]
    root = eigenvalues.clamp(min=0).sqrt().sum()
    means = (fake.mean(0) - real.mean(0)).square().sum()
    return (means + centred.square().sum() + covariance.trace() - 2 * root).item()


def inception(device):
    """FID's Inception network by pytorch-fid, with its weights."""
    package = installed(lambda: import_module("pytorch_fid.inception"), "pytorch-fid")
    weights = torch.load(io.BytesIO(obtain(*INCEPTION).read_bytes()), map_location="cpu", weights_only=True)
    with patch.object(package, "load_state_dict_from_url", lambda *_, **__: weights):  # it can only download
        return package.InceptionV3([3]).to(device).eval()


def detection_ratio(pictures):
    """AFD: the share of pictures, uint8 [N, 3, 64, 64], in which lbpcascade_animeface finds a face. minNeighbors is 3,
    which comes nearest to the course's ratios."""
    cv2 = installed(lambda: import_module("cv2"), "opencv-python-headless<5")
    if not hasattr(cv2, "CascadeClassifier"):
        raise RuntimeError(f"OpenCV {cv2.__version__} has no cascades: pip install 'opencv-python-headless<5', restart")
    detector, text = cv2.CascadeClassifier(), obtain(*CASCADE).read_text(encoding="utf-8")
    # from memory, as OpenCV opens no path that Windows' code page cannot write
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)  # its nodes live no longer
    detector.read(storage.getFirstTopLevelNode())
    grey = [cv2.equalizeHist(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)) for one in pictures.permute(0, 2, 3, 1).numpy()]
    found = [len(detector.detectMultiScale(one, 1.1, minNeighbors=3, minSize=(24, 24))) > 0 for one in grey]
    return sum(found) / len(found)


def drawn_faces(given):
    """The training faces, if they were drawn here, else None: the course's faces are no measure for drawn ones. Only of
    a set that was drawn does the about.json name a seed."""
    faces = find_faces(given)
    files = files_of(faces)  # a zip made by hand has it in a folder
    for name in files:
        if Path(name).name == "about.json" and not is_ignored(name):
            with suppress(Exception):  # of a broken one: what reads it may raise anything
                if "seed" in json.loads(files[name]()):
                    return faces
    return None


def verdict(archive, folder, reference=None, weights=None):
    """What `python -m grader score` says of an archive, with FID by these `weights`, and its notes; its report goes to
    `folder`. Raises RuntimeError."""
    command = [sys.executable, "-m", "grader", "score", str(archive), "--output", str(folder), "--offline"]
    command += ["--reference", str(reference)] if reference else []
    files = {"GRADER_CASCADE": at_hand(*CASCADE), "GRADER_INCEPTION": weights}  # its table has what stands above
    environment = {name: str(path) for name, path in files.items() if path}
    environment |= os.environ | {"PYTHONIOENCODING": "utf-8"}  # whatever this system's own is
    if not watched():  # a log file has no colours
        environment |= {"FORCE_COLOR": ""}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=1800, env=environment)
    if "No module named grader" in done.stderr:
        raise RuntimeError("the grader is not installed")
    if done.returncode:
        raise RuntimeError(done.stderr or "it stopped")
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    # the lines above tell of what --offline leaves out, and of FID, which without a reference the grader cannot have
    told = ["--offline"] if reference else ["--offline", "note: FID "]
    return "\n" + done.stdout + "\n".join(line for line in notes if not any(part in line for part in told))


def installed(load, package):
    """The module that load() imports, whose package is installed where it is missing."""
    try:
        return load()
    except ImportError:
        stop_offline()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "0", "--timeout", "10"]
        done = subprocess.run([*command, package], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{package} is not installed, and pip cannot reach it") from None
        return load()


def at_hand(file, _url, sha256):
    """A whole copy of a published file, which was downloaded, or lies where faces are searched; else None."""
    return next((path for path in copies_of(file) if is_whole(path, sha256)), None)


def copies_of(file):
    """Files of that name, each once and when it is asked for, as a search may take long; they may be damaged. The
    downloaded one comes first."""
    patterns = [(place, "*/" * level + file) for place, depth in PLACES.items() for level in range(depth + 1)]
    found = (path for place, pattern in patterns for path in Path(place).glob(pattern))
    seen = set()
    for path in chain([downloaded(file)], found):
        if path.is_file() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def is_whole(path, sha256):
    return hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def downloaded(file):
    return Path(torch.hub.get_dir(), "checkpoints", file)


def obtain(file, url, sha256):
    """The path of a published file, which is at hand, or downloaded once. Raises RuntimeError."""
    damaged = []
    for path in copies_of(file):
        if is_whole(path, sha256):
            return path
        damaged.append(path)
    for path in damaged:
        print(f"{path} is not the file that was published, or is damaged: it is left out")
    stop_offline()
    with urllib.request.urlopen(url + file, timeout=10) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RuntimeError(f"{url}{file} gave another file than it should")
    copy = downloaded(file)
    copy.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(copy, lambda path: path.write_bytes(data))
    return copy


def stop_offline():
    """Raises RuntimeError when nothing may be downloaded."""
    if os.environ.get("KIT_OFFLINE"):
        raise RuntimeError("KIT_OFFLINE is set")
