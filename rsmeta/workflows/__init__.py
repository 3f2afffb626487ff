"""What a user does, one file each: orchestration only, no click and no print."""
