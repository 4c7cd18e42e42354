"""Reads and writes the metadata of photos: entries, XMP packets, ExifTool, GPS positions, edits."""
