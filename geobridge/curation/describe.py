"""Stage 6: a multimodal model sees all pictures of a place and writes its anchor.

    DIR/describe.parquet          a row a place: the text, or why there is none
    DIR/cache/describe/*.json     every answer, by the digest of what was asked
    DIR/reports/describe.html     the descriptions that fit their pictures least, beside them

Beyond the paper, a description is checked before it is taken: its form, its length, its words
(`anchors`), and whether it fits every view (`fit`). What fails goes back to the model with the
complaint, a few times, and then the place is left out.

Answers are kept one by one, so a run that was killed asks for nothing twice.
"""

import hashlib
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field, model_validator

from geobridge.curation.anchor_report import ReportRow, report_page
from geobridge.curation.anchors import (
    RESPONSE_FORMAT,
    Vocabulary,
    complaint,
    parse,
    read_prompt,
    read_vocabulary,
)
from geobridge.curation.chat import (
    Chat,
    EndpointConfig,
    Message,
    RefusedRequestError,
    Reply,
    answer_path,
    read_answer,
)
from geobridge.curation.cutoffs import capped
from geobridge.curation.fit import Fit, FitConfig, Judge, lowest_agreement
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, ImageError
from geobridge.files import write_atomically
from geobridge.imagery.inline import data_uri, fitted_size
from geobridge.model.config import Settings
from geobridge.progress import Step
from geobridge.views import VIEWS, View

STAGE = "describe"

# After so many refused requests without one answer it is not the pictures that are at fault.
_HOPELESS = 5

# Rules of thumb for the estimate: four characters a token, and tokens a word.
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_WORD = 1.5

_TITLES: dict[View, str] = {
    "drone": "From a drone, looking down:",
    "street": "From the street:",
    "satellite": "From a satellite:",
}


class PriceConfig(Settings):
    """What tokens cost and how pictures are counted in them, for the estimate.

    The two rules are those of https://platform.openai.com/docs/guides/images-vision: `tiles`
    (GPT-4o and others): fitted into 2048 x 2048, then to a shorter side of 768, 85 tokens and 170
    for each begun tile of 512 pixels; `patches` (smaller and later ones, and with other sizes
    most open models): one token for each begun square patch, times a factor.

    Attributes:
        prompt_per_million: price of a million tokens that are sent.
        answer_per_million: price of a million tokens that are written.
        currency: of both.
        rule: how pictures are counted.
        patch_px: side of a patch.
        patch_factor: tokens a patch.
    """

    prompt_per_million: float = Field(ge=0)
    answer_per_million: float = Field(ge=0)
    currency: str = "USD"
    rule: Literal["tiles", "patches"] = "tiles"
    patch_px: int = Field(default=32, ge=1)
    patch_factor: float = Field(default=1.0, gt=0)


class DescribeConfig(Settings):
    """Who describes places, what it is shown, and what is taken.

    Attributes:
        endpoint: which model is asked, and where.
        prompt: text file of what it is told, by default `prompts/anchor.txt`; `{most_words}`
            stands for that number.
        words: text file of words that no description may have; by default
            `prompts/transient.txt`.
        most_words: of a description. Text encoders of the CLIP family read 77 tokens.
        side_px: longer side that drone and satellite pictures are reduced to.
        street_px: the same of street pictures.
        attempts: answers that are asked for at most for each place.
        fit: the check by a model; none without it.
        price: what tokens cost; without it the estimate tells tokens only.
        most_cost: a run that is estimated to cost more (with one answer a place) does not begin.
        shown: descriptions in the report.
    """

    endpoint: EndpointConfig
    prompt: Path | None = None
    words: Path | None = None
    most_words: int = Field(default=50, ge=8)
    side_px: int = Field(default=512, ge=32)
    street_px: int = Field(default=1024, ge=32)
    attempts: int = Field(default=3, ge=1)
    fit: FitConfig | None = None
    price: PriceConfig | None = None
    most_cost: float | None = Field(default=None, ge=0)
    shown: int = Field(default=100, ge=0)

    @model_validator(mode="after")
    def _can_be_priced(self) -> Self:
        if self.most_cost is not None and self.price is None:
            raise ValueError("`most_cost` bounds nothing without `price`: give the price too")
        return self


