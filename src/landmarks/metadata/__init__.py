"""What is written about a photo and read from it: entries, XMP packets, ExifTool, the camera's position, edits."""
