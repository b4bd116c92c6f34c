import math

import pytest
import torch

from geobridge.errors import ModelError
from geobridge.model.objective import ALL_EDGES, IMAGE_EDGES, anchor_objective, info_nce

MODALITIES = ("drone", "street", "satellite", "text")


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


def slow_edge(a, b, scale, rows, ignore, smoothing):
    """Symmetric InfoNCE of one edge, pair by pair, straight from its definition."""
    total = 0.0
    for first, second in ((a, b), (b, a)):
        for i in rows:
            weights, logits = 0.0, {}
            for j in rows:
                skip = i != j and (ignore[i][j] if first is a else ignore[j][i])
                if not skip:
                    logits[j] = scale * sum(x * y for x, y in zip(first[i], second[j], strict=True))
                    weights += math.exp(logits[j])
            for j, logit in logits.items():
                target = (1 - smoothing) * (i == j) + smoothing / len(logits)
                total -= target * (logit - math.log(weights)) / len(rows) / 2
    return total


def slow_objective(rows, present, scale, ignore, smoothing):
    groups = {"image": [], "text": []}
    for a, b in ALL_EDGES:
        both = [i for i in range(len(ignore)) if present[a][i] and present[b][i]]
        if len(both) >= 2:
            loss = slow_edge(rows[a].tolist(), rows[b].tolist(), scale, both, ignore, smoothing)
            groups["text" if "text" in (a, b) else "image"].append(loss)
    return sum(sum(group) / len(group) for group in groups.values() if group)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_equals_the_definition_written_out_as_loops(count, smoothing, missing):
    generator = torch.Generator().manual_seed(count)
    rows = random_rows(count, seed=count)
    present = {m: torch.rand(count, generator=generator) >= missing for m in MODALITIES}
    for modality in MODALITIES:
        present[modality][:2] = True
    ignore = torch.rand(count, count, generator=generator) < 0.3

    total, _ = anchor_objective(
        rows, present, torch.tensor(5.0), ignore=ignore, label_smoothing=smoothing
    )

    expected = slow_objective(rows, present, 5.0, ignore.tolist(), smoothing)
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_equal_embeddings_cost_the_logarithm_of_the_batch():
    rows = {m: torch.ones(5, 4) / 2 for m in MODALITIES}

    total, terms = anchor_objective(rows, everything(5), torch.tensor(20.0))

    assert terms["image"].item() == pytest.approx(math.log(5))
    assert terms["drone-street"].item() == pytest.approx(math.log(5))
    assert total.item() == pytest.approx(2 * math.log(5))


def test_perfect_matches_at_a_high_scale_cost_nothing():
    rows = {m: torch.eye(4) for m in MODALITIES}

    total, _ = anchor_objective(rows, everything(4), torch.tensor(100.0))

    assert total.item() == pytest.approx(0, abs=1e-6)


def test_the_order_of_places_does_not_matter():
    rows, present = random_rows(6), everything(6)
    present["street"][3] = False
    ignore = torch.zeros(6, 6, dtype=torch.bool)
    ignore[0, 1] = ignore[1, 0] = True
    order = torch.tensor([4, 2, 0, 5, 3, 1])

    total, _ = anchor_objective(rows, present, torch.tensor(5.0), ignore=ignore)
    shuffled, _ = anchor_objective(
        {m: r[order] for m, r in rows.items()},
        {m: p[order] for m, p in present.items()},
        torch.tensor(5.0),
        ignore=ignore[order][:, order],
    )

    assert shuffled.item() == pytest.approx(total.item(), rel=1e-6)


def test_a_missing_view_removes_its_own_terms_and_touches_no_other():
    rows, scale = random_rows(5), torch.tensor(5.0)
    present = everything(5)
    _, whole = anchor_objective(rows, present, scale)
    present["street"] = torch.tensor([True, True, False, True, True])
    rows["street"][2] = torch.nan  # what is missing is not read

    total, terms = anchor_objective(rows, present, scale)

    assert torch.isfinite(total)
    for edge in ("satellite-drone", "text-drone", "text-satellite"):
        assert torch.equal(terms[edge], whole[edge])
    kept = torch.tensor([0, 1, 3, 4])
    _, four = anchor_objective({m: r[kept] for m, r in rows.items()}, everything(4), scale)
    assert terms["drone-street"].item() == pytest.approx(four["drone-street"].item())


def test_a_view_missing_everywhere_leaves_the_mean_over_the_other_edges():
    rows, present = random_rows(4), everything(4)
    present["street"][:] = False

    total, terms = anchor_objective(rows, present, torch.tensor(5.0))

    assert "drone-street" not in terms
    assert terms["image"] == terms["satellite-drone"]
    assert total.item() == pytest.approx((terms["image"] + terms["text"]).item())
    text = (terms["text-drone"] + terms["text-satellite"]) / 2
    assert terms["text"].item() == pytest.approx(text.item())


def test_without_text_only_the_image_term_is_left():
    rows = {m: r for m, r in random_rows(4).items() if m != "text"}

    total, terms = anchor_objective(rows, {}, torch.tensor(5.0))

    assert torch.equal(total, terms["image"])
    assert "text" not in terms


def test_edges_are_a_choice():
    _, terms = anchor_objective(
        random_rows(4), everything(4), torch.tensor(5.0), edges=[("drone", "satellite")]
    )

    assert set(terms) == {"drone-satellite", "image"}


def test_a_missing_row_gets_no_gradient():
    rows = {m: r.clone().requires_grad_() for m, r in random_rows(4).items()}
    present = everything(4)
    present["drone"][1] = False

    total, _ = anchor_objective(rows, present, torch.tensor(5.0))
    total.backward()

    assert not rows["drone"].grad[1].any()
    assert rows["drone"].grad[0].any()
    assert rows["street"].grad[1].any()


def test_ignored_pairs_are_not_pushed_apart():
    rows = {m: r.clone().requires_grad_() for m, r in random_rows(2).items()}

    total, _ = anchor_objective(
        rows, {}, torch.tensor(5.0), edges=IMAGE_EDGES, ignore=torch.ones(2, 2, dtype=torch.bool)
    )
    total.backward()

    assert total.item() == pytest.approx(0)
    assert all(rows[m].grad.abs().max() < 1e-9 for m in ("drone", "street", "satellite"))


def test_smoothing_with_ignored_pairs_stays_finite():
    logits = torch.randn(3, 3, requires_grad=True)
    ignore = torch.tensor([[False, True, False]] * 3)

    loss = info_nce(logits, ignore, label_smoothing=0.2)
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_a_batch_that_teaches_nothing_is_an_error():
    with pytest.raises(ModelError, match="no two places in the batch share"):
        anchor_objective(random_rows(1), everything(1), torch.tensor(5.0))
