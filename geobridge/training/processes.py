"""Several processes as one trainer: which of them this is, and how weights lie in them.

Every process draws its part of a batch and computes the loss of the joint batch from gathered
features; gradients are averaged by hand (see `gather`), once, after all parts of a batch went
back. So the model is never wrapped: a wrapper would average at every backward pass.
"""

import copy
import dataclasses
import os
import signal
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.training.batch import Batch
from geobridge.training.config import FitSettings
from geobridge.training.parameters import blocks, towers_of
from geobridge.views import MODALITIES, Modality

try:
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning.pytorch.strategies import DDPStrategy
    from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Training", "lightning", "train") from error

_PATIENCE = timedelta(hours=6)
"""How long processes wait for the first one, which alone validates and mines."""


def process_place(fit: FitSettings) -> tuple[int, int]:
    """Rank of this process and number of processes, before anything has connected them.

    `torchrun` and SLURM say it in the environment. Started by neither, the first process will
    start the others of its machine itself, and these find their number there too.

    Args:
        fit: how many devices and nodes the configuration asks for.

    Raises:
        TrainingError: another number of processes was started than is asked for, or several
            machines are asked for and nothing has started this on each of them.
    """
    environment = _environment(fit)
    if isinstance(environment, LightningEnvironment):
        rank = environment.node_rank() * fit.devices + environment.local_rank()
        return rank, fit.devices * fit.nodes
    return environment.global_rank(), environment.world_size()


def check_devices(fit: FitSettings) -> None:
    """Refuse GPUs that are not there before anything is read.

    Raises:
        TrainingError: this machine has none, or fewer than `devices`.
    """
    if fit.accelerator == "cpu":
        return
    count = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if not count and fit.accelerator == "gpu":
        raise TrainingError(
            "fit.accelerator is 'gpu', and torch finds none on this machine: set "
            "fit.accelerator=auto, or train where there is one."
        )
    if 0 < count < fit.devices:
        raise TrainingError(
            f"fit.devices is {fit.devices}, and this machine has {count}: lower it, or spread the "
            f"run over more machines with fit.nodes."
        )


def choose_strategy(fit: FitSettings) -> Literal["auto"] | DDPStrategy:
    """What joins the processes, for `lightning.Trainer(strategy=...)`.

    Raises:
        TrainingError: as in `process_place`.
    """
    environment = _environment(fit)
    if fit.devices * fit.nodes == 1:
        return "auto"
    kind = ShardedStrategy if fit.strategy == "fsdp" else JointStrategy
    return kind(cluster_environment=environment, timeout=_PATIENCE)


class JointStrategy(DDPStrategy):
    """Processes that hold the same weights; nothing is averaged behind the module's back."""

    def configure_ddp(self) -> None:
        """Begin with the weights of the first process, and leave the module as it is."""
        module = cast(nn.Module, self.model)
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                value = tensor.contiguous()
                dist.broadcast(value, 0)
                tensor.copy_(value)

    def on_exception(self, exception: BaseException) -> None:
        """Take along the processes that this one has started: they would wait for it."""
        super().on_exception(exception)
        if isinstance(self.launcher, _SubprocessScriptLauncher):
            self.launcher.kill(signal.SIGKILL)


