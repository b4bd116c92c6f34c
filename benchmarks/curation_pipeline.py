"""What each stage of a curation catches of planted bad inputs, and what it loses of the good ones.

    python benchmarks/curation_pipeline.py
    python benchmarks/curation_pipeline.py --towns boreal/0 --model ""

Towns of the simulated planet are curated as a user's own would be: an orthophoto, panoramas behind
a server that speaks Panoramax's API, a satellite orthophoto of another date, and a chat endpoint
(`tests/curation/planted_town.py`). Among good panoramas bad ones are planted, and bad ground in the
orthophoto; the table tells at which stage how many of each kind were left out, and the list after
it for which reasons. A copy of a panorama counts as caught where not both stay. The last line tells
of how many published places all pictures show what the planet has there.

The chat endpoint is no model: it answers with the planet's own description of the ground the drone
picture shows. What the check of descriptions catches is thus what `--model` sees: that a panorama
does not fit the words for the ground it is put on. The same model compares panoramas with the
ground (`clean.ground`). `--model ""` leaves both checks out.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

# The planting and the servers are those of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "curation"))
from planted_town import Fate, curate_town, report

# Of regions that no shipped model was trained on.
TOWNS = "savanna/0,savanna/1,boreal/0,boreal/1,edo/0,edo/1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--towns", default=TOWNS)
    parser.add_argument("--each", type=int, default=1, help="of each kind in each town")
    parser.add_argument("--model", default="mini", help="judges descriptions and panoramas")
    options = parser.parse_args()
    fates: list[Fate] = []
    published, wrong = 0, Counter[str]()
    for name in options.towns.split(","):
        with tempfile.TemporaryDirectory() as folder:
            town = curate_town(name, Path(folder), each=options.each, model=options.model)
            fates += town.fates().values()
            published += len(town.published())
            wrong.update(town.planted[key].kind for key in town.shows_elsewhere())
    report(fates, f"{options.towns}: share left out by each stage")
    told = ", ".join(f"{count} {kind}" for kind, count in wrong.most_common())
    print(f"{published - wrong.total()} of {published} published places are one place")
    if told:
        print(f"not one place: {told}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
