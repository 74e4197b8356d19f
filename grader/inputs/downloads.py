"""Files which others publish and we may not ship: found on this machine, or downloaded and verified on first use."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from grader.errors import GraderError, first_line
from grader.files import sha256

TIMEOUT = 10  # seconds to wait for a server; offline is a normal state, not one to hang in


class AssetError(GraderError):
    """A file that is not what it should be, or cannot be had; the message names it and the remedy."""


@dataclass(frozen=True)
class Asset:
    """A file by its content: `sha256` decides, wherever it comes from."""

    file: str
    url: str
    sha256: str
    variable: str  # the environment variable that may name a copy


INCEPTION = Asset(
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "GRADER_INCEPTION",
)
CASCADE = Asset(
    "lbpcascade_animeface.xml",
    "https://raw.githubusercontent.com/nagadomi/lbpcascade_animeface/master/lbpcascade_animeface.xml",
    "9376d30ac38db6bda2a68b88b3b76bbd7e6aa33af47f7f5c76bc88ca75f1ce30",
    "GRADER_CASCADE",
)


def cache_folder() -> Path:
    """Where downloads and computed references are kept; GRADER_CACHE names another place."""
    import pooch

    if given := os.environ.get("GRADER_CACHE"):
        return Path(given)
    usual = pooch.os_cache("anime-gan-kit")
    return usual if usual.is_absolute() else Path(tempfile.gettempdir(), "anime-gan-kit")  # a user without a home


def find(asset: Asset, given: Path | None = None) -> Path | None:
    """The verified file, if it is at hand: given, named by the environment, or downloaded before. Else None.

    Raises AssetError when a file was named but is missing or has the wrong content. A download that has been damaged,
    or cannot be read, is none.
    """
    named = given or os.environ.get(asset.variable)
    if named:
        return _verified(asset, Path(named))
    try:
        return _verified(asset, cache_folder() / asset.file)
    except AssetError:
        return None


def obtain(asset: Asset, given: Path | None = None, offline: bool = False) -> Path:
    """The verified file, downloaded to the cache if need be, under a temporary name until it is whole.

    Raises AssetError when it is wrong, or not at hand and not to be downloaded.
    """
    path = find(asset, given)
    if path:
        return path
    if offline:
        raise AssetError(f"{asset.file} is not at hand (set {asset.variable} to a copy, or leave out --offline)")
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
        return Path(pooch.retrieve(asset.url, asset.sha256, asset.file, cache_folder(), downloader=downloader))
    except OSError as error:  # requests' errors are OSErrors, and some of them ValueErrors too
        reason = "no connection" if "Connection" in type(error).__name__ else first_line(error)
        raise AssetError(f"{asset.file} could not be downloaded ({reason}); set {asset.variable} to a copy") from None
    except ValueError:
        raise AssetError(f"{asset.url} gave a file with a wrong checksum: try again later") from None


def _verified(asset: Asset, path: Path) -> Path:
    try:
        digest = sha256(path)
    except FileNotFoundError:
        raise AssetError(f"{path}: no such file; it should be {asset.file} from {asset.url}") from None
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise AssetError(f"{path}: {reason}; it should be {asset.file} from {asset.url}") from None
    if digest != asset.sha256:
        reason = f"wrong checksum ({digest[:8]}…, not {asset.sha256[:8]}…)"
        raise AssetError(f"{path}: {reason}: download it again from {asset.url}")
    return path
