"""Checkpoints that are verified when they are read.

Orbax writes each one atomically and in the background. What it does not do is notice a byte that
has changed on disk, an array of another type, or a stray directory that looks like the newest
checkpoint; a checksum per leaf, kept beside the arrays, does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from gan3d.training.directory import WriteError

_NOT_WRITTEN = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EIO,
    errno.ENOENT,
)


class CheckpointError(Exception):
    """There are checkpoints, but none that this run can continue from."""


class _DamagedError(Exception):
    """One checkpoint cannot be read, or is not what was written."""


class Checkpoints:
    """The checkpoints of one run, named after the images seen.

    Usage:
      with Checkpoints(run_dir / "checkpoints") as checkpoints:
          restored = checkpoints.restore_latest(template)
          checkpoints.save(images_seen, state)

    Args:
      directory: created if missing, unless read_only.
      keep: how many of the newest checkpoints stay on disk.
      read_only: changes nothing on disk, so that a run still in progress can be read.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 3, read_only: bool = False):
        self._directory = Path(directory).absolute()
        self._read_only = read_only
        if not read_only:
            self._directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            create=False,
            cleanup_tmp_directories=not read_only,
            multiprocessing_options=_alone(),
        )
        self._manager = ocp.CheckpointManager(
            self._directory, options=options, item_names=("state", "leaves")
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def all_images(self) -> list[int]:
        """Images seen at each checkpoint on disk, ascending, intact or not."""
        self._manager.reload()
        return sorted(self._manager.all_steps())

    def save(self, images_seen: int, state: Any) -> None:
        """Copies the state to the host and writes it in the background.

        Waits for the save before it, so at most one is in flight. A checkpoint that is already
        there is left alone.

        Raises:
          FloatingPointError: a leaf has a NaN or an infinity; nothing is saved.
          WriteError: the disk is full, or cannot be written; in this save or the one before it.
        """
        if images_seen in self._manager.all_steps():
            return
        # A copy: on CPU, device_get may return a view of a buffer that the next step reuses.
        host_state = jax.tree.map(np.array, jax.device_get(state))
        check_finite(host_state, images_seen)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_without_absent(host_state)),
            leaves=ocp.args.JsonSave(_seal(_describe(host_state))),
        )
        with self._writing():
            self._manager.save(images_seen, args=items, force=True)

    def restore_latest(self, template: Any) -> tuple[Any, int] | None:
        """The newest checkpoint that is intact.

        Damaged ones are renamed to `<name>.damaged`, with a warning, so that the run can write
        them again when it gets there.

        Args:
          template: state of the same structure, of arrays or of jax.ShapeDtypeStruct.

        Returns:
          (state of numpy arrays, images seen), or None where there is no checkpoint.

        Raises:
          CheckpointError: every checkpoint is damaged, or the newest intact one is of a different
            model.
        """
        damaged = []
        for images_seen in reversed(self.all_images()):
            try:
                state = self._restore(images_seen, template)
            except _DamagedError as error:
                logging.warning("Skipping damaged checkpoint %d: %s", images_seen, error)
                damaged.append(images_seen)
            else:
                self._set_aside(damaged)
                return state, images_seen
        if any(_has_content(self._path(images_seen)) for images_seen in damaged):
            raise CheckpointError(
                f"none of the checkpoints in {self._directory} can be read; "
                "remove that directory to start the run again"
            )
        self._set_aside(damaged)
        return None

    def wait(self) -> None:
        """Blocks until the last save is on disk; raises WriteError if it failed."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes the last save and stops the background threads; raises as `wait`."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = _system_reason(error)
            if reason is None:
                raise
            raise WriteError(f"cannot save a checkpoint in {self._directory}: {reason}") from error

    def _path(self, images_seen: int) -> Path:
        return self._directory / str(images_seen)

    def _restore(self, images_seen: int, template: Any) -> Any:
        sealed = self._read(images_seen, leaves=ocp.args.JsonRestore()).leaves
        written = _unseal(sealed)
        _check_same_model(self._path(images_seen), written, _describe(template, checksums=False))
        target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), template)
        arguments = ocp.args.StandardRestore(_without_absent(target))
        state = self._read(images_seen, state=arguments).state
        if dataclasses.is_dataclass(target):
            state = dataclasses.replace(target, **state)
        for name, leaf in _describe(state).items():
            if leaf != written[name]:
                raise _DamagedError(f"the checksum of {name} does not match")
        return state

    def _read(self, images_seen: int, **items: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(images_seen, args=ocp.args.Composite(**items))
        except Exception as error:  # a damaged file can make the reader raise anything
            first_line = str(error).strip().partition("\n")[0]
            raise _DamagedError(f"{type(error).__name__}: {first_line}") from error

    def _set_aside(self, damaged: Iterable[int]) -> None:
        if self._read_only or not damaged:
            return
        for images_seen in damaged:
            path = self._path(images_seen)
            target = path.with_name(f"{path.name}.damaged")
            number = 1
            while target.exists():
                number += 1
                target = path.with_name(f"{path.name}.damaged{number}")
            path.rename(target)
            logging.warning("Moved damaged checkpoint %s to %s", path, target.name)
        self._manager.reload()


def _system_reason(error: OSError | ValueError) -> str | None:
    """Why the system did not write; None = something else went wrong.

    TensorStore, which writes for orbax, raises ValueError with the system's words in its text.
    """
    if isinstance(error, OSError):
        return error.strerror
    return next((r for r in map(os.strerror, _NOT_WRITTEN) if r in str(error)), None)


def _alone() -> ocp.options.MultiprocessingOptions:
    """Orbax would wait for all processes of a run, of which one alone keeps the checkpoints."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this})


