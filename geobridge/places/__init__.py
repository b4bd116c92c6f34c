"""The Place table: aligned pictures and text of locations, read, written and checked.

`table` writes and reads a folder with `places.parquet` (GeoParquet) and its images, and reads a
folder laid out as the paper's release (`release`).
"""
