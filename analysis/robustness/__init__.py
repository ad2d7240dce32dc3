"""What a score rests on: groups of items, shifted data, prompts, the order of options, the length of the input."""
