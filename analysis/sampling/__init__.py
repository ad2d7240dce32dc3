"""What many answers to one question buy: attempts, verifiers, votes, and which items to label."""
