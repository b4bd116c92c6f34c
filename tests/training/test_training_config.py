"""Configurations: what they extend, what --set changes, and sentences about what is wrong."""

import pytest
import yaml
from training_stage import tiny_run, tiny_settings

from geobridge.errors import TrainingError
from geobridge.training.config import (
    PRESET_FOLDER,
    TrainConfig,
    merge_settings,
    parse_train_config,
    preset_names,
    read_train_config,
    to_yaml,
)

SHORT = "model: {preset: mini}\ndata: {train: [{places: here}]}\nfit: {steps: 5}\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# Reading and writing.


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_read_and_written_again(name, tmp_path):
    config = read_train_config(name)

    again = read_train_config(write(tmp_path / "again.yaml", to_yaml(config)))

    assert again == config
    assert config.extends is None


def test_a_baseline_is_one_line_beside_the_base():
    base, baseline = read_train_config("base"), read_train_config("satellite-centric")

    assert baseline.objective.image_edges == (("drone", "satellite"), ("street", "satellite"))
    assert baseline.objective.radius_m == base.objective.radius_m == 40
    assert baseline.model_dump(exclude={"objective"}) == base.model_dump(exclude={"objective"})


def test_a_file_is_found_before_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_train_config("mini").fit.steps is None

    write(tmp_path / "mini", SHORT)

    assert read_train_config("mini").fit.steps == 5


def test_tables_are_merged_and_lists_and_words_replaced():
    under = {"a": {"b": 1, "c": [1, 2]}, "d": "word", "e": {"f": 1}}

    merged = merge_settings(under, {"a": {"c": [3]}, "d": {"g": 1}, "e": None})

    assert merged == {"a": {"b": 1, "c": [3]}, "d": {"g": 1}, "e": None}
    assert under == {"a": {"b": 1, "c": [1, 2]}, "d": "word", "e": {"f": 1}}


def test_minutes_are_taken_back_where_a_file_counts_steps(tmp_path):
    path = write(tmp_path / "short.yaml", "extends: mini\nfit: {minutes: null, steps: 7}\n")

    config = read_train_config(path)

    assert (config.fit.minutes, config.fit.steps) == (None, 7)
    assert config.fit.precision == "bf16-mixed"  # mini's
    # What is written says so too, and extends nothing any more.
    again = read_train_config(write(tmp_path / "again.yaml", to_yaml(config)))
    assert again == config


def test_a_null_inside_free_settings_is_kept_when_written(tmp_path):
    changes = {"model": {"settings": {"text": None}}}
    config = tiny_run("here", **changes)
    assert config.model.settings["text"] is None

    assert read_train_config(write(tmp_path / "a.yaml", to_yaml(config))) == config


def test_extended_files_lie_beside_the_file_that_extends_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "parts/data.yaml", SHORT + "seed: 1\noptimizer: {clip_norm: 2}\n")
    write(tmp_path / "parts/slow.yaml", "extends: data.yaml\noptimizer: {warmup_steps: 9}\n")
    write(tmp_path / "run.yaml", "extends: parts/slow.yaml\nseed: 2\n")

    config = read_train_config("run.yaml")

    assert config.seed == 2
    assert (config.optimizer.clip_norm, config.optimizer.warmup_steps) == (2, 9)
    assert str(config.data.train[0].places) == "here"  # relative to where the command runs


# Files that cannot be read.


def test_a_circle_is_named(tmp_path):
    write(tmp_path / "a.yaml", "extends: deep/b.yaml\n")
    write(tmp_path / "deep/b.yaml", "extends: ../deep/c.yaml\n")
    write(tmp_path / "deep/c.yaml", "extends: ../deep/b.yaml\n")

    with pytest.raises(TrainingError, match=r"in a circle \(b.yaml -> c.yaml -> b.yaml\): cut it"):
        read_train_config(tmp_path / "a.yaml")


