import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from geobridge.errors import ModelError
from geobridge.geo.distance import distance_m
from geobridge.model.objective import (
    IMAGE_EDGES,
    TEXT_EDGES,
    FalseNegatives,
    ObjectiveConfig,
    anchor_objective,
    false_negatives,
    teaching_edges,
)
from geobridge.views import VIEWS

MODALITIES = ("drone", "street", "satellite", "text")
PAPER = ObjectiveConfig()
SCALE = torch.tensor(5.0)
BIAS = torch.tensor(-1.5)


def random_rows(count, seed=0, dim=6):
    generator = torch.Generator().manual_seed(seed)
    return {
        modality: torch.nn.functional.normalize(
            torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1
        )
        for modality in MODALITIES
    }


def everything(count):
    return {modality: torch.ones(count, dtype=torch.bool) for modality in MODALITIES}


def random_masks(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, text = (torch.rand(count, count, generator=generator) < share for share in (0.2, 0.4))
    return FalseNegatives(*((mask | mask.T).fill_diagonal_(False) for mask in (image, text)))


# The objective written out as loops over pairs, straight from its definition.


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_softmax(values):
    total = sum(math.exp(value) for value in values.values())
    return {key: math.exp(value) / total for key, value in values.items()}


def slow_opinion(rows, present, text, place, scale):
    """Mean similarity of a text to the views that a place has."""
    seen = [view for view in VIEWS if present[view][place]]
    return scale * sum(dot(rows["text"][text], rows[v][place]) for v in seen) / len(seen)


def positives(i, places, near, config):
    return [j for j in places if j == i or (near[i][j] and config.false_negatives != "mask")]


def slow_kept(i, places, near, config):
    return [j for j in places if j in positives(i, places, near, config) or not near[i][j]]


def slow_doubts(places, rows, present, near, config):
    """How much less than the best text each is found at its own place by all its views."""
    found = {}
    for i in places:
        kept, right = slow_kept(i, places, near, config), positives(i, places, near, config)
        there = slow_softmax({j: slow_opinion(rows, present, i, j, 5.0) for j in kept})
        back = slow_softmax({j: slow_opinion(rows, present, j, i, 5.0) for j in kept})
        found[i] = math.sqrt(sum(there[j] for j in right) * sum(back[j] for j in right))
    return {i: 1 - value / max(found.values()) for i, value in found.items()}


def slow_targets(kept, right, found, share, config):
    """Target of place i over the places that count."""
    even, smooth = len(right) if config.loss == "info_nce" else 1, config.label_smoothing
    hard = {j: (1 - smooth) * (j in right) / even + smooth / len(kept) for j in kept}
    return {j: (1 - share) * hard[j] + share * found[j] for j in kept}


def slow_edge(edge, places, rows, present, near, config):
    doubts = dict.fromkeys(places, 0.0)
    if "text" in edge:
        doubts = slow_doubts(places, rows, present, near, config)
    targets, found = {}, {}
    for forward in (True, False):
        first, second = edge if forward else edge[::-1]
        for i in places:
            kept, right = slow_kept(i, places, near, config), positives(i, places, near, config)
            logits = {j: 5.0 * dot(rows[first][i], rows[second][j]) for j in kept}
            if config.loss == "sigmoid":
                p = {j: 1 / (1 + math.exp(-logit + 1.5)) for j, logit in logits.items()}
            else:
                p = slow_softmax(logits)
            share = config.text_soft_targets * doubts[i]
            target = slow_targets(kept, right, p, share, config)
            for j in kept:
                targets[forward, i, j], found[forward, i, j] = target[j], p[j]
    total = 0.0
    for key, target in targets.items():
        total -= target * math.log(found[key])
        if config.loss == "sigmoid":
            total -= (1 - target) * math.log(1 - found[key])
    return total / len(places) / 2


def slow_objective(rows, present, masks, config):
    rows = {name: held.tolist() for name, held in rows.items()}
    groups = {"image": [], "text": []}
    for edge in config.edges():
        kind = "text" if "text" in edge else "image"
        near = getattr(masks, kind).tolist()
        both = [i for i in range(len(near)) if present[edge[0]][i] and present[edge[1]][i]]
        if len(both) >= 2:
            groups[kind].append(slow_edge(edge, both, rows, present, near, config))
    return sum(sum(group) / len(group) for group in groups.values() if group)


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("loss", ["info_nce", "sigmoid"])
@pytest.mark.parametrize("false_negatives", ["mask", "positive"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"label_smoothing": 0.1}, {"text_soft_targets": 0.4, "label_smoothing": 0.2}],
    ids=["plain", "smooth", "soft"],
)
def test_equals_the_definition_written_out_as_loops(count, missing, loss, false_negatives, changes):
    generator = torch.Generator().manual_seed(count)
    rows, masks = random_rows(count, seed=count), random_masks(count)
    present = {m: torch.rand(count, generator=generator) >= missing for m in MODALITIES}
    for modality in MODALITIES:
        present[modality][:2] = True
    config = ObjectiveConfig(loss=loss, false_negatives=false_negatives, **changes)

    total, _ = anchor_objective(rows, present, SCALE, config, masks, BIAS)

    assert total.item() == pytest.approx(slow_objective(rows, present, masks, config), rel=1e-5)


