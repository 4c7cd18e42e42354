"""Model folders on the Hugging Face Hub: pushed there, and fetched from it."""
