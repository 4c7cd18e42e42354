"""Batch jobs: many images in one request, analysed in the background, with results that are kept for a while."""
