"""Tagging on a cluster: reads files, object storage or Parquet, writes Parquet (extra: cluster)."""
