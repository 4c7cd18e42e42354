"""What runs behind the page of a library: looking for photos, tagging them, comparing them."""
