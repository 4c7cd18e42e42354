"""What the user says of tags: verdicts on many photos at once, in steps that can be undone."""