def _has_content(path: Path) -> bool:
    return any(entry.is_file() for entry in path.rglob("*"))


def _without_absent(state: Any) -> Any:
    """A dataclass as a dictionary of its fields, which orbax stores alike, but for those that are
    None: orbax would insist on them, also in checkpoints from before there was such a field."""
    if not dataclasses.is_dataclass(state):
        return state
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if value is not None}


def _describe(state: Any, checksums: bool = True) -> dict[str, dict[str, Any]]:
    """Type, shape and CRC-32 of every leaf, by its path in the state."""
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        description = {"dtype": str(leaf.dtype), "shape": list(leaf.shape)}
        if checksums:
            description["crc32"] = zlib.crc32(np.ascontiguousarray(leaf).tobytes())
        leaves[jax.tree_util.keystr(path)] = description
    return leaves


def check_finite(state: Any, images_seen: int) -> None:
    """Raises FloatingPointError if a leaf of the state has a NaN or an infinity."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path)
            raise FloatingPointError(f"{name} is not finite at {images_seen:,} images")


def _seal(leaves: dict[str, Any]) -> dict[str, Any]:
    """Adds the checksum of the descriptions themselves."""
    return {"leaves": leaves, "crc32": _json_crc32(leaves)}


def _unseal(sealed: Any) -> dict[str, Any]:
    if not isinstance(sealed, dict) or not {"leaves", "crc32"} <= sealed.keys():
        raise _DamagedError("its list of leaves is incomplete")
    if _json_crc32(sealed["leaves"]) != sealed["crc32"]:
        raise _DamagedError("the checksum of its list of leaves does not match")
    return sealed["leaves"]


def _json_crc32(value: Any) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _check_same_model(
    path: Path, written: dict[str, Any], expected: dict[str, dict[str, Any]]
) -> None:
    for name in sorted(written.keys() ^ expected.keys()):
        where = "the checkpoint" if name in written else "the model"
        raise CheckpointError(f"{path} is of a different model: only {where} has {name}")
    for name, leaf in expected.items():
        for aspect in ("shape", "dtype"):
            if written[name][aspect] != leaf[aspect]:
                raise CheckpointError(
                    f"{path} is of a different model: {name} has {aspect} "
                    f"{written[name][aspect]}, expected {leaf[aspect]}"
                )