def test_the_sigmoid_loss_of_two_places_by_hand():
    rows = {"drone": torch.eye(2), "satellite": torch.eye(2)}

    total, _ = anchor_objective(
        rows, {}, torch.tensor(3.0), ObjectiveConfig(loss="sigmoid"), bias=torch.tensor(-1.0)
    )

    # Each place: its own pair at 3 - 1, should be right; one other at 0 - 1, should be wrong.
    expected = -math.log(1 / (1 + math.exp(-2))) - math.log(1 / (1 + math.exp(-1)))
    assert total.item() == pytest.approx(expected)


def test_equal_embeddings_cost_the_logarithm_of_the_batch():
    rows = {m: torch.ones(5, 4) / 2 for m in MODALITIES}

    total, terms = anchor_objective(rows, everything(5), torch.tensor(20.0), PAPER)

    assert terms["image"].item() == pytest.approx(math.log(5))
    assert terms["drone-street"].item() == pytest.approx(math.log(5))
    assert total.item() == pytest.approx(2 * math.log(5))


def test_perfect_matches_at_a_high_scale_cost_nothing():
    rows = {m: torch.eye(4) for m in MODALITIES}

    total, _ = anchor_objective(rows, everything(4), torch.tensor(100.0), PAPER)

    assert total.item() == pytest.approx(0, abs=1e-6)


def test_the_order_of_places_does_not_matter():
    rows, present, masks = random_rows(6), everything(6), random_masks(6)
    present["street"][3] = False
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    config = ObjectiveConfig(text_soft_targets=0.5)

    total, _ = anchor_objective(rows, present, SCALE, config, masks)
    shuffled, _ = anchor_objective(
        {m: r[order] for m, r in rows.items()},
        {m: p[order] for m, p in present.items()},
        SCALE,
        config,
        FalseNegatives(*(mask[order][:, order] for mask in masks)),
    )

    assert shuffled.item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_missing_view_removes_its_own_terms_and_touches_no_other(share):
    config = ObjectiveConfig(text_soft_targets=share)
    rows = random_rows(5)
    present = everything(5)
    _, whole = anchor_objective(rows, present, SCALE, config)
    present["street"] = torch.tensor([True, True, False, True, True])
    rows["street"][2] = torch.nan  # what is missing is not read

    total, terms = anchor_objective(rows, present, SCALE, config)

    assert torch.isfinite(total)
    untouched = ["satellite-drone"] + ["text-drone", "text-satellite"] * (share == 0)
    for edge in untouched:
        assert torch.equal(terms[edge], whole[edge])
    kept = torch.tensor([0, 1, 3, 4])
    _, four = anchor_objective({m: r[kept] for m, r in rows.items()}, everything(4), SCALE, config)
    for edge in ("drone-street", "text-street"):
        assert terms[edge].item() == pytest.approx(four[edge].item())


def test_a_view_missing_everywhere_leaves_the_mean_over_the_other_edges():
    rows, present = random_rows(4), everything(4)
    present["street"][:] = False

    total, terms = anchor_objective(rows, present, SCALE, PAPER)

    assert "drone-street" not in terms
    assert terms["image"] == terms["satellite-drone"]
    assert total.item() == pytest.approx((terms["image"] + terms["text"]).item())
    text = (terms["text-drone"] + terms["text-satellite"]) / 2
    assert terms["text"].item() == pytest.approx(text.item())


def test_without_text_only_the_image_term_is_left():
    rows = {m: r for m, r in random_rows(4).items() if m != "text"}

    total, terms = anchor_objective(rows, {}, SCALE, PAPER)

    assert torch.equal(total, terms["image"])
    assert "text" not in terms


