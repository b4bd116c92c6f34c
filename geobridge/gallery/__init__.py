"""Galleries: reference pictures and texts, embedded once, with the ground each of them covers.

`sources` turns maps, tile folders, tables, photos and places into references; `build` embeds
them into a folder that survives being killed at any moment; `store` opens such a folder;
`search` finds the nearest references of a query exactly.

A gallery is a folder:

    gallery.json          the model it was built by, its sources, its counts (`manifest`)
    references.lance/     one row a reference, vector included (`store.SCHEMA_FIELDS`)
    references.parquet    the same rows without vectors, as GeoParquet, for QGIS and the like
    skipped.csv           what was skipped or unreadable, each with its reason (`ledger`)
"""