def test_what_is_not_there_is_named_with_what_there_is(tmp_path):
    with pytest.raises(
        TrainingError, match=r"^the training configuration 'nini' is not there: .* base, .* mini"
    ):
        read_train_config("nini")

    path = write(tmp_path / "a.yaml", "extends: b.yaml\n")
    with pytest.raises(TrainingError, match=r"that .*a\.yaml extends, 'b\.yaml' is not there"):
        read_train_config(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fit: {steps: 5\nmodel: [", r"cannot be read as YAML \(.*line \d\): correct it"),
        ("just words", "is no training configuration: write `key: value` lines"),
        ("", "is no training configuration: write `key: value` lines"),
        (SHORT + "fit: {steps: 6}\n", r"the key 'fit' comes twice in one table, line 1\)"),
        ("fit: !!python/object:os.system {}\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_table_of_settings_is_refused(text, sentence, tmp_path):
    with pytest.raises(TrainingError, match=sentence):
        read_train_config(write(tmp_path / "a.yaml", text))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"seed: \xff\xfe\n")

    with pytest.raises(TrainingError, match=r"a\.yaml cannot be read as YAML"):
        read_train_config(tmp_path / "a.yaml")


# --set.


@pytest.mark.parametrize(
    ("change", "value_of", "expected"),
    [
        ("seed=7", lambda c: c.seed, 7),
        ("optimizer.learning_rate=1e-4", lambda c: c.optimizer.learning_rate, 1e-4),
        ("data.train.0.per_batch=2", lambda c: c.data.train[0].per_batch, 2),
        ("data.train.0.looks={sensor: 0}", lambda c: c.data.train[0].looks.sensor, 0),
        ("data.train.0.looks.sensor=0", lambda c: c.data.train[0].looks.sensor, 0),
        ("data.validation=[]", lambda c: c.data.validation, []),
        ("objective.image_edges=[D-S]", lambda c: len(c.objective.image_edges), 1),
        ("objective.anchors=none", lambda c: c.objective.anchors, "none"),
        ("model.settings.image.pooling=spatial", lambda c: c.model.settings["image"]["pooling"],
         "spatial"),
        ("model.settings={text: null}", lambda c: c.model.settings, {"text": None}),
        ("model.name=a=b", lambda c: c.model.name, "a=b"),
    ],
)  # fmt: skip
def test_a_value_is_set(change, value_of, expected, tmp_path):
    path = write(tmp_path / "a.yaml", yaml.safe_dump(tiny_settings("here")))

    assert value_of(read_train_config(path, [change])) == expected


def test_later_changes_see_earlier_ones_and_the_file_stays(tmp_path):
    path = write(tmp_path / "a.yaml", SHORT)

    config = read_train_config(path, ["fit.steps=null", "fit.minutes=2", "fit.minutes=3"])

    assert (config.fit.steps, config.fit.minutes) == (None, 3)
    assert path.read_text(encoding="utf-8") == SHORT


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("seed", "--set 'seed' is no change: write key=value, as in seed=1"),
        ("=3", "--set '=3' is no change"),
        ("seed.of=3", "--set 'seed.of=3' leads nowhere"),
        (
            "data.train.1.per_batch=3",
            r"leads nowhere: .* \(parts of lists by their number, from 0\)",
        ),
        ("data.train.first.per_batch=3", "leads nowhere"),
        ("data.train.first=3", "leads nowhere"),
        ("seed=[1", "leads nowhere"),
        ("fit.stepps=3", "at 'fit': FitSettings has no key 'stepps': did you mean 'steps'"),
        ("extends=base", "`extends` is read in files alone: name 'base' itself"),
    ],
)
def test_a_change_that_is_none_is_refused(change, sentence, tmp_path):
    path = write(tmp_path / "a.yaml", SHORT + "seed: 1\n")

    with pytest.raises(TrainingError, match=sentence):
        read_train_config(path, [change])


# Values that do not fit.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objectiv": {}}, r"^the stage is no training configuration: TrainConfig has no key "
         r"'objectiv': did you mean 'objective'; correct it\.$"),
        ({"optimizer": {"leraning_rate": 1}}, "at 'optimizer': .* did you mean 'learning_rate'"),
        ({"data": {"train": [{"places": "a", "perbatch": 3}]}},
         "at 'data.train.0': SourceSettings has no key 'perbatch': did you mean 'per_batch'"),
        ({"data": {"train": [{"places": "a", "looks": {"sensr": 1}}]}},
         r"at 'data.train.0.looks': LooksConfig has no key 'sensr': did you mean 'sensor'"),
        ({"data": {"train": []}}, "at 'data.train': List should have at least 1 item"),
        ({"data": {"train": [{}]}}, "exactly one of places, table, world, maps"),
        ({"data": {"train": [{"places": "a", "table": "b"}]}}, "exactly one of places"),
        ({"data": {"train": [{"maps": []}]}}, "at 'data.train.0.maps': List should have at least"),
        ({"data": {"train": [{"world": {}, "split": "train"}]}},
         "'split' means nothing beside 'world': leave it out"),
        ({"data": {"train": [{"world": {}, "pixels": 64}]}}, "'pixels' means nothing"),
        ({"data": {"train": [{"places": "a", "footprint_m": 50}]}},
         "'footprint_m' means nothing beside 'places': leave it out"),
        ({"data": {"train": [{"maps": ["a.tif"], "look": "ground"}]}}, "'look' means nothing"),
        ({"data": {"train": [{"places": "a", "looks": {"season": 1}}]}},
         "looks.season means nothing beside look 'aligned': leave it out"),
        ({"data": {"train": [{"table": "a", "look": "ground", "looks": {"shifted": 0}}]}},
         "looks.shifted means nothing beside look 'ground': leave it out"),
        ({"data": {"train": [{"maps": ["a.tif"], "looks": {"side": [0.5, 0.6]}}]}},
         "looks.side means nothing beside 'maps': leave it out"),
        ({"data": {"train": [{"places": "a", "modalities": ["satelite"]}]}},
         "at 'data.train.0.modalities': 'satelite' is none of .*: did you mean 'satellite'"),
        ({"data": {"train": [{"places": "a", "modalities": ["air"]}]}},
         "'air' is none of drone, street, satellite, text: name one of them"),
        ({"data": {"train": [{"places": "a", "modalities": []}]}}, "at least 1 item"),
        ({"data": {"train": [{"places": "a", "modality": ["drone"]}]}},
         "has no key 'modality': did you mean 'modalities'"),
        ({"data": {"train": [{"maps": ["a.tif"], "modalities": ["drone"]}]}},
         "'modalities' means nothing beside 'maps': leave it out"),
        ({"data": {"validation": [{"world": {}}]}}, "at 'data': .* `geobridge world build`"),
        ({"model": {"init": "mini"}}, "either from a `preset` or from `init`: name one"),
        ({"model": {"preset": None}}, "either from a `preset` or from `init`: name one"),
        ({"model": {"vocabulary": 258}}, "at 'model.vocabulary'"),
        ({"fit": {"minutes": 3}}, "either `steps` or `minutes`: name one"),
        ({"fit": {"steps": None}}, "either `steps` or `minutes`: name one"),
        ({"fit": {"steps": 0}}, "at 'fit.steps'"),
        ({"fit": {"ema": 1.0}}, "at 'fit.ema'"),
        ({"fit": {"precision": "bf16"}}, "at 'fit.precision': Input should be '32-true' or"),
        ({"fit": {"accelerator": "cuda:0"}}, "at 'fit.accelerator': Input should be 'auto'"),
        ({"seed": -1}, "at 'seed'"),
        ({"seed": 2**32}, "at 'seed'"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "at 'optimizer.betas.1'"),
        ({"optimizer": {"learning_rate": float("nan")}}, "at 'optimizer.learning_rate'"),
        ({"objective": {"anchors": "some"}}, "at 'objective.anchors'"),
        ({"data": {"train": [{"places": "a", "split": "test"}]}},
         "at 'data': the split 'test' is never trained on, nor does it choose .* another split"),
        ({"data": {"validation": [{"table": "a.csv", "split": "test"}]}}, "the split 'test' is n"),
        ({"fit": {"ema": 0.9, "standardize": True}},
         "at 'fit': standardize folds statistics .* averaged ones of ema: leave one out"),
        ({"objective": {"anchors": "none", "text_soft_targets": 0.1}},
         "at 'objective': text_soft_targets means nothing beside an objective without text: l"),
        ({"objective": {"anchors": "text-only", "image_edges": ["D-S"]}},
         "at 'objective': image_edges means nothing beside anchors 'text-only': leave one out"),
        ({"fit": {"strategy": "fsdp"}},
         "at 'fit': fsdp divides the model between processes, and there is one: raise devices"),
        ({"parameters": {"train": "heads", "layer_decay": 0.8}},
         "at 'parameters': layer_decay and gradient_checkpointing are for blocks, and train 'he"),
        ({"parameters": {"train": "adapters", "gradient_checkpointing": True}},
         "are for blocks, and train 'adapters' leaves them all as they are: set them to 1 and f"),
        ({"model": {"preset": None, "init": "mini"}, "objective": {"initial_temperature": 0.1}},
         "objective.initial_temperature is of drawn weights"),
        ({"model": {"preset": None, "init": "mini"}, "fit": {"standardize": True}},
         "fit.standardize is for drawn weights"),
        ({"data": {"train": [{"world": {}}]}, "negatives": {"kind": "mined"}},
         "negatives.kind 'mined' means nothing for a planet that is drawn while training"),
        ({"data": {"validation": [{"places": "b", "per_batch": 8}]}},
         "at 'data': per_batch means nothing for the validation set b: leave it out"),
        ({"data": {"validation": [{"table": "b.csv", "looks": {"sensor": 0.5}}]}},
         "at 'data': looks means nothing for the validation set b.csv: leave it out"),
        ({"negatives": {"kind": "neighbours", "refresh_epochs": 2}},
         "at 'negatives': refresh_epochs means nothing beside kind 'neighbours', which mines no"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(changes, sentence):
    with pytest.raises(TrainingError, match=sentence):
        tiny_run("here", **changes)


def test_modalities_have_letters_too():
    data = {"train": [{"places": "a", "modalities": ["drone", "S", "t"]}]}

    assert tiny_run("here", data=data).data.train[0].modalities == ["drone", "satellite", "text"]


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ({"places": "a"}, {"places": "a"}),
        ({"places": "a", "split": "train"}, {"places": "b/../a"}),
        ({"places": "a"}, {"places": "a", "split": "val"}),
        (
            {"table": "a.csv", "split": "val"},
            {"table": "a.csv", "split": "val", "modalities": ["drone"]},
        ),
    ],
)
def test_places_do_not_validate_what_they_teach(train, validation):
    data = {"train": [{"places": "other"}, train], "validation": [validation]}

    with pytest.raises(TrainingError, match=r"at 'data': .*a(\.csv)? teaches and validates with"):
        tiny_run("here", data=data)


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ({"places": "a", "split": "train"}, {"places": "a", "split": "val"}),
        ({"places": "a"}, {"places": "b"}),
        ({"places": "a"}, {"table": "a"}),
    ],
)
def test_other_splits_or_folders_validate(train, validation):
    config = tiny_run("here", data={"train": [train], "validation": [validation]})

    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"anchors": "text-only"}},
        {"objective": {"anchors": "none", "image_edges": ["D-S"]}},
        {"negatives": {"kind": "mined", "refresh_epochs": 3}},
    ],
)
def test_a_resolved_configuration_names_what_means_nothing(changes):
    config = tiny_run("here", **changes)

    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("data", [None, [], "words", 3])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(TrainingError, match=r"^the file is no training configuration"):
        parse_train_config(data, "the file")


def test_what_a_source_says_by_default_may_be_said():
    sources = [{"world": {"seed": 4}}, {"maps": ["a.tif"], "pixels": 90}]

    config = tiny_run("here", data={"train": sources, "validation": []})

    assert [source.kind for source in config.data.train] == ["world", "maps"]
    # A resolved configuration spells all of it out, and is read again.
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_presets_of_the_package_are_its_yaml_files():
    assert {path.stem for path in PRESET_FOLDER.iterdir()} == set(preset_names())