def test_edges_are_a_choice():
    config = ObjectiveConfig(anchors="none", image_edges=["D-S"])

    _, terms = anchor_objective(random_rows(4), everything(4), SCALE, config)

    assert set(terms) == {"drone-satellite", "image"}


def test_a_missing_row_gets_no_gradient():
    rows = {m: r.clone().requires_grad_() for m, r in random_rows(4).items()}
    present = everything(4)
    present["drone"][1] = False

    total, _ = anchor_objective(rows, present, SCALE, ObjectiveConfig(text_soft_targets=0.5))
    total.backward()

    assert not rows["drone"].grad[1].any()
    assert rows["drone"].grad[0].any()
    assert rows["street"].grad[1].any()


def test_masked_pairs_are_not_pushed_apart():
    rows = {m: r.clone().requires_grad_() for m, r in random_rows(2).items()}
    everyone = ~torch.eye(2, dtype=torch.bool)

    total, _ = anchor_objective(rows, {}, SCALE, PAPER, FalseNegatives(everyone, everyone))
    total.backward()

    assert total.item() == pytest.approx(0, abs=1e-6)
    assert all(held.grad.abs().max() < 1e-6 for held in rows.values())


def test_each_kind_of_edge_takes_its_own_mask():
    rows, nobody = random_rows(4), torch.zeros(4, 4, dtype=torch.bool)
    everyone = ~torch.eye(4, dtype=torch.bool)
    _, plain = anchor_objective(rows, {}, SCALE, PAPER)

    _, terms = anchor_objective(rows, {}, SCALE, PAPER, FalseNegatives(nobody, everyone))

    assert torch.equal(terms["image"], plain["image"])
    assert terms["text"].item() == pytest.approx(0, abs=1e-6)


def test_positives_share_the_target_evenly():
    # Two places of one ground: both right answers, so the best is to find each half of the time.
    near = torch.tensor([[False, True], [True, False]])
    masks = FalseNegatives(near, near)
    config = ObjectiveConfig(false_negatives="positive")
    same = {m: torch.ones(2, 4) / 2 for m in MODALITIES}
    apart = {m: torch.eye(2, 4) for m in MODALITIES}

    alike, _ = anchor_objective(same, {}, SCALE, config, masks)
    unlike, _ = anchor_objective(apart, {}, SCALE, config, masks)

    assert alike.item() == pytest.approx(2 * math.log(2))
    assert unlike > alike


def test_masks_and_smoothing_leave_the_gradient_finite():
    rows = {m: r.float().requires_grad_() for m, r in random_rows(5).items()}
    config = ObjectiveConfig(label_smoothing=0.2, text_soft_targets=0.3)

    total, _ = anchor_objective(rows, {}, torch.tensor(100.0), config, random_masks(5))
    total.backward()

    assert torch.isfinite(total)
    assert all(torch.isfinite(held.grad).all() for held in rows.values())


def pull_of_texts(rows, share, **settings):
    """How strongly each text is drawn to the picture of its own place."""
    text = rows["text"].clone().requires_grad_()
    config = ObjectiveConfig(anchors="text-only", text_soft_targets=share, **settings)
    total, _ = anchor_objective(rows | {"text": text}, {}, SCALE, config, bias=BIAS)
    total.backward()
    return -(text.grad * rows["drone"]).sum(dim=1)


@pytest.mark.parametrize("loss", ["info_nce", "sigmoid"])
def test_a_caption_that_its_views_contradict_is_not_forced_on_them(loss):
    # The captions of the first two places are exchanged, and the model knows it.
    views = torch.eye(4)
    rows = dict.fromkeys(VIEWS, views) | {"text": views[[1, 0, 2, 3]]}

    hard, soft = pull_of_texts(rows, 0.0, loss=loss), pull_of_texts(rows, 0.8, loss=loss)

    assert (hard[:2] > 0.1).all()
    assert (soft[:2] / hard[:2] < 0.3).all()
    torch.testing.assert_close(soft[2:] / hard[2:], torch.ones(2), atol=0.3, rtol=0)


