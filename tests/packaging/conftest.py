"""What is a project of its own is not collected with ours: `test_packaging` installs it and runs its tests."""

collect_ignore = ["example_plugin"]