class ShardedStrategy(JointStrategy):
    """Processes that each hold a part of every block of the towers, and all of the rest.

    States are those of whole weights, gathered to the first process, which saves them.
    """

    def configure_ddp(self) -> None:
        """Let the module divide its blocks."""
        super().configure_ddp()
        cast(_Shardable, self.model).shard()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole weights on the first process; all call it together."""
        return cast(dict[str, Any], gathered(super().lightning_module_state_dict()))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state on the first process; all call it together."""
        return cast(dict[str, Any], gathered(super().optimizer_state(optimizer)))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of a whole state."""
        states = checkpoint["optimizer_states"]
        parts = [_divided(*pair) for pair in zip(states, self.optimizers, strict=True)]
        super().load_optimizer_state_dict({"optimizer_states": parts})


class _Shardable(Protocol):
    def shard(self) -> None:
        """Divide weights between the processes."""
        ...


class Shards:
    """A model whose blocks are divided between the processes, each held in equal parts.

    A block is put together when it computes, and its gradients come back averaged (FSDP; Zhao et
    al., 2023, arXiv 2304.11277). So all processes must encode the same number of parts of each
    modality, one with nothing to encode blank ones.

    Args:
        model: the same in every process, on its device; its blocks are divided in place.

    Raises:
        TrainingError: a tower normalises over the batch, where blank pictures would count.
    """

    def __init__(self, model: GeoBridge) -> None:
        _refuse_batch_norm(model)
        self._model = model
        self._whole = copy.deepcopy(model).cpu() if dist.get_rank() == 0 else None
        for parameter in model.parameters():  # convolutions may lie with their channels last
            parameter.data = parameter.data.contiguous()
        mesh = init_device_mesh(model.device.type, (dist.get_world_size(),))
        for tower in towers_of(model).values():
            rest = set(tower.parameters())
            for block in blocks(tower):
                rest -= set(block.parameters())
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
            # The tower itself has nothing to divide: it knows which block comes next.
            fully_shard(tower, mesh=mesh, ignored_params=rest)
        if model.text:
            register_fsdp_forward_method(model.text, "features")

    def filled(
        self, batch: Batch, taught: Collection[Modality]
    ) -> tuple[Batch, dict[Modality, int]]:
        """Give every process equally much to encode; all call it together.

        Args:
            batch: of this process.
            taught: what is encoded at all; the others would get gradients of zero, and shrink by
                the weight decay.

        Returns:
            The batch with blank pictures and sentences behind its own, which no row speaks of,
            and how many of each modality there are now.
        """
        model, own = self._model, batch.rows
        count = torch.tensor([len(own.get(m, ())) for m in MODALITIES], device=model.device)
        dist.all_reduce(count, dist.ReduceOp.MAX)
        most = dict(zip(MODALITIES, count.tolist(), strict=True))
        pictures = dict(batch.pictures)
        for view in model.config.views:
            size = model.config.preprocess[view]
            shape = (most[view] - len(own.get(view, ())), 3, size.height, size.width)
            blank = torch.zeros(shape, dtype=torch.uint8)
            pictures[view] = torch.cat([pictures.get(view, blank[:0]), blank])
        texts = batch.texts + [""] * (most["text"] - len(batch.texts))
        sizes = {name: most[name] for name in MODALITIES if name in taught and most[name]}
        return dataclasses.replace(batch, pictures=pictures, texts=texts), sizes

    def whole(self) -> GeoBridge | None:
        """The model with its weights of now, on the CPU of the first process; None elsewhere.

        All processes must call it together. It is the same object every time.
        """
        weights = gathered(self._model.state_dict())
        if self._whole is not None:
            self._whole.load_state_dict(weights)
        return self._whole


def gathered(state: Any) -> Any:
    """A nested state with whole tensors instead of parts of them, on the CPU.

    All processes must call it together; only the first gets the whole tensors, the others None
    in their place.
    """
    if isinstance(state, Mapping):
        return {key: gathered(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value) for value in state)
    if not isinstance(state, DTensor):
        return state
    whole = state.full_tensor()
    return whole.cpu() if dist.get_rank() == 0 else None


def lost_another(error: RuntimeError) -> bool:
    """Whether an error of a joint operation means that another process has ended."""
    return isinstance(error, dist.DistError) or "by peer" in str(error)


def clip_gradients(parameters: Iterable[nn.Parameter], largest_norm: float) -> Tensor:
    """Scale gradients down to a largest norm of all together, be they whole or in parts.

    Returns:
        The norm before, shape (); the same in every process.
    """
    whole, parts = [[p for p in group if p.grad is not None] for group in by_layout(parameters)]
    norm = nn.utils.get_total_norm([cast(Tensor, p.grad) for p in whole])
    if parts:
        theirs = nn.utils.get_total_norm([cast(Tensor, p.grad) for p in parts])
        norm = torch.hypot(norm, cast(DTensor, theirs).full_tensor())
    for group in (whole, parts):
        nn.utils.clip_grads_with_norm_(group, largest_norm, norm)
    return norm


def by_layout(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that are whole in every process, and those that are divided."""
    every = list(parameters)
    whole = [parameter for parameter in every if not isinstance(parameter, DTensor)]
    return whole, [parameter for parameter in every if isinstance(parameter, DTensor)]


def _environment(fit: FitSettings) -> ClusterEnvironment:
    """What has started this process."""
    if {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys():
        return _checked(TorchElasticEnvironment(), "torchrun", fit)
    if {"SLURM_PROCID", "SLURM_NTASKS"} <= os.environ.keys() and not _by_hand():
        try:
            environment = SLURMEnvironment(auto_requeue=False)
        except RuntimeError:
            raise TrainingError(
                "SLURM was asked for --ntasks without saying how many on each machine: ask for "
                "--ntasks-per-node, one for each device."
            ) from None
        return _checked(environment, "SLURM", fit)
    if fit.nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise TrainingError(
            f"fit.nodes is {fit.nodes}, and this process was started on its own: start one on "
            f"every machine with torchrun or SLURM's srun (docs/training.md has the lines)."
        )
    return LightningEnvironment()


def _by_hand() -> bool:
    """Whether someone works in a shell that SLURM has opened, and srun has started nothing."""
    return os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")


def _checked(environment: ClusterEnvironment, starter: str, fit: FitSettings) -> ClusterEnvironment:
    started = environment.world_size()
    if started != fit.devices * fit.nodes:
        raise TrainingError(
            f"{starter} has started {started} processes, and fit.devices={fit.devices} on each of "
            f"fit.nodes={fit.nodes} machines makes {fit.devices * fit.nodes}: let both agree, for "
            f"example with --set fit.devices={started}."
        )
    try:
        environment.validate_settings(fit.devices, fit.nodes)
    except ValueError:
        raise TrainingError(
            f"{starter} has spread {started} processes otherwise than fit.devices={fit.devices} "
            f"on each of fit.nodes={fit.nodes} machines: let both agree."
        ) from None
    return environment


def _divided(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """This process's part of an optimizer's whole state."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        **state,
        "state": {
            index: {name: _as(parameters[index], value) for name, value in values.items()}
            for index, values in state["state"].items()
        },
    }


def _as(parameter: nn.Parameter, value: Any) -> Any:
    """A tensor laid out as a parameter of its shape is; anything else as it is."""
    if not isinstance(parameter, DTensor) or parameter.shape != getattr(value, "shape", None):
        return value
    # Every process has read the whole: none need be sent.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def _refuse_batch_norm(model: GeoBridge) -> None:
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
        raise TrainingError(
            f"a tower of model {model.name!r} normalises over the batch and cannot be divided: "
            f"take `norm: layer` in model.settings.image, or one process."
        )
