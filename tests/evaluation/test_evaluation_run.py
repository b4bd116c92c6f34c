import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geobridge import Direction, GeoBridge
from geobridge.errors import EvaluationError, ModelError
from geobridge.evaluation import run
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.run import Evaluation, evaluate, query_table
from geobridge.evaluation.tasks import Items, Loaded, Relevance, Task
from geobridge.model.config import Settings

SIDE = 6
D2S = Direction.parse("D2S")


class Options(Settings):
    """Options of the benchmark of these tests."""

    street: bool = False


def read(root: Path, options: Options) -> Loaded:
    """Pictures of a folder, each to be found again, and one with nothing to be found."""
    paths = sorted(root.glob("*.png"))
    names = [path.name for path in paths]
    lat = 48.0 + 1e-3 * np.arange(len(paths))
    lon = np.full(len(paths), 11.0)
    sets = {
        "drone": Items("drone", names, paths, names, lat, lon, regions=["a"] * len(paths)),
        "satellite": Items("satellite", names[:-1], paths[:-1], names[:-1], lat[:-1], lon[:-1]),
        "text": Items("text", ["one"], ["a river"]),
    }
    right = Relevance.same(names, names[:-1])
    tasks = [
        Task("D2S", Direction.parse("D2S"), "drone", "satellite", right),
        Task("T2S", Direction.parse("T2S"), "text", "satellite", Relevance.of([[0]])),
    ]
    if options.street:
        tasks.append(Task("D2P", Direction.parse("D2P"), "drone", "text", right))
    return Loaded(sets, tuple(tasks), ("One picture has no satellite.",))


BENCHMARK = Benchmark(
    name="squares",
    title="Squares",
    layout="*.png",
    source="the tests",
    read=read,
    splits=lambda root: read(root, Options()).sets,
    options=Options,
)


