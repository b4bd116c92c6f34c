"""From places to a checkpoint: batches, the fit, and adaptation to one's own map."""
