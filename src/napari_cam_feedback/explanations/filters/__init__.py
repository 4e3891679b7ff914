"""The filters of a layer: their features, ranking, survey, gallery, and changes."""