@dataclass(frozen=True)
class Plan:
    """What a run will ask for.

    Attributes:
        places: to be described.
        kept: of them, whose first answer is in the cache already.
        requests: first answers that are still to be asked for.
        most_requests: if every place needs all attempts.
        image_tokens: of the requests' pictures.
        text_tokens: of their words, at four characters a token.
        answer_tokens: of the answers, each as long as a description may be.
        cost: of the requests in `currency`; None without prices.
        most_cost: if every place needs all attempts and every answer is as long as can be.
        currency: of both.
    """

    places: int
    kept: int
    requests: int
    most_requests: int
    image_tokens: int
    text_tokens: int
    answer_tokens: int
    cost: float | None = None
    most_cost: float | None = None
    currency: str | None = None

    def __str__(self) -> str:
        told = (
            f"{self.requests:,} of {self.places:,} places to be asked for (at most "
            f"{self.most_requests:,} requests), {self.image_tokens:,} tokens of pictures, "
            f"{self.text_tokens:,} of words, {self.answer_tokens:,} of answers"
        )
        if self.cost is None:
            return told
        return f"{told}: {self.cost:,.2f} {self.currency}, at most {self.most_cost:,.2f}"


@dataclass(frozen=True)
class _Place:
    """A place with its pictures, and digests of their files."""

    place_id: str
    pictures: dict[View, Path]
    digests: dict[View, str]


@dataclass
class _Draft:
    """How far the description of a place has come.

    Attributes:
        place: which.
        talk: answers that were not taken, each with the complaint.
        answer: the last one, as it came.
        text: the description in it, None where it has none.
        reason: why it is not taken; None where nothing is wrong.
        final: nothing more is to be asked.
        fits: by view, where a model has judged.
    """

    place: _Place
    talk: list[tuple[str, str]] = field(default_factory=list)
    answer: str = ""
    text: str | None = None
    reason: str | None = None
    final: bool = False
    attempts: int = 0
    fits: dict[View, Fit] = field(default_factory=dict)


def plan(workspace: Workspace, config: DescribeConfig) -> Plan:
    """What `run` will ask for, and what that costs. Nothing is asked for.

    Raises:
        CurationError: there are no crops, or the prompt cannot be read.
        ImageError: a picture cannot be read.
    """
    return _plan(workspace, _places(workspace), config)


def plan_most(places: int, sizes: Mapping[View, tuple[int, int]], config: DescribeConfig) -> Plan:
    """What `run` would ask for at most if so many places came to it.

    Args:
        places: none of which has been asked for.
        sizes: width and height of the largest pictures of each view.
        config: of the stage.

    Raises:
        CurationError: the prompt cannot be read.
    """
    image_tokens_each = sum(
        image_tokens(*fitted_size(*size, _side_px(config, view)), config.price)
        for view, size in sizes.items()
    )
    return _counted(config, places, places, places * image_tokens_each)


def run(workspace: Workspace, config: DescribeConfig, step: Step) -> pd.DataFrame:
    """Describe the places that the stages before have kept.

    Returns:
        place_id; text (None where no answer had any); model; prompt_digest; similarity_drone,
        similarity_street, similarity_satellite (cosine, NaN where not judged); agreement_drone,
        agreement_street, agreement_satellite (see `fit`); attempts (int64); kept; reason (None
        where kept). Sorted by place_id.

    Raises:
        CurationError: the key is missing, the endpoint cannot be used, or the run would cost more
            than it may. What was answered is kept.
        MissingExtraError: the client is not installed.
    """
    places = _places(workspace)
    planned = _plan(workspace, places, config)
    if config.most_cost is not None and planned.cost is not None:
        _check_cost(planned, config.most_cost)
    writer = _Writer(config, workspace)
    least: float | None = None
    with writer.chat:
        drafts = [_Draft(place) for place in places]
        writer.write(drafts, step(f"describing: {planned}"))
        if config.fit is not None:
            least = _refine(writer, drafts, config.fit, config.attempts, step)
    table = _table(drafts, config)
    _write_report(workspace, config, drafts, least)
    return workspace.write(STAGE, table)


def _check_cost(planned: Plan, most_cost: float) -> None:
    if planned.cost is not None and planned.cost > most_cost:
        raise CurationError(
            f"describing would cost about {planned.cost:,.2f} {planned.currency}, more than the "
            f"{most_cost:,.2f} of `most_cost`: raise it, take smaller pictures or fewer places."
        )


# What is there


