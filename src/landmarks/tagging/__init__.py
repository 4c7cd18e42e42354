"""From photos to tags: the tagger, the pipeline, worker processes, writers, heat maps."""
