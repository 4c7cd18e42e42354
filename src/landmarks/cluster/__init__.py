"""Tagging on a cluster: many photos in files, object storage or Parquet; Parquet out (extra: cluster)."""
