# %%
import csv
import importlib
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import tarfile
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.utils import make_grid
from tqdm.auto import tqdm

# Set where this notebook runs once for every GPU: by accelerate, and by torchrun for a notebook saved as a script.
RANK, PROCESSES = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def choose_device():
    """The GPU when there is one that this torch can really run on, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    try:  # an old card (Kaggle's P100) is "available" and fails only at its first kernel
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError as error:
        name = torch.cuda.get_device_name()
        raise SystemExit(
            f"{name} cannot run torch {torch.__version__} ({error}).\n"
            "Kaggle: Settings > Accelerator > GPU T4 x2. Colab: Runtime > Change runtime type > T4 GPU."
        ) from None
    return torch.device("cuda", torch.cuda.current_device())


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)  # every device


if RANK:  # the first process speaks for all
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