@pytest.fixture(scope="module")
def model(one_eyed_checkpoint):
    return GeoBridge.load(one_eyed_checkpoint)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    for index in range(SIDE):
        noise = np.random.default_rng(index).integers(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((32, 32), 0).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def measured(model, root, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return out, evaluate(model, BENCHMARK, root, out)


def test_pictures_that_equal_themselves_are_found_and_the_lonely_one_counts_as_lost(measured):
    _, found = measured
    score = found.scores[0]

    assert (score.task, score.queries, score.without_positive, score.gallery) == ("D2S", 6, 1, 5)
    assert score.values["R@1"].value == pytest.approx(5 / 6)
    assert found.remarks == ("One picture has no satellite.",)
    assert found.options == {"street": False}


def test_what_is_left_behind_reads_as_what_was_found(measured, model):
    out, found = measured

    assert Evaluation.read(out) == Evaluation.read(out)
    again = Evaluation.read(out)
    assert (again.model, again.fingerprint) == (model.name, model.fingerprint)
    assert [score.task for score in again.scores] == ["D2S", "T2S"]
    assert again.scores[0].values["R@1"] == found.scores[0].values["R@1"]


def test_every_query_has_a_row_with_its_first_references(measured):
    out, _ = measured
    table = pd.read_parquet(query_table(out, "D2S"))

    assert table["query"].tolist() == [f"{index}.png" for index in range(SIDE)]
    assert table["top1"].tolist()[:5] == table["query"].tolist()[:5]
    assert table["positive"].tolist()[:5] == [f"{index}.png" for index in range(5)]
    assert table["positive"].isna().tolist() == [False] * 5 + [True]
    assert table["rank"].tolist()[:5] == [1.0] * 5
    assert np.isnan(table["rank"].iloc[5])
    assert Path(table["query_file"].iloc[0]).name == "0.png"
    assert table["similarity1"].iloc[0] == pytest.approx(1, abs=1e-5)
    assert table["region"].tolist() == ["a"] * SIDE


def test_scoring_again_embeds_nothing(measured, model, root, monkeypatch):
    out, found = measured
    monkeypatch.setattr(GeoBridge, "embed", lambda *_args, **_kwargs: pytest.fail("again"))

    assert evaluate(model, BENCHMARK, root, out).scores[0].values == found.scores[0].values


def test_options_that_change_no_picture_embed_nothing_again(model, root, tmp_path, monkeypatch):
    evaluate(model, BENCHMARK, root, tmp_path)
    (tmp_path / "evaluation.json").unlink()
    monkeypatch.setattr(GeoBridge, "embed", lambda *_args, **_kwargs: pytest.fail("again"))

    found = evaluate(model, BENCHMARK, root, tmp_path, options={"street": True}, directions=[D2S])

    assert found.options == {"street": True}


def test_an_evaluation_that_is_not_finished_hides_the_one_before(
    model, root, tmp_path, monkeypatch
):
    evaluate(model, BENCHMARK, root, tmp_path)

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_queries", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, BENCHMARK, root, tmp_path)

    with pytest.raises(EvaluationError, match="cannot be read"):
        Evaluation.read(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(model, root, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(EvaluationError, match=r"file.* cannot be written .*--out"):
        evaluate(model, BENCHMARK, root, tmp_path / "file")


def test_one_direction_may_be_asked_for(model, root, tmp_path):
    found = evaluate(model, BENCHMARK, root, tmp_path, directions=[Direction.parse("T2S")])

    assert [score.task for score in found.scores] == ["T2S"]
    assert not (tmp_path / "embeddings" / "drone.npy").exists()


def test_a_second_run_leaves_no_tables_of_the_first(model, root, tmp_path):
    evaluate(model, BENCHMARK, root, tmp_path)

    evaluate(model, BENCHMARK, root, tmp_path, directions=[Direction.parse("T2S")])

    assert [path.name for path in (tmp_path / "queries").iterdir()] == ["T2S.parquet"]


def test_a_folder_is_for_one_model_whatever_it_has_embedded(model, root, tmp_path):
    from geobridge.model.config import parse_config

    evaluate(model, BENCHMARK, root, tmp_path, directions=[Direction.parse("D2S")])
    plain = model.config.model_dump(mode="json")
    other = GeoBridge.from_config(
        parse_config(plain, "the test"), seed=9, tokenizer=model.tokenizer
    )

    with pytest.raises(EvaluationError, match="embeddings of another model"):
        evaluate(other, BENCHMARK, root, tmp_path, directions=[Direction.parse("T2S")])


def test_a_report_of_other_options_is_not_written_over(model, root, tmp_path):
    evaluate(model, BENCHMARK, root, tmp_path)
    before = (tmp_path / "evaluation.json").read_bytes()

    with pytest.raises(EvaluationError, match=r"holds the report of squares \(street=False"):
        evaluate(model, BENCHMARK, root, tmp_path, options={"street": True})
    assert (tmp_path / "evaluation.json").read_bytes() == before


def test_a_direction_that_the_data_lacks_is_refused(model, root, tmp_path):
    with pytest.raises(EvaluationError, match="nothing to measure P2S on here: choose of D2S, T2S"):
        evaluate(model, BENCHMARK, root, tmp_path, directions=[Direction.parse("P2S")])


def test_a_model_without_text_leaves_text_out_and_refuses_it_when_asked(root, tmp_path, one_eyed):
    from geobridge.model.config import parse_config

    plain = one_eyed.config.model_dump(mode="json") | {"text": None}
    blind = GeoBridge.from_config(parse_config(plain, "the test"), seed=1)

    found = evaluate(blind, BENCHMARK, root, tmp_path)

    assert [score.task for score in found.scores] == ["D2S"]
    assert found.remarks[-1] == "T2S left out: the model has no text encoder."
    with pytest.raises(ModelError, match="no text encoder"):
        evaluate(blind, BENCHMARK, root, tmp_path, directions=[Direction.parse("T2S")])


def test_an_unknown_option_is_refused_with_a_suggestion(model, root, tmp_path):
    with pytest.raises(EvaluationError, match="street"):
        evaluate(model, BENCHMARK, root, tmp_path, options={"stret": True})


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(EvaluationError, match=r"evaluation\.json cannot be read"):
        Evaluation.read(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps({"model": "mini"}))
    with pytest.raises(EvaluationError, match="is no evaluation"):
        Evaluation.read(tmp_path)


def test_an_evaluation_without_its_words_is_none(measured, tmp_path):
    plain = json.loads((measured[0] / "evaluation.json").read_text())
    (tmp_path / "evaluation.json").write_text(json.dumps(plain | {"model": None}))

    with pytest.raises(EvaluationError, match=r"is no evaluation .its model is None"):
        Evaluation.read(tmp_path)
