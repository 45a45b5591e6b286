"""What a run does with files and folders; what it says is on disk survives power loss."""
