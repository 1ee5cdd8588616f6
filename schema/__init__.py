"""What a user may write in a cluster spec, and the facts about accelerators, as data."""
