"""The GeoLoc pipeline: aligned, described, lawful multi-view places from one's own orthomosaics."""