def test_the_share_of_a_soft_target_weighs_the_gradient_of_its_text_down():
    # Half of what the first text says fits the second place.
    views = torch.eye(3)
    text = torch.tensor([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rows = dict.fromkeys(VIEWS, views) | {"text": text}
    there = (5 * text).softmax(dim=1).diagonal()
    back = (5 * text).softmax(dim=0).diagonal()
    found = (there * back).sqrt()
    weights = 1 - 0.7 * (1 - found / found.max())
    leaf = text.clone().requires_grad_()
    logits = 5 * leaf @ views.T
    own = torch.arange(3)
    each = [torch.nn.functional.cross_entropy(x, own, reduction="none") for x in (logits, logits.T)]
    ((each[0] + each[1]) * weights).mean().div(2).backward()

    config = ObjectiveConfig(anchors="text-only", text_soft_targets=0.7)
    rows["text"] = text.clone().requires_grad_()
    total, _ = anchor_objective(rows, {}, SCALE, config)
    total.backward()

    torch.testing.assert_close(rows["text"].grad, leaf.grad)


def test_an_untrained_model_doubts_no_text():
    rows = {m: torch.ones(4, 4) / 2 for m in MODALITIES}

    hard, _ = anchor_objective(rows, {}, SCALE, PAPER)
    soft, _ = anchor_objective(rows, {}, SCALE, ObjectiveConfig(text_soft_targets=1.0))

    assert torch.equal(soft, hard)


def test_a_batch_of_wholly_wrong_captions_stays_finite():
    views = torch.eye(3)
    rows = dict.fromkeys(VIEWS, views) | {"text": -views.clone().requires_grad_()}

    total, _ = anchor_objective(
        rows, {}, torch.tensor(100.0), ObjectiveConfig(text_soft_targets=0.9)
    )

    assert torch.isfinite(total)


def test_autocast_does_not_round_what_is_compared():
    rows = {m: r.float() for m, r in random_rows(6, dim=64).items()}
    expected, _ = anchor_objective(rows, {}, torch.tensor(100.0), PAPER)

    with torch.autocast("cpu", torch.bfloat16):
        total, _ = anchor_objective(rows, {}, torch.tensor(100.0), PAPER)

    assert torch.equal(total, expected)


def test_scale_and_bias_learn():
    scale, bias = SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_()

    total, _ = anchor_objective(
        random_rows(4), {}, scale, ObjectiveConfig(loss="sigmoid"), bias=bias
    )
    total.backward()

    assert scale.grad.abs() > 1e-3
    assert bias.grad.abs() > 1e-3


def test_the_scale_is_held_at_its_limit_and_can_leave_it():
    logit_scale = torch.nn.Parameter(torch.tensor(7.0))

    scale = PAPER.clamped_scale(logit_scale)
    scale.backward()

    assert scale.item() == pytest.approx(100)
    assert logit_scale.item() == pytest.approx(math.log(100))
    assert logit_scale.grad.item() == pytest.approx(100)
    assert math.exp(PAPER.initial_logit_scale) == pytest.approx(1 / 0.07)


def test_an_edge_is_taught_by_two_places_that_have_both_sides():
    present = {
        "drone": torch.tensor([True, True, False, True]),
        "satellite": torch.tensor([True, False, True, True]),  # two with the drone
        "street": torch.tensor([False, False, True, True]),  # two with the satellite, one drone
    }

    assert teaching_edges(present, PAPER) == (("street", "satellite"), ("satellite", "drone"))
    assert teaching_edges({"drone": present["drone"]}, PAPER) == ()


def test_a_batch_that_teaches_nothing_is_an_error():
    with pytest.raises(ModelError, match="no two places in the batch share"):
        anchor_objective(random_rows(1), everything(1), SCALE, PAPER)


def test_the_sigmoid_loss_without_its_bias_is_an_error():
    with pytest.raises(ModelError, match="learnable bias"):
        anchor_objective(random_rows(3), {}, SCALE, ObjectiveConfig(loss="sigmoid"))


# Settings


def test_the_paper_is_the_default():
    assert PAPER.edges() == IMAGE_EDGES + TEXT_EDGES
    assert ObjectiveConfig(anchors="none").edges() == IMAGE_EDGES
    assert ObjectiveConfig(anchors="text-only").edges() == TEXT_EDGES


@pytest.mark.parametrize(
    "written",
    [
        [["drone", "satellite"], ["street", "satellite"]],
        ["D-S", "P-S"],
        ["drone-satellite", ["p", "s"]],
    ],
)
def test_edges_are_written_as_words_or_letters(written):
    config = ObjectiveConfig(image_edges=written, text_views=["S"])

    assert config.edges() == (
        ("drone", "satellite"),
        ("street", "satellite"),
        ("text", "satellite"),
    )
    assert ObjectiveConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_edges": ["D-T"]}, "'T' is none of drone, street, satellite: name one"),
        ({"image_edges": ["drone-satelite"]}, "did you mean 'satellite'"),
        ({"image_edges": ["D"]}, "Field required"),
        ({"image_edges": ["D-D"]}, "two different views"),
        ({"image_edges": ["D-S", "S-D"]}, "each pair once"),
        ({"image_edges": ["DS"]}, "'DS' is none of drone"),
        ({"image_edges": "D-S"}, "valid tuple"),
        ({"image_edges": [3]}, "valid tuple"),
        ({"text_views": ["drone", "D"]}, "twice"),
        ({"image_edges": [], "anchors": "none"}, "no edge is left"),
        ({"text_views": [], "anchors": "text-only"}, "no edge is left"),
        ({"anchors": "some"}, "'none', 'text-only' or 'both'"),
        ({"label_smoothing": 1.0}, "less than 1"),
        ({"text_soft_targets": 1.1}, "less than or equal to 1"),
        ({"radius_m": -1}, "greater than or equal to 0"),
        ({"initial_temperature": 0.001}, "below 1 / max_scale"),
        (
            {"anchors": "none", "text_views": ["S"]},
            "text_views means nothing beside anchors 'none'",
        ),
        ({"text_views": [], "text_soft_targets": 0.1}, "beside an objective without text"),
        ({"anchors": "none", "same_text": False}, "same_text means nothing beside an objective"),
        ({"initial_bias": -5.0}, "initial_bias means nothing beside loss 'info_nce'"),
        ({"same_text": False, "false_negatives": "positive"}, "none are looked for: set radius_m"),
        ({"label_smothing": 0.1}, "did you mean 'label_smoothing'"),
    ],
)
def test_settings_that_make_no_objective_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ObjectiveConfig(**settings)