def _places(workspace: Workspace) -> list[_Place]:
    """Places that every stage before has kept, with the pictures there are."""
    crops = workspace.read("crops")
    kept = crops[crops["kept"].astype(bool)].set_index("place_id", drop=False)
    satellite: dict[str, str] = {}
    for stage in ("clean", "satellite"):
        if workspace.has(stage):
            table = workspace.read(stage)
            table = table[table["kept"].astype(bool)]
            kept = kept[kept.index.isin(table["place_id"])]
            if stage == "satellite":
                satellite = dict(zip(table["place_id"], table["satellite"], strict=True))
    if kept.empty:
        raise CurationError(
            f"{workspace.folder} has no place to describe: see the column `reason` of the tables "
            f"before."
        )
    return [
        _place(workspace.folder, row | {"satellite": satellite.get(row["place_id"])})
        for row in kept.sort_index().to_dict("records")
    ]


def _place(folder: Path, row: Mapping[str, Any]) -> _Place:
    pictures = {view: folder / row[view] for view in VIEWS if isinstance(row[view], str)}
    return _Place(
        row["place_id"], pictures, {view: _digest(path) for view, path in pictures.items()}
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CurationError(
            f"{path} cannot be read ({error.strerror}): run the stage that writes it again."
        ) from error


# What is asked


def _prompt(config: DescribeConfig) -> str:
    return read_prompt(config.prompt).replace("{most_words}", str(config.most_words))


def _side_px(config: DescribeConfig, view: View) -> int:
    return config.street_px if view == "street" else config.side_px


def _messages(
    prompt: str, place: _Place, talk: Sequence[tuple[str, str]], show: Callable[[View], str]
) -> list[Message]:
    """The chat about a place so far."""
    parts: list[Message] = []
    for view in place.pictures:
        parts.append({"type": "text", "text": _TITLES[view]})
        parts.append({"type": "image_url", "image_url": {"url": show(view)}})
    messages: list[Message] = [
        {"role": "system", "content": prompt},
        {"role": "user", "content": parts},
    ]
    for answer, fault in talk:
        again = f"That cannot be taken: {fault}. Describe the place again, in the same form."
        messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": again})
    return messages


def _named(config: DescribeConfig, place: _Place, view: View) -> str:
    """Stands for a picture in what an answer is kept by."""
    return f"{place.digests[view]} within {_side_px(config, view)}"


def _shown(config: DescribeConfig, place: _Place, view: View) -> str:
    return data_uri(place.pictures[view], _side_px(config, view))


class _Writer:
    """Asks for descriptions until their form, length and words are right."""

    def __init__(self, config: DescribeConfig, workspace: Workspace) -> None:
        self._config = config
        self._folder = workspace.folder
        self._prompt = _prompt(config)
        self._vocabulary: Vocabulary = read_vocabulary(config.words)
        self._lock = threading.Lock()
        self._answered = False
        self._refused = 0
        self.chat = Chat(config.endpoint, RESPONSE_FORMAT, _answers(workspace))

    def write(self, drafts: Sequence[_Draft], report: Callable[[int, int | None], None]) -> None:
        """Bring drafts as far as they come; those that are final stay as they are."""
        pool = ThreadPoolExecutor(self._config.endpoint.concurrency, STAGE)
        try:
            for done, _ in enumerate(pool.map(self._write_one, drafts), 1):
                report(done, len(drafts))
        finally:
            # What is under way ends and is kept; what is not begun is left.
            pool.shutdown(cancel_futures=True)
        if self._refused and not self._answered:
            self._give_up(next(draft.reason for draft in drafts if draft.reason))

    def _write_one(self, draft: _Draft) -> None:
        while not draft.final and draft.attempts < self._config.attempts:
            if draft.reason is not None:
                draft.talk.append((draft.answer, draft.reason))
            try:
                reply = self._ask(draft)
            except (RefusedRequestError, ImageError) as error:
                # A table is the same wherever its folder lies.
                told = str(error).replace(f"{self._folder}/", "")
                draft.reason, draft.final = f"not asked: {told}", True
                if isinstance(error, RefusedRequestError):
                    self._note_refusal(draft.reason)
                return
            self._answered = True
            draft.attempts += 1
            draft.fits = {}
            draft.answer = reply.content or reply.refusal or ""
            draft.text, draft.reason = self._judge(reply)
            if draft.reason is None:
                return

    def _ask(self, draft: _Draft) -> Reply:
        named = partial(_named, self._config, draft.place)
        shown = partial(_shown, self._config, draft.place)
        write = partial(_messages, self._prompt, draft.place, tuple(draft.talk))
        return self.chat.ask(write(named), lambda: write(shown))

    def _judge(self, reply: Reply) -> tuple[str | None, str | None]:
        """The description in an answer, and what is wrong with it."""
        if reply.refusal:
            return None, f"you declined ({reply.refusal})"
        if reply.finish_reason == "length":
            return None, "it was cut off, since it was too long"
        try:
            text = parse(reply.content or "")
        except ValueError as error:
            return None, str(error)
        return text, complaint(text, self._vocabulary, self._config.most_words)

    def _note_refusal(self, reason: str) -> None:
        with self._lock:
            self._refused += 1
            hopeless = self._refused >= _HOPELESS and not self._answered
        if hopeless:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        endpoint = self._config.endpoint
        raise CurationError(
            f"{endpoint.base_url} takes none of our requests ({reason}): choose a `model` that "
            f"takes pictures and answers by a JSON schema, and check `limit_name` and "
            f"`temperature`."
        )


def _answers(workspace: Workspace) -> Path:
    return workspace.cache / STAGE


# What it fits


def _refine(
    writer: _Writer, drafts: Sequence[_Draft], config: FitConfig, attempts: int, step: Step
) -> float | None:
    """Judge descriptions by a model, and ask again for those that do not fit.

    Returns:
        The least agreement that was asked for; None where there was nothing to judge.
    """
    judge = Judge(config, {draft.place.place_id: draft.place.pictures for draft in drafts})
    new = [draft for draft in drafts if draft.reason is None]
    # The same texts throughout, whatever is written again.
    judge.compare_with(_texts(new))
    cut_off: float | None = None
    while new:
        report = step(f"judging {len(new):,} descriptions")
        found = judge.judge(_texts(new))
        if cut_off is None:
            cut_off = _cut_off(found.values(), config, step)
        for draft in new:
            draft.fits = found[draft.place.place_id]
            draft.reason = _misfit(draft.fits, cut_off)
        report(len(new), len(new))
        again = [draft for draft in new if draft.reason and draft.attempts < attempts]
        if again:
            writer.write(again, step(f"asking again for {len(again):,} descriptions"))
        new = [draft for draft in again if draft.reason is None]
    return cut_off


def _cut_off(found: Iterable[Mapping[View, Fit]], config: FitConfig, step: Step) -> float:
    """The least agreement that is asked for: what is configured, or less if that took too many."""
    lowest = np.array([lowest_agreement(fits.values()) for fits in found], np.float64)
    asked = config.least_agreement
    cut_off = float(capped(lowest[:, None], np.array([asked]), config.most_rejected)[0])
    if cut_off < asked:
        step(
            f"{(lowest < asked).mean():.0%} of the descriptions agree less than {asked:g}: the "
            f"model does not know this land well, or many are wrong; the cut-off is {cut_off:.3g}"
        )
    return cut_off


def _texts(drafts: Sequence[_Draft]) -> dict[str, str]:
    return {draft.place.place_id: draft.text for draft in drafts if draft.text is not None}


def _misfit(fits: Mapping[View, Fit], least: float) -> str | None:
    """The views that a description does not fit; numbers are left to the table."""
    views = [
        view for view, fit in fits.items() if fit.agreement is not None and fit.agreement < least
    ]
    if not views:
        return None
    return (
        f"it does not fit the {' and '.join(views)} picture: say only what all pictures show, "
        f"and what tells this place from others"
    )


# What it costs


def _plan(workspace: Workspace, places: Sequence[_Place], config: DescribeConfig) -> Plan:
    prompt = _prompt(config)
    folder = _answers(workspace)
    wanted = [place for place in places if not _is_answered(folder, prompt, place, config)]
    image_tokens = sum(
        _image_tokens(path, _side_px(config, view), config.price)
        for place in wanted
        for view, path in place.pictures.items()
    )
    return _counted(config, len(places), len(wanted), image_tokens)


def _counted(config: DescribeConfig, places: int, wanted: int, image_tokens: int) -> Plan:
    """The plan of so many places, so many of which are to be asked for."""
    told = Plan(
        places=places,
        kept=places - wanted,
        requests=wanted,
        most_requests=wanted * config.attempts,
        image_tokens=image_tokens,
        text_tokens=wanted * (len(_prompt(config)) // _CHARACTERS_PER_TOKEN),
        answer_tokens=round(wanted * config.most_words * _TOKENS_PER_WORD),
    )
    return told if config.price is None else _priced(told, config, config.price)


def _priced(told: Plan, config: DescribeConfig, price: PriceConfig) -> Plan:
    sent = (told.image_tokens + told.text_tokens) * price.prompt_per_million
    written = told.answer_tokens * price.answer_per_million
    longest = told.requests * config.endpoint.answer_tokens * price.answer_per_million
    # Each further attempt sends the answers before it again.
    before = sum(range(config.attempts)) * told.requests * config.endpoint.answer_tokens
    most = config.attempts * (sent + longest) + before * price.prompt_per_million
    return Plan(
        **{name: getattr(told, name) for name in _COUNTS},
        cost=(sent + written) / 1e6,
        most_cost=most / 1e6,
        currency=price.currency,
    )


_COUNTS = (
    *("places", "kept", "requests", "most_requests"),
    *("image_tokens", "text_tokens", "answer_tokens"),
)


def _is_answered(folder: Path, prompt: str, place: _Place, config: DescribeConfig) -> bool:
    named = _messages(prompt, place, (), partial(_named, config, place))
    path = answer_path(folder, config.endpoint, RESPONSE_FORMAT, named)
    return read_answer(path) is not None


def _image_tokens(path: Path, side_px: int, price: PriceConfig | None) -> int:
    """Tokens of a picture as it is sent, by the rule of `PriceConfig`."""
    try:
        with Image.open(path) as image:
            size = image.size
    except OSError as error:
        raise ImageError(
            f"{path} is not a picture we know: run the stage that writes it again."
        ) from error
    return image_tokens(*fitted_size(*size, side_px), price)


def image_tokens(width: int, height: int, price: PriceConfig | None = None) -> int:
    """Tokens that a picture counts for, by the rule of `PriceConfig` (`tiles` without one)."""
    if price is not None and price.rule == "patches":
        patches = -(-width // price.patch_px) * -(-height // price.patch_px)
        return round(patches * price.patch_factor)
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    across, down = (-(-round(side * scale) // 512) for side in (width, height))
    return 85 + 170 * across * down


# What comes of it


def _table(drafts: Sequence[_Draft], config: DescribeConfig) -> pd.DataFrame:
    digest = hashlib.sha256(_prompt(config).encode()).hexdigest()[:16]
    columns: dict[str, Any] = {
        "place_id": pd.Series([draft.place.place_id for draft in drafts], dtype=object),
        "text": pd.Series([draft.text for draft in drafts], dtype=object),
        "model": config.endpoint.model,
        "prompt_digest": digest,
    }
    for name in ("similarity", "agreement"):
        for view in VIEWS:
            values = [getattr(draft.fits.get(view), name, None) for draft in drafts]
            # Further decimals are the machine's, not the model's.
            columns[f"{name}_{view}"] = np.array(values, np.float64).round(4)
    columns["attempts"] = np.array([draft.attempts for draft in drafts], np.int64)
    columns["kept"] = np.array([draft.reason is None for draft in drafts], np.bool_)
    columns["reason"] = pd.Series([draft.reason for draft in drafts], dtype=object)
    return pd.DataFrame(columns)


def _write_report(
    workspace: Workspace, config: DescribeConfig, drafts: Sequence[_Draft], least: float | None
) -> None:
    """The descriptions that fit least, those that were not taken first."""

    def order(draft: _Draft) -> tuple[bool, float, str]:
        lowest = lowest_agreement(draft.fits.values())
        return draft.reason is None, 1.0 if math.isnan(lowest) else lowest, draft.place.place_id

    rows = [
        ReportRow(
            draft.place.place_id,
            draft.place.pictures,
            draft.text,
            {view: (fit.similarity, fit.agreement) for view, fit in draft.fits.items()},
            draft.attempts,
            draft.reason,
        )
        for draft in sorted(drafts, key=order)[: config.shown]
    ]
    page = report_page(rows, len(drafts), config.endpoint.model, least)
    path = workspace.folder / "reports" / f"{STAGE}.html"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, page.encode())
