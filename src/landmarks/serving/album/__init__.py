"""A library of photos in the browser: `landmarks open`."""