# False negatives


def positions(*pairs):
    lat, lon = zip(*pairs, strict=True)
    return torch.tensor(lat, dtype=torch.float64), torch.tensor(lon, dtype=torch.float64)


@pytest.mark.parametrize(
    "around",
    [(0.0, 0.0), (48.1, 11.6), (-33.0, 179.9999), (71.0, -180.0), (89.9995, 40.0), (-90.0, 0.0)],
)
def test_nearness_agrees_with_geodesics_everywhere(around):
    rng = np.random.default_rng(0)
    lat = np.clip(around[0] + rng.uniform(-1e-3, 1e-3, 40), -90, 90)
    width = min(180.0, 1e-3 / max(1e-9, math.cos(math.radians(around[0]))))
    lon = (around[1] + rng.uniform(-width, width, 40) + 180) % 360 - 180
    apart = distance_m(lat[:, None], lon[:, None], lat[None], lon[None])
    keys = torch.arange(40)

    for radius_m in (30.0, 90.0):
        image, text = false_negatives(
            torch.from_numpy(lat), torch.from_numpy(lon), keys, ObjectiveConfig(radius_m=radius_m)
        )

        # No pair is so close to the radius that a millimetre decides.
        assert np.abs(apart - radius_m).min() > 1e-3
        expected = torch.from_numpy(apart < radius_m).fill_diagonal_(False)
        assert torch.equal(image, expected)
        assert torch.equal(text, expected)
        assert 0 < expected.float().mean() < 1


def test_unknown_positions_are_near_to_none_and_texts_count_on_their_own_edges():
    lat, lon = positions((48, 11), (48, 11), (math.nan, math.nan), (math.nan, 11), (0, 0))
    keys = torch.tensor([0, 1, 2, 2, 0])

    image, text = false_negatives(lat, lon, keys, ObjectiveConfig(radius_m=10))

    assert image.nonzero().tolist() == [[0, 1], [1, 0]]
    assert text.nonzero().tolist() == [[0, 1], [0, 4], [1, 0], [2, 3], [3, 2], [4, 0]]


def test_both_kinds_of_false_negatives_can_be_switched_off():
    lat, lon = positions((48, 11), (48, 11))
    keys = torch.tensor([5, 5])

    image, text = false_negatives(lat, lon, keys, ObjectiveConfig())
    _, neither = false_negatives(lat, lon, keys, ObjectiveConfig(same_text=False))

    assert not image.any()
    assert text.tolist() == [[False, True], [True, False]]
    assert not neither.any()
