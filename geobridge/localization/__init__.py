"""From a query and a gallery to an estimate: where on the earth, how sure, and why.

    query.py        what is to be located, and its embeddings (one row per tried heading)
    position.py     hypotheses on the ground to one position: weights, agreement, spread
    calibration.py  temperature, radius and confidence fitted on held-out queries
    simulated.py    photos made from a map, to calibrate a model on its own map
    estimate.py     the answer, as an object, JSON and GeoJSON
    drawing.py      the answer on a map, as a picture or a page

Nothing here knows how references are stored or searched; `geobridge.api` joins the two.
"""
