"""What of a model is trained, and how: all of it, its end, its adapters, its heads, or LoRA.

A model is read as towers (one for each trunk of pictures, one for sentences) and heads. From the
pixels or tokens on, a tower is a stem, its blocks, its last normalisation and its own head
(pooling or projection); after it stand the adapters and projections of `GeoBridge.heads`.
"""

import copy
from collections.abc import Iterator
from types import MethodType
from typing import Any, Literal, NamedTuple, Self, cast

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.utils.checkpoint import checkpoint

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.model.config import Settings
from geobridge.model.geobridge import GeoBridge
from geobridge.model.towers import ImageTower, TextTower
from geobridge.views import Modality

_Part = Literal["stem", "block", "lora", "norm", "head", "adapter", "other"]

# What trains besides blocks; each mode trains all that the ones before it do.
_TRAINED: dict[str, set[_Part]] = {
    "heads": {"head", "other"},
    "adapters": {"head", "adapter", "other"},
    "last": {"head", "adapter", "norm", "other"},
    "all": {"head", "adapter", "norm", "stem", "other"},
}
_OWN_HEADS = {"visual_projection", "text_projection", "head"}  # names within `transformers`
_UNUSED = "mask_token"  # of DINO's own pre-training; no embedding depends on it


class LoraConfig(Settings):
    """Low-rank adapters on every linear layer and convolution of the blocks (Hu et al., 2021).

    A layer's weight W becomes W + (alpha / rank) B A; B starts at zero.

    Attributes:
        rank: rows of A, columns of B.
        alpha: strength of the correction.
        dropout: share of a layer's input that A does not see in training.
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ParametersConfig(Settings):
    """What of a model is trained.

    The inverse temperature always is.

    Attributes:
        train: `heads` (pooling and projections: a tower's own and those after it), `adapters`
            (these and the adapters of each view), `last` (these, each tower's last normalisation
            and its last blocks; the paper's transfer to other benchmarks) or `all`.
        last_layers: with `last`, how many blocks of every tower; the paper trains 3.
        freeze: modalities whose towers, own heads included, stay as they are; what GeoBridge adds
            after a tower still trains. Views that share a tower are frozen together.
        layer_decay: factor of the learning rate for each block towards the stem; 1 is off.
        gradient_checkpointing: compute each block again in the backward pass instead of keeping
            what is inside it: less memory, the same gradients.
        lora: instead of their own weights, the blocks that `train` chooses get low-rank adapters;
            only these, the adapters of each view and the heads train.
    """

    train: Literal["all", "last", "adapters", "heads"] = "all"
    last_layers: int | None = Field(default=None, ge=1)
    freeze: tuple[Modality, ...] = ()
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    gradient_checkpointing: bool = False
    lora: LoraConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.train == "last" and self.last_layers is None:
            raise ValueError("train 'last' needs last_layers, a number of blocks (the paper's: 3)")
        if self.train != "last" and self.last_layers is not None:
            raise ValueError(f"last_layers is for train 'last', not for {self.train!r}")
        no_block = self.train in ("heads", "adapters")
        if no_block and (self.layer_decay != 1 or self.gradient_checkpointing):
            raise ValueError(
                f"layer_decay and gradient_checkpointing are for blocks, and train "
                f"{self.train!r} leaves them all as they are: set them to 1 and false, or choose "
                f"'all' or 'last'"
            )
        if self.lora and self.train not in ("all", "last"):
            raise ValueError(
                f"lora adapts blocks, and train {self.train!r} leaves them all as they are: "
                f"choose 'all' or 'last'"
            )
        return self


class _Spot(NamedTuple):
    """Where in a model a parameter is; level counts blocks from the end, heads are at 0."""

    tower: str | None
    part: _Part
    level: int


def blocks(tower: ImageTower | TextTower) -> list[nn.Module]:
    """The blocks of a tower from its stem to its last.

    Residual layers of a ResNet, over all its stages; layers of attention of a transformer.
    """
    if tower.kind == "resnet":
        return [layer for stage in tower.trunk.encoder.stages for layer in stage.layers]
    lists = (part for part in tower.trunk.modules() if isinstance(part, nn.ModuleList))
    return list(next(lists))


def select(model: GeoBridge, config: ParametersConfig, seed: int = 0) -> None:
    """Make a model train what the configuration says, in place.

    Sets `requires_grad` of every parameter, injects LoRA and wraps the blocks for gradient
    checkpointing. Call it once, on new or loaded weights, before the optimizer is made and before
    the state of an interrupted run is loaded; call `train_mode` instead of `model.train()` after.

    Args:
        model: changed in place.
        config: what to train.
        seed: of the LoRA weights that are drawn; the generator of the caller is left alone.

    Raises:
        TrainingError: the model lacks the modality, adapters or blocks that the configuration
            names, shares the tower of a frozen view with one that is not, or nothing would train.
        MissingExtraError: LoRA without `peft`.
    """
    frozen = _frozen_towers(model, config.freeze)
    _check_train(model, config, frozen)
    if config.lora:
        _inject(model, config, config.lora, frozen, seed)
    layout = _layout(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_trains(name, layout[name], config, frozen))
    if not any(p.requires_grad for n, p in model.named_parameters() if layout[n].part != "other"):
        raise TrainingError(
            f"nothing of model {model.name!r} would train but its temperature (train "
            f"{config.train!r}, freeze {list(config.freeze)}): freeze less, or train more."
        )
    if config.gradient_checkpointing:
        for tower in towers_of(model).values():
            _recompute_blocks(tower)


def train_mode(model: GeoBridge) -> None:
    """`model.train()`, but what is frozen stays as in evaluation.

    Else the batch normalisation of a frozen tower would go on collecting statistics, and its
    dropout would make its output noise.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def parameter_groups(
    model: GeoBridge, config: ParametersConfig, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimizer that hold every parameter that trains once.

    Groups differ in level and in weight decay. Level 0 are heads, adapters of views, last
    normalisations and the temperature; the last block of a tower of n blocks is at level 1, its
    first at n and its stem at n + 1. Level k learns with `learning_rate` x `layer_decay` ** k
    (Bao et al., 2021); without layer decay all is one level. Biases, normalisations, single
    tokens and the temperature have no weight decay.

    Args:
        model: as `select` left it.
        config: the one given to `select`.
        learning_rate: of level 0.
        weight_decay: of matrices and convolutions.

    Returns:
        Groups by level, with `name` (`level_0`, `level_0_no_decay`, ...), `params` in the order
        of the model, `lr`, `lr_scale` (lr / learning_rate, for a schedule) and `weight_decay`.
    """
    layout = _layout(model)
    members: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            level = 0 if config.layer_decay == 1 else layout[name].level
            members.setdefault((level, _is_vector(parameter)), []).append(parameter)
    return [
        {
            "name": f"level_{level}" + ("_no_decay" if is_vector else ""),
            "params": members[level, is_vector],
            "lr": learning_rate * config.layer_decay**level,
            "lr_scale": config.layer_decay**level,
            "weight_decay": 0.0 if is_vector else weight_decay,
        }
        for level, is_vector in sorted(members)
    ]


def merged(model: GeoBridge) -> GeoBridge:
    """A copy without traces of training: LoRA merged into the weights, blocks as they were.

    Its weights have the names of a plain model's, so that `GeoBridge.load` reads what it saves
    without `peft`. Embeddings are those of the model up to rounding.
    """
    model = copy.deepcopy(model)
    for tower in towers_of(model).values():
        for block in blocks(tower):
            vars(block).pop("forward", None)
        if hasattr(tower.trunk, "peft_config"):
            _merge(tower.trunk)
    return model


# ---- reading a model -----------------------------------------------------------------------------


def towers_of(model: GeoBridge) -> dict[str, ImageTower | TextTower]:
    """Towers by the prefix of their parameters' names."""
    found = {f"trunks.{key}": cast(ImageTower, trunk) for key, trunk in model.trunks.items()}
    return {**found, "text": model.text} if model.text else {**found}


def _modalities(model: GeoBridge, tower: str) -> tuple[Modality, ...]:
    if tower == "text":
        return ("text",)
    key = tower.removeprefix("trunks.")
    return tuple(view for view in model.config.views if model.config.trunk_of(view) == key)


def _layout(model: GeoBridge) -> dict[str, _Spot]:
    """Where each parameter is, by name."""
    spots = {name: _outside_towers(name) for name, _ in model.named_parameters()}
    for prefix, tower in towers_of(model).items():
        spots.update((f"{prefix}.trunk.{name}", spot) for name, spot in _inside(prefix, tower))
    return spots


def _outside_towers(name: str) -> _Spot:
    if name.startswith("heads."):
        return _Spot(None, "adapter" if name.split(".")[2] == "adapter" else "head", 0)
    return _Spot(None, "head" if name.startswith("text.head.") else "other", 0)


def _inside(prefix: str, tower: ImageTower | TextTower) -> Iterator[tuple[str, _Spot]]:
    """Parameters of a trunk, which `transformers` defines in the order they are used in."""
    found = blocks(tower)
    levels = {
        id(parameter): len(found) - index
        for index, block in enumerate(found)
        for parameter in block.parameters()
    }
    passed = False
    for name, parameter in tower.trunk.named_parameters():
        if id(parameter) in levels:
            passed = True
            part: _Part = "lora" if ".lora_" in name else "block"
            yield name, _Spot(prefix, part, levels[id(parameter)])
        elif passed:
            yield name, _Spot(prefix, "head" if _OWN_HEADS & {*name.split(".")} else "norm", 0)
        else:
            yield name, _Spot(prefix, "stem", len(found) + 1)


def _is_vector(parameter: nn.Parameter) -> bool:
    """Biases, scales, and single tokens, which `transformers` keeps as (1, 1, F)."""
    return parameter.ndim <= 1 or (parameter.ndim == 3 and parameter.shape[:2] == (1, 1))


# ---- choosing ------------------------------------------------------------------------------------


def _frozen_towers(model: GeoBridge, freeze: tuple[Modality, ...]) -> set[str]:
    for modality in freeze:
        if modality not in model.modalities:
            raise TrainingError(
                f"freeze names {modality}, but model {model.name!r} has "
                f"{', '.join(model.modalities)}: leave {modality} out of freeze."
            )
    frozen = set()
    for tower in towers_of(model):
        users = _modalities(model, tower)
        learning = [modality for modality in users if modality not in freeze]
        if not learning:
            frozen.add(tower)
        elif len(learning) < len(users):
            raise TrainingError(
                f"{', '.join(users)} share one tower in model {model.name!r}, and freeze leaves "
                f"{', '.join(learning)} to learn: freeze all that share it, or none."
            )
    return frozen


def _check_train(model: GeoBridge, config: ParametersConfig, frozen: set[str]) -> None:
    if config.train == "adapters" and not model.config.has_adapters:
        raise TrainingError(
            f"model {model.name!r} has no adapters of views to train, its weights are "
            f"{model.config.weights!r}: train 'heads', or build a model with weights 'adapter'."
        )
    for prefix, tower in towers_of(model).items():
        count = len(blocks(tower))
        if prefix not in frozen and config.last_layers is not None and config.last_layers > count:
            users = ", ".join(_modalities(model, prefix))
            raise TrainingError(
                f"the tower of {users} in model {model.name!r} has {count} blocks, fewer than "
                f"last_layers = {config.last_layers}: lower last_layers to {count}, or freeze "
                f"the tower."
            )


def _trains(name: str, spot: _Spot, config: ParametersConfig, frozen: set[str]) -> bool:
    if spot.tower in frozen or name.endswith(_UNUSED):
        return False
    if config.lora:
        return spot.part in ("lora", "head", "adapter", "other")
    if spot.part == "block":
        return _block_is_chosen(spot.level, config)
    return spot.part in _TRAINED[config.train]


def _block_is_chosen(level: int, config: ParametersConfig) -> bool:
    if config.train == "last":
        return level <= cast(int, config.last_layers)
    return config.train == "all"


# ---- LoRA ----------------------------------------------------------------------------------------


def _inject(
    model: GeoBridge, config: ParametersConfig, lora: LoraConfig, frozen: set[str], seed: int
) -> None:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("LoRA", "peft", "train") from error
    towers = [tower for prefix, tower in towers_of(model).items() if prefix not in frozen]
    if not towers:
        raise TrainingError(
            f"lora has no layer to adapt in model {model.name!r}, all its towers are frozen: "
            f"freeze fewer of {', '.join(config.freeze)}, or leave lora out."
        )
    if any(hasattr(tower.trunk, "peft_config") for tower in towers):
        raise TrainingError(
            f"model {model.name!r} has LoRA adapters already: merge them before adding others."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for tower in towers:
            settings = peft.LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float is only divided
                lora_dropout=lora.dropout,
                target_modules=_adaptable_layers(tower, config),
            )
            peft.inject_adapter_in_model(settings, tower.trunk)


def _adaptable_layers(tower: ImageTower | TextTower, config: ParametersConfig) -> list[str]:
    """Names, within the trunk, of the linear layers and convolutions of the chosen blocks."""
    found = blocks(tower)
    chosen = {
        id(part)
        for index, block in enumerate(found)
        if _block_is_chosen(len(found) - index, config)
        for part in block.modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
    }
    return [name for name, part in tower.trunk.named_modules() if id(part) in chosen]


def _merge(trunk: nn.Module) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [
        (name, part) for name, part in trunk.named_modules() if isinstance(part, BaseTunerLayer)
    ]
    for name, part in adapted:
        part.merge()
        trunk.set_submodule(name, part.get_base_layer())
    del trunk.peft_config


# ---- gradient checkpointing ----------------------------------------------------------------------


def _recompute_blocks(tower: ImageTower | TextTower) -> None:
    # A method, not a closure: a copy of the model must run its own block. `transformers` has a
    # switch for this, but none for ResNets.
    for block in blocks(tower):
        block.forward = MethodType(_recomputed, block)


def _recomputed(block: nn.Module, *inputs: Any, **options: Any) -> Any:
    forward = type(block).forward
    if not torch.is_grad_enabled():
        return forward(block, *inputs, **options)
    return checkpoint(forward, block, *inputs, use_reentrant=False, **options)
