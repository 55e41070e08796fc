"""The pages: a file each, with what it reads and which template shows it."""
