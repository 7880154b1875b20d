"""Running programs, watching folders, keeping tasks and locks: generic, knows no Fossil."""
